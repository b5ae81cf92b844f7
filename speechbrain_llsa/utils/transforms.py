"""Transforms of functions: torch.func, and forward-mode differentiation."""

import torch


def is_transforming() -> bool:
    """Whether code runs within a transform such as ``torch.func.vmap`` or
    ``torch.func.jvp``, or within ``torch.autograd.forward_ad.dual_level``.

    Returns
    -------
    bool

    Example
    -------
    >>> is_transforming()
    False
    >>> seen = []
    >>> def note(x):
    ...     seen.append(is_transforming())
    ...     return x
    >>> _ = torch.func.vmap(note)(torch.zeros(2, 3))
    >>> seen
    [True]
    """
    return (
        torch._C._functorch.maybe_current_level() is not None
        or torch.autograd.forward_ad._current_level >= 0
    )
