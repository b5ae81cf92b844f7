"""What a live stream tells its client. Standard library only."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import Any

from speechbrain_llsa_runtime.transcripts.transcript import Transcript, Word

REPLAY_SECONDS = 120.0
"""Audio whose committed text is kept for a client that has lost its
connection; it must not have kept less of the audio."""


@dataclass(frozen=True)
class Update:
    """What one step adds to a stream.

    The committed part depends on the audio alone, never on how it was sent, so
    that a stream that is resumed repeats its updates exactly.

    Example
    -------
    >>> update = Update(Transcript("ONE"), samples=1600)
    >>> Update.from_dict(update.to_dict()) == update
    True
    """

    transcript: Transcript
    """Text and words, with times and segments counted from the start of the
    stream."""

    samples: int
    """Samples of the stream, at its own rate, up to the end of what is
    committed."""

    start: int = 0
    """Samples up to the end of the update before that adds text."""

    number: int = 0
    """How many updates before this one add text."""

    closes: bool = False
    """Whether a segment closes with it."""

    finalized: bool = False
    """Whether all that was sent before a request to finalize is committed."""

    finished: bool = False
    """Whether the stream has ended."""

    flushed: bool = False
    """Whether all that was sent before a request to flush has been
    processed."""

    error: str | None = None
    """Why the stream has ended before its end, in one sentence."""

    @property
    def adds_text(self) -> bool:
        """Whether it commits text, a word or a segment's end."""
        return bool(
            self.transcript.committed
            or self.transcript.final_words
            or self.closes
            or self.finalized
        )

    @property
    def must_arrive(self) -> bool:
        """Whether it may not be replaced by the next one."""
        return bool(
            self.adds_text or self.finished or self.flushed or self.error
        )

    def committed_part(self) -> Update:
        """The update without what is provisional.

        Returns
        -------
        Update
        """
        transcript = replace(
            self.transcript,
            provisional="",
            words=self.transcript.final_words,
        )
        return replace(self, transcript=transcript)

    def to_dict(self) -> dict[str, Any]:
        """Converts a committed part to a dict, for JSON.

        Returns
        -------
        dict
        """
        return {
            "committed": self.transcript.committed,
            "words": [
                [word.text, word.start, word.end, word.confidence, word.segment]
                for word in self.transcript.final_words
            ],
            "segment": self.transcript.segment,
            "samples": self.samples,
            "start": self.start,
            "number": self.number,
            "closes": self.closes,
            "finalized": self.finalized,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Update:
        """The inverse of :meth:`to_dict`.

        Arguments
        ---------
        values : dict
            As :meth:`to_dict` gives them.

        Returns
        -------
        Update
        """
        words = tuple(
            Word(text, start, end, confidence, True, segment)
            for text, start, end, confidence, segment in values["words"]
        )
        return cls(
            Transcript(values["committed"], "", words, values["segment"]),
            values["samples"],
            values["start"],
            values["number"],
            values["closes"],
            values["finalized"],
        )


class Outbox:
    """Updates on their way to a client. A provisional text is replaced by the
    next one; committed text is kept until it is taken.

    Example
    -------
    >>> outbox = Outbox()
    >>> for text in ("O", "ON"):
    ...     outbox.put(Update(Transcript("", text), samples=0))
    >>> [update.transcript.provisional for update in outbox.take()]
    ['ON']
    """

    def __init__(self) -> None:
        self._updates: deque[Update] = deque()

    def __len__(self) -> int:
        return len(self._updates)

    def put(self, update: Update) -> None:
        """Adds an update.

        Arguments
        ---------
        update : Update
            The next one of the stream.
        """
        if self._updates and not self._updates[-1].must_arrive:
            self._updates.pop()
        self._updates.append(update)

    def take(self) -> list[Update]:
        """Takes all updates.

        Returns
        -------
        list of Update
        """
        taken = []
        while self._updates:
            taken.append(self._updates.popleft())
        return taken


class Replay:
    """The committed updates of the last ``REPLAY_SECONDS`` of a stream.

    Arguments
    ---------
    updates : list of Update
        Those that are there already.
    """

    def __init__(self, updates: list[Update] | None = None) -> None:
        self.updates = deque(updates or [])

    def add(self, update: Update, sample_rate: int) -> None:
        """Adds an update, and drops those that are too old.

        Arguments
        ---------
        update : Update
            The next one of the stream.
        sample_rate : int
            Samples per second of the stream.
        """
        self.updates.append(update.committed_part())
        oldest = update.samples - REPLAY_SECONDS * sample_rate
        while self.updates[0].samples < oldest:
            self.updates.popleft()
