"""The geometry refuses what is out of range, and declares its latency."""

import pytest

from speechbrain_llsa_runtime.geometry import StreamGeometry, TrainedGeometries
from speechbrain_llsa_runtime.latency import LatencyReport


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((-1, 0, 1), ValueError, r"look_back must .*got -1"),
        ((0, -2, 1), ValueError, r"look_ahead must .*got -2"),
        ((0, 0, 0), ValueError, r"hop must .*got 0"),
        ((1.5, 0, 1), TypeError, r"look_back must .*got 1.5"),
        ((1, 0, True), TypeError, r"hop must .*got True"),
        ((1, "8", 1), TypeError, r"look_ahead must .*got '8'"),
    ],
)
def test_bad_geometry_is_named(arguments, error, words):
    """The message names the argument and what came."""
    with pytest.raises(error, match=words):
        StreamGeometry(*arguments)


def test_twelve_layers_of_the_paper():
    """12 layers, look_ahead 8, hop 1: 0.16 s for llsa, 1.92 s for sa, maa."""
    report = LatencyReport("llsa", StreamGeometry(64, 8, 1), 12, 641)
    assert report["llsa"].look_ahead_seconds == 0.16
    assert report["sa"].look_ahead_seconds == 1.92
    assert report["maa"].look_ahead_seconds == 1.92
    assert report["aa"].look_ahead is None
    assert report["aa"].total_seconds is None
    assert report.declared_latency == report["llsa"]
    assert report["llsa"].total_seconds == pytest.approx(0.16 + 641 / 16000)


def test_hop_adds_its_wait():
    """A hop of 8 frames waits 7 frames, and only llsa has hops."""
    report = LatencyReport("llsa", StreamGeometry(64, 8, 8), 12)
    assert report["llsa"].hop_wait_seconds == pytest.approx(0.14)
    assert report["llsa"].total_frames == pytest.approx(15)
    assert report["sa"].hop_wait == 0


def test_convolutions_add_to_each_layer_but_of_llsa():
    """12 layers, look_ahead 1, convolutions that see 2 ahead."""
    geometry = StreamGeometry(64, 1)
    report = LatencyReport("sa", geometry, 12, conv_look_ahead=2)
    assert report["sa"].look_ahead == report["maa"].look_ahead == 36
    assert report["llsa"].look_ahead == 1
    assert report["aa"].look_ahead is None
    assert "look_ahead 1, conv_look_ahead 2, hop 1" in str(report)
    with pytest.raises(ValueError, match=r"conv_look_ahead must .*got -1"):
        LatencyReport("sa", geometry, 12, conv_look_ahead=-1)


def test_unknown_attention_is_named():
    """An unknown attention is refused, with the four names."""
    with pytest.raises(ValueError, match=r"one of aa, maa.* got 'full'"):
        LatencyReport("full", StreamGeometry(1, 1), 1)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((-1, 0, 1), ValueError, r"look_back must .*got -1"),
        (([64], 0, 1), TypeError, r"look_back must .*got \[64\]"),
        ((0, [8, -2], 1), ValueError, r"look_ahead must .*got -2"),
        ((0, [], 1), ValueError, r"look_ahead must be an int.*got \[\]"),
        ((0, 0, [1, 0]), ValueError, r"hop must .*got 0"),
        (
            (0, 0, [4, 1, 4]),
            ValueError,
            r"hop must .*got \[4, 1, 4\]",
        ),
        ((0, 0, [4, True]), TypeError, r"hop must .*got True"),
        ((0, 0, [4, [1]]), TypeError, r"hop must .*got \[1\]"),
        ((0, "8", 1), TypeError, r"look_ahead must .*got '8'"),
    ],
)
def test_bad_lists_are_named(arguments, error, words):
    """An integer, or a list of different ones."""
    with pytest.raises(error, match=words):
        TrainedGeometries(*arguments)


def test_one_and_a_list_of_one_are_the_same():
    """Both are no choice."""
    one = TrainedGeometries(64, 8, 4)
    assert one == TrainedGeometries(64, [8], (4,))
    assert hash(one) == hash(TrainedGeometries(64, [8], (4,)))
    assert one.default == StreamGeometry(64, 8, 4)
    for attention in ("aa", "maa", "sa", "llsa"):
        assert one.all(attention) == [one.default]
        assert one.of_chunk(attention, 50) == one.default


GEOMETRIES = TrainedGeometries(64, [8, 0, 4], [4, 1])


def test_each_attention_has_its_choices():
    """llsa all pairs, maa and sa the look-aheads, aa none; the default is
    first, and no two are the same."""
    for attention, count in (("aa", 1), ("maa", 3), ("sa", 3), ("llsa", 6)):
        choices = GEOMETRIES.all(attention)
        assert len(set(choices)) == len(choices) == count
        assert choices[0] == GEOMETRIES.default == StreamGeometry(64, 8, 4)
        assert all(choice in GEOMETRIES for choice in choices)
    assert StreamGeometry(63, 8, 4) not in GEOMETRIES
    assert StreamGeometry(64, 8, 2) not in GEOMETRIES


def test_drawing_is_fair_and_a_function_of_seed_and_step():
    """Each turn has every choice once; orders differ from turn to turn and
    from seed to seed, and all of them come about as often."""

    def turns(attention, count, *seed):
        size = len(GEOMETRIES.all(attention))
        steps = range(count * size)
        drawn = [GEOMETRIES.draw(attention, step, *seed) for step in steps]
        return [tuple(drawn[n * size :][:size]) for n in range(count)]

    assert turns("llsa", 9, 7) == turns("llsa", 9, 7)
    assert turns("llsa", 9, 7) != turns("llsa", 9, 8)
    for turn in turns("llsa", 50, 1):
        assert set(turn) == set(GEOMETRIES.all("llsa"))
    orders = turns("sa", 600, 1, 2)
    assert len(set(orders)) == 6
    assert all(70 < orders.count(order) < 130 for order in set(orders))
    assert turns("aa", 2, 1) == [(GEOMETRIES.default,)] * 2


def test_drawing_is_the_same_everywhere():
    """A training that is resumed on another machine goes on: these are
    literal."""
    drawn = [GEOMETRIES.draw("llsa", step, 1986) for step in range(6)]
    assert [(g.hop, g.look_ahead) for g in drawn] == [
        (1, 4),
        (4, 0),
        (4, 4),
        (1, 8),
        (1, 0),
        (4, 8),
    ]
