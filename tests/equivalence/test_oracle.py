"""llsa is torchaudio's Emformer, with the same weights: somebody else's
program as the oracle."""

import pytest
import torch
import torchaudio
from torch import nn

from speechbrain_llsa.nnet.encoder import StreamingTransformerEncoder

FRAMES, LOOK_BACK, LOOK_AHEAD = 96, 24, 8
LAYERS, HEADS, WIDTH, HIDDEN = 3, 4, 32, 64


class ClosingNorm(nn.Module):
    """A layer of ours, and the layer norm that closes one of Emformer's."""

    def __init__(self, layer, norm):
        super().__init__()
        self.layer = layer
        self.norm = norm
        self.self_att = layer.self_att

    def forward(self, src, schedule, state):
        out, state = self.layer(src, schedule, state)
        return self.norm(out), state


def copy_layer(layer, oracle):
    """Copies the weights of an Emformer layer into one of ours."""
    attention = oracle.attention
    with torch.no_grad():
        layer.self_att.in_proj.weight.copy_(
            torch.cat(
                [
                    attention.emb_to_query.weight,
                    attention.emb_to_key_value.weight,
                ]
            )
        )
        layer.self_att.in_proj.bias.copy_(
            torch.cat(
                [attention.emb_to_query.bias, attention.emb_to_key_value.bias]
            )
        )
    layer.self_att.out_proj.load_state_dict(attention.out_proj.state_dict())
    layer.norm1.norm = oracle.layer_norm_input
    layer.norm2.norm = oracle.pos_ff[0]
    layer.pos_ffn.ffn[0].load_state_dict(oracle.pos_ff[1].state_dict())
    layer.pos_ffn.ffn[3].load_state_dict(oracle.pos_ff[4].state_dict())
    return ClosingNorm(layer, oracle.layer_norm_output)


def make_pair(hop):
    """An encoder of ours with the weights of an Emformer, and the Emformer."""
    oracle = torchaudio.models.Emformer(
        input_dim=WIDTH,
        num_heads=HEADS,
        ffn_dim=HIDDEN,
        num_layers=LAYERS,
        segment_length=hop,
        left_context_length=LOOK_BACK,
        right_context_length=LOOK_AHEAD,
        max_memory_size=0,
        activation="gelu",
    ).eval()
    for parameter in oracle.parameters():
        nn.init.normal_(parameter, std=0.3)
    encoder = StreamingTransformerEncoder(
        num_layers=LAYERS,
        nhead=HEADS,
        d_ffn=HIDDEN,
        d_model=WIDTH,
        attention="llsa",
        look_back=LOOK_BACK,
        look_ahead=LOOK_AHEAD,
        hop=hop,
        positional_encoding=None,
    ).eval()
    encoder.layers = nn.ModuleList(
        copy_layer(layer, oracle_layer)
        for layer, oracle_layer in zip(
            encoder.layers, oracle.emformer_layers, strict=True
        )
    )
    encoder.norm = nn.Identity()
    return encoder, oracle


@pytest.mark.parametrize("hop", [1, 4, 8])
def test_llsa_is_emformer(hop):
    """Committed frames agree to 1e-5. Emformer takes its look-ahead as frames
    appended to the input, and does not commit them."""
    encoder, oracle = make_pair(hop)
    src = torch.randn(2, FRAMES + LOOK_AHEAD, WIDTH)
    with torch.no_grad():
        expected, lengths = oracle(src, torch.full((2,), FRAMES))
        actual, _ = encoder(src)
    assert lengths.tolist() == [FRAMES, FRAMES]
    assert expected.abs().max() > 0.1
    assert (actual[:, :FRAMES] - expected).abs().max() < 1e-5


@pytest.mark.parametrize("hop", [1, 4, 8])
def test_streaming_llsa_is_emformer_infer(hop):
    """So does streaming with Emformer's own, a segment at a time."""
    encoder, oracle = make_pair(hop)
    src = torch.randn(1, FRAMES + LOOK_AHEAD, WIDTH)
    context = encoder.make_streaming_context()
    state = None
    with torch.no_grad():
        encoder.forward_streaming(src[:, :LOOK_AHEAD], context)
        for start in range(0, FRAMES, hop):
            segment = src[:, start : start + hop + LOOK_AHEAD]
            expected, _, state = oracle.infer(
                segment, torch.tensor([hop + LOOK_AHEAD]), state
            )
            actual, _ = encoder.forward_streaming(
                segment[:, LOOK_AHEAD:], context
            )
            assert (actual - expected).abs().max() < 1e-5


def test_gradients_are_emformer_s():
    """The gradients agree as well."""
    encoder, oracle = make_pair(4)
    src = torch.randn(1, FRAMES + LOOK_AHEAD, WIDTH)
    gradients = []
    for model in (encoder, lambda x: oracle(x, torch.tensor([FRAMES]))):
        leaf = src.clone().requires_grad_()
        out = model(leaf)[0][:, :FRAMES]
        gradients.append(torch.autograd.grad(out.square().sum(), leaf)[0])
    scale = gradients[0].abs().max()
    assert (gradients[0] - gradients[1]).abs().max() / scale < 1e-5
