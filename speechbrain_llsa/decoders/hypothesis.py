"""Hypotheses of a transducer's beam search: labels with their frames, and what
their words score."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

from speechbrain_llsa.decoders.hotwords import ScorerState, WordScorer
from speechbrain_llsa_runtime.decoders.tokens import Token

LONGEST_WORD = 1000
"""Characters of a word that a language model or hotwords see, at most."""


class Words(NamedTuple):
    """The words of a hypothesis, as far as they are scored."""

    state: ScorerState
    """The state of the scorer after the complete words."""

    last: tuple[str, ...] = ()
    """The last complete words: all that the state depends on, or all."""

    score: float = 0.0
    """Score of the complete words."""

    partial: str = ""
    """The word that goes on."""

    total: float = 0.0
    """Score of all words, that of the partial one included."""

    @classmethod
    def start(cls, scorer: WordScorer) -> Words:
        """Those before the first word."""
        return cls(scorer.get_start_state())

    def add(self, piece: str, scorer: WordScorer) -> Words:
        """Returns the words after one more label.

        Arguments
        ---------
        piece : str
            The text of the label; a space ends a word.
        scorer : WordScorer
            Scores words.

        Returns
        -------
        Words
        """
        words = self
        first, *others = piece.split(" ")
        partial = words.partial + first
        for part in others:
            if partial:
                words = words.complete(partial, scorer)
            partial = part
        return words.going_on(partial[:LONGEST_WORD], scorer)

    def complete(self, word: str, scorer: WordScorer) -> Words:
        """Returns the words after one more complete one."""
        score, state = scorer.score(self.state, word)
        kept = scorer.order - 1
        last = (*self.last, word)
        last = last[max(0, len(last) - kept) :]
        return Words(state, last, self.score + score)

    def going_on(self, partial: str, scorer: WordScorer) -> Words:
        """Returns the words with another partial one."""
        total = self.score
        if partial:
            total += scorer.score_partial_token(partial)
            total += scorer.bonus(self.state, partial)
        return self._replace(partial=partial, total=total)

    def ended(self, scorer: WordScorer) -> float:
        """Score of all words if the text ends here."""
        words = self.complete(self.partial, scorer) if self.partial else self
        return words.score - words.state.pending


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A sequence of labels between two frames.

    Example
    -------
    >>> hypothesis = Hypothesis(history=(0, 0))
    >>> longer = hypothesis.emit(3, frame=7, log_prob=-0.5)
    >>> longer.labels, longer.history, longer.score
    ((3,), (0, 3), -0.5)
    >>> longer.tokens
    (Token(label=3, start=7, end=8, confidence=0.606531),)
    """

    history: tuple[int, ...]
    """The last labels, oldest first, as the predictor sees them."""

    tokens: tuple[Token, ...] = ()
    """Tokens that are not committed."""

    labels: tuple[int, ...] = ()
    """Their labels, which tell hypotheses apart."""

    score: float = 0.0
    """Log-probability, of all alignments that were searched."""

    words: Words | None = None
    """Its words. ``None`` where words are not scored."""

    @property
    def total(self) -> float:
        """Log-probability, and the score of the words."""
        return self.score + (0.0 if self.words is None else self.words.total)

    @property
    def future(self) -> tuple[object, ...]:
        """What the scores of further labels depend on."""
        if self.words is None:
            return (self.history,)
        return self.history, self.words.last, self.words.partial

    def emit(
        self,
        label: int,
        frame: int,
        log_prob: float,
        words: Words | None = None,
    ) -> Hypothesis:
        """Returns the hypothesis with one more label.

        Arguments
        ---------
        label : int
            The label.
        frame : int
            Where it is emitted.
        log_prob : float
            Its log-probability there.
        words : Words, optional
            The words with it.

        Returns
        -------
        Hypothesis
        """
        # Rounded: two ways to the same token differ in the last digits.
        confidence = round(math.exp(min(0.0, log_prob)), 6)
        return Hypothesis(
            (*self.history[1:], label),
            (*self.tokens, Token(label, frame, frame + 1, confidence)),
            (*self.labels, label),
            self.score + log_prob,
            words,
        )

    def wait(self, log_prob: float) -> Hypothesis:
        """Returns the hypothesis at the next frame.

        Arguments
        ---------
        log_prob : float
            Log-probability of the blank.

        Returns
        -------
        Hypothesis
        """
        return replace(self, score=self.score + log_prob)

    def without(self, count: int) -> Hypothesis:
        """Returns the hypothesis whose first tokens are committed."""
        if not count:
            return self
        return replace(
            self, tokens=self.tokens[count:], labels=self.labels[count:]
        )


def merge(one: Hypothesis, other: Hypothesis) -> Hypothesis:
    """Joins two ways to the same labels: their probabilities add up, and the
    tokens are those of the likelier one.

    Arguments
    ---------
    one : Hypothesis
        A hypothesis.
    other : Hypothesis
        Another of the same labels.

    Returns
    -------
    Hypothesis
    """
    likelier, less = one, other
    if other.score > one.score:
        likelier, less = other, one
    gain = math.log1p(math.exp(less.score - likelier.score))
    return replace(likelier, score=likelier.score + gain)
