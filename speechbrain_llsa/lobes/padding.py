"""Lengths and padding masks of batches of waveforms and frames."""

import torch

from speechbrain_llsa_runtime.utils.checks import check_type
from speechbrain_llsa_runtime.utils.errors import must_be


def sample_counts(wavs, wav_lens=None):
    """Number of samples in each row of a padded batch.

    Arguments
    ---------
    wavs : torch.Tensor
        Waveforms, (batch, samples).
    wav_lens : torch.Tensor, optional
        Length of each waveform relative to the longest, (batch,).

    Returns
    -------
    torch.Tensor
        int64 (batch,).

    Raises
    ------
    TypeError
        If an argument is not a tensor.
    ValueError
        If ``wav_lens`` has another shape, or a length is out of range.

    Example
    -------
    >>> sample_counts(torch.zeros(2, 1000), torch.tensor([1.0, 0.5]))
    tensor([1000,  500])
    """
    check_type("wavs", wavs, torch.Tensor)
    if wavs.ndim != 2:
        raise ValueError(
            must_be("wavs", "of shape (batch, samples)", tuple(wavs.shape))
        )
    rows, samples = wavs.shape
    if wav_lens is None:
        return wavs.new_full((rows,), samples, dtype=torch.int64)
    check_type("wav_lens", wav_lens, torch.Tensor)
    if wav_lens.shape != (rows,):
        raise ValueError(
            must_be(
                "wav_lens",
                f"of shape (batch,), here ({rows},)",
                tuple(wav_lens.shape),
            )
        )
    if not ((wav_lens >= 0) & (wav_lens <= 1)).all():
        raise ValueError(
            must_be(
                "wav_lens",
                "parts of the longest waveform, from 0 to 1",
                wav_lens.tolist(),
            )
        )
    counts = torch.round(wav_lens.double() * samples)
    return counts.to(device=wavs.device, dtype=torch.int64)


def padding_mask(frame_counts, frames):
    """Marks the frames of a padded batch that are padding.

    Arguments
    ---------
    frame_counts : torch.Tensor
        Frames of each row, shape (N,), long.
    frames : int
        Frames of the padded batch.

    Returns
    -------
    torch.Tensor
        True where a frame is padding, shape (N, frames).

    Example
    -------
    >>> padding_mask(torch.tensor([3, 1]), 3)
    tensor([[False, False, False],
            [False,  True,  True]])
    """
    positions = torch.arange(frames, device=frame_counts.device)
    return positions >= frame_counts.unsqueeze(1)
