"""Weights in the layout that inference wants, kept as long as they stay the
same."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from speechbrain_llsa.utils.transforms import is_transforming

STEP_ROWS = 12
"""Number of rows that weights are packed for; any number is accepted."""


class PreparedWeight:
    """What inference makes from a weight that it uses as it is: one that is
    neither learned nor traced nor transformed, and frozen.

    It is made anew when the weight has changed in a way that PyTorch keeps
    account of: not through ``.data``, NumPy, the memory of another process, or
    a fused optimiser that steps on frozen weights. Copies of a module make
    their own.

    Example
    -------
    >>> weight, prepared = torch.zeros(2), PreparedWeight()
    >>> prepared.get(weight, torch.exp), prepared.get(weight, torch.cos)
    (tensor([1., 1.]), tensor([1., 1.]))
    >>> prepared.get(weight.add_(3), torch.neg)
    tensor([-3., -3.])
    """

    def __init__(self) -> None:
        self._made: tuple[torch.Tensor, int, torch.Tensor] | None = None

    def allows(self, weight: torch.Tensor) -> bool:
        """Whether a weight is used as it is. To be asked before each use of the
        weight, also where :meth:`get` is not called then: what was made from a
        weight that is now learned is forgotten.

        Arguments
        ---------
        weight : torch.Tensor
            The weight.

        Returns
        -------
        bool
        """
        if weight.requires_grad:
            # of what fused optimisers do to it PyTorch keeps no account
            self._made = None
        return not (
            torch.is_grad_enabled()
            or torch.compiler.is_compiling()
            or torch.jit.is_tracing()
            or is_transforming()
            or weight.requires_grad
            or weight.is_inference()
            or type(weight) not in (torch.Tensor, nn.Parameter)
        )

    def get(
        self,
        weight: torch.Tensor,
        make: Callable[[torch.Tensor], torch.Tensor],
    ) -> torch.Tensor:
        """Gives what is made from a weight.

        Arguments
        ---------
        weight : torch.Tensor
            One that :meth:`allows` says yes to.
        make : callable
            Makes another tensor of it, always in the same way.

        Returns
        -------
        torch.Tensor
        """
        # read and replaced as one, for threads that share a model
        made = self._made
        if (
            made is None
            or _place(made[0]) != _place(weight)
            or made[1] != weight._version
        ):
            # kept alive, so that no other weight comes to lie at its place
            source = weight.detach()
            made = self._made = (source, weight._version, make(source))
        return made[2]

    def __reduce__(self):
        return PreparedWeight, ()


def _place(weight):
    return weight.data_ptr(), weight.shape, weight.stride()


class PackedLinear(nn.Linear):
    """A linear layer that keeps a copy of its weight in oneDNN's packed layout
    for inference in float32 on the CPU.

    The copy is made when it is first needed. Everywhere else, as on other
    devices, under autocast and where the weight requires gradients, the layer
    is a plain one. :func:`pack_linears` makes them.

    Example
    -------
    >>> packed = nn.Sequential(nn.Linear(8, 4)).requires_grad_(False)
    >>> x = torch.rand(2, 3, 8)
    >>> with torch.no_grad():
    ...     expected = packed(x)
    ...     _ = pack_linears(packed)
    ...     torch.allclose(packed(x), expected, atol=1e-6)
    True
    """

    prepared: PreparedWeight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
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
        return torch.ops.mkldnn._linear_pointwise(
            x, self.prepared.get(self.weight, _pack), self.bias, "none", [], ""
        )

    def _apply(self, fn, recurse=True):
        # of another type, or elsewhere, it holds no packed weight
        self.prepared = PreparedWeight()
        return super()._apply(fn, recurse)

    def _is_packable(self, x):
        weight, bias = self.weight, self.bias
        return (
            self.prepared.allows(weight)
            and not torch.is_autocast_enabled("cpu")
            and x.device.type == weight.device.type == "cpu"
            and x.dtype == weight.dtype == torch.float32
            and (bias is None or bias.dtype == torch.float32)
            and x.shape[-1] == weight.shape[1]
            and x.numel() > 0
            and weight.numel() > 0
        )


def _pack(weight):
    return torch.ops.mkldnn._reorder_linear_weight(weight, STEP_ROWS)


def pack_linears(module: nn.Module) -> int:
    """Has the linear layers of a module keep packed weights, in place, if this
    PyTorch has oneDNN.

    Names and values of the parameters do not change, and results only by
    rounding. The packed weights take as much memory again, from the first
    inference on. Only frozen weights are packed.

    Arguments
    ---------
    module : torch.nn.Module
        A model for inference.

    Returns
    -------
    int
        Number of layers that have become packed ones; 0 without oneDNN.

    Example
    -------
    >>> pack_linears(nn.Sequential(nn.Linear(8, 4), nn.ReLU()))
    1
    """
    if not torch.backends.mkldnn.is_available():
        return 0
    layers = [each for each in module.modules() if type(each) is nn.Linear]
    for layer in layers:
        layer.prepared = PreparedWeight()
        # whoever else holds the layer holds the packed one then
        layer.__class__ = PackedLinear
    return len(layers)
