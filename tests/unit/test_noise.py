"""Generated noise: each kind is what its name says."""

import re

import pytest
import torch
from speechbrain.augment.time_domain import AddNoise

from speechbrain_llsa.lobes.noise import GeneratedNoise

RATE = 16000


def spectrum(noise):
    """Mean power of each hertz, (hertz,)."""
    seconds = noise.unflatten(-1, (-1, RATE))
    return torch.fft.rfft(seconds).abs().square().mean(dim=(0, 1))


def seeded(seed, noise, waveforms):
    torch.manual_seed(seed)
    return noise(waveforms)


def test_white_is_even_and_pink_falls_as_one_over_the_frequency():
    """Three octaves up, white has the same power, pink an eighth of it."""
    torch.manual_seed(0)
    for kind, expected in (("white", 1.0), ("pink", 1 / 8)):
        power = spectrum(GeneratedNoise([kind])(torch.zeros(8, 4 * RATE)))
        ratio = power[3200:4800].mean() / power[400:600].mean()
        assert 0.9 < float(ratio) / expected < 1.1, kind


def test_hum_is_the_mains_and_its_harmonics():
    """Rows have 50 or 60 Hz, and nothing but multiples of it."""
    torch.manual_seed(0)
    found = set()
    for row in GeneratedNoise(["hum"])(torch.zeros(12, 4 * RATE)):
        power = spectrum(row[None])
        mains = next(m for m in (50, 60) if power[m] > 1)
        found.add(mains)
        harmonics = power[mains : 10 * mains + 1 : mains].sum()
        assert harmonics > 0.999 * power.sum()
    assert found == {50, 60}


def test_babble_is_speech_of_the_batch():
    """Where one row of three speaks, all hear that voice, at several times."""
    torch.manual_seed(0)
    waveforms = torch.zeros(3, 4000)
    waveforms[1, 100] = 1.0
    noise = GeneratedNoise(["babble"])(waveforms)
    assert noise.sum() == 4
    assert set(noise.unique().tolist()) <= {0.0, 1.0, 2.0}


def test_rows_differ_in_kind():
    """Kinds are drawn for each row: where there is nobody to babble, rows are
    silent that have babble, and the others not."""
    torch.manual_seed(0)
    noise = GeneratedNoise(["babble", "white"])(torch.zeros(200, 50))
    silent = int((noise == 0).all(dim=1).sum())
    assert 70 < silent < 130


@pytest.mark.parametrize("samples", [1, 2, 7, 4001])
@pytest.mark.parametrize("rows", [1, 3])
def test_any_length(rows, samples):
    """One sample too."""
    kinds = ["white", "pink", "hum", "babble"]
    waveforms = torch.randn(rows, samples)
    noise = seeded(1, GeneratedNoise(kinds), waveforms)
    assert noise.shape == waveforms.shape and noise.isfinite().all()
    assert torch.equal(noise, seeded(1, GeneratedNoise(kinds), waveforms))


def test_white_alone_is_what_speechbrain_draws():
    """So that trainings without other kinds are what they were."""
    batch = (0.1 * torch.randn(3, 4000), torch.ones(3))
    theirs = AddNoise(snr_low=10, snr_high=20)
    ours = AddNoise(
        snr_low=10, snr_high=20, noise_funct=GeneratedNoise(["white"])
    )
    torch.manual_seed(2)
    expected = theirs(*batch)
    torch.manual_seed(2)
    assert torch.equal(ours(*batch), expected)


@pytest.mark.parametrize("kinds", [[], ["white", "brown"], [["white"]]])
def test_unknown_kinds_are_named(kinds):
    words = f"a list of white, pink, hum, babble, got {re.escape(repr(kinds))}"
    with pytest.raises(ValueError, match=words):
        GeneratedNoise(kinds)


@pytest.mark.parametrize("kinds", ["white", 5, None, {"white": 1}])
def test_kinds_are_a_list(kinds):
    with pytest.raises(TypeError, match="noise_kinds must be list or tuple"):
        GeneratedNoise(kinds)
