"""Copies weights of another program's model, all of them, by name."""

from __future__ import annotations

import torch

from speechbrain_llsa_runtime.utils.errors import must_be


@torch.no_grad()
def copy_weights(weights, targets, family):
    """Copies weights into the parameters of their names.

    Arguments
    ---------
    weights : dict of str to torch.Tensor
        The state dict of a source.
    targets : dict of str to torch.Tensor
        The parameter for each name.
    family : str
        What the source must be, for error messages.

    Raises
    ------
    ValueError
        If a weight is missing, unknown or of another shape; the first is
        named.

    Example
    -------
    >>> norm = torch.nn.LayerNorm(4)
    >>> copy_weights({"scale": torch.ones(4)}, {"scale": norm.weight}, "a norm")
    >>> copy_weights({}, {"scale": norm.weight}, "a norm")
    Traceback (most recent call last):
    ...
    ValueError: weights must be those of a norm, got no scale
    """
    different = sorted(weights.keys() ^ targets.keys())
    if different:
        name = different[0]
        got = f"no {name}" if name in targets else f"{name} besides"
        raise ValueError(must_be("weights", f"those of {family}", got))
    for name, target in sorted(targets.items()):
        shape = tuple(weights[name].shape)
        if shape != tuple(target.shape):
            raise ValueError(
                must_be(name, f"of shape {tuple(target.shape)}", shape)
            )
        target.copy_(weights[name])


def named_parameters(name, module):
    """Parameters of a module under another name for it.

    Arguments
    ---------
    name : str
        The source's name of the module.
    module : torch.nn.Module
        The module.

    Returns
    -------
    dict of str to torch.Tensor

    Example
    -------
    >>> list(named_parameters("head", torch.nn.Linear(2, 3)))
    ['head.weight', 'head.bias']
    """
    return {f"{name}.{key}": each for key, each in module.named_parameters()}
