"""Linear layers with weights packed for the CPU, which saves time and memory
traffic for the few rows of a streaming step."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

STEP_ROWS = 12
"""Number of rows that weights are packed for; any number is accepted."""


class PackedLinear(nn.Module):
    """A linear layer with an additional copy of its weight in oneDNN's packed
    layout.

    Parameters, and results up to rounding, are those of the original layer. The
    packed weight is used for float32 inference on the CPU; it does not follow
    later changes of the parameters.

    Arguments
    ---------
    linear : torch.nn.Linear
        The layer.

    Example
    -------
    >>> linear = nn.Linear(8, 4)
    >>> x = torch.rand(2, 3, 8)
    >>> with torch.no_grad():
    ...     packed = PackedLinear(linear)(x)
    >>> torch.allclose(packed, linear(x), atol=1e-6)
    True
    """

    def __init__(self, linear):
        super().__init__()
        self.in_features = linear.in_features
        self.out_features = linear.out_features
        self.weight = linear.weight
        self.bias = linear.bias
        self._pack()

    def _pack(self):
        self._packed = torch.ops.mkldnn._reorder_linear_weight(
            self.weight.detach(), STEP_ROWS
        )

    def __getstate__(self):
        """Omits the packed weight, which PyTorch can neither copy nor
        pickle."""
        state = {**vars(self)}
        del state["_packed"]
        return state

    def __setstate__(self, state):
        super().__setstate__(state)
        self._pack()

    def forward(self, x):
        """
        Arguments
        ---------
        x : torch.Tensor
            (..., in_features).

        Returns
        -------
        torch.Tensor
            (..., out_features).
        """
        if (
            torch.is_grad_enabled()
            or x.device.type != "cpu"
            or x.dtype != torch.float32
            or self.weight.dtype != torch.float32
        ):
            return F.linear(x, self.weight, self.bias)
        return torch.ops.mkldnn._linear_pointwise(
            x, self._packed, self.bias, "none", [], ""
        )


def pack_linears(module):
    """Packs the weights of all linear layers in a module, in place, if PyTorch
    supports it.

    Names and values of the parameters do not change. The packed weights take as
    much memory again. Pack after loading, and again after any change.

    Arguments
    ---------
    module : torch.nn.Module
        A model in float32 on the CPU.

    Returns
    -------
    int
        Number of layers that were packed; 0 if this PyTorch has no oneDNN.

    Example
    -------
    >>> pack_linears(nn.Sequential(nn.Linear(8, 4), nn.ReLU()))
    1
    """
    if not torch.backends.mkldnn.is_available():
        return 0
    packed = 0
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if (
                type(child) in (nn.Linear, PackedLinear)
                and child.weight.dtype == torch.float32
                and child.weight.device.type == "cpu"
            ):
                setattr(parent, name, PackedLinear(child))
                packed += 1
    return packed
