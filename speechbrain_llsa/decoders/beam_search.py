"""CTC beam search while streaming, with a language model and hotwords.

The search is SpeechBrain's ``CTCBeamSearcher``, run frame by frame through its
partial decoding. This module adds what streaming needs: the labels behind each
beam, commitment of tokens, and a state of bounded size. SpeechBrain's
``CTCPrefixBeamSearcher`` cannot be used: it compares the full text of beams,
and has no word times.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from speechbrain.decoders.ctc import CTCBeam, CTCBeamSearcher

from speechbrain_llsa.decoders.hotwords import (
    HOTWORD_WEIGHT,
    ScorerState,
    WordScorer,
)
from speechbrain_llsa.decoders.language_model import LanguageModel
from speechbrain_llsa.decoders.scored_search import (
    ScoredSearch,
    check_goes_on,
)
from speechbrain_llsa.decoders.trace import Trace, shared_length
from speechbrain_llsa.decoders.written_beams import (
    WrittenBeam,
    WrittenSearch,
    make_beam,
)
from speechbrain_llsa_runtime.decoders.greedy import PieceDecoder
from speechbrain_llsa_runtime.decoders.tokens import Token
from speechbrain_llsa_runtime.utils.arrays import Array

SETTLE_FRAMES = 50
"""Interval in frames at which text that all beams share is cut from them.
Counted from the start of the stream, so that results do not depend on
pushes."""

LONGEST_WORD = 1000
"""Maximum number of characters of a word that a language model or hotwords
see."""

LONGEST_PLAIN_WORD = 64
"""Maximum number of characters of a word that beams keep if words are not
scored."""

WordScores = dict[tuple[str, bool], tuple[float, ScorerState]]
"""By text of a beam, the score of its words and the state behind them."""


class HotwordBeamSearcher(CTCBeamSearcher):
    """SpeechBrain's searcher with a hotword bonus for partial words.

    Its ``lm`` is a :class:`WordScorer`, or ``None``. SpeechBrain queries it for
    complete words only; the value of a partial word depends on the words before
    it, which SpeechBrain's interface does not pass.

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
        """Scores beams, as SpeechBrain's class does."""
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
        """Ends the words of beams, as SpeechBrain's class does."""
        final = super().finalize_decoding(
            beams, cached_lm_scores, *args, **kwargs
        )
        if self.lm is not None:
            for beam in final:
                _, state = cached_lm_scores[beam.text, False]
                beam.lm_score -= state.pending
        return self.sort_beams(final)


class TracingBeamSearcher(HotwordBeamSearcher):
    """A searcher whose beams track their labels and frames: ``text_frames`` is
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
        """Merges beams with the same text, as SpeechBrain's class does, and
        keeps the most likely of their traces.

        Arguments
        ---------
        beams : list of CTCBeam
            New beams, each with the trace of its parent.

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
    """State of a beam search for one stream. Beams are replaced, never
    modified."""

    beams: list[CTCBeam]
    """Live beams, best first. Their texts start with the last words that they
    all share. Empty once the stream has ended."""

    word_scores: WordScores = field(default_factory=dict)
    """Score of the words of a beam and the state after them, by text."""

    partial_scores: dict[str, float] = field(default_factory=dict)
    """Language-model score of a partial word, by word."""

    frames: int = 0
    """Frames so far."""

    score: float | None = None
    """Score of the best text: log-probability, language model and hotwords.
    ``None`` before the stream has ended."""

    def fork(self) -> BeamSearchState:
        """Makes an independent copy, which shares the beams.

        Returns
        -------
        BeamSearchState
        """
        return replace(
            self,
            word_scores=dict(self.word_scores),
            partial_scores=dict(self.partial_scores),
        )


