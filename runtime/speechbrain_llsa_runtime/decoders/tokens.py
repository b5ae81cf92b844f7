"""Tokens, and the interface of the searches that find them.

A search converts the log-probabilities of one stream to tokens, push by push;
``GreedySearch`` is one. Each search has

- ``make_streaming_context()``: makes an initial state, whose ``fork()`` makes
  an independent copy;
- ``advance(log_probs, state, final=False)``: takes the next committed frames,
  (frames, labels), and returns the newly committed tokens. These never change.
  Concatenated over all pushes, with ``final`` in the last, they are the result
  of a search over all frames at once;
- ``look_ahead(log_probs, state)``: returns the tokens that follow the committed
  ones if the stream continues with these frames. Does not modify the state;
- ``close(state)``: commits the current best tokens at an endpoint, from where
  the search continues;
- ``context_form(values, frames, labels)``: only if the state can be saved in a
  snapshot: its expected layout after a number of frames
  (:mod:`speechbrain_llsa_runtime.snapshot`).

Needs only the standard library.
"""

from dataclasses import dataclass


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
