"""Augmentation: other levels, and silence around the speech."""

import re
from pathlib import Path

import pytest
import torch
from hyperpyyaml import load_hyperpyyaml

from speechbrain_llsa.lobes.augmentation import RandomGain, SilencePadding

HPARAMS = Path(__file__).parents[2] / "hparams"


def make_batch(rows=4, samples=4000):
    """Noise at -20 dBFS, and lengths of a padded batch."""
    lengths = torch.linspace(0.5, 1.0, rows)
    waveforms = 0.1 * torch.randn(rows, samples)
    places = torch.arange(samples)
    return waveforms * (places < (lengths * samples).unsqueeze(1)), lengths


def decibels(waveforms):
    """Level of each row."""
    return 10 * waveforms.square().mean(dim=-1).log10()


def seeded(seed, function, *arguments):
    torch.manual_seed(seed)
    return function(*arguments)


# -- gain


def test_gains_fill_their_range():
    """Each row has a gain of its own, all of them within the range, and evenly
    over it in decibels."""
    waveforms = 0.1 * torch.randn(1, 400).expand(4000, -1)
    gains = decibels(RandomGain(-40, 10)(waveforms)) - decibels(waveforms)
    # what is clipped loses a little
    assert gains.min() >= -40.01 and gains.max() <= 10.01
    counts = torch.histc(gains, 5, -40.01, 10.01)
    assert (counts - 800).abs().max() < 150


def test_gains_follow_the_seed():
    """The same seed gives the same, bit by bit; another one does not."""
    gain, (waveforms, _) = RandomGain(-40, 10), make_batch()
    first = seeded(3, gain, waveforms)
    assert torch.equal(first, seeded(3, gain, waveforms))
    assert not torch.equal(first, seeded(4, gain, waveforms))


def test_a_gain_clips_at_full_scale_and_leaves_silence_alone():
    """Loud samples stop at 1, zeros stay zeros, the input is not written to."""
    waveforms = torch.tensor([[0.9, -0.9, 0.01, 0.0], [0.0] * 4])
    before = waveforms.clone()
    louder = RandomGain(20, 20)(waveforms)
    expected = torch.tensor([[1.0, -1.0, 0.1, 0.0], [0.0] * 4])
    assert torch.allclose(louder, expected)
    assert torch.equal(waveforms, before)


# -- silence


@pytest.mark.parametrize("seed", range(20))
def test_the_speech_is_whole_within_the_silence(seed):
    """Each utterance is there, sample by sample, with as much silence around
    it as around the others, and nothing behind that."""
    waveforms, lengths = make_batch()
    counts = (lengths * waveforms.shape[1]).round().long()
    padding = SilencePadding(1.0, longest_seconds=1.0)
    padded, padded_lengths = seeded(seed, padding, waveforms, lengths)
    added = padded.shape[1] - waveforms.shape[1]
    assert 0 <= added <= 16000 and padded.isfinite().all()
    ends = (padded_lengths * padded.shape[1]).round().long()
    assert torch.equal(ends, counts + added)
    for row, speech, count, end in zip(
        padded, waveforms, counts, ends, strict=True
    ):
        windows = row.unfold(0, int(count), 1)
        found = (windows == speech[:count]).all(dim=1).nonzero()
        assert len(found) == 1 and int(found) + count <= end
        assert not row[end:].any()


def test_silence_has_levels_of_its_range():
    """Within a decibel: it is the noise of the whole row that has the level."""
    padding = SilencePadding(1.0, 20.0, low_db=-80, high_db=-60)
    levels = []
    for seed in range(20):
        waveforms, lengths = torch.full((4, 100), 0.5), torch.ones(4)
        padded, _ = seeded(seed, padding, waveforms, lengths)
        levels += [float(decibels(row[row != 0.5])) for row in padded]
    assert -81 < min(levels) < -76 and -64 < max(levels) < -59


