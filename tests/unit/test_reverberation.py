"""Generated rooms."""

import pytest
import torch

from speechbrain_llsa.lobes.reverberation import Reverberation

RATE = 16000


def heard_click(**options):
    """What a click at sample 50 becomes, (4, samples)."""
    click = torch.zeros(4, RATE)
    click[:, 50] = 1.0
    torch.manual_seed(0)
    return Reverberation(probability=1.0, **options)(click)


def test_the_direct_sound_stays_and_nothing_comes_before_it():
    heard = heard_click()
    assert (heard.argmax(dim=1) == 50).all()
    assert heard[:, :50].abs().max() < 1e-6


def test_the_decay_takes_the_time_that_is_asked_for():
    """By 60 dB: in a third of it, by 20."""
    heard = heard_click(shortest_seconds=0.3, longest_seconds=0.3)
    power = heard[:, 51:].square()
    window = RATE // 50
    early = power[:, :window].mean(dim=1)
    late = power[:, RATE // 10 : RATE // 10 + window].mean(dim=1)
    decay = 10 * (early / late).log10()
    assert ((decay > 18) & (decay < 22)).all(), decay


def test_the_direct_sound_has_the_energy_that_is_asked_for():
    heard = heard_click(direct_low_db=6.0, direct_high_db=6.0)
    ratio = heard[:, 50].square() / heard[:, 51:].square().sum(dim=1)
    assert torch.allclose(10 * ratio.log10(), torch.full((4,), 6.0), atol=0.05)


def test_levels_stay_and_silence_is_silent():
    torch.manual_seed(0)
    waveforms = torch.randn(4, 5000) * torch.tensor([[0.0], [0.01], [0.1], [1]])
    before = waveforms.clone()
    heard = Reverberation(probability=1.0)(waveforms)
    assert torch.equal(waveforms, before)
    assert torch.allclose(
        heard.square().mean(dim=1), waveforms.square().mean(dim=1), rtol=1e-4
    )


def test_rooms_are_for_a_part_of_the_rows():
    torch.manual_seed(0)
    waveforms = torch.randn(400, 300)
    heard = Reverberation(probability=0.25)(waveforms)
    changed = int((heard != waveforms).any(dim=1).sum())
    assert 70 < changed < 130


@pytest.mark.parametrize("samples", [1, 2, 9000])
def test_any_length_and_the_same_seed(samples):
    waveforms, room = torch.randn(2, samples), Reverberation(probability=1.0)
    torch.manual_seed(3)
    heard = room(waveforms)
    assert heard.shape == waveforms.shape and heard.isfinite().all()
    torch.manual_seed(3)
    assert torch.equal(room(waveforms), heard)


def test_off_by_default():
    """Nothing changes, and nothing is drawn."""
    waveforms, state = torch.randn(2, 100), torch.get_rng_state()
    assert Reverberation()(waveforms) is waveforms
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"probability": 1.5}, r"probability must .*got 1\.5"),
        ({"shortest_seconds": 0.7}, r"longest_seconds must .*got 0\.6"),
        ({"longest_seconds": "1"}, r"longest_seconds must .*got '1'"),
        ({"direct_low_db": 20}, r"direct_high_db must .*got 15\.0"),
    ],
)
def test_bad_arguments_are_named(options, words):
    with pytest.raises((TypeError, ValueError), match=words):
        Reverberation(**options)
