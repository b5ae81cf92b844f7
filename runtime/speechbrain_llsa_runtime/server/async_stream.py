"""A live stream as asyncio sees it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from speechbrain_llsa_runtime.server.engine import Engine
from speechbrain_llsa_runtime.server.live_stream import (
    LiveStream,
    Storage,
    StreamOptions,
    split_blocks,
)
from speechbrain_llsa_runtime.server.updates import Update


class AsyncStream:
    """A :class:`LiveStream` whose methods wait without blocking the event
    loop. Made by :meth:`open`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._live: LiveStream
        self._updates: list[Update] = []

    @classmethod
    async def open(
        cls,
        engine: Engine,
        options: StreamOptions,
        saved: bytes | None = None,
        storage: Storage | None = None,
    ) -> AsyncStream:
        """Begins a stream, or goes on with one.

        Arguments
        ---------
        engine : Engine
            Runs it.
        options : StreamOptions
            What the client chose.
        saved : bytes, optional
            What :meth:`save` gave.
        storage : Storage, optional
            Where it is stored while it runs.

        Returns
        -------
        AsyncStream

        Raises
        ------
        ServerFull
            If all slots are taken.
        ValueError
            If the options are not allowed, or what was saved is damaged or of
            another model.
        """
        stream = cls()
        opened = engine.open(options, stream._notify, saved, storage)
        stream._live = await asyncio.wrap_future(opened)
        return stream

    @property
    def received(self) -> int:
        """Samples that the client has sent so far."""
        return self._live.received

    @property
    def sample_rate(self) -> int | None:
        """Samples per second, once there are some."""
        return self._live.sample_rate

    def replayed(self) -> list[Update]:
        """The updates of the last two minutes that committed text."""
        return list(self._live._replay.updates)

    async def push(self, samples: NDArray[Any], sample_rate: int) -> None:
        """Queues samples, and waits while the queue is full.

        Arguments
        ---------
        samples : numpy.ndarray
            As for ``Session.push``.
        sample_rate : int
            Samples per second, the same for the whole stream.
        """
        for block in split_blocks(samples, sample_rate):
            if self._live.left:
                return
            self._live.push(block, sample_rate)
            await self._wait_until(lambda: self._live.has_room)

    def flush(self) -> None:
        """As for :class:`LiveStream`."""
        self._live.flush()

    async def finalize(self) -> None:
        """As for :class:`LiveStream`; waits while the queue is full."""
        self._live.finalize()
        await self._wait_until(lambda: self._live.has_room)

    def finish(self) -> None:
        """As for :class:`LiveStream`."""
        self._live.finish()

    def leave(self) -> None:
        """As for :class:`LiveStream`."""
        self._live.leave()

    async def gone(self) -> None:
        """Waits until the stream has ended, and its slot is free."""
        await self._wait_until(lambda: self._live.left)

    async def _wait_until(self, holds: Callable[[], bool]) -> None:
        """Waits for what only the worker can bring about."""
        while not holds():
            self._changed.clear()
            if not holds():
                await self._changed.wait()

    async def save(self) -> bytes | None:
        """Gives all that the stream remembers, once all that was sent has
        been processed. Updates that nobody has taken are dropped; those that
        committed text are in :meth:`replayed` of the stream that goes on.

        Returns
        -------
        bytes or None
            ``None`` if it has ended, or cannot be saved.
        """
        saved: asyncio.Future[bytes | None] = self._loop.create_future()

        def give(data: bytes | None) -> None:
            self._call(lambda: saved.set_result(data))
            self._notify()

        self._live.save(give)
        while not saved.done() and not self._live.left:
            self._changed.clear()
            # a stream whose updates are not taken does not go on
            self._live.take()
            if not self._live.left:
                await self._changed.wait()
        return saved.result() if saved.done() else None

    async def update(self) -> Update | None:
        """Waits for the next update.

        Returns
        -------
        Update or None
            ``None`` once the stream has ended, and all has been taken.
        """
        while not self._updates:
            left = self._live.left
            self._updates = self._live.take()
            if not self._updates:
                if left:
                    return None
                self._changed.clear()
                # what came in between has set it before it was cleared
                self._updates = self._live.take()
                if not self._updates and not self._live.left:
                    await self._changed.wait()
        return self._updates.pop(0)

    def _notify(self) -> None:
        self._call(self._changed.set)

    def _call(self, function: Any) -> None:
        """Calls a function in the event loop, from another thread."""
        try:
            self._loop.call_soon_threadsafe(function)
        except RuntimeError:
            if not self._loop.is_closed():
                raise
