"""The contrastive task of wav2vec 2.0, for rows of different lengths.

From the embedding of a masked frame, the model must identify its quantised
target among those of other masked frames of the same utterance.
"""

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from speechbrain_llsa_runtime.utils.checks import check_integer, check_number
from speechbrain_llsa_runtime.utils.errors import must_be

_SAME_TARGET = 1.0 - 1e-5
"""Cosine similarity from which two targets count as the same."""


def stack_rows(frames, counts):
    """Stacks the concatenated frames of all rows into a padded batch.

    Arguments
    ---------
    frames : torch.Tensor
        The frames of the first row, of the second and so on, (all frames,
        features): what ``features[mask]`` gives.
    counts : torch.Tensor
        Frames of each row, int64 (batch,).

    Returns
    -------
    torch.Tensor
        (batch, most frames of a row, features), zeros after the last of a
        row.

    Raises
    ------
    ValueError
        If the counts do not add up to the frames.

    Example
    -------
    >>> frames = torch.tensor([[1.0], [2.0], [3.0]])
    >>> stack_rows(frames, torch.tensor([2, 1])).squeeze(2)
    tensor([[1., 2.],
            [3., 0.]])
    """
    if int(counts.sum()) != len(frames):
        raise ValueError(
            must_be(
                "counts",
                f"numbers that add up to the {len(frames)} frames",
                counts.tolist(),
            )
        )
    most = int(counts.max()) if len(counts) else 0
    stacked = frames.new_zeros(len(counts), most, frames.shape[1])
    stacked[_within(counts, most)] = frames
    return stacked


def sample_negatives(counts, num_negatives, generator=None):
    """Draws other masked frames of the same row for each masked frame.

    Draws are uniform over the other masked frames of the row, with replacement;
    the frame itself is never drawn.

    Arguments
    ---------
    counts : torch.Tensor
        Masked frames of each row, int64 (batch,).
    num_negatives : int
        Draws for each masked frame, at least 1.
    generator : torch.Generator, optional
        Generator on the CPU to draw from.

    Returns
    -------
    torch.Tensor
        Indices among the masked frames of the row, int64 (batch, most masked
        frames of a row, num_negatives), on the device of ``counts``. If a row
        has no such frame, or no other one, the index is 0 and meaningless.

    Raises
    ------
    ValueError
        If ``num_negatives`` is below 1.

    Example
    -------
    >>> generator = torch.Generator().manual_seed(0)
    >>> sample_negatives(torch.tensor([3, 2]), 4, generator)
    tensor([[[2, 2, 1, 2],
             [2, 2, 0, 0],
             [1, 0, 0, 0]],
    <BLANKLINE>
            [[1, 1, 1, 1],
             [0, 0, 0, 0],
             [0, 0, 0, 0]]])
    """
    check_integer("num_negatives", num_negatives, 1)
    most = int(counts.max()) if len(counts) else 0
    uniform = torch.rand(
        len(counts),
        most,
        num_negatives,
        generator=generator,
        dtype=torch.float64,
        device="cpu",
    ).to(counts.device)
    others = (counts - 1).clamp(min=0).view(-1, 1, 1)
    places = (uniform * others).long()
    own = torch.arange(most, device=counts.device).view(1, -1, 1)
    places = places + (places >= own)
    meant = own < counts.view(-1, 1, 1)
    return places * (meant & (others > 0))


@dataclass
class ContrastiveResult:
    """Results of the contrastive task for a batch."""

    loss: torch.Tensor
    """Sum of the cross-entropy over the predicted frames, in nats, ()."""

    predicted: torch.Tensor
    """Frames with at least one negative that differs from the positive, ()."""

    correct: torch.Tensor
    """Predicted frames whose positive is nearer than every negative, ()."""

    @property
    def mean_loss(self):
        """Mean loss per predicted frame, 0 if there are none."""
        return self.loss / self.predicted.clamp(min=1)

    @property
    def accuracy(self):
        """Fraction of predicted frames that are correct, 0 if there are
        none."""
        return self.correct / self.predicted.clamp(min=1)


class MaskedContrastiveLoss:
    """The contrastive loss of wav2vec 2.0 over rows of different lengths.

    Gives the numbers of SpeechBrain's ``ContrastiveLoss``, with three
    differences, for which it does not use that class:

    - SpeechBrain needs the same number of masked frames in each row, and the
      vectors of all negatives, (negatives, batch, frames, features), in
      memory. Here rows may differ, and negatives are places in a row, looked
      up among the similarities of all its frames.
    - SpeechBrain leaves out negatives that equal the positive bit by bit, which
      the straight-through Gumbel codes do not when they are the same code.
      Here equal means up to rounding.
    - SpeechBrain counts a frame as correct when everything is equally near.
      Here the positive has to be nearer than every negative, and frames
      without a negative that differs from it do not count.

    Arguments
    ---------
    logit_temp : float
        Cosine similarities are divided by it, above 0.

    Raises
    ------
    ValueError
        If ``logit_temp`` is not above 0.

    Example
    -------
    >>> loss = MaskedContrastiveLoss(logit_temp=0.1)
    >>> targets = torch.eye(4).unsqueeze(0)
    >>> counts = torch.tensor([4])
    >>> negatives = sample_negatives(counts, 10)
    >>> result = loss(targets, targets, negatives, counts)
    >>> result.accuracy
    tensor(1.)
    """

    def __init__(self, logit_temp=0.1):
        check_number("logit_temp", logit_temp, 0)
        if not logit_temp > 0:
            raise ValueError(must_be("logit_temp", "above 0", logit_temp))
        self.logit_temp = logit_temp

    def __call__(self, embeddings, targets, negatives, counts):
        """Compares embeddings with their own targets and with negatives.

        Arguments
        ---------
        embeddings : torch.Tensor
            Embeddings of the masked frames, (batch, most masked frames of a
            row, features).
        targets : torch.Tensor
            Targets of the same frames, of the same shape.
        negatives : torch.Tensor
            The result of :func:`sample_negatives`.
        counts : torch.Tensor
            Masked frames of each row, int64 (batch,).

        Returns
        -------
        ContrastiveResult

        Raises
        ------
        ValueError
            If embeddings and targets differ in shape.
        """
        if targets.shape != embeddings.shape:
            raise ValueError(
                must_be(
                    "targets",
                    f"of shape {tuple(embeddings.shape)}, as the embeddings",
                    tuple(targets.shape),
                )
            )
        with torch.autocast(embeddings.device.type, enabled=False):
            embeddings = F.normalize(embeddings.float(), dim=2)
            targets = F.normalize(targets.float(), dim=2)
            similar = embeddings @ targets.transpose(1, 2)
            closeness = targets.detach() @ targets.detach().transpose(1, 2)
        same = closeness >= _SAME_TARGET
        positive = similar.diagonal(dim1=1, dim2=2).unsqueeze(2)
        negative = similar.gather(2, negatives)
        negative = negative.masked_fill(
            same.gather(2, negatives), float("-inf")
        )
        differs = (negative > float("-inf")).any(dim=2)
        chosen = differs & _within(counts, targets.shape[1])
        logits = torch.cat([positive, negative], dim=2)[chosen]
        logits = logits / self.logit_temp
        loss = (logits.logsumexp(dim=1) - logits[:, 0]).sum()
        correct = (logits[:, 1:] < logits[:, :1]).all(dim=1).sum()
        predicted = chosen.sum()
        return ContrastiveResult(loss, predicted, correct)


def _within(counts, frames):
    positions = torch.arange(frames, device=counts.device)
    return positions < counts.unsqueeze(1)