def test_silence_follows_the_seed():
    """The same seed gives the same, bit by bit; another one does not."""
    padding, batch = SilencePadding(1.0), make_batch()
    first = seeded(3, padding, *batch)[0]
    assert torch.equal(first, seeded(3, padding, *batch)[0])
    other = seeded(4, padding, *batch)[0]
    assert first.shape != other.shape or not torch.equal(first, other)


def test_silence_is_for_a_part_of_the_batches():
    """As many as the probability says."""
    padding, batch = SilencePadding(0.25), make_batch(1, 1000)
    torch.manual_seed(0)
    longer = sum(padding(*batch)[0].shape[1] > 1000 for _ in range(400))
    assert 70 < longer < 130


# -- both


def test_off_by_default():
    """Without arguments nothing changes, and nothing is drawn: what comes
    behind draws what it drew without them."""
    waveforms, lengths = make_batch()
    before = torch.get_rng_state()
    assert RandomGain()(waveforms) is waveforms
    padded, same_lengths = SilencePadding()(waveforms, lengths)
    assert padded is waveforms and same_lengths is lengths
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "kind, options, words",
    [
        (
            RandomGain,
            {"low_db": 3, "high_db": -3},
            r"high_db must .*got -3",
        ),
        (RandomGain, {"low_db": -999}, r"low_db must .*got -999"),
        (RandomGain, {"high_db": "10"}, r"high_db must .*got '10'"),
        (SilencePadding, {"probability": 2}, r"probability must .*got 2"),
        (
            SilencePadding,
            {"longest_seconds": -1},
            r"longest_seconds must .*got -1",
        ),
        (SilencePadding, {"high_db": 3.0}, r"high_db must .*got 3.0"),
        (SilencePadding, {"low_db": -20}, r"high_db must .*got -30.0"),
    ],
)
def test_bad_arguments_are_named(kind, options, words):
    """Which argument, what came, what is allowed."""
    with pytest.raises((TypeError, ValueError), match=words):
        kind(**options)


# -- as the recipes have them


def load_augmentation(name, **overrides):
    """The ``augmentation`` of a YAML file."""
    text = (HPARAMS / name).read_text(encoding="utf-8")
    parts = re.split(r"\n(?=\S)", text)
    wanted = ("sample_rate", "speeds", "silence_", "noise_snr", "gain_")
    wanted += ("augmentation",)
    text = "\n".join(part for part in parts if part.startswith(wanted))
    return load_hyperpyyaml(text, overrides)["augmentation"]


@pytest.mark.parametrize("name", ["pretrain_small", "finetune_small"])
def test_the_recipes_augment_levels(name):
    """Levels of a YAML file's batch spread over tens of decibels, and all of
    it is finite."""
    augmentation = load_augmentation(f"{name}.yaml")
    levels = []
    for seed in range(30):
        waveforms, lengths = seeded(seed, augmentation, *make_batch())
        assert waveforms.isfinite().all() and waveforms.abs().max() <= 1
        assert (lengths > 0).all() and (lengths <= 1).all()
        levels.append(decibels(waveforms))
    levels = torch.cat(levels)
    assert levels.max() - levels.min() > 40


def test_without_them_a_fine_tuning_is_what_it_was():
    """With silence and gain off, speed and noise give what they gave alone."""
    off = {"silence_prob": 0, "gain_low_db": 0, "gain_high_db": 0}
    augmentation = load_augmentation("finetune_small.yaml", **off)
    alone = load_augmentation("finetune_small.yaml", **off)
    alone.min_augmentations = alone.max_augmentations = 2
    alone.augmentations = {
        name: part
        for name, part in alone.augmentations.items()
        if name.startswith(("SpeedPerturb", "AddNoise"))
    }
    assert len(alone.augmentations) == 2
    batch = make_batch()
    ours = seeded(5, augmentation, *batch)
    theirs = seeded(5, alone, *batch)
    assert torch.equal(ours[0], theirs[0]) and torch.equal(ours[1], theirs[1])
