"""CTC beam search while streaming, with a language model and hotwords.

The search is SpeechBrain's ``CTCBeamSearcher``, frame by frame through its
partial decoding. What is here makes it stream: which labels its beams stand
for, what is committed, and a state that does not grow. SpeechBrain's
``CTCPrefixBeamSearcher`` cannot stream so: it compares the text of beams from
the very beginning, and says of no word when it was spoken.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from speechbrain.decoders.ctc import CTCBeam, CTCBeamSearcher

from speechbrain_llsa.decoders.hotwords import (
    HOTWORD_WEIGHT,
    WordScorer,
    WordState,
    check_hotwords,
)
from speechbrain_llsa.decoders.language_model import LanguageModel, check_number
from speechbrain_llsa.decoders.trace import Trace, shared_length
from speechbrain_llsa.decoders.vocabulary import SearchVocabulary
from speechbrain_llsa_runtime.decoders.greedy import PieceDecoder
from speechbrain_llsa_runtime.decoders.tokens import Token
from speechbrain_llsa_runtime.utils.arrays import Array
from speechbrain_llsa_runtime.utils.checks import check_integer
from speechbrain_llsa_runtime.utils.errors import must_be

SETTLE_FRAMES = 50
"""Frames after which the text that all beams share is cut from them. Counted
from the start of the stream, so that pushes have no say in it."""

LONGEST_WORD = 1000
"""Characters of a word that a language model or hotwords see, at most."""

LONGEST_PLAIN_WORD = 64
"""Characters of a word that beams keep where nobody scores words."""

WordScores = dict[tuple[str, bool], tuple[float, WordState]]
"""By text of a beam, the score of its words and the state behind them."""


class HotwordBeamSearcher(CTCBeamSearcher):
    """SpeechBrain's searcher with the bonus for words that have only begun.

    Its ``lm`` is a :class:`WordScorer`, or ``None``. SpeechBrain asks it for
    whole words; what a part of a word is worth depends on the words before
    it, for which SpeechBrain's interface has no place.

    Arguments
    ---------
    lm : WordScorer or None
        Scores words.
    **kwargs : dict
        As for SpeechBrain's class.
    """

    def __init__(self, lm: WordScorer | None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.lm = lm

    def get_lm_beams(
        self,
        beams: list[CTCBeam],
        cached_lm_scores: WordScores,
        *args: Any,
        **kwargs: Any,
    ) -> list[CTCBeam]:
        """Scores beams. As in SpeechBrain's class."""
        scored = super().get_lm_beams(beams, cached_lm_scores, *args, **kwargs)
        if self.lm is not None:
            for beam in scored:
                _, state = cached_lm_scores[beam.text, False]
                beam.lm_score += self.lm.bonus(state, beam.partial_word)
        return scored

    def finalize_decoding(
        self,
        beams: list[CTCBeam],
        cached_lm_scores: WordScores,
        *args: Any,
        **kwargs: Any,
    ) -> list[CTCBeam]:
        """Ends the words of beams. As in SpeechBrain's class."""
        final = super().finalize_decoding(
            beams, cached_lm_scores, *args, **kwargs
        )
        if self.lm is not None:
            for beam in final:
                _, state = cached_lm_scores[beam.text, False]
                beam.lm_score -= state.pending
        return self.sort_beams(final)


