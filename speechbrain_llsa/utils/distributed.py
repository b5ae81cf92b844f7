"""Sums over the ranks of a distributed training."""

import torch
from torch import distributed


def rank_count():
    """Number of processes that train together.

    Returns
    -------
    int
        1 if training is not distributed.

    Example
    -------
    >>> rank_count()
    1
    """
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_world_size()
    return 1


@torch.no_grad()
def sum_over_ranks(values):
    """Sums a tensor over all ranks. Every rank must call this.

    Arguments
    ---------
    values : torch.Tensor
        Tensor of any shape, which must be equal on all ranks.

    Returns
    -------
    torch.Tensor
        The sum, of the same shape on the same device. No gradient flows
        through it.

    Example
    -------
    >>> sum_over_ranks(torch.tensor([1.0, 2.0]))
    tensor([1., 2.])
    """
    total = values.detach().clone()
    if rank_count() == 1:
        return total
    if distributed.get_backend() == "nccl":
        total = total.cuda()
    distributed.all_reduce(total)
    return total.to(values.device)
