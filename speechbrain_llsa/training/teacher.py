"""A teacher, which sees whole utterances, for a student that streams."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from speechbrain_llsa.lobes.ctc import StreamingCTC
from speechbrain_llsa.lobes.padding import padding_mask
from speechbrain_llsa.model_folder.load import (
    load_parts,
    load_pretrained_tokenizer,
    read_pretrained,
)
from speechbrain_llsa.training.warm_start import same_units
from speechbrain_llsa_runtime.utils.checks import check_number
from speechbrain_llsa_runtime.utils.errors import must_be


class Teacher(nn.Module):
    """A frozen model whose last layer and labels a student follows.

    Cao et al., "Improving Streaming Transformer Based ASR Under a Framework of
    Self-supervised Learning" (arXiv 2109.07327), train a streaming student on
    what an offline teacher says.

    Arguments
    ---------
    folder : str or pathlib.Path
        A model folder. One of the kind "encoder" has no labels, and of a
        transducer the encoder alone is followed.
    embedding_weight : float
        Weight of :func:`embedding_distance`.
    label_weight : float
        Weight of :func:`label_divergence`.

    Raises
    ------
    FileNotFoundError
        If the folder, or a file in it, does not exist.
    TypeError
        If a weight is not a number.
    ValueError
        If a weight is negative, or a file in the folder is damaged.

    Example
    -------
    >>> from speechbrain_llsa.model_folder.write import write_encoder_folder
    >>> model, _ = getfixture("tiny_ctc")
    >>> folder = write_encoder_folder(
    ...     getfixture("tmp_path") / "teacher",
    ...     model.extractor,
    ...     model.encoder_wrapper,
    ... )
    >>> wavs = torch.randn(1, 16000)
    >>> with torch.no_grad():
    ...     outputs = model(wavs, with_embeddings=True)
    >>> Teacher(folder)(wavs, None, *outputs) < 1e-6
    tensor([True])
    """

    def __init__(self, folder, embedding_weight=1.0, label_weight=1.0):
        super().__init__()
        check_number("teacher_embedding_weight", embedding_weight, 0)
        check_number("teacher_label_weight", label_weight, 0)
        self.embedding_weight = embedding_weight
        self.label_weight = label_weight
        folder, description = read_pretrained(folder)
        is_ctc = description["kind"] == "ctc"
        parts = load_parts(str(folder), "complete" if is_ctc else "encoder")
        self.model = StreamingCTC(
            parts["extractor"],
            parts["encoder_wrapper"],
            parts.get("head", nn.Identity()),
        )
        self.has_labels = "head" in parts and label_weight > 0
        self.tokenizer = load_pretrained_tokenizer(folder)
        self.requires_grad_(False)
        self.eval()

    def check_student(self, model, tokenizer):
        """Rejects a student that cannot follow.

        Arguments
        ---------
        model : StreamingCTC
            The student.
        tokenizer : CTCTextEncoder or SentencePieceProcessor
            Its units.

        Raises
        ------
        ValueError
            If it has other frames or features, or other units than the labels
            that it is to follow.
        """
        own = _sizes(self.model)
        for name, size in _sizes(model).items():
            if own[name] != size:
                raise ValueError(
                    must_be("teacher", f"of {size} {name}", own[name])
                )
        if self.has_labels and not same_units(self.tokenizer, tokenizer):
            raise ValueError(
                must_be(
                    "teacher",
                    "of the student's units, or teacher_label_weight 0",
                    "one of others",
                )
            )

    def train(self, mode=True):
        """Stays in evaluation mode."""
        return super().train(False)

    def forward(self, wavs, wav_lens, log_probs, lengths, embeddings):
        """Measures how far a student is from the teacher.

        Arguments
        ---------
        wavs : torch.Tensor
            Waveforms, (batch, samples), padded at the end.
        wav_lens : torch.Tensor or None
            Length of each waveform relative to the longest, (batch,).
        log_probs : torch.Tensor
            What the student says of them, (batch, frames, labels).
        lengths : torch.Tensor
            Frames of each row, int64 (batch,).
        embeddings : torch.Tensor
            Frames of the student's encoder, (batch, frames, features).

        Returns
        -------
        torch.Tensor
            Weighted sum of both distances, for each row, (batch,).

        Raises
        ------
        ValueError
            If the teacher has other frames, features or labels.
        """
        with torch.no_grad():
            taught, _, heard = self.model(wavs, wav_lens, with_embeddings=True)
        loss = self.embedding_weight * embedding_distance(
            embeddings, heard, lengths
        )
        if self.has_labels:
            loss = loss + self.label_weight * label_divergence(
                log_probs, taught, lengths
            )
        return loss


def embedding_distance(student, teacher, lengths):
    """How far embeddings are from a teacher's, relative to the size of the
    teacher's.

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
        Mean squared distance over the mean square of the teacher's in the
        batch, for each row, (batch,).

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
    _check_shapes("embeddings", student, teacher)
    real = ~padding_mask(lengths, student.shape[1])
    size = teacher[real].float().square().mean().clamp(min=1e-8)
    squared = (student.float() - teacher.float()).square().mean(dim=2)
    return _mean_over_frames(squared / size, real)


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
    _check_shapes("labels", student, teacher)
    real = ~padding_mask(lengths, student.shape[1])
    divergence = F.kl_div(student, teacher, reduction="none", log_target=True)
    return _mean_over_frames(divergence.sum(dim=2), real)


def _sizes(model):
    """What teacher and student must have in common."""
    extractor, wrapper = model.extractor, model.encoder_wrapper
    return {
        "samples from frame to frame": extractor.stride_samples,
        "samples that a frame depends on": extractor.receptive_field_samples,
        "features": wrapper.input_projector.out_features,
    }


def _check_shapes(name, student, teacher):
    if student.shape != teacher.shape:
        raise ValueError(
            must_be(
                "teacher",
                f"a model with the student's frames and {name}, of shape "
                f"{tuple(student.shape)}",
                tuple(teacher.shape),
            )
        )


def _mean_over_frames(values, real):
    """(batch, frames) to the mean of the real frames, (batch,)."""
    counts = real.sum(dim=1).clamp(min=1)
    return values.masked_fill(~real, 0.0).sum(dim=1) / counts
