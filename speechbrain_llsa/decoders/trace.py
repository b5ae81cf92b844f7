"""Traces: the labels that lead to a beam, with their frames.

SpeechBrain's beams hold text. A trace holds the labels of that text, and is
carried along in the field where SpeechBrain keeps the frames of words.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from speechbrain_llsa_runtime.decoders.tokens import Token

BLANK, SPACE, WORD_START, INSIDE = range(4)
"""Kinds of label. The blank; only a space; the start of a word, with its own
mark; the continuation of a word, or its start after a space."""


class Run(NamedTuple):
    """A run of frames with the same label."""

    label: int
    start: int
    end: int
    confidence: float
    """The largest probability of the label in its frames."""

    def grown(self, probability: float) -> Run:
        """Returns the run extended by one frame."""
        confidence = max(self.confidence, probability)
        return self._replace(end=self.end + 1, confidence=confidence)

    def token(self) -> Token:
        """Returns the token that results if the run ends here."""
        return Token(*self)


@dataclass(frozen=True, slots=True)
class Trace:
    """The labels of a beam that are not committed yet.

    A space is held back until a word follows: so there are none at the start or
    end of a text, and no two in a row, as in the text of SpeechBrain.

    Example
    -------
    >>> trace = Trace()
    >>> for label, kind in ((0, BLANK), (5, INSIDE), (5, INSIDE), (0, BLANK)):
    ...     trace = trace.step(label, kind, trace.score)
    >>> trace.tokens
    (Token(label=5, start=1, end=3, confidence=1.0),)
    """

    tokens: tuple[Token, ...] = ()
    """Tokens that have ended."""

    run: Run | None = None
    """The current run. ``None`` after a blank or a space."""

    space: Run | None = None
    """A space that is held back until a word follows."""

    last: int | None = None
    """Label of the last frame, blank included."""

    frames: int = 0
    """Frames so far."""

    score: float = 0.0
    """Log-probability of the beam, without a language model."""

    started: bool = False
    """Whether there has been any word."""

    def __add__(self, frames: object) -> Trace:
        """SpeechBrain appends the frames of a word, which a trace already
        has."""
        return self

    def step(self, label: int, kind: int, score: float) -> Trace:
        """Returns the trace after one more frame.

        Arguments
        ---------
        label : int
            Label of the frame.
        kind : int
            The kind of the label.
        score : float
            Log-probability of the beam with this frame.

        Returns
        -------
        Trace
        """
        # Rounded: two ways to the same token differ in the last digits.
        probability = round(math.exp(min(0.0, score - self.score)), 6)
        tokens, run, space = self.tokens, self.run, self.space
        new = Run(label, self.frames, self.frames + 1, probability)
        started = self.started or kind in (WORD_START, INSIDE)
        if label != self.last or kind == BLANK:
            if run is not None:
                tokens, run = (*tokens, run.token()), None
            if kind == SPACE and self.started and space is None:
                space = new
            elif kind in (WORD_START, INSIDE):
                if space is not None and kind == INSIDE:
                    tokens = (*tokens, space.token())
                space, run = None, new
        elif run is not None:
            run = run.grown(probability)
        elif space is not None and space.end == self.frames:
            space = space.grown(probability)
        return Trace(tokens, run, space, label, self.frames + 1, score, started)

    def all_tokens(self) -> tuple[Token, ...]:
        """Tokens as if the stream ended here, a tuple."""
        run = () if self.run is None else (self.run.token(),)
        return self.tokens + run

    def without(self, count: int) -> Trace:
        """Returns the trace without its first ``count`` tokens."""
        return replace(self, tokens=self.tokens[count:])

    def closed(self) -> Trace:
        """Returns an empty trace that continues this one; its current run
        yields no further token."""
        return replace(self, tokens=(), run=None)


def shared_length(sequences: Iterable[Iterable[object]]) -> int:
    """Number of items at the start that all sequences share.

    Example
    -------
    >>> shared_length(["abc", "abd", "ab"])
    2
    """
    count = 0
    for items in zip(*sequences, strict=False):
        if any(item != items[0] for item in items):
            break
        count += 1
    return count
