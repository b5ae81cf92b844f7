"""One live stream of the server: audio in, updates out, both bounded."""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from numpy.typing import NDArray

from speechbrain_llsa_runtime.decoders.tokens import Search
from speechbrain_llsa_runtime.inference.batcher import BatchedSession
from speechbrain_llsa_runtime.server.updates import Outbox, Replay, Update
from speechbrain_llsa_runtime.transcripts.endpointer import Endpointer
from speechbrain_llsa_runtime.transcripts.transcript import Transcript, Word
from speechbrain_llsa_runtime.utils.errors import must_be, reason

if TYPE_CHECKING:
    from speechbrain_llsa_runtime.server.engine import Engine

QUEUE_SECONDS = 2.0
"""Audio of a stream that waits at most; more is not accepted meanwhile."""

MOST_WAITING = 64
"""Blocks and requests of a stream that wait at most."""

MOST_UPDATES = 64
"""Updates that wait for a client at most; meanwhile its audio waits."""

SAVED_VERSION = 1


@dataclass(frozen=True)
class StreamOptions:
    """What a client may choose for its stream."""

    search: Search | None = None
    """Finds the text; that of the server by default."""

    endpointer: Endpointer | Literal[False] | None = None
    """Closes segments; that of the server by default, ``False`` for none."""


@dataclass(frozen=True)
class Storage:
    """Where a stream is stored while it runs."""

    store: Callable[[bytes], None]
    """Called from the worker's thread with what ``LiveStream.save`` gives,
    always before the stream is finished."""

    seconds: float | None = None
    """How much audio there may be between two calls; ``None`` for any."""


