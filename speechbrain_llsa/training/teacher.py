"""A teacher, which sees whole utterances, for a student that streams."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from speechbrain_llsa.lobes.padding import padding_mask, sample_counts
from speechbrain_llsa.model_folder.load import load_parts, read_pretrained
from speechbrain_llsa_runtime.utils.errors import must_be


class Teacher(nn.Module):
    """A frozen model whose last layer and labels a student follows.

    Cao et al., "Improving Streaming Transformer Based ASR Under a Framework of
    Self-supervised Learning" (arXiv 2109.07327), train a streaming student on
    what an offline teacher says.

    Arguments
    ---------
    folder : str or pathlib.Path
        A model folder of the kind "ctc", or "encoder", whose last layer alone
        is followed.

    Raises
    ------
    FileNotFoundError
        If the folder, or a file in it, does not exist.
    ValueError
        If a file in it is damaged.

    Example
    -------
    >>> from speechbrain_llsa.model_folder.write import write_encoder_folder
    >>> model, _ = getfixture("tiny_ctc")
    >>> teacher = Teacher(
    ...     write_encoder_folder(
    ...         getfixture("tmp_path") / "teacher",
    ...         model.extractor,
    ...         model.encoder_wrapper,
    ...     )
    ... )
    >>> embeddings, log_probs = teacher(torch.randn(1, 16000))
    >>> embeddings.shape, log_probs
    (torch.Size([1, 48, 16]), None)
    """

    def __init__(self, folder):
        super().__init__()
        _, description = read_pretrained(folder)
        parts = load_parts(str(folder), description["kind"])
        self.extractor = parts["extractor"]
        self.encoder_wrapper = parts["encoder_wrapper"]
        self.head = parts.get("head")
        self.requires_grad_(False)
        self.eval()

    def train(self, mode=True):
        """Stays in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, wavs, wav_lens=None):
        """
        Arguments
        ---------
        wavs : torch.Tensor
            Waveforms, (batch, samples), padded at the end.
        wav_lens : torch.Tensor, optional
            Length of each waveform relative to the longest, (batch,).

        Returns
        -------
        torch.Tensor
            Frames of the last layer, (batch, frames, features).
        torch.Tensor or None
            Log-probabilities, (batch, frames, labels), if it has a head.
        """
        latents = self.extractor(wavs)
        lengths = self.extractor.get_output_lengths(
            sample_counts(wavs, wav_lens)
        )
        embeddings = self.encoder_wrapper(
            latents, padding_mask=padding_mask(lengths, latents.shape[1])
        )["embeddings"]
        if self.head is None:
            return embeddings, None
        return embeddings, self.head(embeddings).float().log_softmax(dim=-1)


def embedding_distance(student, teacher, lengths):
    """How far embeddings are from a teacher's, relative to how much the
    teacher's vary.

    Arguments
    ---------
    student : torch.Tensor
        (batch, frames, features).
    teacher : torch.Tensor
        Of the same shape.
    lengths : torch.Tensor
        Frames of each row, (batch,).

    Returns
    -------
    torch.Tensor
        Mean squared distance over the variance of the teacher's, for each row,
        (batch,).

    Raises
    ------
    ValueError
        If the shapes differ.

    Example
    -------
    >>> teacher = torch.randn(2, 30, 8)
    >>> embedding_distance(teacher, teacher, torch.tensor([30, 9]))
    tensor([0., 0.])
    """
    if student.shape != teacher.shape:
        raise ValueError(
            must_be(
                "teacher",
                f"a model whose embeddings are {tuple(student.shape)}",
                f"one with {tuple(teacher.shape)}",
            )
        )
    real = ~padding_mask(lengths, student.shape[1])
    frames = teacher[real].float()
    variance = frames.var(dim=0, unbiased=False).mean().clamp(min=1e-8)
    squared = (student.float() - teacher.float()).square().mean(dim=2)
    return _mean_over_frames(squared / variance, real)


def label_divergence(student, teacher, lengths):
    """Kullback-Leibler divergence of labels from a teacher's, frame by frame.

    Arguments
    ---------
    student : torch.Tensor
        Log-probabilities, (batch, frames, labels).
    teacher : torch.Tensor
        Of the same shape.
    lengths : torch.Tensor
        Frames of each row, (batch,).

    Returns
    -------
    torch.Tensor
        Mean over the frames of each row, in nats, (batch,).

    Raises
    ------
    ValueError
        If the shapes differ.

    Example
    -------
    >>> log_probs = torch.randn(2, 30, 8).log_softmax(dim=-1)
    >>> label_divergence(log_probs, log_probs, torch.tensor([30, 9]))
    tensor([0., 0.])
    """
    if student.shape != teacher.shape:
        raise ValueError(
            must_be(
                "teacher",
                f"a model with {student.shape[2]} labels at the same frames",
                f"one with {tuple(teacher.shape)} for {tuple(student.shape)}",
            )
        )
    real = ~padding_mask(lengths, student.shape[1])
    divergence = F.kl_div(student, teacher, reduction="none", log_target=True)
    return _mean_over_frames(divergence.sum(dim=2), real)


def _mean_over_frames(values, real):
    """(batch, frames) to the mean of the real frames, (batch,)."""
    counts = real.sum(dim=1).clamp(min=1)
    return values.masked_fill(~real, 0.0).sum(dim=1) / counts
