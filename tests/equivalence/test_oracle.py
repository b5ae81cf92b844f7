"""llsa is torchaudio's Emformer, with the same weights: somebody else's
program as the oracle."""

import pytest
import torch

from emformer import make_pair

FRAMES, LOOK_AHEAD, WIDTH = 96, 8, 32


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
