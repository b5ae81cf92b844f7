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

Needs the standard library alone.
"""

from dataclasses import dataclass


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
