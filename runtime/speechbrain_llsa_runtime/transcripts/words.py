"""Assembles words and their times from tokens. Needs only NumPy.

A CTC model detects labels, but not their duration: the frames where a label is
the best one are a narrow spike somewhere within the sound. Where a model puts
its spikes is much the same for all words. So two constants per model map spikes
to words: the distance of a word's start from its first frame, and of its end
from its last one. A word ends no later than the next one begins: in fluent
speech, the start of the next word therefore determines its end, and the
constant only matters before pauses.
"""

from __future__ import annotations

from dataclasses import dataclass

from speechbrain_llsa_runtime.decoders.tokens import Token
from speechbrain_llsa_runtime.geometry import FRAME_SECONDS
from speechbrain_llsa_runtime.transcripts.transcript import Word
from speechbrain_llsa_runtime.utils.errors import must_be

LARGEST_OFFSET_SECONDS = 10.0


@dataclass(frozen=True)
class WordOffsets:
    """Offsets of word starts and ends from the frames of their labels.

    ``estimate_offsets`` of :mod:`speechbrain_llsa.inference.word_times`
    estimates them for a model from speech with known word times.

    Raises
    ------
    TypeError
        If an offset is not a number.
    ValueError
        If one is out of range, or the start is after the end.

    Example
    -------
    >>> WordOffsets(start_seconds=-0.08, end_seconds=0.25).start_seconds
    -0.08
    """

    start_seconds: float = 0.0
    """From the start of a word's first frame to the start of the word."""

    end_seconds: float = 0.0
    """From the end of a word's last frame to the end of the word, at most."""

    def __post_init__(self) -> None:
        limit = LARGEST_OFFSET_SECONDS
        for name in ("start_seconds", "end_seconds"):
            value = getattr(self, name)
            if type(value) not in (int, float):
                raise TypeError(must_be(name, "a number", repr(value)))
            if not -limit <= value <= limit:
                raise ValueError(must_be(name, f"{-limit} to {limit}", value))
        if self.start_seconds > self.end_seconds:
            raise ValueError(
                must_be(
                    "start_seconds",
                    f"at most end_seconds, {self.end_seconds}",
                    self.start_seconds,
                )
            )


@dataclass
class WordState:
    """State of the open word. Its text is what follows the last space of the
    text."""

    start: int = 0
    """First frame; 0 if no word is open."""

    end: int = 0
    """The frame after the last one of its newest token; 0 if no word is
    open."""

    confidence: float = 1.0
    """Lowest confidence of its tokens, 0 to 1; 1 if no word is open."""

    def fork(self) -> WordState:
        """Makes an independent copy.

        Returns
        -------
        WordState
        """
        return WordState(**vars(self))


class WordAssembler:
    """Assembles words from the texts of tokens. Words are separated by spaces.

    Arguments
    ---------
    offsets : WordOffsets
        Offsets of word times from frames.
    frame_seconds : float
        Seconds from one frame to the next.

    Example
    -------
    >>> words = WordAssembler(WordOffsets(end_seconds=0.1))
    >>> state = WordState()
    >>> from speechbrain_llsa_runtime.decoders.tokens import Token
    >>> words.add("HO", "", Token(1, 50, 52, 0.9), state, segment=0)
    []
    >>> words.add("T TA", "HO", Token(2, 60, 61, 0.8), state, segment=0)
    [Word(text='HOT', start=1.0, end=1.2, confidence=0.8, final=True, segment=0)]
    >>> words.end("HOT TA", 1.3, state, segment=0, final=False)
    [Word(text='TA', start=1.2, end=1.3, confidence=0.8, final=False, segment=0)]
    """  # noqa: E501

    def __init__(
        self, offsets: WordOffsets, frame_seconds: float = FRAME_SECONDS
    ) -> None:
        self.offsets = offsets
        self.frame_seconds = frame_seconds

    def add(
        self,
        piece: str,
        text: str,
        token: Token,
        state: WordState,
        segment: int,
        final: bool = True,
    ) -> list[Word]:
        """Adds the next token.

        Arguments
        ---------
        piece : str
            Text of the token.
        text : str
            The text of the segment before it.
        token : speechbrain_llsa_runtime.decoders.tokens.Token
            The token.
        state : WordState
            The open word; updated in place.
        segment : int
            Serial number of the segment.
        final : bool
            Whether the token is committed.

        Returns
        -------
        list of Word
            The words that have ended.
        """
        words = []
        part, *others = piece.split(" ")
        self._extend(part, token, state)
        text += part
        spoken = bool(part)
        for index, part in enumerate(others):
            # A space behind all text of its token, or before some of it.
            behind = spoken and not any(others[index:])
            limit = self.earliest_start(token.end if behind else token.start)
            words += self.end(text, limit, state, segment, final)
            self._extend(part, token, state)
            text += " " + part
            spoken = spoken or bool(part)
        return words

    def earliest_start(self, frame: int) -> float:
        """Earliest time at which a word can start.

        Arguments
        ---------
        frame : int
            Its earliest possible first frame.

        Returns
        -------
        float
            Seconds from the start of the stream.
        """
        return self._seconds(frame, self.offsets.start_seconds)

    def _extend(self, part: str, token: Token, state: WordState) -> None:
        if not part:
            return
        if not state.end:
            state.start = token.start
        state.end = token.end
        state.confidence = min(state.confidence, token.confidence)

    def end(
        self,
        text: str,
        limit: float,
        state: WordState,
        segment: int,
        final: bool = True,
    ) -> list[Word]:
        """Ends the open word.

        Arguments
        ---------
        text : str
            The text of the segment, which ends with the word.
        limit : float
            Latest possible end of the word, in seconds from the start of the
            stream: the start of the next word, or the end of the stream.
        state : WordState
            The open word; updated in place.
        segment : int
            Serial number of the segment.
        final : bool
            Whether all its tokens are committed and no more follow.

        Returns
        -------
        list of Word
            One word, or none.
        """
        if not state.end:
            return []
        start = self.earliest_start(state.start)
        end = min(limit, self._seconds(state.end, self.offsets.end_seconds))
        word = Word(
            text[text.rfind(" ") + 1 :],
            start,
            max(start, end),
            state.confidence,
            final,
            segment,
        )
        vars(state).update(vars(WordState()))
        return [word]

    def _seconds(self, frame: int, offset_seconds: float) -> float:
        return round(max(0.0, frame * self.frame_seconds + offset_seconds), 3)
