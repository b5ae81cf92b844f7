"""The loss of a transducer, from torchaudio, with FastEmit."""

import torch
from torchaudio.functional import rnnt_loss

from speechbrain_llsa_runtime.decoders.transducer import BLANK
from speechbrain_llsa_runtime.utils.checks import check_number


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
