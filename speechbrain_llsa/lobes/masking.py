"""Masking of frames for pre-training."""

import torch

from speechbrain_llsa_runtime.utils.checks import check_number
from speechbrain_llsa_runtime.utils.errors import must_be


class SpanMasker:
    """Masks spans of frames, according to the length of each utterance.

    An utterance of n frames gets n * ``mask_prob`` / ``mask_length`` spans,
    rounded up or down at random so that the mean is right, and at least one.
    Their starts are drawn without replacement, and spans may overlap: with 0.65
    and 10 about half of the frames are masked, as published for wav2vec 2.0. No
    utterance depends on the others of its batch.

    Utterances of at most ``mask_length`` frames get shorter spans, of half the
    utterance. Of two or more frames, at least one is masked and at least one is
    not. Nothing is masked in utterances of fewer frames, or with a
    ``mask_prob`` of 0.

    Arguments
    ---------
    mask_prob : float
        Fraction of the frames that would be masked if no spans overlapped, 0 to
        1.
    mask_length : int
        Frames of a span, at least 1.

    Raises
    ------
    TypeError
        If an argument is not a number.
    ValueError
        If an argument is not allowed.

    Example
    -------
    >>> masker = SpanMasker(mask_prob=0.5, mask_length=2)
    >>> generator = torch.Generator().manual_seed(1)
    >>> masker(torch.tensor([8, 3, 1]), generator=generator).int()
    tensor([[0, 1, 1, 1, 1, 0, 0, 0],
            [0, 1, 1, 0, 0, 0, 0, 0],
            [0, 0, 0, 0, 0, 0, 0, 0]], dtype=torch.int32)
    """

    def __init__(self, mask_prob=0.65, mask_length=10):
        check_number("mask_prob", mask_prob, 0, 1)
        check_number("mask_length", mask_length, 1)
        if mask_length % 1:
            raise ValueError(
                must_be("mask_length", "an integer of at least 1", mask_length)
            )
        self.mask_prob = float(mask_prob)
        self.mask_length = int(mask_length)

    def __call__(self, frame_counts, frames=None, generator=None):
        """Chooses the frames to mask.

        Arguments
        ---------
        frame_counts : torch.Tensor
            Frames of each utterance, (batch,), integers.
        frames : int, optional
            Frames of the padded batch; the longest utterance by default.
        generator : torch.Generator, optional
            Generator on the CPU to draw from.

        Returns
        -------
        torch.Tensor
            True at masked frames, (batch, frames), on the device of
            ``frame_counts``.

        Raises
        ------
        ValueError
            If an utterance is longer than the padded batch.
        """
        counts = frame_counts.tolist()
        longest = max(counts, default=0)
        frames = longest if frames is None else frames
        if longest > frames:
            raise ValueError(
                must_be(
                    "frame_counts",
                    f"at most {frames}, the frames of the batch",
                    longest,
                )
            )
        mask = torch.zeros(len(counts), frames, dtype=torch.bool, device="cpu")
        for row, count in zip(mask, counts, strict=True):
            if count >= 2 and self.mask_prob > 0:
                self._mask_row(row[:count], generator)
        return mask.to(frame_counts.device)

    def _mask_row(self, row, generator):
        source = {"generator": generator, "device": "cpu"}
        count = len(row)
        length = self.mask_length
        if count <= length:
            length = count // 2
        wanted = self.mask_prob * count / length
        spans = int(wanted + float(torch.rand((), **source)))
        starts = torch.randperm(count - length + 1, **source)
        starts = starts[: max(1, spans)]
        row[starts.unsqueeze(1) + torch.arange(length, device="cpu")] = True
        if row.all():
            kept = torch.randint(count, (), **source)
            row[kept] = False