class TracingBeamSearcher(HotwordBeamSearcher):
    """A searcher whose beams know their labels and frames: ``text_frames`` is
    a :class:`Trace`.

    Arguments
    ---------
    kinds : list of int
        The kind of each label (:mod:`speechbrain_llsa.decoders.trace`).
    **kwargs : dict
        As for :class:`HotwordBeamSearcher`.
    """

    def __init__(self, kinds: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kinds = kinds

    def merge_beams(self, beams: list[CTCBeam]) -> list[CTCBeam]:
        """Merges beams with the same text, as SpeechBrain's class does; of
        their traces the likeliest stays.

        Arguments
        ---------
        beams : list of CTCBeam
            New beams, each with the trace of the beam that it comes from.

        Returns
        -------
        list of CTCBeam
        """
        likeliest: dict[tuple[str, str, str | None], CTCBeam] = {}
        for beam in beams:
            text = self.merge_tokens(beam.text, beam.next_word)
            key = text, beam.partial_word, beam.last_token
            best = likeliest.get(key)
            if best is None or beam.score > best.score:
                likeliest[key] = beam
        merged = super().merge_beams(beams)
        for beam, best in zip(merged, likeliest.values(), strict=True):
            trace, label = best.text_frames, best.last_token_index
            if label is not None:  # none where a stream ends
                trace = trace.step(int(label), self.kinds[label], best.score)
            beam.text_frames = replace(trace, score=beam.score)
        return merged


@dataclass
class BeamSearchState:
    """What a beam search remembers of one stream. Beams are replaced, never
    written to."""

    beams: list[CTCBeam]
    """Live beams, best first. Their text begins with the last words that they
    all share. None once the stream has ended."""

    word_scores: WordScores = field(default_factory=dict)
    """By text of a beam, the score of its words and the state behind them."""

    partial_scores: dict[str, float] = field(default_factory=dict)
    """By word that has begun, what the language model says of it."""

    frames: int = 0
    """Frames so far."""

    score: float | None = None
    """What the best text has scored: log-probability, language model and
    hotwords. ``None`` before the stream has ended."""

    def fork(self) -> BeamSearchState:
        """An independent copy, which shares the beams.

        Returns
        -------
        BeamSearchState
        """
        return replace(
            self,
            word_scores=dict(self.word_scores),
            partial_scores=dict(self.partial_scores),
        )


class BeamSearch:
    """Finds the likeliest text, not the likeliest label of each frame.

    Any split of a stream gives the tokens of the whole at once, which are
    those of SpeechBrain's ``decode_beams`` in double precision. Tokens are
    committed as soon as all live beams share them.

    One search serves any number of streams.

    Arguments
    ---------
    text_decoder : PieceDecoder
        Says what the labels stand for.
    beam_size : int
        Beams that are kept.
    beam_prune_logp : float
        Beams whose score is this much below the best fall, a negative number.
    token_prune_min_logp : float
        Labels of a frame below this log-probability are not tried, unless
        they are its best, a negative number.
    language_model : str or pathlib.Path or LanguageModel, optional
        Word n-grams, in ARPA format.
    alpha : float
        Weight of the language model.
    beta : float
        What each word adds to the score, with a language model.
    unk_score_offset : float
        What an unknown word adds to its log-probability (base 10).
    hotwords : iterable of str
        Words or phrases that the stream is likely to hold.
    hotword_weight : float
        What a whole hotword adds to the log-probability; 0 is as without.
    most_provisional_frames : int
        A beam that still differs from the best one in a token older than this
        falls, so that the state cannot grow. 30 s by default.
    blank_index : int
        The label that stands for blank.

    Raises
    ------
    FileNotFoundError
        If there is no such language model.
    ImportError
        If KenLM is needed and not installed.
    TypeError
        If an argument is of another type.
    ValueError
        If a number is out of range, the language model is damaged, the labels
        cannot be searched, or they cannot spell a hotword.

    Example
    -------
    >>> import numpy as np
    >>> from speechbrain_llsa_runtime.decoders.greedy import PieceDecoder
    >>> decoder = PieceDecoder(["", " ", "A", "B"])
    >>> search = BeamSearch(decoder)
    >>> # each frame says blank, but two frames together say A
    >>> log_probs = np.log([[0.6, 0.0001, 0.3998, 0.0001]] * 2)
    >>> [token.label for token in search.decode(log_probs)]
    [2]
    >>> state = search.make_streaming_context()
    >>> search.advance(log_probs[:1], state)
    []
    >>> tokens = search.advance(log_probs[1:], state, final=True)
    >>> tokens == search.decode(log_probs)
    True
    """

    def __init__(
        self,
        text_decoder: PieceDecoder,
        beam_size: int = 16,
        beam_prune_logp: float = -10.0,
        token_prune_min_logp: float = -5.0,
        language_model: str | Path | LanguageModel | None = None,
        alpha: float = 0.5,
        beta: float = 1.5,
        unk_score_offset: float = -10.0,
        hotwords: Iterable[str] = (),
        hotword_weight: float = HOTWORD_WEIGHT,
        most_provisional_frames: int = 1500,
        blank_index: int = 0,
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
        self._make_searcher = partial(
            TracingBeamSearcher,
            kinds=self._vocabulary.kinds,
            blank_index=blank_index,
            vocab_list=self._vocabulary.tokens,
            space_token=" ",
            spm_token=self._vocabulary.mark,
            beam_size=beam_size,
            beam_prune_logp=beam_prune_logp,
            token_prune_min_logp=token_prune_min_logp,
        )
        self._set_hotwords(hotwords, hotword_weight)

    def _set_hotwords(self, hotwords: Iterable[str], weight: float) -> None:
        hotwords = check_hotwords(hotwords, weight)
        for hotword in hotwords:
            self._vocabulary.check_hotword(hotword)
        if not weight:
            hotwords = ()
        scorer = None
        if hotwords or self._language_model is not None:
            scorer = WordScorer(self._language_model, hotwords, float(weight))
        self._searcher = self._make_searcher(lm=scorer)

    def with_hotwords(
        self, hotwords: Iterable[str], hotword_weight: float = HOTWORD_WEIGHT
    ) -> BeamSearch:
        """The same search with other hotwords, for one session. The language
        model is shared.

        Arguments
        ---------
        hotwords : iterable of str
            Words or phrases.
        hotword_weight : float
            What a whole one adds to the log-probability.

        Returns
        -------
        BeamSearch

        Raises
        ------
        TypeError
            If an argument is of another type.
        ValueError
            If a hotword is empty or cannot be spelled, or the weight is
            negative.
        """
        changed = copy.copy(self)
        changed._set_hotwords(hotwords, hotword_weight)
        return changed

    def make_streaming_context(self) -> BeamSearchState:
        """A fresh state for one stream.

        Returns
        -------
        BeamSearchState
        """
        beam = CTCBeam(
            text="",
            full_text="",
            next_word="",
            partial_word="",
            last_token=None,
            last_token_index=None,
            text_frames=Trace(),
            partial_frames=(-1, -1),
            score=0.0,
        )
        scorer = self._searcher.lm
        if scorer is None:
            return BeamSearchState([beam])
        start = 0.0, scorer.get_start_state()
        return BeamSearchState([beam], {("", False): start})

    def advance(
        self, log_probs: Array, state: BeamSearchState, final: bool = False
    ) -> list[Token]:
        """Takes the next frames.

        Arguments
        ---------
        log_probs : torch.Tensor or numpy.ndarray
            Log-probabilities of the next frames, (frames, labels), any number
            of them.
        state : BeamSearchState
            What lies behind them. It is brought up to date, unless an error
            is raised.
        final : bool
            Whether the stream ends with them.

        Returns
        -------
        list of Token
            Those that are now committed.

        Raises
        ------
        ValueError
            If the shape is another, a frame is not one of log-probabilities,
            or the stream has ended.
        """
        new = self._searched(log_probs, state)
        if final:
            best = self._finalized(new)[0]
            tokens = best.text_frames.all_tokens()
            new = BeamSearchState(
                [], frames=new.frames, score=float(best.lm_score)
            )
        else:
            traces = [beam.text_frames.tokens for beam in new.beams]
            tokens = traces[0][: shared_length(traces)]
            new.beams = [
                replace(beam, text_frames=beam.text_frames.without(len(tokens)))
                for beam in new.beams
            ]
        vars(state).update(vars(new))
        return list(tokens)

    def look_ahead(
        self, log_probs: Array, state: BeamSearchState
    ) -> list[Token]:
        """What follows the committed tokens if the stream goes on with some
        frames.

        Arguments
        ---------
        log_probs : torch.Tensor or numpy.ndarray
            Log-probabilities of those frames, (frames, labels), possibly
            none.
        state : BeamSearchState
            What lies behind them. It stays as it is.

        Returns
        -------
        list of Token
            Those of the best beam.

        Raises
        ------
        ValueError
            As for :meth:`advance`.
        """
        if not state.beams and not len(log_probs):
            return []
        best = self._searched(log_probs, state).beams[0]
        return list(best.text_frames.all_tokens())

    def close(self, state: BeamSearchState) -> list[Token]:
        """Commits the best text so far, at a pause: the other beams fall, and
        the search goes on behind it.

        Arguments
        ---------
        state : BeamSearchState
            The state. It is brought up to date.

        Returns
        -------
        list of Token
            Those that are now committed.
        """
        if not state.beams:
            return []
        words = self._finalized(state.fork())[0].text
        merge = self._searcher.merge_tokens
        best = next(
            beam
            for beam in state.beams
            if merge(beam.text, beam.partial_word) == words
        )
        tokens = best.text_frames.all_tokens()
        closed = replace(best, text_frames=best.text_frames.closed())
        state.beams = [closed]
        return list(tokens)

    def decode(self, log_probs: Array) -> list[Token]:
        """Searches a whole utterance at once.

        Arguments
        ---------
        log_probs : torch.Tensor or numpy.ndarray
            Log-probabilities, (frames, labels).

        Returns
        -------
        list of Token

        Raises
        ------
        ValueError
            As for :meth:`advance`.
        """
        return self.advance(log_probs, self.make_streaming_context(), True)

    def _finalized(self, state: BeamSearchState) -> list[CTCBeam]:
        return self._searcher.finalize_decoding(
            state.beams, state.word_scores, state.partial_scores, True, True
        )

    def _searched(
        self, log_probs: Array, state: BeamSearchState
    ) -> BeamSearchState:
        """A state with some frames more."""
        if not state.beams:
            raise ValueError(
                must_be(
                    "state",
                    "that of a stream that goes on",
                    "one whose stream has ended",
                )
            )
        log_probs = self._vocabulary.prepare(log_probs)
        state = state.fork()
        first = 0
        while first < len(log_probs):
            count = SETTLE_FRAMES - state.frames % SETTLE_FRAMES
            frames = log_probs[first : first + count]
            state.beams = self._searcher.partial_decoding(
                frames,
                len(frames),
                state.beams,
                state.word_scores,
                state.partial_scores,
                state.frames,
            )
            first += len(frames)
            state.frames += len(frames)
            if state.frames % SETTLE_FRAMES == 0:
                self._settle(state)
        return state

    def _settle(self, state: BeamSearchState) -> None:
        """Keeps the state small: an old doubt is settled, and what all beams
        share is cut from their text, which changes nothing that follows."""
        oldest = state.frames - self.most_provisional_frames
        beams = _agreeing(state.beams, oldest)
        scorer = self._searcher.lm
        # SpeechBrain prunes by as many of the last words.
        kept = 1 if scorer is None else max(1, scorer.order - 1)
        texts = [beam.text.split() for beam in beams]
        cut = max(0, shared_length(texts) - kept)
        beams_cut = [
            replace(beam, text=" ".join(text[cut:]))
            for beam, text in zip(beams, texts, strict=True)
        ]
        if scorer is not None:
            state.word_scores = {
                (short.text, False): state.word_scores[beam.text, False]
                for short, beam in zip(beams_cut, beams, strict=True)
            }
        state.partial_scores = {}
        state.beams = _with_short_words(
            beams_cut, LONGEST_PLAIN_WORD if scorer is None else LONGEST_WORD
        )


def _agreeing(beams: list[CTCBeam], oldest: int) -> list[CTCBeam]:
    """The beams without those that differ from the best one in a token that
    began before a frame."""
    while True:
        tokens = [beam.text_frames.tokens for beam in beams]
        shared = shared_length(tokens)
        next_tokens = [each[shared : shared + 1] for each in tokens]
        if not any(each and each[0].start < oldest for each in next_tokens):
            return beams
        beams = [
            beam
            for beam, each in zip(beams, next_tokens, strict=True)
            if each == next_tokens[0]
        ]


def _with_short_words(beams: list[CTCBeam], longest: int) -> list[CTCBeam]:
    """The beams with the beginning that their last words share replaced by a
    digest of it, where they are longer than ``longest``."""
    words = [beam.partial_word for beam in beams]
    shared = shared_length(words)
    if shared <= longest:
        return beams
    digest = hashlib.sha256(words[0][:shared].encode()).hexdigest()[:32]
    return [
        replace(beam, partial_word=f"\0{digest}{beam.partial_word[shared:]}")
        for beam in beams
    ]
