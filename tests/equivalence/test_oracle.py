"""llsa is torchaudio's Emformer, with the same weights, and a Conformer of llsa
without look-ahead is SpeechBrain's in dynamic chunks: somebody else's programs
as oracles."""

import pytest
import torch
from speechbrain.lobes.models.transformer.Conformer import ConformerEncoder
from speechbrain.utils.dynamic_chunk_training import DynChunkTrainConfig

from emformer import make_pair
from speechbrain_llsa.pretrained import from_speechbrain_conformer

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


@pytest.mark.parametrize(("hop", "chunks_back"), [(1, 6), (4, 3), (8, 0)])
def test_a_conformer_of_llsa_is_speechbrain_in_chunks(hop, chunks_back):
    """A chunk is a hop, its left context the look-back: attention and
    convolution see the same frames, chunk by chunk and offline."""
    torch.manual_seed(0)
    source = ConformerEncoder(
        3, WIDTH, 64, 4, kernel_size=11, attention_type="RoPEMHA"
    ).eval()
    exact = from_speechbrain_conformer(source.state_dict(), nhead=4)
    encoder = exact.streaming("llsa", hop * chunks_back, 0, hop).encoder
    src = torch.randn(2, FRAMES, WIDTH)
    theirs = source.make_streaming_context(
        DynChunkTrainConfig(hop, chunks_back)
    )
    ours = encoder.make_streaming_context()
    with torch.no_grad():
        offline, _ = encoder(src)
        for start in range(0, FRAMES, hop):
            chunk = src[:, start : start + hop]
            expected, _ = source.forward_streaming(chunk, theirs)
            actual, _ = encoder.forward_streaming(chunk, ours)
            assert (actual - expected).abs().max() < 1e-5
            whole = offline[:, start : start + hop]
            assert (whole - expected).abs().max() < 1e-5
