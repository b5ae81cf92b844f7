"""The geometry refuses what is out of range, and declares its latency."""

import pytest

from speechbrain_llsa.geometry import LatencyReport, StreamGeometry


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((-1, 0, 1), ValueError, "look_back: got -1"),
        ((0, -2, 1), ValueError, "look_ahead: got -2"),
        ((0, 0, 0), ValueError, "hop: got 0"),
        ((1.5, 0, 1), TypeError, "look_back: got 1.5"),
        ((1, 0, True), TypeError, "hop: got True"),
        ((1, "8", 1), TypeError, "look_ahead: got '8'"),
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


def test_unknown_attention_is_named():
    """An unknown attention is refused, with the four names."""
    with pytest.raises(ValueError, match=r"'full', allowed is one of aa, maa"):
        LatencyReport("full", StreamGeometry(1, 1), 1)
