"""Where the definitions make two attentions equal, the encoders are equal."""

import pytest
import torch

from speechbrain_llsa.nnet.encoder import StreamingTransformerEncoder
from speechbrain_llsa_runtime.geometry import ATTENTIONS

TOLERANCE = 1e-5
MODULES = pytest.mark.parametrize(
    "encoder_module", ["transformer", "conformer"]
)


def make_pair(first, second, num_layers=1, **geometry):
    """Two encoders with the same weights and different attentions."""
    encoders = [
        StreamingTransformerEncoder(
            num_layers=num_layers,
            nhead=2,
            d_ffn=32,
            d_model=16,
            attention=attention,
            **geometry,
        ).eval()
        for attention in (first, second)
    ]
    encoders[1].load_state_dict(encoders[0].state_dict())
    return encoders


def assert_equal(encoders, src, padding_mask=None):
    """Outputs, and gradients with respect to the input and the weights."""
    outs, gradients = [], []
    weight = torch.randn_like(src)
    if padding_mask is not None:
        weight = weight.masked_fill(padding_mask[:, :, None], 0.0)
    for encoder in encoders:
        leaf = src.clone().requires_grad_()
        out, _ = encoder(leaf, src_key_padding_mask=padding_mask)
        outs.append(out * (weight != 0))
        gradients.append(
            torch.autograd.grad(
                (out * weight).sum(), (leaf, *encoder.parameters())
            )
        )
    assert (outs[0] - outs[1]).abs().max() < TOLERANCE
    for first, second in zip(*gradients, strict=True):
        scale = max(1.0, first.abs().max().item())
        assert (first - second).abs().max() / scale < TOLERANCE


@MODULES
@pytest.mark.parametrize("look_ahead", [0, 3])
@pytest.mark.parametrize("other", ["sa", "maa"])
def test_one_layer_of_llsa_with_hop_1(other, look_ahead, encoder_module):
    """One layer of llsa with hop 1, of sa and of maa are the same; with a
    convolution that does not see ahead as well."""
    pair = make_pair(
        "llsa",
        other,
        look_back=10,
        look_ahead=look_ahead,
        encoder_module=encoder_module,
    )
    assert_equal(pair, torch.randn(2, 90, 16))


@pytest.mark.parametrize("num_layers", [1, 4])
@pytest.mark.parametrize("padded", [False, True])
@MODULES
def test_sa_is_maa(num_layers, padded, encoder_module):
    """sa and maa are the same at any depth."""
    pair = make_pair(
        "sa",
        "maa",
        num_layers,
        look_back=10,
        look_ahead=3,
        encoder_module=encoder_module,
        conv_look_ahead=2,
    )
    padding_mask = None
    if padded:
        padding_mask = torch.arange(90) >= torch.tensor([[90], [61]])
    assert_equal(pair, torch.randn(2, 90, 16), padding_mask)


@MODULES
def test_no_look_ahead(encoder_module):
    """With look_ahead 0, llsa with hop 1 and sa are the same at any depth."""
    pair = make_pair(
        "llsa",
        "sa",
        4,
        look_back=10,
        look_ahead=0,
        hop=1,
        encoder_module=encoder_module,
    )
    assert_equal(pair, torch.randn(2, 90, 16))


@MODULES
def test_hop_as_long_as_the_utterance_is_acausal(encoder_module):
    """One hop that holds everything sees everything."""
    pair = make_pair(
        "llsa",
        "aa",
        3,
        look_back=0,
        look_ahead=0,
        hop=90,
        encoder_module=encoder_module,
        conv_look_ahead=4,
    )
    assert_equal(pair, torch.randn(2, 90, 16))


def test_a_stack_of_llsa_is_not_sa():
    """Two layers of llsa and sa differ: llsa does not look ahead twice."""
    llsa, sa = make_pair("llsa", "sa", 2, look_back=10, look_ahead=3)
    src = torch.randn(2, 90, 16)
    assert (llsa(src)[0] - sa(src)[0]).abs().max() > 1e-2


@pytest.mark.parametrize("source", ATTENTIONS)
def test_weights_load_into_every_attention(source):
    """The four kinds share one layout of parameters."""
    for target in ATTENTIONS:
        make_pair(source, target, 2)
