"""The labels that lead to a beam, with their frames.

SpeechBrain's beams hold text. A trace holds what the text was said with, and
rides along in the beam where SpeechBrain keeps the frames of words.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple

from speechbrain_llsa_runtime.decoders.tokens import Token

BLANK, SPACE, WORD_START, INSIDE = range(4)
"""Kinds of label. They are the blank; a space and nothing else; what begins a
word by itself; what goes on with a word, or begins one after a space."""


class Run(NamedTuple):
    """A label while it is being said."""

    label: int
    start: int
    end: int
    confidence: float
    """The largest probability of the label in its frames."""

    def grown(self, probability: float) -> Run:
        """The same run, one frame longer."""
        confidence = max(self.confidence, probability)
        return self._replace(end=self.end + 1, confidence=confidence)

    def token(self) -> Token:
        """The token that it is, if it ends here."""
        return Token(*self)


@dataclass(frozen=True, slots=True)
class Trace:
    """The labels of a beam that are not committed yet.

    A space waits for the word after it: so there is none at the beginning or
    the end of a text, and no two in a row, as in the text of SpeechBrain.

    Example
    -------
    >>> trace = Trace()
    >>> for label, kind in ((0, BLANK), (5, INSIDE), (5, INSIDE), (0, BLANK)):
    ...     trace = trace.step(label, kind, trace.score)
    >>> trace.tokens
    (Token(label=5, start=1, end=3, confidence=1.0),)
    """

    tokens: tuple[Token, ...] = ()
    """Those that have ended."""

    run: Run | None = None
    """The label that goes on. ``None`` after a blank or a space."""

    space: Run | None = None
    """A space that no word has followed yet."""

    last: int | None = None
    """Label of the last frame, blank included."""

    frames: int = 0
    """Frames so far."""

    score: float = 0.0
    """Log-probability of the beam, without a language model."""

    started: bool = False
    """Whether there has been any word."""

    def __add__(self, frames: object) -> Trace:
        """SpeechBrain appends the frames of a word: they are known here."""
        return self

    def step(self, label: int, kind: int, score: float) -> Trace:
        """The trace after one more frame.

        Arguments
        ---------
        label : int
            What the frame says.
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
        """The tokens if the stream ended here, a tuple."""
        run = () if self.run is None else (self.run.token(),)
        return self.tokens + run

    def without(self, count: int) -> Trace:
        """The same trace without its first ``count`` tokens."""
        return replace(self, tokens=self.tokens[count:])

    def closed(self) -> Trace:
        """The same trace with nothing left: a label that goes on does not
        count any more."""
        return replace(self, tokens=(), run=None)


def shared_length(sequences: Iterable[Iterable[object]]) -> int:
    """How many items all sequences begin with.

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
