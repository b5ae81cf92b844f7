"""The loss of a transducer, from torchaudio, with FastEmit."""

import torch
from torchaudio.functional import rnnt_loss

from speechbrain_llsa_runtime.decoders.transducer import BLANK
from speechbrain_llsa_runtime.utils.checks import check_number
from speechbrain_llsa_runtime.utils.errors import must_be


def transducer_loss(
    logits, targets, lengths, target_lengths, fast_emit=0.0, blank_index=BLANK
):
    """Negative log-likelihood of the targets, over all alignments.

    With FastEmit (Yu et al., arXiv 2010.11148) the gradient of what emits a
    label counts ``1 + fast_emit`` times, that of what waits for the next frame
    once. The loss is the same number.

    Arguments
    ---------
    logits : torch.Tensor
        Result of a :class:`~speechbrain_llsa.lobes.transducer.
        TransducerDecoder`, (batch, frames, targets + 1, labels).
    targets : torch.Tensor
        Labels without blanks, padded at the end, (batch, targets).
    lengths : torch.Tensor
        Frames of each row, (batch,). A row without any has no loss that means
        something, and no gradient.
    target_lengths : torch.Tensor
        Targets of each row, (batch,).
    fast_emit : float
        How much more emissions count, at least 0.
    blank_index : int
        The label that stands for blank.

    Returns
    -------
    torch.Tensor
        Loss of each row, in nats, float32 (batch,).

    Raises
    ------
    TypeError
        If ``fast_emit`` is not a number.
    ValueError
        If it is negative.

    Example
    -------
    >>> logits = torch.zeros(1, 3, 2, 4)
    >>> targets = torch.tensor([[2]])
    >>> loss = transducer_loss(
    ...     logits, targets, torch.tensor([3]), torch.tensor([1])
    ... )
    >>> # three places for the label, and four choices of one in four
    >>> torch.allclose(loss.exp(), torch.tensor([4.0**4 / 3]))
    True
    """
    check_number("fast_emit", fast_emit, 0)
    if not logits.shape[1]:
        return logits.float().sum(dim=(1, 2, 3))
    lengths = lengths.to(torch.int32)
    target_lengths = target_lengths.to(torch.int32)
    frames = max(1, int(lengths.max()))
    most_targets = int(target_lengths.max())
    # in float32, which torchaudio takes, and only as long as it must be
    logits = logits[:, :frames, : most_targets + 1].float()
    log_probs = logits.log_softmax(dim=-1)
    if fast_emit:
        log_probs = _ScaledEmissions.apply(
            log_probs, 1.0 + fast_emit, blank_index
        )
    losses = rnnt_loss(
        log_probs.contiguous(),
        targets[:, :most_targets].to(torch.int32).contiguous(),
        lengths.clamp(min=1),
        target_lengths,
        blank=blank_index,
        reduction="none",
        fused_log_softmax=False,
    )
    return losses.where(lengths > 0, 0.0)


def transducer_cost(
    logits,
    targets,
    input_lens,
    target_lens,
    blank_index=BLANK,
    reduction="mean",
    fast_emit=0.0,
):
    """The loss in the form of ``speechbrain.nnet.losses.transducer_loss``, for
    SpeechBrain's own recipes; that one needs numba and CUDA.

    Arguments
    ---------
    logits : torch.Tensor
        (batch, frames, targets + 1, labels).
    targets : torch.Tensor
        Labels without blanks, padded at the end, (batch, targets).
    input_lens : torch.Tensor
        Frames of each row, relative to the longest, (batch,).
    target_lens : torch.Tensor
        Targets of each row, relative to the longest, (batch,).
    blank_index : int
        The label that stands for blank.
    reduction : str
        "mean" or "batchmean", the mean over rows, or "sum".
    fast_emit : float
        How much more emissions count, at least 0.

    Returns
    -------
    torch.Tensor
        The loss in nats, ().

    Raises
    ------
    ValueError
        If the reduction is none of these.

    Example
    -------
    >>> logits, ones = torch.zeros(1, 3, 2, 4), torch.ones(1)
    >>> loss = transducer_cost(logits, torch.tensor([[2]]), ones, ones)
    >>> torch.allclose(loss.exp(), torch.tensor(4.0**4 / 3))
    True
    """
    if reduction not in ("mean", "batchmean", "sum"):
        raise ValueError(
            must_be(
                "reduction", "'mean', 'batchmean' or 'sum'", repr(reduction)
            )
        )
    losses = transducer_loss(
        logits,
        targets,
        (input_lens * logits.shape[1]).round(),
        (target_lens * targets.shape[1]).round(),
        fast_emit,
        blank_index,
    )
    return losses.sum() if reduction == "sum" else losses.mean()


class _ScaledEmissions(torch.autograd.Function):
    """The identity, whose gradient is scaled for all labels but the blank."""

    @staticmethod
    def forward(context, log_probs, scale, blank_index):
        context.scale, context.blank_index = scale, blank_index
        return log_probs.view_as(log_probs)

    @staticmethod
    def backward(context, gradient):
        scaled = gradient * context.scale
        blank = context.blank_index
        scaled[..., blank] = gradient[..., blank]
        return scaled, None, None
