"""Span masks: per utterance, within its length, never nothing or all."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechbrain_llsa.lobes.masking import SpanMasker


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@settings(max_examples=200, deadline=None)
@given(
    counts=st.lists(st.integers(0, 40), min_size=1, max_size=6),
    mask_prob=st.floats(0.01, 1.0),
    mask_length=st.integers(1, 12),
    seed=st.integers(0, 1000),
)
def test_some_but_not_all_real_frames_are_masked(
    counts, mask_prob, mask_length, seed
):
    """Any utterance of 2 frames or more has masked and unmasked frames."""
    masker = SpanMasker(mask_prob, mask_length)
    mask = masker(torch.tensor(counts), frames=45, generator=generator(seed))
    assert mask.shape == (len(counts), 45)
    for row, count in zip(mask, counts, strict=True):
        assert not row[count:].any()
        masked = int(row.sum())
        assert (1 <= masked < count) if count >= 2 else masked == 0


def test_about_half_is_masked_as_published():
    """0.65 and 10 mask 49 % of long utterances, short ones alike."""
    masker = SpanMasker(mask_prob=0.65, mask_length=10)
    for count in (100, 700):
        counts = torch.full((2000,), count)
        ratio = masker(counts, generator=generator()).float().mean()
        assert abs(float(ratio) - 0.487) < 0.02


def test_spans_have_the_wanted_length():
    """Every run of masked frames is at least as long as a span."""
    masker = SpanMasker(mask_prob=0.2, mask_length=7)
    mask = masker(torch.full((50,), 200), generator=generator())
    for row in mask.int().tolist():
        runs = "".join(map(str, row)).replace("0", " ").split()
        assert min(map(len, runs)) >= 7


def test_number_of_spans_follows_the_row_not_the_batch():
    """A long utterance is masked alike beside a short one and alone."""
    masker = SpanMasker()
    alone = masker(torch.tensor([500] * 100), generator=generator())
    mixed = masker(torch.tensor([500, 15] * 100), generator=generator())
    assert abs(float(alone.float().mean() - mixed[::2].float().mean())) < 0.02
    short = mixed[1::2, :15].float().mean()
    assert 0.4 < float(short) < 0.8


def test_short_utterances_get_half_their_length():
    """No longer than a span: spans of half the utterance."""
    masker = SpanMasker(mask_prob=0.1, mask_length=10)
    mask = masker(torch.tensor([10] * 20), generator=generator())
    assert set(mask.sum(dim=1).tolist()) == {5}


def test_every_frame_can_be_masked():
    """The beginnings reach from the first frame to the last span."""
    masker = SpanMasker(mask_prob=0.3, mask_length=4)
    mask = masker(torch.full((500,), 12), generator=generator())
    assert mask.any(dim=0).all()


def test_seeded():
    """The same generator state gives the same mask; another does not."""
    masker = SpanMasker()
    counts = torch.tensor([120, 80])
    first = masker(counts, generator=generator(3))
    assert torch.equal(first, masker(counts, generator=generator(3)))
    assert not torch.equal(first, masker(counts, generator=generator(4)))


def test_a_probability_of_zero_masks_nothing():
    """So that a YAML file can do without masks."""
    assert not SpanMasker(mask_prob=0.0)(torch.tensor([50, 2])).any()


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"mask_prob": -0.1}, "mask_prob"),
        ({"mask_prob": 1.5}, "mask_prob"),
        ({"mask_prob": float("nan")}, "mask_prob"),
        ({"mask_length": 0}, "mask_length"),
        ({"mask_length": 2.5}, "mask_length"),
    ],
)
def test_bad_arguments_are_named(arguments, name):
    """An argument out of range is refused by name."""
    with pytest.raises(ValueError, match=f"^{name} must .*got .*"):
        SpanMasker(**arguments)


def test_frames_beyond_the_batch_are_refused():
    """An utterance longer than the padded batch is an error."""
    with pytest.raises(ValueError, match=r"frame_counts must .*got 9"):
        SpanMasker()(torch.tensor([9]), frames=8)
