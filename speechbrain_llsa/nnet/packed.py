"""Linear layers with weights packed for the CPU, which saves time and memory
traffic, most of all for the few rows of a streaming step."""

from __future__ import annotations

import torch
from torch import nn

STEP_ROWS = 12
"""Number of rows that weights are packed for; any number is accepted."""


class PackedLinear(nn.Linear):
    """A linear layer that keeps a copy of its weight in oneDNN's packed layout
    for inference in float32 on the CPU.

    The copy is made when it is first needed, and made anew when the weight has
    changed, but for changes through ``.data``, which PyTorch keeps no account
    of. Everywhere else, as in training, on other devices and under autocast,
    the layer is a plain one.

    Arguments
    ---------
    in_features : int
        As for ``torch.nn.Linear``.
    out_features : int
        As for ``torch.nn.Linear``.
    bias : bool
        As for ``torch.nn.Linear``.

    Example
    -------
    >>> packed = PackedLinear(8, 4)
    >>> x = torch.rand(2, 3, 8)
    >>> with torch.no_grad():
    ...     y = packed(x)
    >>> torch.allclose(y, packed(x), atol=1e-6)
    True
    """

    _packed = (None, None)

    def __getstate__(self):
        """Omits the packed weight, which PyTorch can neither copy nor
        pickle."""
        state = super().__getstate__()
        return {name: state[name] for name in state if name != "_packed"}

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
        if not self._is_packable(x):
            return super().forward(x)
        weight = self.weight
        version = (weight.data_ptr(), weight._version)
        # read and replaced as one, for threads that share a model
        packed_version, packed = self._packed
        if version != packed_version:
            packed = torch.ops.mkldnn._reorder_linear_weight(
                weight.detach(), STEP_ROWS
            )
            self._packed = (version, packed)
        return torch.ops.mkldnn._linear_pointwise(
            x, packed, self.bias, "none", [], ""
        )

    def _is_packable(self, x):
        weight, bias = self.weight, self.bias
        return (
            not torch.is_grad_enabled()
            and not torch.compiler.is_compiling()
            and not torch.is_autocast_enabled("cpu")
            and x.device.type == weight.device.type == "cpu"
            and x.dtype == weight.dtype == torch.float32
            and (bias is None or bias.dtype == torch.float32)
            and not weight.is_inference()
            and x.numel() > 0
            and weight.numel() > 0
        )


def pack_linears(module):
    """Has the linear layers of a module keep packed weights, in place, if this
    PyTorch has oneDNN.

    Names and values of the parameters do not change, and results only by
    rounding. The packed weights take as much memory again.

    Arguments
    ---------
    module : torch.nn.Module
        A model for inference.

    Returns
    -------
    int
        Number of layers that pack their weights now; 0 without oneDNN.

    Example
    -------
    >>> pack_linears(nn.Sequential(nn.Linear(8, 4), nn.ReLU()))
    1
    """
    if not torch.backends.mkldnn.is_available():
        return 0
    layers = [each for each in module.modules() if type(each) is nn.Linear]
    for layer in layers:
        # whoever else holds the layer holds the packed one then
        layer.__class__ = PackedLinear
    return len(layers)
