"""The convolutions of a schedule agree with the reference, outputs and
gradients."""

import pytest
import torch

from speechbrain_llsa.nnet.attention import FrameSchedule, HopSchedule
from speechbrain_llsa.nnet.conformer_convolution import DepthwiseConvolution
from speechbrain_llsa.ops import reference
from speechbrain_llsa.state import LayerState
from speechbrain_llsa.visibility import frame_tags, hop_tags
from speechbrain_llsa_runtime.geometry import StreamGeometry

TAPS = [(0, 0), (4, 0), (0, 3), (5, 2), (30, 30)]
HOPS = [(0, 0, 1), (4, 2, 1), (4, 2, 3), (4, 0, 4), (4, 5, 2), (4, 9, 30)]
ENDS = pytest.mark.parametrize("ends", [None, (23, 17)], ids=str)
FEATURES = 3


def make_convolution(taps):
    return DepthwiseConvolution(FEATURES, *taps).double()


def frames_of(count):
    return torch.randn(
        2, count, FEATURES, dtype=torch.float64, requires_grad=True
    )


def attended(received, waiting=0):
    """State of a layer whose frames have attended."""
    return LayerState(received, query=torch.zeros(2, 1, waiting, 1))


def assert_agree(expected, actual, inputs):
    weight = torch.randn_like(expected)
    assert actual.shape == expected.shape
    assert (expected - actual).abs().max() < 1e-12
    gradients = [
        torch.autograd.grad((out * weight).sum(), inputs)
        for out in (expected, actual)
    ]
    for first, second in zip(*gradients, strict=True):
        assert (first - second).abs().max() < 1e-11


@ENDS
@pytest.mark.parametrize("taps", TAPS, ids=str)
@pytest.mark.parametrize("attention", ["aa", "maa", "sa"])
def test_frames(attention, taps, ends):
    """aa, maa and sa over whole utterances."""
    convolution, frames = make_convolution(taps), frames_of(23)
    end = None if ends is None else torch.tensor(ends)
    geometry = StreamGeometry(2, 1)
    schedule = FrameSchedule(attention, geometry, final=True, end=end)
    actual, residual, _ = schedule.convolve(
        frames, frames * 2, attended(23), convolution
    )
    expected = reference.convolve(
        frames,
        convolution.weight,
        convolution.bias,
        frame_tags(0, 23),
        geometry,
        attention,
        *taps,
        end,
    )
    assert_agree(expected, actual, (frames, *convolution.parameters()))
    assert torch.equal(residual, frames * 2)


@pytest.mark.parametrize("waiting", [0, 2])
@pytest.mark.parametrize("taps", TAPS, ids=str)
def test_frames_in_pushes(taps, waiting):
    """What waits comes with its look-ahead or with the end, beside its own
    residual, whatever waits before the attention."""
    convolution, frames = make_convolution(taps), frames_of(23)
    end = torch.tensor([23, 17])
    geometry = StreamGeometry(2, waiting)
    state, pieces, residuals, given = LayerState(), [], [], 0
    for start, stop in ((0, 1), (1, 9), (9, 9), (9, 21), (21, 23)):
        final = stop == 23
        schedule = FrameSchedule("sa", geometry, final, end)
        late = 0 if final else waiting
        state.received = stop + late
        state.query = torch.zeros(2, 1, late, 1)
        push = frames[:, start:stop]
        out, residual, state = schedule.convolve(
            push, push * 2, state, convolution
        )
        pieces.append(out)
        residuals.append(residual)
        given += out.shape[1]
        assert final or given == max(0, stop - taps[1])
    expected = reference.convolve(
        frames,
        convolution.weight,
        convolution.bias,
        frame_tags(0, 23),
        geometry,
        "sa",
        *taps,
        end,
    )
    actual = torch.cat(pieces, dim=1)
    assert_agree(expected, actual, (frames, *convolution.parameters()))
    assert torch.equal(torch.cat(residuals, dim=1), frames * 2)


@ENDS
@pytest.mark.parametrize("taps", TAPS, ids=str)
@pytest.mark.parametrize("geometry", HOPS, ids=str)
def test_hops(geometry, taps, ends):
    """llsa over whole utterances that do not fill their last hop; its last
    layer gives the committed frames alone."""
    geometry = StreamGeometry(*geometry)
    hops = -(-23 // geometry.hop)
    tags = hop_tags(0, hops, geometry)
    convolution = make_convolution(taps)
    frames = frames_of(len(tags.position))
    end = None if ends is None else torch.tensor(ends)
    schedule = HopSchedule(geometry, 0, hops, end)
    actual, residual, _ = schedule.convolve(
        frames, frames * 2, LayerState(), convolution
    )
    expected = reference.convolve(
        frames,
        convolution.weight,
        convolution.bias,
        tags,
        geometry,
        "llsa",
        *taps,
        end,
    )
    assert_agree(expected, actual, (frames, *convolution.parameters()))
    assert torch.equal(residual, frames * 2)
    committed, residual, _ = schedule.last(convolution=True).convolve(
        frames, frames * 2, LayerState(), convolution
    )
    assert torch.equal(committed, actual[:, ~tags.provisional])
    assert torch.equal(residual, frames[:, ~tags.provisional] * 2)


@pytest.mark.parametrize("pushed", [1, 3])
@pytest.mark.parametrize("taps", TAPS, ids=str)
@pytest.mark.parametrize("geometry", HOPS, ids=str)
def test_hops_behind_a_state(geometry, taps, pushed):
    """llsa, some hops at a time: the committed frames of earlier ones are in
    the state, their provisional ones are not."""
    geometry = StreamGeometry(*geometry)
    convolution, state, pieces = make_convolution(taps), LayerState(), []
    tags = hop_tags(0, 4 * pushed, geometry)
    frames = frames_of(len(tags.position))
    end = torch.tensor([4 * pushed * geometry.hop - 1, 3])
    parts = frames.split(len(tags.position) // 4, dim=1)
    for number, part in enumerate(parts):
        schedule = HopSchedule(geometry, number * pushed, pushed, end)
        out, _, state = schedule.convolve(part, part, state, convolution)
        pieces.append(out)
        assert state.convolution.shape[1] == taps[0]
    expected = reference.convolve(
        frames,
        convolution.weight,
        convolution.bias,
        tags,
        geometry,
        "llsa",
        *taps,
        end,
    )
    inputs = (frames, *convolution.parameters())
    assert_agree(expected, torch.cat(pieces, dim=1), inputs)
