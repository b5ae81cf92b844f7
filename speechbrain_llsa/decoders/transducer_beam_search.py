"""Beam search of a transducer while streaming, with a language model and
hotwords.

It goes from frame to frame. Within one, hypotheses emit up to as many labels as
a frame may yield, and all end with a blank; those of the same labels are one,
whose probability is the sum over the ways to it. SpeechBrain's
``TransducerBeamSearcher`` cannot be used: it takes whole utterances, and has no
times.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechbrain_llsa.decoders.beam_search import SETTLE_FRAMES
from speechbrain_llsa.decoders.hotwords import HOTWORD_WEIGHT, WordScorer
from speechbrain_llsa.decoders.hypothesis import Hypothesis, Words, merge
from speechbrain_llsa.decoders.language_model import LanguageModel
from speechbrain_llsa.decoders.scored_search import (
    ScoredSearch,
    check_goes_on,
)
from speechbrain_llsa.decoders.trace import BLANK as SILENT
from speechbrain_llsa.decoders.trace import shared_length
from speechbrain_llsa.decoders.written_hypotheses import (
    WrittenHypotheses,
    WrittenHypothesis,
)
from speechbrain_llsa_runtime.decoders.greedy import PieceDecoder
from speechbrain_llsa_runtime.decoders.tokens import Token
from speechbrain_llsa_runtime.decoders.transducer import (
    BLANK,
    TransducerGreedySearch,
    TransducerState,
    checked_frames,
)
from speechbrain_llsa_runtime.utils.arrays import Array
from speechbrain_llsa_runtime.utils.checks import check_type
from speechbrain_llsa_runtime.utils.errors import must_be

RECOMBINE_FRAMES = 10
"""Interval in frames at which hypotheses with the same future are reduced to
the best of them, so that all soon share their past. Counted from the start of
the stream, so that results do not depend on pushes."""


@dataclass
class TransducerBeamState:
    """State of a beam search for one stream. Hypotheses are replaced, never
    modified."""

    hypotheses: list[Hypothesis]
    """Live hypotheses, best first. Empty once the stream has ended."""

    greedy: TransducerState
    """State of the greedy search, which endpoints depend on."""

    score: float | None = None
    """Score of the best text: log-probability, language model and hotwords.
    ``None`` before the stream has ended."""

    @property
    def frames(self) -> int:
        """Frames so far."""
        return self.greedy.frames

    def fork(self) -> TransducerBeamState:
        """Makes an independent copy, which shares the hypotheses.

        Returns
        -------
        TransducerBeamState
        """
        return replace(self, greedy=self.greedy.fork())


class TransducerBeamSearch(ScoredSearch):
    """Finds the most likely text of a transducer rather than the most likely
    label at each frame.

    However a stream is split, the tokens are those of the whole stream at once.
    They are committed as soon as all live hypotheses share them. Endpoints are
    those of greedy search.

    One search can serve any number of streams.

    Arguments
    ---------
    text_decoder : PieceDecoder
        Maps labels to text.
    greedy : TransducerGreedySearch
        The greedy search of the model, with predictor and joiner.
    beam_size : int
        Number of hypotheses to keep.
    beam_prune_logp : float
        Hypotheses whose score is this far below the best are pruned; a negative
        number.
    token_prune_min_logp : float
        Labels below this log-probability are not emitted, unless nothing is
        likelier; a negative number.
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
        A hypothesis that differs from the best one in a token older than this
        is pruned, which bounds the state.
    blank_index : int
        Index of the blank label, which is 0.

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
        cannot be searched or are not those of the decoder, or they cannot spell
        a hotword.

    Example
    -------
    >>> from speechbrain_llsa_runtime.decoders.greedy import PieceDecoder
    >>> model, text_decoder = getfixture("tiny_transducer")
    >>> search = TransducerBeamSearch(text_decoder, model.greedy_search())
    >>> frames = np.random.default_rng(0).normal(size=(40, 12))
    >>> state = search.make_streaming_context()
    >>> tokens = search.advance(frames[:25], state)
    >>> tokens += search.advance(frames[25:], state, final=True)
    >>> tokens == search.decode(frames)
    True
    """

    def __init__(
        self,
        text_decoder: PieceDecoder,
        greedy: TransducerGreedySearch,
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
        blank_index: int = BLANK,
    ) -> None:
        check_type("greedy", greedy, TransducerGreedySearch)
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
        labels = len(text_decoder.pieces)
        if blank_index != BLANK or labels != greedy.weights.labels:
            raise ValueError(
                must_be(
                    "text_decoder",
                    f"of {greedy.weights.labels} labels, with the blank at 0",
                    f"one of {labels}, with the blank at {blank_index}",
                )
            )
        self._pieces = text_decoder.pieces
        self._greedy = greedy
        kinds = self._vocabulary.kinds
        self._said = frozenset(
            label for label, kind in enumerate(kinds) if kind != SILENT
        )
        self._unsaid = sorted({*range(labels)} - self._said)
        self._beam_size = int(beam_size)
        self._set_hotwords(hotwords, hotword_weight)

    def _set_scorer(self, scorer: WordScorer | None) -> None:
        self._scorer = scorer

    def make_streaming_context(self) -> TransducerBeamState:
        """Makes an initial state for one stream.

        Returns
        -------
        TransducerBeamState
        """
        scorer = self._scorer
        words = None if scorer is None else Words.start(scorer)
        first = Hypothesis(self._greedy.weights.no_labels, words=words)
        return TransducerBeamState(
            [first], self._greedy.make_streaming_context()
        )

    def advance(
        self, frames: Array, state: TransducerBeamState, final: bool = False
    ) -> list[Token]:
        """Processes the next frames.

        Arguments
        ---------
        frames : torch.Tensor or numpy.ndarray
            The next projected frames, (frames, features), any number of them.
        state : TransducerBeamState
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
            If the shape is wrong, or the stream has ended.
        """
        new = self._searched(frames, state)
        # endpoints alone depend on it: a look ahead needs none
        self._greedy.advance(frames, new.greedy)
        if final:
            best = max(new.hypotheses, key=self._ended)
            tokens = best.tokens
            new.hypotheses, new.score = [], float(self._ended(best))
        else:
            count = shared_length(each.tokens for each in new.hypotheses)
            tokens = new.hypotheses[0].tokens[:count]
            new.hypotheses = [each.without(count) for each in new.hypotheses]
        vars(state).update(vars(new))
        return list(tokens)

    def look_ahead(
        self, frames: Array, state: TransducerBeamState
    ) -> list[Token]:
        """Finds the tokens that follow the committed ones if the stream
        continues with these frames.

        Arguments
        ---------
        frames : torch.Tensor or numpy.ndarray
            Those frames, (frames, features), possibly none.
        state : TransducerBeamState
            State after the previous frames; not modified.

        Returns
        -------
        list of Token
            The tokens of the best hypothesis.

        Raises
        ------
        ValueError
            As for :meth:`advance`.
        """
        if not state.hypotheses and not len(frames):
            return []
        return list(self._searched(frames, state).hypotheses[0].tokens)

    def frame_labels(
        self, frames: Array, state: TransducerBeamState
    ) -> list[int]:
        """The first label that greedy search finds at each frame, for an
        endpointer.

        Arguments
        ---------
        frames : torch.Tensor or numpy.ndarray
            The next projected frames, (frames, features).
        state : TransducerBeamState
            State after the previous frames; not modified.

        Returns
        -------
        list of int
        """
        return self._greedy.frame_labels(frames, state.greedy)

    def close(self, state: TransducerBeamState) -> list[Token]:
        """Commits the best text so far, at a pause. The other hypotheses are
        dropped, and the search continues from there.

        Arguments
        ---------
        state : TransducerBeamState
            The state; updated in place.

        Returns
        -------
        list of Token
            The newly committed tokens.
        """
        if not state.hypotheses:
            return []
        best = max(state.hypotheses, key=self._ended)
        state.hypotheses = [best.without(len(best.tokens))]
        return list(best.tokens)

    def export_context(self, context: TransducerBeamState) -> WrittenHypotheses:
        """Converts the state of a stream that goes on to what a snapshot
        holds.

        Arguments
        ---------
        context : TransducerBeamState
            The state.

        Returns
        -------
        WrittenHypotheses
        """
        return WrittenHypotheses(
            [WrittenHypothesis.of(each) for each in context.hypotheses],
            context.greedy.history,
            context.frames,
        )

    def import_context(self, context: WrittenHypotheses) -> TransducerBeamState:
        """Inverse of :meth:`export_context`. The stream goes on exactly.

        Arguments
        ---------
        context : WrittenHypotheses
            The result of :meth:`export_context`.

        Returns
        -------
        TransducerBeamState
        """
        return TransducerBeamState(
            [each.read(self._scorer) for each in context.hypotheses],
            TransducerState(context.history, context.frames),
        )

    def context_form(
        self, values: Mapping[str, Any], frames: int, labels: int
    ) -> WrittenHypotheses:
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
        WrittenHypotheses

        Raises
        ------
        ValueError
            If no state can have these values.
        """
        if not frames:
            return self.export_context(self.make_streaming_context())
        weights, limit = self._greedy.weights, self._greedy.max_symbols
        written = WrittenHypotheses.from_values(
            values, frames, weights.context_size
        )
        written.check_among(self._beam_size)
        beside = {f"history.{i}": h for i, h in enumerate(written.history)}
        self._greedy.context_form(beside, frames, labels)
        scored = self._scorer is not None
        for each in written.hypotheses:
            each.check(frames, self._said, labels, limit, scored)
        return written

    def to_dict(self) -> dict[str, Any]:
        """Returns the options that results depend on, as plain values.

        Returns
        -------
        dict
            The language model by a digest of its file.
        """
        return {**super().to_dict(), **self._greedy.to_dict()}

    def _ended(self, hypothesis: Hypothesis) -> float:
        """Score of a hypothesis if the text ends with it."""
        if hypothesis.words is None or self._scorer is None:
            return hypothesis.score
        return hypothesis.score + hypothesis.words.ended(self._scorer)

    def _searched(
        self, frames: Array, state: TransducerBeamState
    ) -> TransducerBeamState:
        """Returns the state after searching further frames, but for that of
        the greedy search."""
        check_goes_on(state.hypotheses)
        array = checked_frames(frames, self._greedy.weights.features)
        new = state.fork()
        predicted: dict[tuple[int, ...], NDArray[Any]] = {}
        for index, frame in enumerate(array, start=state.frames):
            found = self._next(new.hypotheses, frame, index, predicted)
            if (index + 1) % RECOMBINE_FRAMES == 0:
                found = _recombined(found)
            if (index + 1) % SETTLE_FRAMES == 0:
                oldest = index + 1 - self.most_provisional_frames
                found = _agreeing(found, oldest)
            new.hypotheses = found
        return new

    def _next(
        self,
        hypotheses: list[Hypothesis],
        frame: NDArray[Any],
        index: int,
        predicted: dict[tuple[int, ...], NDArray[Any]],
    ) -> list[Hypothesis]:
        """Hypotheses behind a frame, best first."""
        weights = self._greedy.weights
        ended: dict[tuple[int, ...], Hypothesis] = {}
        active = hypotheses
        for emitted in range(self._greedy.max_symbols + 1):
            for each in active:
                if each.history not in predicted:
                    predicted[each.history] = weights.predict(each.history)
            rows = weights.log_probs(
                frame[None], np.stack([predicted[h.history] for h in active])
            )
            if not np.isfinite(rows).all():
                raise ValueError(
                    must_be("frames", "finite", "NaN or infinite numbers")
                )
            blanks = rows[:, BLANK].tolist()
            for each, blank in zip(active, blanks, strict=True):
                waiting = each.wait(blank)
                same = ended.get(each.labels)
                ended[each.labels] = (
                    waiting if same is None else merge(same, waiting)
                )
            if emitted == self._greedy.max_symbols:
                break
            active = self._emitting(active, rows, index, ended)
            if not active:
                break
        return self._best(list(ended.values()))

    def _emitting(
        self,
        active: list[Hypothesis],
        rows: NDArray[np.float64],
        index: int,
        ended: dict[tuple[int, ...], Hypothesis],
    ) -> list[Hypothesis]:
        """The hypotheses with one more label that are worth going on with."""
        lowest = self._numbers["token_prune_min_logp"]
        threshold = max(each.total for each in ended.values())
        threshold += self._numbers["beam_prune_logp"]
        rows = rows.copy()
        best = rows.argmax(axis=1)
        rows[:, self._unsaid] = -np.inf
        likely = rows >= lowest
        at = np.arange(len(rows))
        likely[at, best] |= np.isfinite(rows[at, best])
        new = []
        for row, label in np.argwhere(likely).tolist():
            parent, log_prob = active[row], float(rows[row, label])
            if self._scorer is None and parent.score + log_prob < threshold:
                continue
            words = parent.words
            if words is not None and self._scorer is not None:
                words = words.add(self._pieces[label], self._scorer)
            emitting = parent.emit(label, index, log_prob, words)
            if emitting.total >= threshold:
                new.append(emitting)
        return self._best(new)

    def _best(self, hypotheses: list[Hypothesis]) -> list[Hypothesis]:
        if not hypotheses:
            return []
        best = heapq.nlargest(self._beam_size, hypotheses, key=_total)
        threshold = best[0].total + self._numbers["beam_prune_logp"]
        return [each for each in best if each.total >= threshold]


def _total(hypothesis: Hypothesis) -> float:
    return hypothesis.total


def _recombined(hypotheses: list[Hypothesis]) -> list[Hypothesis]:
    """Keeps the best of those that predictor, language model and hotwords
    cannot tell apart any more: what follows scores the same for all."""
    best: dict[object, Hypothesis] = {}
    for each in hypotheses:
        best.setdefault(each.future, each)
    return list(best.values())


def _agreeing(hypotheses: list[Hypothesis], oldest: int) -> list[Hypothesis]:
    """Drops hypotheses that differ from the best one in a token that began
    before a frame."""
    best = hypotheses[0]
    old = sum(token.start < oldest for token in best.tokens)

    def agrees(other: Hypothesis) -> bool:
        # nor has it an old token of its own
        following = other.tokens[old : old + 1]
        return other.tokens[:old] == best.tokens[:old] and not (
            following and following[0].start < oldest
        )

    return [each for each in hypotheses if agrees(each)]
