"""Hypotheses as a snapshot holds them: plain values, which may be untrusted.

The state of the language model and of hotwords is left out: it follows from the
last words.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from speechbrain_llsa.decoders.hotwords import WordScorer
from speechbrain_llsa.decoders.hypothesis import Hypothesis, Words
from speechbrain_llsa.decoders.trace import shared_length
from speechbrain_llsa_runtime.decoders.tokens import Token
from speechbrain_llsa_runtime.decoders.transducer import check_history
from speechbrain_llsa_runtime.snapshot import each_below


@dataclass
class WrittenHypothesis:
    """A hypothesis between two frames.

    Example
    -------
    >>> hypothesis = Hypothesis((0, 0)).emit(3, 0, -0.5)
    >>> written = WrittenHypothesis.of(hypothesis)
    >>> written.read(None) == hypothesis
    True
    """

    history: tuple[int, ...]
    """The last labels, oldest first."""

    tokens: tuple[Token, ...]
    """Tokens that are not committed."""

    score: float
    """Log-probability, without that of words."""

    text: str = ""
    """Its last words, separated by spaces; none where words are not scored."""

    partial_word: str = ""
    """The word that goes on."""

    word_score: float = 0.0
    """Score of its complete words."""

    @classmethod
    def of(cls, hypothesis: Hypothesis) -> WrittenHypothesis:
        """Makes one of a hypothesis."""
        plain = hypothesis.history, hypothesis.tokens, float(hypothesis.score)
        words = hypothesis.words
        if words is None:
            return cls(*plain)
        text = " ".join(words.last)
        return cls(*plain, text, words.partial, float(words.score))

    @classmethod
    def from_values(
        cls, values: Mapping[str, Any], context_size: int
    ) -> WrittenHypothesis:
        """Makes one of values by path. Their types are not checked."""
        tokens: list[Token] = []
        while f"tokens.{len(tokens)}.label" in values:
            name = f"tokens.{len(tokens)}"
            parts = "label", "start", "end", "confidence"
            tokens.append(Token(*(values[f"{name}.{each}"] for each in parts)))
        names = "score", "text", "partial_word", "word_score"
        return cls(
            tuple(values[f"history.{place}"] for place in range(context_size)),
            tuple(tokens),
            *(values[name] for name in names),
        )

    def read(self, scorer: WordScorer | None) -> Hypothesis:
        """The hypothesis.

        Arguments
        ---------
        scorer : WordScorer or None
            Scores words.

        Returns
        -------
        Hypothesis
        """
        words = None
        if scorer is not None:
            last = tuple(self.text.split())
            state = scorer.state_after(last)
            words = Words(state, last, self.word_score)
            words = words.going_on(self.partial_word, scorer)
        labels = tuple(token.label for token in self.tokens)
        return Hypothesis(self.history, self.tokens, labels, self.score, words)

    def check(
        self,
        frames: int,
        said: Collection[int],
        labels: int,
        max_symbols: int,
        scored: bool,
    ) -> None:
        """Rejects what no search can hold.

        Arguments
        ---------
        frames : int
            Frames so far.
        said : collection of int
            The labels that the search emits.
        labels : int
            Number of labels of the model.
        max_symbols : int
            Labels that a frame may yield.
        scored : bool
            Whether words are scored.

        Raises
        ------
        ValueError
            If it cannot be.
        """
        check_history(self.history, frames * max_symbols, labels)
        found = tuple(token.label for token in self.tokens)
        tail = found[-len(self.history) :]
        if not (
            _are_tokens(self.tokens, frames, said, max_symbols)
            and self.history[len(self.history) - len(tail) :] == tail
            and _is_finite(self.score)
            and _is_finite(self.word_score)
            and self._has_words(scored)
        ):
            raise ValueError(f"no hypothesis is like that after {frames}")

    def _has_words(self, scored: bool) -> bool:
        text, partial = self.text, self.partial_word
        if type(text) is not str or type(partial) is not str:
            return False
        if not scored:
            return not (text or partial or self.word_score)
        (text + partial).encode()  # half a character cannot be scored
        return text == " ".join(text.split()) and " " not in partial


@dataclass
class WrittenHypotheses:
    """The state of a transducer's beam search."""

    hypotheses: list[WrittenHypothesis]
    """Live ones, best first."""

    history: tuple[int, ...]
    """The last labels of the greedy search beside it."""

    frames: int
    """Frames so far."""

    @classmethod
    def from_values(
        cls, values: Mapping[str, Any], frames: int, context_size: int
    ) -> WrittenHypotheses:
        """Makes one of values by path. Their types are not checked."""
        found = [
            WrittenHypothesis.from_values(each, context_size)
            for each in each_below("hypotheses", values)
        ]
        history = tuple(
            values[f"history.{place}"] for place in range(context_size)
        )
        return cls(found, history, frames)

    def check_among(self, beam_size: int) -> None:
        """Rejects hypotheses that cannot be beside each other.

        Arguments
        ---------
        beam_size : int
            Most that there may be.

        Raises
        ------
        ValueError
            If they cannot be.
        """
        found = self.hypotheses
        labels = {tuple(t.label for t in each.tokens) for each in found}
        if (
            not 1 <= len(found) <= beam_size
            or len(labels) < len(found)
            or shared_length(each.tokens for each in found)
        ):
            raise ValueError("no search has hypotheses like these")


def _is_finite(number: object) -> bool:
    return type(number) is float and math.isfinite(number)


def _are_tokens(
    tokens: Sequence[Token],
    frames: int,
    said: Collection[int],
    max_symbols: int,
) -> bool:
    starts: list[int] = []
    for token in tokens:
        numbers = token.label, token.start, token.end
        if not (
            all(type(number) is int for number in numbers)
            and token.label in said
            and (starts[-1] if starts else 0) <= token.start < frames
            and token.end == token.start + 1
            and type(token.confidence) is float
            and 0.0 <= token.confidence <= 1.0
        ):
            return False
        starts.append(token.start)
    # in order, so that too many of a frame are as many places apart
    return all(
        first < later
        for first, later in zip(starts, starts[max_symbols:], strict=False)
    )
