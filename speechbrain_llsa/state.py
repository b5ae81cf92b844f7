"""State of an encoder between pushes.

Tensors in a state are replaced, never modified, so that :meth:`fork` is free
and a failed push leaves the state unchanged.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, fields

import torch


@dataclass
class LayerState:
    """State of one encoder layer."""

    received: int = 0
    """Frames that the layer has received since the utterance began (llsa:
    frames committed)."""

    key: torch.Tensor | None = None
    """Keys that future queries can still see, with rotary positions applied:
    (batch, heads, frames, head dimension). ``None`` before any frame."""

    value: torch.Tensor | None = None
    """Values of the same frames, of the same shape."""

    query: torch.Tensor | None = None
    """Queries that wait for their look-ahead, with rotary positions applied:
    (batch, heads, frames, head dimension). ``None`` before any frame, and
    always for llsa."""

    residual: torch.Tensor | None = None
    """Input of the layer at the waiting queries: (batch, frames, features).
    ``None`` before any frame, and always for llsa."""

    convolution: torch.Tensor | None = None
    """What the convolution over time still sees, behind its gate: (batch, its
    look-back and up to its look-ahead more, features); for llsa committed
    frames, as many as its look-back. Frames before the utterance are zeros.
    ``None`` before any frame, and always for layers without a convolution."""

    convolution_residual: torch.Tensor | None = None
    """Input of the convolution module at the frames that wait for the
    look-ahead of the convolution: (batch, frames, features). ``None`` before
    any frame, and always for llsa and for layers without a convolution."""

    def nbytes(self):
        """Size of the tensors in bytes."""
        return _nbytes(self)


@dataclass
class EncoderState:
    """State of a stack of layers, for one session or a batch of sessions that
    run in lockstep."""

    signature: tuple
    """Attention, geometry of the stream and sizes of the encoder that the state
    belongs to; used to reject a state of another encoder."""

    layers: list[LayerState]
    """State of each layer."""

    batch_size: int | None = None
    """Number of rows. ``None`` before the first push, which sets it."""

    received: int = 0
    """Frames pushed since the utterance began."""

    committed: int = 0
    """Frames returned since the utterance began."""

    positional: torch.Tensor | None = None
    """Input frames that the positional convolution still sees, (batch, its
    look-back and up to its look-ahead more, features). ``None`` before any
    frame, and always for encoders without one."""

    frames: torch.Tensor | None = None
    """llsa: input frames that are not committed yet, (batch, frames,
    features). ``None`` before any frame, and always for the others."""

    end: torch.Tensor | None = None
    """Frames of each row's utterance, int64 (batch,), where rows have ended;
    for others, a number that is never reached. ``None`` while no row has
    ended."""

    provisional: torch.Tensor | None = None
    """llsa: the encoder's output at the provisional frames of the newest hop,
    (batch, up to look_ahead frames, features). ``None`` before any hop, and
    always for the others."""

    finished: bool = False
    """Whether the state has been flushed."""

    @property
    def geometry(self):
        """The geometry of the stream, from its first frame to its last."""
        return self.signature[1]

    def fork(self):
        """Makes an independent copy, which shares the tensors.

        Returns
        -------
        EncoderState
        """
        forked = copy.copy(self)
        forked.layers = [copy.copy(layer) for layer in self.layers]
        return forked

    def become(self, other):
        """Takes over everything from another state.

        Arguments
        ---------
        other : EncoderState
            State to take over. It is not used any more.
        """
        for item in fields(self):
            setattr(self, item.name, getattr(other, item.name))

    def reset(self):
        """Resets the state to its initial value."""
        self.become(
            EncoderState(self.signature, [LayerState() for _ in self.layers])
        )

    def nbytes(self):
        """Size of the tensors in bytes."""
        return _nbytes(self) + sum(layer.nbytes() for layer in self.layers)


def _nbytes(state):
    values = (getattr(state, item.name) for item in fields(state))
    return sum(
        value.nbytes for value in values if isinstance(value, torch.Tensor)
    )
