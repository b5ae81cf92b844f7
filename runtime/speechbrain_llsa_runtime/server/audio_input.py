"""From the bytes of a connection to the samples of its stream."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Coroutine
from typing import Any

from numpy.typing import NDArray

from speechbrain_llsa_runtime.dataio.audio_stream import AudioStream
from speechbrain_llsa_runtime.dataio.pcm import PCMDecoder
from speechbrain_llsa_runtime.utils.errors import must_be

Push = Callable[[NDArray[Any], int], Coroutine[Any, Any, None]]
"""Takes samples and their rate, and waits while there is no room."""

WAITING_MESSAGES = 8
"""Messages that wait for a decoder at most."""


class RawInput:
    """Decodes raw samples, with or without a WAV header.

    Arguments
    ---------
    push : callable
        Takes samples and their rate.
    decoder : PCMDecoder
        Decodes them.
    """

    def __init__(self, push: Push, decoder: PCMDecoder) -> None:
        self._push = push
        self._decoder = decoder

    async def take(self, data: bytes) -> None:
        """Takes the next bytes, and waits while there is no room.

        Arguments
        ---------
        data : bytes
            Any number of them.

        Raises
        ------
        ValueError
            If they cannot be decoded.
        """
        await self._pass_on(self._decoder.push(data))

    async def flush(self) -> None:
        """Waits until all samples have been passed on."""

    async def finish(self) -> None:
        """Takes the end of the audio."""
        await self._pass_on(self._decoder.finish())

    def close(self) -> None:
        """Gives up. May be called any number of times."""

    async def _pass_on(self, samples: NDArray[Any]) -> None:
        if len(samples):
            await self._push(samples, self._decoder.sample_rate)


class ContainerInput:
    """Decodes audio in a container, such as Ogg, in a thread of its own, which
    begins with the first bytes.

    Arguments
    ---------
    push : callable
        Takes samples and their rate.
    spool : bool
        Whether a format that cannot be decoded as it comes may wait for its
        end.
    """

    def __init__(self, push: Push, spool: bool = False) -> None:
        self._push = push
        self._spool = spool
        self._loop = asyncio.get_running_loop()
        self._bytes: queue.Queue[bytes | None] = queue.Queue()
        self._room = asyncio.Semaphore(WAITING_MESSAGES)
        self._done: asyncio.Future[None] | None = None
        self._ended = self._all_read = self._closed = False

    async def take(self, data: bytes) -> None:
        """Takes the next bytes, and waits while there is no room.

        Arguments
        ---------
        data : bytes
            Any number of them.

        Raises
        ------
        ValueError
            If they cannot be decoded.
        """
        done = self._start()
        room = asyncio.ensure_future(self._room.acquire())
        waiting: set[asyncio.Future[Any]] = {room, done}
        await asyncio.wait(waiting, return_when="FIRST_COMPLETED")
        if done.done():
            room.cancel()
            done.result()
            if not self._ended:
                raise ValueError(
                    must_be("input", "one recording", "bytes after its end")
                )
        self._bytes.put(data)

    async def flush(self) -> None:
        """Refused: nobody knows when a container holds no more."""
        raise ValueError(
            must_be("Finalize", "absent with audio in a container", "Finalize")
        )

    async def finish(self) -> None:
        """Takes the end of the audio, and waits for the rest of it.

        Raises
        ------
        ValueError
            If it cannot be decoded.
        """
        self._ended = True
        if self._done is not None:
            self._bytes.put(b"")
            await self._done

    def close(self) -> None:
        """Gives up. May be called any number of times."""
        self._closed = True
        self._bytes.put(None)

    def _start(self) -> asyncio.Future[None]:
        if self._done is None:
            self._done = self._loop.create_future()
            # nobody may be left to ask why
            self._done.add_done_callback(_retrieve)
            threading.Thread(target=self._decode, daemon=True).start()
        return self._done

    def _decode(self) -> None:
        error: BaseException | None = None
        try:
            stream = AudioStream(self._read, None, lambda _: None, self._spool)
            for samples in stream:
                if self._closed:
                    break
                asyncio.run_coroutine_threadsafe(
                    self._push(samples, stream.sample_rate), self._loop
                ).result()
        except EOFError:
            pass
        except Exception as failure:
            error = failure
        try:
            self._loop.call_soon_threadsafe(self._finish_decoding, error)
        except RuntimeError:
            if not self._loop.is_closed():
                raise

    def _finish_decoding(self, error: BaseException | None) -> None:
        assert self._done is not None
        if self._done.done():
            return
        if error is None:
            self._done.set_result(None)
        else:
            self._done.set_exception(error)

    def _read(self) -> bytes:
        if self._all_read:
            return b""
        data = self._bytes.get()
        if data is None:
            raise EOFError
        self._all_read = not data
        if data:
            self._loop.call_soon_threadsafe(self._room.release)
        return data


def _retrieve(done: asyncio.Future[None]) -> None:
    if not done.cancelled():
        done.exception()
