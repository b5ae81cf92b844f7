"""What an array of NumPy and a tensor of PyTorch have in common. Standard
library only."""

from __future__ import annotations

from typing import Any, Protocol


class Array(Protocol):
    """A ``numpy.ndarray`` or a ``torch.Tensor``, for those who take both and
    need no PyTorch."""

    @property
    def dtype(self) -> Any:
        """Type of its numbers."""

    @property
    def ndim(self) -> int:
        """How many dimensions it has."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its size in each dimension."""

    def argmax(self, dimension: int, /) -> Any:
        """Where the largest number of a dimension is."""

    def __getitem__(self, index: Any, /) -> Any: ...

    def __len__(self) -> int: ...
