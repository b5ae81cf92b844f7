"""Any split of the samples gives the frames of the whole waveform."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechbrain_llsa.nnet.frontend import StreamingLatentExtractor
from tiny_model import split

KERNELS = {
    "default": ([11, 3, 3, 3, 3, 3, 3], [5, 2, 2, 2, 2, 2, 2]),
    "fairseq": ([10, 3, 3, 3, 3, 2, 2], [5, 2, 2, 2, 2, 2, 2]),
    "touching": ([4, 2, 1], [4, 2, 1]),
}


def stream(extractor, pushes):
    context = extractor.make_streaming_context()
    with torch.no_grad():
        frames = [extractor.forward_streaming(p, context) for p in pushes]
    return torch.cat(frames, dim=1)


@pytest.mark.parametrize("kernels", KERNELS.values(), ids=KERNELS)
@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    samples=st.integers(0, 6000),
    lengths=st.lists(
        st.one_of(st.integers(0, 3), st.integers(0, 3000)), max_size=12
    ),
)
def test_any_split(kernels, samples, lengths):
    """Pushes of any lengths give the offline frames, error below 1e-12."""
    torch.manual_seed(0)
    extractor = StreamingLatentExtractor([6] * len(kernels[0]), *kernels)
    extractor.eval().double()
    wavs = torch.randn(2, samples, dtype=torch.float64)
    offline = extractor(wavs)
    streamed = stream(extractor, split(wavs, lengths))
    assert streamed.shape == offline.shape
    if offline.numel():
        assert (streamed - offline).abs().max() < 1e-12


@pytest.mark.parametrize("length", [1, 7, 319, 320, 641, 20000])
def test_equal_pushes(length):
    """In single precision, equal pushes of any length stay within 1e-4."""
    torch.manual_seed(0)
    extractor = StreamingLatentExtractor([6] * 7).eval()
    wavs = torch.randn(1, 1500 if length == 1 else 20000)
    streamed = stream(extractor, wavs.split(length, dim=1))
    assert (streamed - extractor(wavs)).abs().max() < 1e-4


def test_frames_come_as_soon_as_they_can():
    """A frame is there with the last sample of its receptive field."""
    torch.manual_seed(0)
    extractor = StreamingLatentExtractor([6] * 7).eval()
    context = extractor.make_streaming_context()
    counts = [
        extractor.forward_streaming(samples, context).shape[1]
        for samples in torch.randn(1, 1000).split(1, dim=1)
    ]
    assert [i for i, count in enumerate(counts) if count] == [640, 960]