class BeamSearch(ScoredSearch):
    """Finds the most likely text rather than the most likely label of each
    frame.

    However a stream is split, the tokens are those of the whole stream at once,
    which equal SpeechBrain's ``decode_beams`` in double precision. Tokens are
    committed as soon as all live beams share them.

    One search can serve any number of streams.

    Arguments
    ---------
    text_decoder : PieceDecoder
        Maps labels to text.
    beam_size : int
        Number of beams to keep.
    beam_prune_logp : float
        Beams whose score is this far below the best are pruned; a negative
        number.
    token_prune_min_logp : float
        Labels of a frame below this log-probability are not expanded, except
        its best; a negative number.
    language_model : str or pathlib.Path or LanguageModel, optional
        Word n-grams, in ARPA format.
    alpha : float
        Weight of the language model.
    beta : float
        Score added per word, with a language model.
    unk_score_offset : float
        Added to the log-probability (base 10) of an unknown word.
    hotwords : iterable of str
        Words or phrases that are likely to occur in the stream.
    hotword_weight : float
        Log-probability added for a complete hotword; 0 disables hotwords.
    most_provisional_frames : int
        A beam that differs from the best one in a token older than this is
        pruned, which bounds the state. 30 s by default.
    blank_index : int
        Index of the blank label.

    Raises
    ------
    FileNotFoundError
        If there is no such language model.
    ImportError
        If KenLM is needed and not installed.
    TypeError
        If an argument has the wrong type.
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
        super().__init__(
            text_decoder,
            beam_size,
            beam_prune_logp,
            token_prune_min_logp,
            language_model,
            alpha,
            beta,
            unk_score_offset,
            hotwords,
            hotword_weight,
            most_provisional_frames,
            blank_index,
        )
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
            # A blank that rounding puts above 1 is a frame as well.
            blank_skip_threshold=math.inf,
        )
        self._set_hotwords(hotwords, hotword_weight)

    def _set_scorer(self, scorer: WordScorer | None) -> None:
        self._searcher = self._make_searcher(lm=scorer)

    def make_streaming_context(self) -> BeamSearchState:
        """Makes an initial state for one stream.

        Returns
        -------
        BeamSearchState
        """
        beam = make_beam("", "", Trace(), None)
        scorer = self._searcher.lm
        if scorer is None:
            return BeamSearchState([beam])
        start = 0.0, scorer.get_start_state()
        return BeamSearchState([beam], {("", False): start})

    def advance(
        self, log_probs: Array, state: BeamSearchState, final: bool = False
    ) -> list[Token]:
        """Processes the next frames.

        Arguments
        ---------
        log_probs : torch.Tensor or numpy.ndarray
            Log-probabilities of the next frames, (frames, labels), any number
            of them.
        state : BeamSearchState
            State after the previous input; updated in place unless an error is
            raised.
        final : bool
            Whether the stream ends with these frames.

        Returns
        -------
        list of Token
            The newly committed tokens.

        Raises
        ------
        ValueError
            If the shape is wrong, a frame does not hold log-probabilities, or
            the stream has ended.
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
        """Finds the tokens that follow the committed ones if the stream
        continues with these frames.

        Arguments
        ---------
        log_probs : torch.Tensor or numpy.ndarray
            Log-probabilities of those frames, (frames, labels), possibly
            none.
        state : BeamSearchState
            State after the previous frames; not modified.

        Returns
        -------
        list of Token
            The tokens of the best beam.

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
        """Commits the best text so far, at a pause. The other beams are
        dropped, and the search continues from there.

        Arguments
        ---------
        state : BeamSearchState
            The state; updated in place.

        Returns
        -------
        list of Token
            The newly committed tokens.
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

    def export_context(self, context: BeamSearchState) -> WrittenSearch:
        """Converts the state of a stream that goes on to what a snapshot
        holds.

        Arguments
        ---------
        context : BeamSearchState
            The state.

        Returns
        -------
        WrittenSearch
        """
        beams = []
        for beam in context.beams:
            word_score = 0.0
            if self._searcher.lm is not None:
                word_score, _ = context.word_scores[beam.text, False]
            beams.append(WrittenBeam.of(beam, word_score))
        return WrittenSearch(beams, context.frames)

    def import_context(self, context: WrittenSearch) -> BeamSearchState:
        """Inverse of :meth:`export_context`. The stream goes on exactly.

        Arguments
        ---------
        context : WrittenSearch
            The result of :meth:`export_context`.

        Returns
        -------
        BeamSearchState
        """
        scorer, tokens = self._searcher.lm, self._vocabulary.tokens
        beams: list[CTCBeam] = []
        word_scores: WordScores = {}
        for written in context.beams:
            text, last = written.text, written.last
            beams.append(
                make_beam(
                    text,
                    written.partial_word,
                    written.trace(context.frames),
                    None if last is None else tokens[last],
                )
            )
            if scorer is not None:
                word_scores[text, False] = (
                    written.word_score,
                    scorer.state_after(text.split()),
                )
        return BeamSearchState(beams, word_scores, frames=context.frames)

    def context_form(
        self, values: Mapping[str, Any], frames: int, labels: int
    ) -> WrittenSearch:
        """Expected layout of the result of :meth:`export_context`
        (:mod:`speechbrain_llsa_runtime.snapshot`).

        Arguments
        ---------
        values : dict
            Values of the state in the snapshot, by path.
        frames : int
            Number of frames that have been searched.
        labels : int
            Number of labels of the model.

        Returns
        -------
        WrittenSearch

        Raises
        ------
        ValueError
            If no state can have these values.
        """
        if not frames:
            return self.export_context(self.make_streaming_context())
        written = WrittenSearch.from_values(values, frames)
        if not written.is_possible(
            self._vocabulary.kinds,
            self._searcher.lm is not None,
            self._searcher.beam_size,
        ):
            raise ValueError(
                f"the beams of a search cannot be like that after {frames} "
                "frames"
            )
        return written

    def _finalized(self, state: BeamSearchState) -> list[CTCBeam]:
        return self._searcher.finalize_decoding(
            state.beams, state.word_scores, state.partial_scores, True, True
        )

    def _searched(
        self, log_probs: Array, state: BeamSearchState
    ) -> BeamSearchState:
        """Returns the state after searching further frames."""
        check_goes_on(state.beams)
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
        """Bounds the state: prunes beams that differ in old tokens, and cuts
        the shared beginning off the texts of beams, which does not affect later
        results."""
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
    """Drops the beams that differ from the best one in a token that began
    before a frame."""
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
    """Replaces the shared beginning of the last words of beams by a digest, if
    they are longer than ``longest``."""
    words = [beam.partial_word for beam in beams]
    shared = shared_length(words)
    if shared <= longest:
        return beams
    digest = hashlib.sha256(words[0][:shared].encode()).hexdigest()[:32]
    return [
        replace(beam, partial_word=f"\0{digest}{beam.partial_word[shared:]}")
        for beam in beams
    ]