class LiveStream:
    """A stream of an :class:`~speechbrain_llsa_runtime.server.engine.Engine`.

    All methods without an underscore return at once, and may be called from
    any thread: they only queue. The engine's worker does the rest, and calls
    ``notify`` whenever there are updates, or room for more audio.

    Arguments
    ---------
    engine : Engine
        Runs the stream.
    options : StreamOptions
        What the client chose.
    notify : callable
        Called from the worker's thread.
    saved : bytes, optional
        What :meth:`save` gave: the stream goes on from there.
    storage : Storage, optional
        Where the stream is stored while it runs.
    """

    def __init__(
        self,
        engine: Engine,
        options: StreamOptions,
        notify: Callable[[], None],
        saved: bytes | None = None,
        storage: Storage | None = None,
    ) -> None:
        self.options = options
        self._engine = engine
        self._notify = notify
        self._saved = saved
        self._storage = storage
        self._inbox: deque[tuple[str, Any]] = deque()
        self._outbox = Outbox()
        self._replay = Replay()
        self._arrivals: deque[tuple[int, float]] = deque()
        self._session: BatchedSession | None = None
        self._ending: str | None = None
        self._received = self._taken = self._stored = 0
        self._offset = self._first_segment = 0
        self._number = self._segment = 0
        self._start, self._spoken = 0.0, False
        self._leaving = False
        self.left = False
        """Whether the stream has ended."""
        self.sample_rate: int | None = None
        """Samples per second, once there are some."""

    @property
    def received(self) -> int:
        """Samples that the client has sent so far."""
        return self._received

    @property
    def queued_seconds(self) -> float:
        """Audio that waits."""
        return (self._received - self._taken) / (self.sample_rate or 1)

    @property
    def has_room(self) -> bool:
        """Whether more audio is accepted."""
        return self.left or (
            self.queued_seconds < QUEUE_SECONDS
            and len(self._inbox) < MOST_WAITING
        )

    def push(self, samples: NDArray[Any], sample_rate: int) -> None:
        """Queues the next samples.

        Arguments
        ---------
        samples : numpy.ndarray
            As for ``Session.push``, any number of them.
        sample_rate : int
            Samples per second, the same for the whole stream.
        """
        self.sample_rate = sample_rate
        self._arrivals.append((self._received + len(samples), time.monotonic()))
        self._received += len(samples)
        self._queue("push", samples)

    def flush(self) -> None:
        """Asks for an update once all that was sent has been processed."""
        self._queue("flush")

    def finalize(self) -> None:
        """Commits all that was sent, as at the end of a stream. What follows
        is recognised as one that begins there."""
        self._queue("finalize")

    def finish(self) -> None:
        """Ends the stream. Its last update says so."""
        self._queue("finish")

    def save(self, give: Callable[[bytes | None], None]) -> None:
        """Asks for all that the stream remembers, once all that was sent has
        been processed.

        Arguments
        ---------
        give : callable
            Called from the worker's thread with bytes for :class:`LiveStream`,
            or ``None`` if the stream cannot be saved. Not called if the
            stream ends before.
        """
        self._queue("save", give)

    def leave(self) -> None:
        """Ends the stream without the rest of its text. May be called at any
        time, any number of times."""
        self._leaving = True
        self._engine.wake()

    def take(self) -> list[Update]:
        """Takes the updates since it was called last.

        Returns
        -------
        list of Update
        """
        taken = self._outbox.take()
        if taken:
            self._engine.wake()
        return taken

    def _queue(self, name: str, argument: Any = None) -> None:
        self._inbox.append((name, argument))
        self._engine.wake()

    # what follows is called by the worker alone

    def _open(self) -> None:
        """Begins, or goes on with what was saved."""
        snapshot = None
        if self._saved is not None:
            values, snapshot = _split(self._saved)
            self._received = self._taken = self._stored = values["samples"]
            self.sample_rate = values["sample_rate"]
            self._offset = values["offset"]
            self._first_segment = values["first_segment"]
            self._start, self._number = values["start"], values["number"]
            self._segment = values["segment"]
            self._spoken = values["spoken"]
            self._replay = Replay(
                [Update.from_dict(each) for each in values["replay"]]
            )
            self._saved = None
        self._session = self._begin(snapshot)

    def _begin(self, snapshot: bytes | None = None) -> BatchedSession:
        return self._engine.batcher.session(
            search=self.options.search,
            endpointer=self.options.endpointer,
            snapshot=snapshot,
        )

    def _feed(self) -> bool:
        """Does what is queued, until a step is due. Whether there was any."""
        did = False
        while not (self.left or self._leaving) and self._may_go_on():
            if self._store_due:
                self._store()
            if not self._inbox:
                break
            name, argument = self._inbox.popleft()
            did = True
            getattr(self, f"_do_{name}")(argument)
        if self._leaving:
            self._leave()
        if did and self.has_room:
            self._notify()
        return did

    def _may_go_on(self) -> bool:
        assert self._session is not None
        return not (
            self._session.ready
            or self._ending is not None
            or len(self._outbox) >= MOST_UPDATES
        )

    def _do_push(self, samples: NDArray[Any]) -> None:
        assert self._session is not None
        try:
            self._session.push(samples, self.sample_rate)
        except (TypeError, ValueError, RuntimeError) as error:
            self._fail(error)
            return
        self._taken += len(samples)
        rate = self.sample_rate or 1
        self._engine.observer.audio(len(samples) / rate)

    @property
    def _store_due(self) -> bool:
        """Whether enough audio has come since it was stored."""
        if self._storage is None or self._storage.seconds is None:
            return False
        unstored = self._taken - self._stored
        return unstored >= self._storage.seconds * (self.sample_rate or 1)

    def _store(self) -> None:
        """Stores the stream, if it is one that can be gone on with."""
        if self._storage is None:
            return
        self._stored = self._taken
        saved = self._to_bytes()
        if saved is not None:
            self._storage.store(saved)

    def _do_flush(self, _: None) -> None:
        self._put(self._update(flushed=True))

    def _do_finalize(self, _: None) -> None:
        self._end("finalize")

    def _do_finish(self, _: None) -> None:
        self._store()
        self._end("finish")

    def _do_save(self, give: Callable[[bytes | None], None]) -> None:
        give(self._to_bytes())

    def _end(self, ending: str) -> None:
        assert self._session is not None
        self._ending = ending
        try:
            self._session.finish()
        except (ValueError, RuntimeError) as error:
            self._fail(error)
            return
        if self._session.finished:
            self._collect()

    def _collect(self) -> None:
        """Passes on what a step gave."""
        assert self._session is not None
        if self._session.error is not None:
            self._fail(self._session.error)
            return
        ended = self._session.finished
        self._put(
            self._update(
                finalized=ended and self._ending == "finalize",
                finished=ended and self._ending == "finish",
            )
        )
        if not ended:
            return
        if self._ending == "finish":
            self._leave()
            return
        self._ending = None
        self._offset = self._taken
        self._session = self._begin()

    def _update(
        self,
        finalized: bool = False,
        finished: bool = False,
        flushed: bool = False,
    ) -> Update:
        assert self._session is not None
        transcript = self._shifted(self._session.read())
        if finalized:
            self._first_segment = transcript.segment + 1
            transcript = replace(transcript, segment=self._first_segment)
        samples = self._taken
        if not (finalized or finished):
            rate = self.sample_rate or 1
            committed = math.floor(self._session.committed_seconds * rate)
            samples = min(samples, self._offset + committed)
        closes = transcript.segment > self._segment
        spoken = self._spoken or bool(transcript.final_words)
        return Update(
            transcript,
            samples,
            bool(transcript.final_words or finalized or (closes and spoken)),
            self._number,
            self._start,
            closes,
            finalized,
            finished,
            flushed,
        )

    def _shifted(self, transcript: Transcript) -> Transcript:
        """With times and segments from the start of the stream."""
        if not self._offset:
            return transcript
        seconds = self._offset / (self.sample_rate or 1)

        def shifted(word: Word) -> Word:
            return replace(
                word,
                start=round(word.start + seconds, 3),
                end=round(word.end + seconds, 3),
                segment=word.segment + self._first_segment,
            )

        return replace(
            transcript,
            words=tuple(shifted(word) for word in transcript.words),
            segment=transcript.segment + self._first_segment,
        )

    def _put(self, update: Update) -> None:
        self._segment = update.transcript.segment
        if update.is_result:
            self._start = update.end(self.sample_rate or 1)
            self._spoken = not update.closes
            self._number += 1
            self._replay.add(update, self.sample_rate or 1)
        arrived = self._arrival_of(update.samples)
        if update.transcript.committed and arrived is not None:
            self._engine.observer.committed(time.monotonic() - arrived)
        self._outbox.put(update)
        self._notify()

    def _arrival_of(self, samples: int) -> float | None:
        """When the last one of so many samples came; forgets those before."""
        while self._arrivals and self._arrivals[0][0] < samples:
            self._arrivals.popleft()
        return self._arrivals[0][1] if self._arrivals else None

    def _fail(self, error: Exception) -> None:
        self._outbox.put(
            Update(Transcript(""), self._taken, error=reason(error))
        )
        self._leave()

    def _leave(self) -> None:
        if self.left:
            return
        self.left = True
        if self._session is not None:
            self._session.close()
        self._inbox.clear()
        self._engine._forget(self)
        self._notify()

    def _to_bytes(self) -> bytes | None:
        """All that the stream remembers, ``None`` if it cannot be saved."""
        if self._session is None or self._ending is not None:
            return None
        try:
            snapshot = self._session.snapshot()
        except ValueError:
            return None
        # a snapshot of sa and maa may commit frames that no step has yet
        update = self._update()
        if update.must_arrive:
            self._put(update)
        return _join(
            {
                "version": SAVED_VERSION,
                "sample_rate": self.sample_rate,
                "samples": self._taken,
                "offset": self._offset,
                "first_segment": self._first_segment,
                "start": self._start,
                "number": self._number,
                "segment": self._segment,
                "spoken": self._spoken,
                "replay": [each.to_dict() for each in self._replay.updates],
            },
            snapshot,
        )


