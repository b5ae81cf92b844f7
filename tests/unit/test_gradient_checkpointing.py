"""Gradient checkpointing changes what stays in memory, and nothing else."""

import pytest
import torch

from speechbrain_llsa_runtime.geometry import ATTENTIONS
from tiny_model import CONFORMER, make_encoder

DEEPER = {"num_layers": 4}


def train_once(encoder, src, padding_mask):
    """Output, hidden states and all gradients of one seeded step."""
    torch.manual_seed(7)
    src = src.clone().requires_grad_()
    out, _, hidden_states = encoder(src, src_key_padding_mask=padding_mask)
    out.square().sum().backward()
    gradients = [parameter.grad for parameter in encoder.parameters()]
    return out, hidden_states, [src.grad, *gradients]


@pytest.mark.parametrize(
    ("dropout", "layerdrop_prob"), [(0.0, 0.0), (0.3, 0.0), (0.3, 0.5)]
)
@pytest.mark.parametrize("options", [{}, CONFORMER], ids=str)
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_outputs_and_gradients_are_the_same(
    attention, dropout, layerdrop_prob, options
):
    """With the same seed, also where units, attention weights and layers are
    dropped; bit for bit."""
    src = torch.randn(2, 21, 16)
    padding_mask = torch.arange(21) >= torch.tensor([[21], [13]])
    (out, hidden, gradients), (same, same_hidden, same_gradients) = (
        train_once(
            make_encoder(
                gradient_checkpointing=gradient_checkpointing,
                attention=attention,
                dropout=dropout,
                layerdrop_prob=layerdrop_prob,
                output_hidden_states=True,
                **DEEPER,
                **options,
            ).train(),
            src,
            padding_mask,
        )
        for gradient_checkpointing in (False, True)
    )
    assert torch.equal(out, same)
    for one, other in zip(hidden, same_hidden, strict=True):
        assert torch.equal(one, other)
    for one, other in zip(gradients, same_gradients, strict=True):
        assert (one is None) == (other is None)
        assert one is None or torch.equal(one, other)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_less_is_kept_for_the_backward_pass(attention):
    """What autograd saves is a small part of what it saves without."""

    def saved_elements(gradient_checkpointing):
        encoder = make_encoder(
            gradient_checkpointing=gradient_checkpointing,
            attention=attention,
            **DEEPER,
        ).train()
        count = 0

        def pack(tensor):
            nonlocal count
            count += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            encoder(torch.randn(2, 40, 16))
        return count

    assert saved_elements(True) < saved_elements(False) / 4


@pytest.mark.parametrize("options", [{}, CONFORMER], ids=str)
@pytest.mark.parametrize("attention", ["maa", "sa", "llsa"])
def test_evaluation_and_streaming_do_not_change(attention, options):
    """Only training is checkpointed: a model that was trained so streams."""
    encoder = make_encoder(
        gradient_checkpointing=True, attention=attention, **options
    )
    src = torch.randn(1, 40, 16)
    context = encoder.make_streaming_context()
    first, _ = encoder.forward_streaming(src[:, :25], context)
    rest, _ = encoder.forward_streaming(src[:, 25:], context)
    tail, _ = encoder.flush(context)
    streamed = torch.cat([first, rest, tail], dim=1)
    assert (streamed - encoder(src)[0]).abs().max() < 1e-5
    assert torch.equal(
        encoder(src)[0], make_encoder(attention=attention, **options)(src)[0]
    )
