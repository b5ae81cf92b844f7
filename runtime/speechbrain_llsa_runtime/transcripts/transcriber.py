"""Converts the log-probabilities of one stream to text, words with times and
segments. Needs only NumPy.

Sessions, batchers and offline transcription all use this class.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

from speechbrain_llsa_runtime.decoders.greedy import (
    GreedySearch,
    PieceDecoder,
    TextState,
)
from speechbrain_llsa_runtime.decoders.tokens import (
    Search,
    SearchState,
    Token,
    WritableSearch,
    frame_labels,
)
from speechbrain_llsa_runtime.geometry import FRAME_SECONDS
from speechbrain_llsa_runtime.snapshot import below
from speechbrain_llsa_runtime.transcripts.endpointer import (
    Endpointer,
    SegmentState,
)
from speechbrain_llsa_runtime.transcripts.transcript import Transcript, Word
from speechbrain_llsa_runtime.transcripts.words import (
    WordAssembler,
    WordOffsets,
    WordState,
)
from speechbrain_llsa_runtime.utils.arrays import Array
from speechbrain_llsa_runtime.utils.checks import check_type
from speechbrain_llsa_runtime.utils.errors import must_be


@dataclass
class TranscriberState:
    """State of a transcriber for one stream. Only the text of the segment grows
    with the stream."""

    search: SearchState | None = None
    """State of the search, which has ``fork()``. ``None`` once the stream has
    ended."""

    pieces: TextState = field(default_factory=TextState)
    """State of joining labels to text."""

    text: str = ""
    """Committed text of the open segment; without endpoints, of the whole
    stream."""

    frames: int = 0
    """Frames since the stream began."""

    word: WordState = field(default_factory=WordState)
    """State of the open word."""

    segment: SegmentState = field(default_factory=SegmentState)
    """State of the open segment."""

    def fork(self) -> TranscriberState:
        """Makes an independent copy.

        Returns
        -------
        TranscriberState
        """
        return TranscriberState(
            self.search and self.search.fork(),
            self.pieces.fork(),
            self.text,
            self.frames,
            self.word.fork(),
            self.segment.fork(),
        )


class Transcriber:
    """Converts log-probabilities to transcripts, push by push.

    Words, their times and confidences, and segments do not depend on how the
    audio is pushed.

    Arguments
    ---------
    text_decoder : PieceDecoder
        Converts labels to text.
    search : Search, optional
        Converts what the model gives for frames to labels
        (:mod:`speechbrain_llsa_runtime.decoders.tokens`). Greedy CTC by
        default.
    endpointer : Endpointer, optional
        Decides where segments close. By default the stream is one segment.
    word_offsets : WordOffsets, optional
        Start and end of words relative to the frames of their labels; by
        default 0.
    frame_seconds : float
        Seconds from one frame to the next.

    Raises
    ------
    TypeError
        If an argument has the wrong type.

    Example
    -------
    >>> import numpy as np
    >>> from speechbrain_llsa_runtime.decoders.greedy import PieceDecoder
    >>> decoder = PieceDecoder(["", " ONE", " TWO"], ["", "ONE", "TWO"])
    >>> transcriber = Transcriber(decoder)
    >>> state = transcriber.make_streaming_context()
    >>> log_probs = np.log(np.eye(3)[[0, 1, 1, 0, 0, 2, 0]] * 0.7 + 0.1)
    >>> transcript = transcriber.advance(log_probs, log_probs[:0], state)
    >>> transcript.committed
    'ONE TWO'
    >>> [(word.text, word.start, word.final) for word in transcript.words]
    [('ONE', 0.02, True), ('TWO', 0.1, False)]
    """

    def __init__(
        self,
        text_decoder: PieceDecoder,
        search: Search | None = None,
        endpointer: Endpointer | None = None,
        word_offsets: WordOffsets | None = None,
        frame_seconds: float = FRAME_SECONDS,
    ) -> None:
        search = GreedySearch() if search is None else search
        for name, part, needed in (
            ("text_decoder", text_decoder, "decode_streaming"),
            ("search", search, "look_ahead"),
        ):
            if not hasattr(part, needed):
                raise TypeError(
                    must_be(
                        name, f"an object with {needed}", type(part).__name__
                    )
                )
        if endpointer is not None:
            check_type("endpointer", endpointer, Endpointer)
        if word_offsets is None:
            word_offsets = WordOffsets()
        check_type("word_offsets", word_offsets, WordOffsets)
        self.text_decoder = text_decoder
        self.search: Search = search
        self.endpointer = endpointer
        self._words = WordAssembler(word_offsets, frame_seconds)
        begins = [piece.startswith(" ") for piece in text_decoder.pieces]
        self._begins_word = begins if any(begins) else None

    @property
    def word_offsets(self) -> WordOffsets:
        """Start and end of words relative to the frames of their labels."""
        return self._words.offsets

    def changed(
        self, search: Search, endpointer: Endpointer | None
    ) -> Transcriber:
        """Makes a copy with another search and endpointer.

        Arguments
        ---------
        search : GreedySearch or BeamSearch
            Converts log-probabilities to labels.
        endpointer : Endpointer or None
            Decides where segments close; ``None`` if they never do.

        Returns
        -------
        Transcriber

        Raises
        ------
        TypeError
            If one has the wrong type.
        """
        return Transcriber(
            self.text_decoder,
            search,
            endpointer,
            self.word_offsets,
            self._words.frame_seconds,
        )

    def make_streaming_context(self) -> TranscriberState:
        """Makes an initial state for :meth:`advance`.

        Returns
        -------
        TranscriberState
        """
        return TranscriberState(self.search.make_streaming_context())

    def advance(
        self,
        log_probs: Array,
        ahead: Array,
        state: TranscriberState,
        final: bool = False,
    ) -> Transcript:
        """Processes the next frames.

        Arguments
        ---------
        log_probs : torch.Tensor or numpy.ndarray
            What the search takes of the next committed frames, such as
            log-probabilities, (frames, labels).
        ahead : torch.Tensor or numpy.ndarray
            The same of the provisional frames after them.
        state : TranscriberState
            State after the previous frames; updated in place unless an error is
            raised.
        final : bool
            Whether the stream ends with these frames.

        Returns
        -------
        Transcript
        """
        forked = state.fork()
        texts, words, first = [], [], 0
        while True:
            segment = forked.segment.number
            end = self._find_endpoint(log_probs[first:], forked)
            last = len(log_probs) if end is None else first + end
            tokens = self.search.advance(
                log_probs[first:last],
                forked.search,
                final and end is None,
            )
            forked.frames += last - first
            first = last
            if end is not None:
                tokens += self.search.close(forked.search)
            text, ended = self._add(tokens, forked, segment)
            texts.append(text)
            words += ended
            if end is None:
                break
            limit = self._words.earliest_start(forked.frames)
            words += self._words.end(forked.text, limit, forked.word, segment)
            forked.text = ""
        if final:
            limit = round((forked.frames + 1) * self._words.frame_seconds, 3)
            words += self._words.end(forked.text, limit, forked.word, segment)
            provisional = ""
            others: list[Word] = []
        else:
            provisional, others = self._look_ahead(ahead, forked)
        vars(state).update(vars(forked))
        return Transcript(
            "".join(texts), provisional, (*words, *others), segment
        )

    def export_context(self, context: TranscriberState) -> TranscriberState:
        """Converts a state to what a snapshot holds
        (:mod:`speechbrain_llsa_runtime.snapshot`).

        Arguments
        ---------
        context : TranscriberState
            The state.

        Returns
        -------
        TranscriberState

        Raises
        ------
        ValueError
            If the state of the search cannot be saved.
        """
        search = self._writable_search()
        if context.search is None:
            return context
        return replace(context, search=search.export_context(context.search))

    def import_context(self, context: TranscriberState) -> TranscriberState:
        """Inverse of :meth:`export_context`.

        Arguments
        ---------
        context : TranscriberState
            The result of :meth:`export_context`.

        Returns
        -------
        TranscriberState

        Raises
        ------
        ValueError
            If the state of the search cannot be saved.
        """
        search = self._writable_search()
        if context.search is None:
            return context
        return replace(context, search=search.import_context(context.search))

    def context_form(
        self, values: Mapping[str, Any], frames: int
    ) -> TranscriberState:
        """Expected layout of the result of :meth:`export_context` for a stream
        that has not ended (:mod:`speechbrain_llsa_runtime.snapshot`).

        Arguments
        ---------
        values : dict
            Values of the state in the snapshot, by path.
        frames : int
            Frames that have been committed.

        Returns
        -------
        TranscriberState

        Raises
        ------
        ValueError
            If the state of the search cannot be saved, or no state can have
            these values.
        """
        search = self._writable_search().context_form(
            below("search", values), frames, len(self.text_decoder.pieces)
        )
        text = values["text"]
        word = WordState(**below("word", values))
        segment = SegmentState(**below("segment", values))
        # Without text in this segment, there may have been some before.
        started = bool(text) or (
            segment.number > 0 and values["pieces.started"]
        )
        if not isinstance(text, str) or not isinstance(started, bool):
            raise TypeError("text or pieces.started is of another type")
        possible = repr(segment) == repr(SegmentState())
        if self.endpointer is not None:
            possible = _is_segment(
                segment, frames, len(self.text_decoder.pieces)
            )
        if not possible or not _is_word(word, text, frames):
            raise ValueError(
                f"the segment, or the word that goes on, cannot be like that "
                f"after {frames} frames"
            )
        return TranscriberState(
            search, TextState(started), text, frames, word, segment
        )

    def to_dict(self) -> dict[str, Any]:
        """Returns the options that transcripts depend on, as plain values.

        Returns
        -------
        dict

        Raises
        ------
        ValueError
            If the state of the search cannot be saved.
        """
        about = {
            "pieces": self.text_decoder.pieces,
            "first_pieces": self.text_decoder.first_pieces,
            "endpointer": self.endpointer and self.endpointer.to_dict(),
            "word_offsets": vars(self.word_offsets),
        }
        search = self._writable_search().to_dict()
        if search != GreedySearch().to_dict():  # as before there were others
            about["search"] = search
        return about

    def _writable_search(self) -> WritableSearch:
        if not all(hasattr(self.search, name) for name in _WRITABLE):
            raise ValueError(
                must_be(
                    "search",
                    (
                        "one whose state can be written, such as "
                        "GreedySearch, for a "
                        "snapshot"
                    ),
                    type(self.search).__name__,
                )
            )
        return cast(WritableSearch, self.search)

    def _find_endpoint(
        self, log_probs: Array, state: TranscriberState
    ) -> int | None:
        """Number of frames that belong to the open segment, if it closes within
        them."""
        if self.endpointer is None:
            return None
        end = self.endpointer.find(
            frame_labels(self.search, log_probs, state.search),
            state.frames,
            state.segment,
            self._begins_word,
            frame_seconds=self._words.frame_seconds,
        )
        return None if end is None else end - state.frames

    def _add(
        self,
        tokens: Iterable[Token],
        state: TranscriberState,
        segment: int,
        final: bool = True,
    ) -> tuple[str, list[Word]]:
        """Adds tokens; returns their text, and the words that end with them."""
        texts, words = [], []
        for token in tokens:
            piece = self.text_decoder.decode_streaming(
                [token.label], state.pieces
            )
            texts.append(piece)
            words += self._words.add(
                piece, state.text, token, state.word, segment, final
            )
            state.text += piece
            if segment:
                state.text = state.text.lstrip(" ")
        return "".join(texts), words

    def _look_ahead(
        self, ahead: Array, state: TranscriberState
    ) -> tuple[str, list[Word]]:
        """Text and words that would follow if the stream continued with these
        frames."""
        segment = state.segment.number
        tokens = self.search.look_ahead(ahead, state.search)
        state = TranscriberState(
            pieces=state.pieces.fork(),
            text=state.text[state.text.rfind(" ") + 1 :],
            word=state.word.fork(),
        )
        text, words = self._add(tokens, state, segment, final=False)
        words += self._words.end(
            state.text, math.inf, state.word, segment, final=False
        )
        return text, words


_WRITABLE = "export_context", "import_context", "context_form", "to_dict"
"""What a search has whose state can be saved."""


def _is_word(word: WordState, text: str, frames: int) -> bool:
    """Whether a word state is possible, given the text since its last space."""
    kinds = type(word.start), type(word.end), type(word.confidence)
    if kinds != (int, int, float):
        return False
    if not text[text.rfind(" ") + 1 :]:
        return word == WordState()
    possible = 0 <= word.start < word.end <= frames
    # A beam may hold a token whose probability rounds to 0.
    return possible and 0.0 <= word.confidence <= 1.0


def _is_segment(segment: SegmentState, frames: int, labels: int) -> bool:
    """Whether a segment state is possible after a number of frames."""
    numbers = segment.number, segment.start, segment.silence, segment.label
    if not all(type(number) is int for number in numbers):
        return False
    length, silence = frames - segment.start, segment.silence
    return (
        isinstance(segment.speech, bool)
        and (0 < segment.number <= segment.start or numbers[:2] == (0, 0))
        and 0 <= silence <= length
        and segment.speech == (silence < length)
        and -1 <= segment.label < labels
        and (segment.label == -1) == (frames == 0)
        and (length == 0 or (segment.label == 0) == (silence > 0))
    )
