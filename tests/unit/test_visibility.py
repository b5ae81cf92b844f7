"""The rule, as literal matrices that can be read by eye."""

import pytest
import torch

from speechbrain_llsa.visibility import (
    convolution_visible,
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


def convolves(tags, geometry, attention, look_back, look_ahead):
    return convolution_visible(
        tags.as_queries(),
        tags.as_keys(),
        geometry,
        attention,
        look_back,
        look_ahead,
    )


@pytest.mark.parametrize("attention", ["aa", "maa", "sa"])
def test_convolution_of_frames(attention):
    """aa, maa and sa: the taps, two back and one ahead, whatever the attention
    sees."""
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
    geometry = StreamGeometry(look_back=1, look_ahead=0)
    seen = convolves(frame_tags(0, 6), geometry, attention, 2, 1)
    assert seen.equal(expected)


def test_convolution_of_hops_of_one_frame():
    """llsa, hop 1, look_ahead 2, 4 frames, taps two back and one ahead: a
    frame of a hop sees committed frames before the hop, which no other hop's
    provisional frames stand for, and the hop itself."""
    geometry = StreamGeometry(look_back=1, look_ahead=2, hop=1)
    tags = hop_tags(0, 4, geometry)
    expected = matrix(
        """
        xx..........
        xxx.........
        xxx.........
        x..xx.......
        x..xxx......
        ...xxx......
        x..x..xx....
        ...x..xxx...
        ......xxx...
        ...x..x..xx.
        ......x..xxx
        .........xxx
        """
    )
    assert convolves(tags, geometry, "llsa", 2, 1).equal(expected)


def test_convolution_of_hops_of_two_frames():
    """llsa, hop 2, look_ahead 1, taps three back and two ahead: none leaves
    the hop towards the future."""
    geometry = StreamGeometry(look_back=0, look_ahead=1, hop=2)
    tags = hop_tags(0, 3, geometry)
    assert tags.position.tolist() == [0, 1, 2, 2, 3, 4, 4, 5, 6]
    expected = matrix(
        """
        xxx......
        xxx......
        xxx......
        xx.xxx...
        xx.xxx...
        .x.xxx...
        .x.xx.xxx
        ...xx.xxx
        ....x.xxx
        """
    )
    assert convolves(tags, geometry, "llsa", 3, 2).equal(expected)


@pytest.mark.parametrize("taps", [(0, 0), (3, 0), (0, 2), (40, 40)], ids=str)
@pytest.mark.parametrize("geometry", [(4, 2, 1), (4, 3, 2), (0, 0, 3)], ids=str)
def test_convolution_sees_one_copy_of_a_frame(geometry, taps):
    """No tap has two inputs, and that of the frame itself has that frame."""
    geometry = StreamGeometry(*geometry)
    tags = hop_tags(0, 7, geometry)
    seen = convolves(tags, geometry, "llsa", *taps)
    assert seen.diagonal().all()
    for row in seen:
        positions = tags.position[row].tolist()
        assert len(positions) == len(set(positions))


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


@pytest.mark.parametrize("hop", [1, 3])
def test_llsa_look_ahead_does_not_grow_with_convolutions(hop):
    """Nor do taps that reach ahead of the hop add to it; to that of sa they
    add in each layer."""
    geometry = StreamGeometry(look_back=4, look_ahead=2, hop=hop)
    frames = 48
    future = torch.ones(frames, frames).tril(-1).bool()

    def depends(attention, num_layers, *taps):
        matrix = dependency_matrix(
            geometry, attention, num_layers, frames, *taps
        )
        return matrix & future

    one = depends("llsa", 1)
    assert depends("llsa", 12, 5, 9).equal(one)
    assert depends("llsa", 1, 5, 9).equal(one)
    reached = depends("sa", 12, 5, 1).nonzero()
    assert (reached[:, 0] - reached[:, 1]).max() == 12 * (2 + 1)
