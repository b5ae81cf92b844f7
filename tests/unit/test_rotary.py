"""Rotary positions are relative, and do not drift over a day."""

import torch

from speechbrain_llsa.nnet.rotary import rotary_angles, rotate


def score(query, key, query_position, key_position):
    """The attention score of one query and one key."""
    turned = [
        rotate(x, *rotary_angles(torch.tensor([position]), x.shape[-1]))
        for x, position in ((query, query_position), (key, key_position))
    ]
    return (turned[0] * turned[1]).sum()


def test_scores_depend_on_the_distance_alone():
    """The same distance at the start and after 24 hours: the same score."""
    query, key = torch.randn(2, 1, 1, 1, 64)
    day = 24 * 3600 * 50
    for distance in (0, 1, 17, 64):
        early = score(query, key, distance, 0)
        late = score(query, key, day + distance, day)
        assert (early - late).abs() < 2e-5


def test_distance_changes_the_score():
    """Another distance gives another score."""
    query, key = torch.randn(2, 1, 1, 1, 64)
    assert (score(query, key, 3, 0) - score(query, key, 4, 0)).abs() > 1e-3


def test_first_frame_is_not_turned():
    """At position 0 nothing turns."""
    x = torch.randn(1, 1, 1, 8)
    assert rotate(x, *rotary_angles(torch.tensor([0]), 8)).equal(x)
