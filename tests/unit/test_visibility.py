"""The rule, as literal matrices that can be read by eye."""

import pytest
import torch

from speechbrain_llsa.visibility import (
    dependency_matrix,
    exists,
    frame_tags,
    hop_tags,
    visible,
)
from speechbrain_llsa_runtime.geometry import StreamGeometry


def matrix(text):
    """A boolean matrix from rows of x (sees) and . (does not see)."""
    return torch.tensor([[c == "x" for c in row] for row in text.split()])


def sees(tags, geometry, attention):
    return visible(tags.as_queries(), tags.as_keys(), geometry, attention)


def test_acausal_sees_everything():
    """aa: every pair."""
    assert sees(frame_tags(0, 5), StreamGeometry(0, 0), "aa").all()


@pytest.mark.parametrize("attention", ["maa", "sa"])
def test_band(attention):
    """maa and sa: two frames back, one ahead."""
    expected = matrix(
        """
        xx....
        xxx...
        xxxx..
        .xxxx.
        ..xxxx
        ...xxx
        """
    )
    geometry = StreamGeometry(look_back=2, look_ahead=1)
    assert sees(frame_tags(0, 6), geometry, attention).equal(expected)


def test_hops_of_one_frame():
    """llsa, hop 1, look_back 1, look_ahead 2, 4 frames: each hop is a
    committed frame and two provisional ones, which see the same keys."""
    tags = hop_tags(0, 4, StreamGeometry(1, 2, 1))
    assert tags.position.tolist() == [0, 1, 2, 1, 2, 3, 2, 3, 4, 3, 4, 5]
    assert tags.hop.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert tags.provisional.tolist() == [False, True, True] * 4
    expected = matrix(
        """
        xxx.........
        xxx.........
        xxx.........
        x..xxx......
        x..xxx......
        x..xxx......
        ...x..xxx...
        ...x..xxx...
        ...x..xxx...
        ......x..xxx
        ......x..xxx
        ......x..xxx
        """
    )
    assert sees(tags, StreamGeometry(1, 2, 1), "llsa").equal(expected)


def test_hops_of_two_frames():
    """llsa, hop 2, look_back 1, look_ahead 1: the two committed frames of a
    hop see each other, the frame before the hop, and the provisional one."""
    geometry = StreamGeometry(1, 1, 2)
    tags = hop_tags(0, 3, geometry)
    assert tags.position.tolist() == [0, 1, 2, 2, 3, 4, 4, 5, 6]
    expected = matrix(
        """
        xxx......
        xxx......
        xxx......
        .x.xxx...
        .x.xxx...
        .x.xxx...
        ....x.xxx
        ....x.xxx
        ....x.xxx
        """
    )
    assert sees(tags, geometry, "llsa").equal(expected)


def test_existence():
    """Frames exist from the beginning of the utterance to its end."""
    position = torch.tensor([-1, 0, 1, 2])
    assert exists(position).tolist() == [False, True, True, True]
    assert exists(position, 2).tolist() == [False, True, True, False]
    rows = exists(position, torch.tensor([[1], [9]]))
    assert rows.tolist() == [
        [False, True, False, False],
        [False, True, True, True],
    ]


def test_hop_of_committed_frames():
    """A frame before the utterance lies in a hop before the first."""
    assert frame_tags(-3, 6, hop=2).hop.tolist() == [-2, -1, -1, 0, 0, 1]


@pytest.mark.parametrize("hop", [1, 3])
def test_llsa_look_ahead_does_not_grow(hop):
    """Frame by frame, 12 layers of llsa see as far ahead as one; sa and maa
    see 12 times as far."""
    geometry = StreamGeometry(look_back=4, look_ahead=2, hop=hop)
    frames = 48

    def ahead(attention, num_layers):
        depends = dependency_matrix(geometry, attention, num_layers, frames)
        # (input, output) -> the last input of each output
        last = (depends * torch.arange(frames)[:, None]).max(dim=0).values
        return last - torch.arange(frames)

    assert ahead("llsa", 12).equal(ahead("llsa", 1))
    assert ahead("llsa", 12).max() == 2 + hop - 1
    assert ahead("sa", 12).max() == 24
    assert ahead("sa", 12).equal(ahead("maa", 12))
