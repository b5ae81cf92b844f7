"""Words and their times, from tokens. Needs NumPy alone.

A CTC model says that there is a label, not how long it lasts: the frames
where a label is the best one are a narrow spike, somewhere within what it
stands for. Where a model has learnt to put its spikes is much the same for all
of its words. So two constants, which go with a model, lead from spikes to
words: how far a word begins from its first frame, and ends behind its last
one. A word ends no later than the next one begins: so in fluent speech, where
one word follows the other, its end is where the next one says, and the
constant matters before pauses alone.
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
    """Where words begin and end, relative to the frames of their labels.

    ``estimate_offsets`` of :mod:`speechbrain_llsa.inference.word_times` finds
    them for a model, given speech and when its words are spoken.

    Raises
    ------
    TypeError
        If an offset is not a number.
    ValueError
        If one is out of range, or the start lies behind the end.

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
    """What is known of the word that goes on. Its text is what follows the
    last space of the text."""

    start: int = 0
    """Its first frame; 0 where no word goes on."""

    end: int = 0
    """The frame after the last one of its newest token; 0 where no word goes
    on."""

    confidence: float = 1.0
    """The least confidence of its tokens, 0 to 1; 1 where no word goes on."""

    def fork(self) -> WordState:
        """An independent copy.

        Returns
        -------
        WordState
        """
        return WordState(**vars(self))


class WordAssembler:
    """Puts words together from the texts of tokens. Spaces lie between words.

    Arguments
    ---------
    offsets : WordOffsets
        From frames to times.

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

    def __init__(self, offsets: WordOffsets) -> None:
        self.offsets = offsets

    def add(
        self,
        piece: str,
        text: str,
        token: Token,
        state: WordState,
        segment: int,
        final: bool = True,
    ) -> list[Word]:
        """Takes the next token.

        Arguments
        ---------
        piece : str
            Its text.
        text : str
            The text of the segment before it.
        token : speechbrain_llsa_runtime.decoders.tokens.Token
            The token.
        state : WordState
            The word that goes on. It is brought up to date.
        segment : int
            Serial number of the segment.
        final : bool
            Whether the token is committed.

        Returns
        -------
        list of Word
            Those that have ended.
        """
        words = []
        part, *others = piece.split(" ")
        self._extend(part, token, state)
        text += part
        for index, part in enumerate(others):
            # A space behind all text of its token, or before some of it.
            behind = state.end == token.end and not any(others[index:])
            limit = self.earliest_start(token.end if behind else token.start)
            words += self.end(text, limit, state, segment, final)
            self._extend(part, token, state)
            text += " " + part
        return words

    def earliest_start(self, frame: int) -> float:
        """Where a word can begin at the earliest.

        Arguments
        ---------
        frame : int
            Its first frame, at the earliest.

        Returns
        -------
        float
            Seconds from the start of the stream.
        """
        return _seconds(frame, self.offsets.start_seconds)

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
        """Ends the word that goes on.

        Arguments
        ---------
        text : str
            The text of the segment, which ends with the word.
        limit : float
            Where the word ends at the latest: seconds from the start of the
            stream to the start of the next word, or to its own end.
        state : WordState
            The word. It is brought up to date.
        segment : int
            Serial number of the segment.
        final : bool
            Whether all of its tokens are committed, and no more follow.

        Returns
        -------
        list of Word
            One, or none.
        """
        if not state.end:
            return []
        start = self.earliest_start(state.start)
        end = min(limit, _seconds(state.end, self.offsets.end_seconds))
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


def _seconds(frame: int, offset_seconds: float) -> float:
    return round(max(0.0, frame * FRAME_SECONDS + offset_seconds), 3)
