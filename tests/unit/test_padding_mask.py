"""What is padding, from relative lengths."""

import torch

from speechbrain_llsa.lobes.padding import padding_mask, sample_counts


def test_sample_counts_are_exact():
    """Relative lengths in float32 give back the samples they came from."""
    counts = torch.arange(1, 4_000_000, 997)
    wavs = torch.zeros(1, 1).expand(len(counts), 4_000_000)
    relative = counts.float() / 4_000_000
    assert torch.equal(sample_counts(wavs, relative), counts)


def test_padding_mask_has_the_frames_of_the_batch():
    """Also where no row fills the batch."""
    mask = padding_mask(torch.tensor([2, 0]), 3)
    assert mask.tolist() == [[False, False, True], [True, True, True]]
