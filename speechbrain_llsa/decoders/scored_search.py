"""What beam searches of CTC and of transducers share: their options, language
model and hotwords."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from speechbrain_llsa.decoders.hotwords import (
    HOTWORD_WEIGHT,
    WordScorer,
    check_hotwords,
)
from speechbrain_llsa.decoders.language_model import LanguageModel, check_number
from speechbrain_llsa.decoders.vocabulary import SearchVocabulary
from speechbrain_llsa_runtime.decoders.greedy import PieceDecoder
from speechbrain_llsa_runtime.decoders.tokens import Token
from speechbrain_llsa_runtime.utils.arrays import Array
from speechbrain_llsa_runtime.utils.checks import check_integer
from speechbrain_llsa_runtime.utils.errors import must_be


def check_goes_on(beams: Sequence[object]) -> None:
    """Rejects the state of a stream that has ended.

    Arguments
    ---------
    beams : sequence
        What is live in the state; nothing is once the stream has ended.

    Raises
    ------
    ValueError
        If it has ended.
    """
    if not beams:
        raise ValueError(
            must_be(
                "state",
                "that of a stream that goes on",
                "one whose stream has ended",
            )
        )


_Self = TypeVar("_Self", bound="ScoredSearch")


class ScoredSearch:
    """A beam search whose beams a language model and hotwords score by words.

    A subclass says in ``_set_scorer`` what it does with a scorer, and has the
    methods of a search (:mod:`speechbrain_llsa_runtime.decoders.tokens`). The
    arguments are those of :class:`~speechbrain_llsa.decoders.beam_search.
    BeamSearch`.
    """

    def __init__(
        self,
        text_decoder: PieceDecoder,
        beam_size: int,
        beam_prune_logp: float,
        token_prune_min_logp: float,
        language_model: str | Path | LanguageModel | None,
        alpha: float,
        beta: float,
        unk_score_offset: float,
        hotwords: Iterable[str],
        hotword_weight: float,
        most_provisional_frames: int,
        blank_index: int,
    ) -> None:
        check_integer("beam_size", beam_size, 1)
        check_integer("most_provisional_frames", most_provisional_frames, 1)
        for name, value in (
            ("beam_prune_logp", beam_prune_logp),
            ("token_prune_min_logp", token_prune_min_logp),
        ):
            check_number(name, value)
            if value >= 0:
                raise ValueError(must_be(name, "a negative number", value))
        self.most_provisional_frames = most_provisional_frames
        self._vocabulary = SearchVocabulary(text_decoder.pieces, blank_index)
        scales = alpha, beta, unk_score_offset
        for name, value in zip(
            ("alpha", "beta", "unk_score_offset"), scales, strict=True
        ):
            check_number(name, value)
        if language_model is not None:
            if not isinstance(language_model, LanguageModel):
                language_model = LanguageModel(language_model)
            self._vocabulary.check_language_model(language_model)
            language_model = language_model.scaled(*scales)
        self._language_model = language_model
        self._numbers = {
            "beam_size": int(beam_size),
            "beam_prune_logp": float(beam_prune_logp),
            "token_prune_min_logp": float(token_prune_min_logp),
            "most_provisional_frames": int(most_provisional_frames),
            "blank_index": int(blank_index),
        }

    def _set_scorer(self, scorer: WordScorer | None) -> None:
        """Takes what scores words, or ``None`` where nothing does."""
        raise NotImplementedError

    def make_streaming_context(self) -> Any:
        """Makes an initial state for one stream."""
        raise NotImplementedError

    def advance(
        self, frames: Array, /, state: Any, final: bool = False
    ) -> list[Token]:
        """Processes the next frames."""
        raise NotImplementedError

    def decode(self, frames: Array) -> list[Token]:
        """Searches a whole utterance at once.

        Arguments
        ---------
        frames : torch.Tensor or numpy.ndarray
            What the model gives for its frames: for CTC log-probabilities,
            (frames, labels), for a transducer projected frames, (frames,
            features).

        Returns
        -------
        list of Token

        Raises
        ------
        ValueError
            As for ``advance``.
        """
        return self.advance(frames, self.make_streaming_context(), final=True)

    def _set_hotwords(self, hotwords: Iterable[str], weight: float) -> None:
        hotwords = check_hotwords(hotwords, weight)
        for hotword in hotwords:
            self._vocabulary.check_hotword(hotword)
        if not weight:
            hotwords = ()
        self._hotwords: dict[str, Any] = {}
        if hotwords:
            self._hotwords["hotwords"] = sorted(hotwords)
            self._hotwords["hotword_weight"] = float(weight)
        scorer = None
        if hotwords or self._language_model is not None:
            scorer = WordScorer(self._language_model, hotwords, float(weight))
        self._set_scorer(scorer)

    def with_hotwords(
        self: _Self,
        hotwords: Iterable[str],
        hotword_weight: float = HOTWORD_WEIGHT,
    ) -> _Self:
        """Makes a copy of the search with other hotwords, for one session. The
        language model is shared.

        Arguments
        ---------
        hotwords : iterable of str
            Words or phrases.
        hotword_weight : float
            Log-probability added for a complete hotword.

        Returns
        -------
        ScoredSearch
            Of the same class.

        Raises
        ------
        TypeError
            If an argument has the wrong type.
        ValueError
            If a hotword is empty or cannot be spelled, or the weight is
            negative.
        """
        changed = copy.copy(self)
        changed._set_hotwords(hotwords, hotword_weight)
        return changed

    def to_dict(self) -> dict[str, Any]:
        """Returns the options that results depend on, as plain values.

        Returns
        -------
        dict
            The language model by a digest of its file.

        Example
        -------
        >>> from speechbrain_llsa.decoders.beam_search import BeamSearch
        >>> from speechbrain_llsa_runtime.decoders.greedy import PieceDecoder
        >>> decoder = PieceDecoder(["", " ", "A"])
        >>> options = BeamSearch(decoder, hotwords=["A"]).to_dict()
        >>> options["beam_size"], options["hotwords"]
        (16, ['A'])
        """
        about: dict[str, Any] = {**self._numbers, **self._hotwords}
        if self._language_model is not None:
            about["language_model"] = self._language_model.to_dict()
        return about
