"""Tokens: what a search finds in frame-wise label probabilities.

A search turns the log-probabilities of one stream into tokens, push by push.
``GreedySearch`` is one. Each has

- ``make_streaming_context()``: a fresh state, whose ``fork()`` gives an
  independent copy;
- ``advance(log_probs, state, final=False)``: takes the next committed frames,
  (frames, labels), and gives the tokens that are committed from now on. They
  never change, and all of them together, with ``final`` at last, are what a
  search over all frames at once gives;
- ``look_ahead(log_probs, state)``: the tokens that follow the committed ones
  if the stream goes on with these frames. It leaves the state alone;
- ``close(state)``: an endpoint, at which all that is best now is committed;
  the search goes on from there;
- ``context_form(values, frames, labels)``: only where the state can be written
  into a snapshot: its form after so many frames
  (:mod:`speechbrain_llsa_runtime.snapshot`).

:class:`Search` and :class:`WritableSearch` say so to a type checker.

Needs the standard library alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from speechbrain_llsa_runtime.utils.arrays import Array


@dataclass(frozen=True)
class Token:
    """One label that is spoken.

    Example
    -------
    >>> Token(label=3, start=50, end=52, confidence=0.9)
    Token(label=3, start=50, end=52, confidence=0.9)
    """

    label: int
    """Its number, never that of the blank."""

    start: int
    """Its first frame, counted from the start of the stream."""

    end: int
    """The frame after its last one."""

    confidence: float
    """How sure the model is of it, 0 to 1."""


class SearchState(Protocol):
    """What a search remembers of one stream."""

    def fork(self) -> SearchState:
        """An independent copy."""


class Search(Protocol):
    """Turns the log-probabilities of streams into tokens. Each kind of search
    has states of its own, and takes no others."""

    def make_streaming_context(self) -> SearchState:
        """A fresh state for one stream."""

    def advance(
        self, log_probs: Array, state: Any, final: bool = False
    ) -> list[Token]:
        """Takes the next committed frames, and gives the tokens that are
        committed from now on."""

    def look_ahead(self, log_probs: Array, state: Any) -> list[Token]:
        """The tokens that follow if the stream goes on with these frames."""

    def close(self, state: Any) -> list[Token]:
        """Commits all that is best now."""


class WritableSearch(Search, Protocol):
    """A search whose state can be written into a snapshot."""

    def context_form(
        self, values: Mapping[str, Any], frames: int, labels: int
    ) -> SearchState:
        """The form of the state after so many frames."""
