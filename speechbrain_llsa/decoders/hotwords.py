"""Hotwords: words that are likely to occur, as a bonus on the score of beams.

A bonus grows with each character of a hotword, so that a beam survives until
the word is complete, and is taken back if it is not completed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from speechbrain_llsa.decoders.language_model import LanguageModel
from speechbrain_llsa.utils.normalization import normalise_transcript
from speechbrain_llsa_runtime.utils.errors import must_be

HOTWORD_WEIGHT = 8.0
"""Default log-probability added for a complete hotword."""


class ScorerState(NamedTuple):
    """State before the next word of a beam."""

    language_model: Any
    """State of the language model, ``None`` without one."""

    progress: tuple[tuple[int, int], ...] = ()
    """Partial phrases: (phrase, words so far)."""

    pending: float = 0.0
    """Bonus for these, to be taken back if they are not completed."""


class WordScorer:
    """Scores words with a language model, hotwords, or both.

    It has the methods of SpeechBrain's ``KenlmScorer``, which it replaces in
    SpeechBrain's beam searchers.

    Arguments
    ---------
    language_model : LanguageModel, optional
        Scores all words.
    hotwords : iterable of str
        Words or phrases, spelled as the model writes them.
    weight : float
        Log-probability added to a beam for a complete hotword.

    Example
    -------
    >>> scorer = WordScorer(None, ["NEW YORK"], 8.0)
    >>> state = scorer.get_start_state()
    >>> scorer.bonus(state, "NE")
    2.0
    >>> bonus, state = scorer.score(state, "NEW")
    >>> bonus, scorer.bonus(state, "YORK"), scorer.bonus(state, "X")
    (3.0, 5.0, -3.0)
    >>> scorer.score(state, "YORK")[0], scorer.score(state, "CITY")[0]
    (5.0, -3.0)
    """

    def __init__(
        self,
        language_model: LanguageModel | None = None,
        hotwords: Iterable[str] = (),
        weight: float = 0.0,
    ) -> None:
        self.language_model = language_model
        self.weight = weight
        self._phrases = [tuple(hotword.split()) for hotword in hotwords]
        self._sizes = [len(" ".join(phrase)) for phrase in self._phrases]
        self._words = {word for phrase in self._phrases for word in phrase}
        self._known = {part for word in self._words for part in _parts(word)}
        # by first word, the phrases; by part of one, how much of a phrase
        self._phrases_by_first_word: dict[str, list[tuple[int, int]]] = {}
        self._prefix_fractions: dict[str, float] = {}
        for index, (first, *_) in enumerate(self._phrases):
            self._phrases_by_first_word.setdefault(first, []).append((index, 0))
            for part in _parts(first):
                self._prefix_fractions[part] = max(
                    len(part) / self._sizes[index],
                    self._prefix_fractions.get(part, 0.0),
                )

    @property
    def order(self) -> int:
        """Length of the n-grams that determine a word's score, the word
        included."""
        longest = max(map(len, self._phrases), default=1)
        model = self.language_model
        return max(longest, 1 if model is None else model.order)

    def get_start_state(self) -> ScorerState:
        """State before the first word.

        Returns
        -------
        ScorerState
        """
        model = self.language_model
        return ScorerState(None if model is None else model.start_state())

    def state_after(self, words: Sequence[str]) -> ScorerState:
        """State after words, computed again.

        Arguments
        ---------
        words : list of str
            All words so far, or the last ``order`` - 1 of them or more.

        Returns
        -------
        ScorerState
            Scores of further words are the same, to the last bit.

        Example
        -------
        >>> scorer = WordScorer(None, ["NEW YORK"], 8.0)
        >>> _, state = scorer.score(scorer.get_start_state(), "NEW")
        >>> scorer.state_after(["IN", "NEW"]) == state
        True
        """
        # Fewer words are all there have been: beams keep as many.
        kept = self.order - 1
        state = self.get_start_state()
        if len(words) >= kept and self.language_model is not None:
            state = ScorerState(self.language_model.state_without_words())
        for word in words[len(words) - min(kept, len(words)) :]:
            _, state = self.score(state, word)
        return state

    def score(
        self, state: ScorerState, word: str, is_last_word: bool = False
    ) -> tuple[float, ScorerState]:
        """Scores the next word.

        Arguments
        ---------
        state : ScorerState
            State before the word.
        word : str
            The word.
        is_last_word : bool
            Whether the text ends with it.

        Returns
        -------
        float
            Its contribution to the score of a beam.
        ScorerState
            State after the word.
        """
        score, model_state = 0.0, None
        if self.language_model is not None:
            score, model_state = self.language_model.score(
                state.language_model, word, is_last_word, word in self._words
            )
        progress, complete = [], False
        for index, done in (
            *state.progress,
            *self._phrases_by_first_word.get(word, ()),
        ):
            if self._phrases[index][done] != word:
                continue
            if done + 1 == len(self._phrases[index]):
                complete = True
            else:
                progress.append((index, done + 1))
        pending = self.weight * max(
            (self._part(index, done) for index, done in progress), default=0.0
        )
        bonus = self.weight * complete + pending - state.pending
        return score + bonus, ScorerState(model_state, tuple(progress), pending)

    def score_partial_token(self, partial_word: str) -> float:
        """Scores a partial word without its context: a penalty if the language
        model knows no such word.

        Arguments
        ---------
        partial_word : str
            Its characters so far.

        Returns
        -------
        float
        """
        if self.language_model is None or partial_word in self._known:
            return 0.0
        return self.language_model.score_partial_word(partial_word)

    def bonus(self, state: ScorerState, partial_word: str) -> float:
        """Hotword bonus for a beam with a partial word, on top of what
        :meth:`score` returned for the previous words.

        Arguments
        ---------
        state : ScorerState
            State before the word.
        partial_word : str
            Its characters so far.

        Returns
        -------
        float
            Negative if the bonus of a phrase is taken back.
        """
        if not partial_word:
            return 0.0
        part = self._prefix_fractions.get(partial_word, 0.0)
        for index, done in state.progress:
            if self._phrases[index][done].startswith(partial_word):
                matched_length = (
                    self._part(index, done) * self._sizes[index] + 1
                )
                part = max(
                    part,
                    (matched_length + len(partial_word)) / self._sizes[index],
                )
        return self.weight * part - state.pending

    def _part(self, index: int, done: int) -> float:
        """Fraction of a phrase that its first words make up."""
        words = self._phrases[index][:done]
        return len(" ".join(words)) / self._sizes[index]


def _parts(word: str) -> list[str]:
    """All prefixes of a word, itself included."""
    return [word[:end] for end in range(1, len(word) + 1)]


def check_hotwords(hotwords: Iterable[str], weight: float) -> tuple[str, ...]:
    """Rejects what is not a list of hotwords with a weight.

    Arguments
    ---------
    hotwords : iterable of str
        Words or phrases.
    weight : float
        Log-probability added per hotword.

    Returns
    -------
    tuple of str
        The hotwords, each once, with single spaces.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If a hotword is empty, or the weight is negative or not finite.

    Example
    -------
    >>> check_hotwords(["NEW  YORK", "NEW YORK"], 8.0)
    ('NEW YORK',)
    """
    if isinstance(hotwords, str) or not hasattr(hotwords, "__iter__"):
        raise TypeError(must_be("hotwords", "a list of texts", repr(hotwords)))
    if isinstance(weight, bool) or not isinstance(weight, (int, float)):
        raise TypeError(must_be("hotword_weight", "a number", repr(weight)))
    if not 0 <= weight < math.inf:
        raise ValueError(
            must_be("hotword_weight", "0 or a positive number", weight)
        )
    checked: dict[str, None] = {}
    for hotword in hotwords:
        if not isinstance(hotword, str):
            raise TypeError(
                must_be("hotwords", "words or phrases", repr(hotword))
            )
        phrase = normalise_transcript(hotword)
        if not phrase:
            raise ValueError(
                must_be("hotwords", "words or phrases", repr(hotword))
            )
        checked[phrase] = None
    return tuple(checked)
