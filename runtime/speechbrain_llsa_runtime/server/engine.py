"""The streams of one model, run by one worker thread."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from speechbrain_llsa_runtime.inference.batcher import BatchedSession, Batcher
from speechbrain_llsa_runtime.server.live_stream import (
    LiveStream,
    Storage,
    StreamOptions,
)
from speechbrain_llsa_runtime.utils.errors import must_be

LOG = logging.getLogger(__name__)


class ServerFull(RuntimeError):
    """All slots are taken."""


class Observer:
    """Told what happens, from the worker's thread. This one ignores it."""

    def stepped(self, rows: int, seconds: float) -> None:
        """A step of so many streams has taken so long."""

    def committed(self, delay_seconds: float) -> None:
        """Text has been committed, so long after its audio came."""

    def audio(self, seconds: float) -> None:
        """So much audio has been taken."""


class Engine:
    """Runs live streams. One thread alone pushes, steps and reads.

    Arguments
    ---------
    batcher : Batcher
        Runs the steps; used by this engine alone.
    observer : Observer, optional
        Told what happens.

    Example
    -------
    >>> from speechbrain_llsa.inference.batcher import SessionBatcher
    >>> engine = Engine(SessionBatcher(*getfixture("tiny_ctc"), slots=2))
    >>> engine.start()
    >>> stream = engine.open(StreamOptions(), lambda: None).result()
    >>> engine.free_slots
    1
    >>> stream.leave()
    >>> engine.stop()
    >>> engine.free_slots
    2
    """

    def __init__(
        self, batcher: Batcher, observer: Observer | None = None
    ) -> None:
        self.batcher = batcher
        self.observer = Observer() if observer is None else observer
        self._wake = threading.Condition()
        self._due = self._stopping = False
        self._streams: list[LiveStream] = []
        self._opening: list[tuple[LiveStream, Future[LiveStream]]] = []
        self._thread = threading.Thread(
            target=self._work, name="engine", daemon=True
        )

    @property
    def slots(self) -> int:
        """How many streams there may be at once."""
        return self.batcher.slots

    @property
    def free_slots(self) -> int:
        """How many more streams may begin now."""
        with self._wake:
            return self.slots - len(self._streams) - len(self._opening)

    @property
    def alive(self) -> bool:
        """Whether the worker runs."""
        return self._thread.is_alive()

    @property
    def queued_seconds(self) -> float:
        """Audio of all streams that waits."""
        with self._wake:
            streams = list(self._streams)
        return sum(stream.queued_seconds for stream in streams)

    def start(self) -> None:
        """Starts the worker."""
        self._thread.start()

    def stop(self) -> None:
        """Ends all streams and the worker, and waits for that."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.ident is not None:
            self._thread.join()

    def wake(self) -> None:
        """Says that there may be something to do."""
        with self._wake:
            self._due = True
            self._wake.notify()

    def open(
        self,
        options: StreamOptions,
        notify: Callable[[], None],
        saved: bytes | None = None,
        storage: Storage | None = None,
    ) -> Future[LiveStream]:
        """Begins a stream.

        Arguments
        ---------
        options : StreamOptions
            What the client chose.
        notify : callable
            As for :class:`LiveStream`.
        saved : bytes, optional
            As for :class:`LiveStream`.
        storage : Storage, optional
            As for :class:`LiveStream`.

        Returns
        -------
        concurrent.futures.Future
            Of the stream; or of what is wrong with the options, or with what
            was saved.

        Raises
        ------
        ServerFull
            If all slots are taken.
        """
        opened: Future[LiveStream] = Future()
        stream = LiveStream(self, options, notify, saved, storage)
        with self._wake:
            taken = len(self._streams) + len(self._opening)
            if taken >= self.slots or self._stopping:
                raise ServerFull(
                    must_be("sessions", f"at most {self.slots}", taken + 1)
                )
            self._opening.append((stream, opened))
            self._due = True
            self._wake.notify()
        return opened

    def _forget(self, stream: LiveStream) -> None:
        with self._wake:
            if stream in self._streams:
                self._streams.remove(stream)

    def _work(self) -> None:
        while True:
            with self._wake:
                while not self._due and not self._stopping:
                    self._wake.wait()
                if self._stopping:
                    break
                self._due = False
                opening, self._opening = self._opening, []
                # one that is opening holds its slot all the time
                self._streams += [stream for stream, _ in opening]
                streams = list(self._streams)
            for stream, opened in opening:
                self._open(stream, opened)
            fed = [
                self._guarded(stream, stream._feed)
                for stream in streams
                if not stream.left
            ]
            if self._step(streams) or any(fed):
                self.wake()
        for stream in list(self._streams):
            stream._leave()
        for _, opened in self._opening:
            opened.set_exception(ServerFull("the server has stopped"))
        self._opening = []

    def _open(self, stream: LiveStream, opened: Future[LiveStream]) -> None:
        if not opened.set_running_or_notify_cancel():
            stream._leave()
            return
        try:
            stream._open()
        except Exception as error:
            stream._leave()
            opened.set_exception(error)
        else:
            opened.set_result(stream)

    def _step(self, streams: list[LiveStream]) -> bool:
        by_session: dict[BatchedSession | None, LiveStream] = {
            stream._session: stream for stream in streams
        }
        start = time.perf_counter()
        try:
            stepped: list[Any] = self.batcher.step()
        except Exception as error:
            LOG.exception("a step failed")
            for stream in streams:
                if stream._session is not None and stream._session.ready:
                    stream._fail(error)
            return True
        if stepped:
            self.observer.stepped(len(stepped), time.perf_counter() - start)
        for session in stepped:
            stream = by_session[session]
            self._guarded(stream, stream._collect)
        return bool(stepped)

    def _guarded(self, stream: LiveStream, function: Callable[[], Any]) -> Any:
        """Calls a function of a stream, which alone ends by its errors."""
        try:
            return function()
        except Exception as error:
            LOG.exception("a stream failed")
            stream._fail(error)
            return True
