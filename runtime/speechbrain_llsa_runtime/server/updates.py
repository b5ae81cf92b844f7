"""What a live stream tells its client. Standard library only."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, replace
from typing import Any

from speechbrain_llsa_runtime.transcripts.transcript import Transcript, Word

REPLAY_SECONDS = 120.0
"""Audio whose committed text is kept for a client that has lost its
connection; it must not have kept less of the audio."""


MOST_REPLAYED = 2000
"""Results that are kept at most."""


@dataclass(frozen=True)
class Update:
    """What one step adds to a stream.

    The committed part depends on the audio alone, never on how it was sent, so
    that a stream that is resumed repeats its updates exactly.

    Example
    -------
    >>> update = Update(Transcript("ONE"), samples=1600, is_result=True)
    >>> Update.from_dict(update.to_dict()) == update
    True
    """

    transcript: Transcript
    """Text and words, with times and segments counted from the start of the
    stream."""

    samples: int
    """Samples of the stream, at its own rate, up to the end of what is
    committed."""

    is_result: bool = False
    """Whether it has final words, ends a segment in which something was said,
    or answers a request to finalize."""

    number: int = 0
    """How many results came before it."""

    start: float = 0.0
    """Where the result before it ends, in seconds."""

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

    def end(self, sample_rate: int) -> float:
        """Where it ends, as a result.

        Arguments
        ---------
        sample_rate : int
            Samples per second of the stream.

        Returns
        -------
        float
            Seconds: the end of its last final word, if it has one.
        """
        words = self.transcript.final_words
        end = words[-1].end if words else self.samples / sample_rate
        return max(self.start, end)

    @property
    def must_arrive(self) -> bool:
        """Whether it may not be replaced by the next one."""
        return bool(
            self.is_result
            or self.transcript.committed
            or self.closes
            or self.finished
            or self.flushed
            or self.error
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
        """Converts the committed part of a result to a dict, for JSON.

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
            "number": self.number,
            "start": self.start,
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
            True,
            values["number"],
            values["start"],
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
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._updates)

    def put(self, update: Update) -> None:
        """Adds an update.

        Arguments
        ---------
        update : Update
            The next one of the stream.
        """
        with self._lock:
            if self._updates and not self._updates[-1].must_arrive:
                self._updates.pop()
            self._updates.append(update)

    def take(self) -> list[Update]:
        """Takes all updates.

        Returns
        -------
        list of Update
        """
        with self._lock:
            taken = list(self._updates)
            self._updates.clear()
        return taken


class Replay:
    """The results of the last ``REPLAY_SECONDS`` of a stream.

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
        while (
            self.updates[0].samples < oldest
            or len(self.updates) > MOST_REPLAYED
        ):
            self.updates.popleft()
