"""Tokens, and the interface of the searches that find them.

A search converts what a model gives for the frames of one stream to tokens,
push by push: log-probabilities of labels, (frames, labels), for CTC; projected
frames, (frames, features), for a transducer. ``GreedySearch`` and
``TransducerGreedySearch`` are two. Nothing behind a search knows which kind of
model it has. Each search has

- ``make_streaming_context()``: makes an initial state, whose ``fork()`` makes
  an independent copy;
- ``advance(frames, state, final=False)``: takes the next committed frames,
  and returns the newly committed tokens. These never change.
  Concatenated over all pushes, with ``final`` in the last, they are the result
  of a search over all frames at once;
- ``look_ahead(frames, state)``: returns the tokens that follow the committed
  ones if the stream continues with these frames. Does not modify the state;
- ``close(state)``: commits the current best tokens at an endpoint, from where
  the search continues;

Where the frames are no log-probabilities of labels, it also has

- ``frame_labels(frames, state)``: the label that begins at each of the next
  committed frames, blank where none does, for endpoints (:func:`frame_labels`).
  Does not modify the state.

Only if its state can be saved in a snapshot
(:mod:`speechbrain_llsa_runtime.snapshot`), a search also has

- ``export_context(state)``: what a snapshot holds of the state of a stream that
  goes on: dataclasses, lists and tuples of arrays, numbers and strings;
- ``import_context(exported)``: the inverse;
- ``context_form(values, frames, labels)``: the expected layout of what
  ``export_context`` gives after a number of frames;
- ``to_dict()``: the options that results depend on, as plain values.

:class:`Search` and :class:`WritableSearch` are its types.

Needs only the standard library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from speechbrain_llsa_runtime.utils.arrays import Array


@dataclass(frozen=True)
class Token:
    """A recognised label with its span and confidence.

    Example
    -------
    >>> Token(label=3, start=50, end=52, confidence=0.9)
    Token(label=3, start=50, end=52, confidence=0.9)
    """

    label: int
    """Number of the label, never that of the blank."""

    start: int
    """First frame, counted from the start of the stream."""

    end: int
    """The frame after the last one."""

    confidence: float
    """Confidence of the model, 0 to 1."""


class SearchState(Protocol):
    """What a search remembers of one stream."""

    def fork(self) -> SearchState:
        """An independent copy."""


class Search(Protocol):
    """Turns what a model gives for the frames of streams into tokens. Each kind
    of search has states of its own, and takes no others."""

    def make_streaming_context(self) -> SearchState:
        """A fresh state for one stream."""

    def advance(
        self, frames: Array, /, state: Any, final: bool = False
    ) -> list[Token]:
        """Takes the next committed frames, and gives the tokens that are
        committed from now on."""

    def look_ahead(self, frames: Array, /, state: Any) -> list[Token]:
        """The tokens that follow if the stream goes on with these frames."""

    def close(self, state: Any) -> list[Token]:
        """Commits all that is best now."""


class WritableSearch(Search, Protocol):
    """A search whose state can be written into a snapshot."""

    def export_context(self, context: Any) -> Any:
        """A state as a snapshot holds it."""

    def import_context(self, context: Any) -> Any:
        """The inverse of :meth:`export_context`."""

    def context_form(
        self, values: Mapping[str, Any], frames: int, labels: int
    ) -> Any:
        """The form of a state after so many frames, as it is exported."""

    def to_dict(self) -> dict[str, Any]:
        """The options that results depend on."""


def takes_labels(search: Search) -> bool:
    """Whether a search takes log-probabilities of labels, as those for CTC do,
    rather than projected frames.

    Arguments
    ---------
    search : Search
        The search.

    Returns
    -------
    bool
    """
    return not hasattr(search, "frame_labels")


def frame_labels(search: Search, frames: Array, state: Any) -> list[int]:
    """The label of each of the next frames, which endpoints depend on.

    Arguments
    ---------
    search : Search
        The search.
    frames : torch.Tensor or numpy.ndarray
        What the model gives for them.
    state : SearchState
        State after the frames before; not modified.

    Returns
    -------
    list of int
        What ``frame_labels`` of the search says; for one without it the most
        likely label of each frame, (frames, labels).
    """
    if hasattr(search, "frame_labels"):
        return search.frame_labels(frames, state)
    return frames.argmax(1).tolist()