def _join(values: dict[str, Any], snapshot: bytes) -> bytes:
    header = json.dumps(values).encode()
    return len(header).to_bytes(8, "little") + header + snapshot


def _split(saved: bytes) -> tuple[dict[str, Any], bytes]:
    size = int.from_bytes(saved[:8], "little")
    try:
        values = json.loads(saved[8 : 8 + size])
        if values["version"] != SAVED_VERSION:
            raise ValueError(f"version {values['version']}")
        return values, saved[8 + size :]
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(
            must_be(
                "stored session",
                f"one of version {SAVED_VERSION}",
                f"another one: {reason(error)}",
            )
        ) from error


def split_blocks(
    samples: NDArray[Any], sample_rate: int, seconds: float = QUEUE_SECONDS / 8
) -> list[NDArray[Any]]:
    """Splits samples into blocks of bounded duration.

    Arguments
    ---------
    samples : numpy.ndarray
        (samples,) or (samples, channels).
    sample_rate : int
        Samples per second.
    seconds : float
        Maximum duration of a block.

    Returns
    -------
    list of numpy.ndarray

    Example
    -------
    >>> import numpy as np
    >>> [len(block) for block in split_blocks(np.zeros(5000), 16000)]
    [4000, 1000]
    """
    size = max(1, int(seconds * sample_rate))
    return [samples[i : i + size] for i in range(0, len(samples), size)]
