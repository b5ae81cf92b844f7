"""Streams that survive their connections: names, signatures, storage."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
from pathlib import Path

from speechbrain_llsa_runtime.server.live_stream import Storage
from speechbrain_llsa_runtime.server.session_store import SessionStore
from speechbrain_llsa_runtime.utils.errors import must_be

LOG = logging.getLogger(__name__)

STORE_SECONDS = 1.0
"""Audio between two times that a stream is stored, where the store outlives
the process."""

ANSWER_SECONDS = 5.0
"""How long a store may take."""

KEY_BYTES = 16
"""Shortest key."""


class StoreError(RuntimeError):
    """The store of sessions does not answer, or fails."""


class Resumption:
    """Stores streams, so that clients go on with them.

    Arguments
    ---------
    store : SessionStore
        Where they are kept.
    key : bytes, optional
        Signs their names. By default a random one, which no other process
        knows.

    Example
    -------
    >>> from speechbrain_llsa_runtime.server.session_store import MemoryStore
    >>> resumption = Resumption(MemoryStore(60))
    >>> name = resumption.new_name()
    >>> resumption.is_signed(name), resumption.is_signed(name[:-1] + "x")
    (True, False)
    """

    def __init__(self, store: SessionStore, key: bytes | None = None) -> None:
        self._store = store
        self._key = secrets.token_bytes(32) if key is None else key
        self._waiting: dict[str, bytes] = {}
        self._writing: dict[str, asyncio.Task[None]] = {}

    def new_name(self) -> str:
        """Makes a name for a stream, and signs it.

        Returns
        -------
        str
        """
        name = secrets.token_hex(16)
        return f"{name}.{self._signature(name)}"

    def is_signed(self, name: str) -> bool:
        """Whether a name was made with this key.

        Arguments
        ---------
        name : str
            Any string.

        Returns
        -------
        bool
        """
        start, _, signature = name.partition(".")
        return hmac.compare_digest(
            self._signature(start).encode(), signature.encode()
        )

    def storage(self, name: str) -> Storage:
        """Where a stream of this name is stored while it runs.

        Arguments
        ---------
        name : str
            As :meth:`new_name` gives it.

        Returns
        -------
        Storage
        """
        loop = asyncio.get_running_loop()

        def store(data: bytes) -> None:
            try:
                loop.call_soon_threadsafe(self._write, name, data)
            except RuntimeError:
                if not loop.is_closed():
                    raise

        return Storage(store, STORE_SECONDS if self._store.shared else None)

    async def put(self, name: str, data: bytes) -> None:
        """Stores a stream, and waits for that.

        Arguments
        ---------
        name : str
            Its name.
        data : bytes
            What ``save`` of the stream gave.
        """
        self._write(name, data)
        await self._written(name)

    async def get(self, name: str) -> bytes | None:
        """Gives what is stored of a stream.

        Arguments
        ---------
        name : str
            Its name.

        Returns
        -------
        bytes or None
            ``None`` if there is nothing, or no longer.

        Raises
        ------
        StoreError
            If the store fails.
        """
        await self._written(name)
        try:
            return await asyncio.wait_for(
                self._store.get(self._file_name(name)), ANSWER_SECONDS
            )
        except Exception as error:
            LOG.exception("the store failed")
            raise StoreError("the store of sessions fails") from error

    def _signature(self, name: str) -> str:
        return hmac.new(self._key, name.encode(), hashlib.sha256).hexdigest()

    @staticmethod
    def _file_name(name: str) -> str:
        return name.partition(".")[0]

    def _write(self, name: str, data: bytes) -> None:
        """Writes the newest bytes of a name, one after the other."""
        self._waiting[name] = data
        if name not in self._writing:
            self._writing[name] = asyncio.ensure_future(self._write_all(name))

    async def _write_all(self, name: str) -> None:
        try:
            while name in self._waiting:
                data = self._waiting.pop(name)
                await asyncio.wait_for(
                    self._store.put(self._file_name(name), data),
                    ANSWER_SECONDS,
                )
        except Exception:
            LOG.exception("the store failed")
        finally:
            del self._writing[name]

    async def _written(self, name: str) -> None:
        if name in self._writing:
            await asyncio.shield(self._writing[name])


def read_key(path: str | Path) -> bytes:
    """Reads the key that signs names.

    Arguments
    ---------
    path : str or pathlib.Path
        A file of at least 16 bytes.

    Returns
    -------
    bytes

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is too short.
    """
    key = Path(path).read_bytes().strip()
    if len(key) < KEY_BYTES:
        raise ValueError(
            must_be(
                "--resume_key",
                f"a file of at least {KEY_BYTES} bytes",
                f"{len(key)} bytes",
            )
        )
    return key
