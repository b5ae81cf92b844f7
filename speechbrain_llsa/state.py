"""What an encoder remembers between pushes.

Tensors in a state are replaced, never written to, so that :meth:`fork` costs
nothing and a push that fails leaves the state as it was.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, fields

import torch


@dataclass
class LayerState:
    """What one encoder layer remembers."""

    received: int = 0
    """Frames that the layer has received since the utterance began (llsa:
    frames committed)."""

    key: torch.Tensor | None = None
    """Keys that coming queries can still see, with their positions rotated
    in: (batch, heads, frames, head dimension). ``None`` before any frame."""

    value: torch.Tensor | None = None
    """Values of the same frames, of the same shape."""

    query: torch.Tensor | None = None
    """Queries that wait for their look-ahead, rotated: (batch, heads, frames,
    head dimension). ``None`` before any frame, and always for llsa."""

    residual: torch.Tensor | None = None
    """Input of the layer at the waiting queries: (batch, frames, features).
    ``None`` before any frame, and always for llsa."""

    def nbytes(self):
        """Bytes that the tensors hold."""
        return _nbytes(self)


@dataclass
class EncoderState:
    """What a stack of layers remembers: one session, or a batch of sessions
    that run in step."""

    signature: tuple
    """Attention, geometry of the stream and sizes of the encoder that the
    state belongs to, to refuse a state of another one."""

    layers: list[LayerState]
    """One for each layer."""

    batch_size: int | None = None
    """Rows. ``None`` before the first push, which sets it."""

    received: int = 0
    """Frames pushed since the utterance began."""

    committed: int = 0
    """Frames given back since the utterance began."""

    frames: torch.Tensor | None = None
    """llsa: input frames that are not committed yet, (batch, frames,
    features). ``None`` before any frame, and always for the others."""

    end: torch.Tensor | None = None
    """Frames of each row's utterance, int64 (batch,), where rows have ended;
    rows that go on hold a number beyond reach. ``None`` while all go on."""

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
        """An independent copy, which shares the tensors.

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
        """Forgets everything: the state is as new."""
        self.become(
            EncoderState(self.signature, [LayerState() for _ in self.layers])
        )

    def nbytes(self):
        """Bytes that the tensors hold."""
        return _nbytes(self) + sum(layer.nbytes() for layer in self.layers)


def _nbytes(state):
    values = (getattr(state, item.name) for item in fields(state))
    return sum(
        value.nbytes for value in values if isinstance(value, torch.Tensor)
    )
