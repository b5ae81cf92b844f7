"""The reference, against four frames worked out by hand."""

import math

import torch

from speechbrain_llsa.ops.reference import attend, convolve
from speechbrain_llsa.visibility import frame_tags, hop_tags
from speechbrain_llsa_runtime.geometry import StreamGeometry


def values(*numbers):
    """One head with one feature: (1, 1, frames, 1)."""
    return torch.tensor(numbers)[None, None, :, None]


ZEROS = values(0.0, 0.0, 0.0, 0.0)
ONES_TO_FOUR = values(1.0, 2.0, 3.0, 4.0)


def test_equal_scores_give_the_mean_of_what_is_seen():
    """sa, look_back 1, look_ahead 1: the mean of three neighbours."""
    tags = frame_tags(0, 4)
    out = attend(
        ZEROS, ZEROS, ONES_TO_FOUR, tags, tags, StreamGeometry(1, 1), "sa"
    )
    assert torch.allclose(out, values(1.5, 2.0, 3.0, 3.5))


def test_scores_weigh():
    """aa: weights are the softmax of the scores, here 0 and log 3."""
    tags = frame_tags(0, 2)
    query = values(1.0, 0.0)
    key = values(0.0, math.log(3.0))
    out = attend(
        query, key, values(0.0, 4.0), tags, tags, StreamGeometry(0, 0), "aa"
    )
    assert torch.allclose(out, values(3.0, 2.0))


def test_llsa_commits_and_consults():
    """llsa, hop 1, look_back 1, look_ahead 1, two frames: hop 0 holds frame 0
    and a copy of frame 1; hop 1 sees frame 0 and itself, and its provisional
    frame 2 does not exist."""
    geometry = StreamGeometry(1, 1, 1)
    tags = hop_tags(0, 2, geometry)
    assert tags.position.tolist() == [0, 1, 1, 2]
    out = attend(
        ZEROS,
        ZEROS,
        values(1.0, 5.0, 7.0, 100.0),
        tags,
        tags,
        geometry,
        "llsa",
        end=torch.tensor([2]),
    )
    # hop 0: mean of 1 and 5; hop 1: mean of 1 and 7; the padding also sees
    # itself, so that its softmax is finite
    assert torch.allclose(out, values(3.0, 3.0, 4.0, 36.0))


def test_end_hides_padding():
    """A row that is one frame shorter does not see its padding."""
    tags = frame_tags(0, 4)
    out = attend(
        ZEROS,
        ZEROS,
        ONES_TO_FOUR,
        tags,
        tags,
        StreamGeometry(0, 0),
        "aa",
        end=torch.tensor([3]),
    )
    assert torch.allclose(out[..., :3, :], values(2.0, 2.0, 2.0))


def convolved(frames, taps, tags, geometry, attention, reach, end=None):
    """One row with one feature, no bias: the numbers of the reference."""
    return convolve(
        torch.tensor(frames)[None, :, None],
        torch.tensor(taps)[None, None],
        torch.zeros(1),
        tags,
        geometry,
        attention,
        *reach,
        end=None if end is None else torch.tensor([end]),
    ).flatten()


def test_taps_have_their_frames():
    """sa: one tap back, that of the frame, one ahead; zeros around them."""
    out = convolved(
        [1.0, 2.0, 3.0, 4.0],
        [100.0, 10.0, 1.0],
        frame_tags(0, 4),
        StreamGeometry(0, 0),
        "sa",
        (1, 1),
    )
    assert out.tolist() == [12.0, 123.0, 234.0, 340.0]


def test_convolution_of_llsa_by_hand():
    """llsa, hop 1, look_ahead 1, two frames, one tap back and one ahead: the
    provisional 5 is seen in its hop alone, the committed 7 in its place
    behind; frame 2, of 9, does not exist."""
    geometry = StreamGeometry(1, 1, 1)
    out = convolved(
        [1.0, 5.0, 7.0, 9.0],
        [100.0, 10.0, 1.0],
        hop_tags(0, 2, geometry),
        geometry,
        "llsa",
        (1, 1),
        end=2,
    )
    assert out[:3].tolist() == [15.0, 150.0, 170.0]
