"""Where streams are kept for clients that have lost their connection."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Any, Protocol

from speechbrain_llsa_runtime.utils.atomic_files import write_atomically
from speechbrain_llsa_runtime.utils.errors import must_be

MOST_BYTES = 1 << 29
"""What a store in memory holds at most; the oldest streams give way."""


class SessionStore(Protocol):
    """Keeps bytes by name for a while."""

    shared: bool
    """Whether what is in it outlives this process."""

    async def put(self, name: str, data: bytes) -> None:
        """Keeps bytes, in place of others of that name."""

    async def get(self, name: str) -> bytes | None:
        """Gives the bytes of a name, or ``None``."""


class MemoryStore:
    """A store in the memory of this process.

    Arguments
    ---------
    keep_seconds : float
        How long bytes are kept.

    Example
    -------
    >>> store = MemoryStore(60)
    >>> asyncio.run(store.put("a", b"bytes"))
    >>> asyncio.run(store.get("a")), asyncio.run(store.get("b"))
    (b'bytes', None)
    """

    shared = False

    def __init__(self, keep_seconds: float) -> None:
        self._keep_seconds = keep_seconds
        self._kept: dict[str, tuple[float, bytes]] = {}

    async def put(self, name: str, data: bytes) -> None:
        """Keeps bytes, in place of others of that name."""
        now = time.monotonic()
        self._kept = {
            name: kept for name, kept in self._kept.items() if kept[0] > now
        }
        self._kept.pop(name, None)
        self._kept[name] = now + self._keep_seconds, data
        while sum(len(data) for _, data in self._kept.values()) > MOST_BYTES:
            del self._kept[next(iter(self._kept))]

    async def get(self, name: str) -> bytes | None:
        """Gives the bytes of a name, or ``None``."""
        until, data = self._kept.get(name, (0.0, None))
        return data if until > time.monotonic() else None


class FolderStore:
    """A store in a folder, which several servers of one machine may share.

    Arguments
    ---------
    folder : str or pathlib.Path
        The folder; it is made if it does not exist.
    keep_seconds : float
        How long bytes are kept.
    """

    shared = True

    def __init__(self, folder: str | Path, keep_seconds: float) -> None:
        self._folder = Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._keep_seconds = keep_seconds

    async def put(self, name: str, data: bytes) -> None:
        """Keeps bytes, in place of others of that name."""
        await asyncio.to_thread(self._put, name, data)

    async def get(self, name: str) -> bytes | None:
        """Gives the bytes of a name, or ``None``."""
        return await asyncio.to_thread(self._get, name)

    def _put(self, name: str, data: bytes) -> None:
        write_atomically(self._path(name), data)
        for path in self._folder.glob("*.session"):
            with contextlib.suppress(FileNotFoundError):
                if self._is_old(path):
                    path.unlink()

    def _get(self, name: str) -> bytes | None:
        path = self._path(name)
        try:
            return None if self._is_old(path) else path.read_bytes()
        except FileNotFoundError:
            return None

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.session"

    def _is_old(self, path: Path) -> bool:
        return path.stat().st_mtime + self._keep_seconds < time.time()


class RedisStore:
    """A store in Redis, which servers of several machines may share.

    Arguments
    ---------
    client : redis.asyncio.Redis
        The connection.
    keep_seconds : float
        How long bytes are kept.
    """

    shared = True

    def __init__(self, client: Any, keep_seconds: float) -> None:
        self._client = client
        self._keep_milliseconds = max(1, round(keep_seconds * 1000))

    async def put(self, name: str, data: bytes) -> None:
        """Keeps bytes, in place of others of that name."""
        await self._client.set(
            self._key(name), data, px=self._keep_milliseconds
        )

    async def get(self, name: str) -> bytes | None:
        """Gives the bytes of a name, or ``None``."""
        return await self._client.get(self._key(name))

    def _key(self, name: str) -> str:
        return f"speechbrain_llsa:session:{name}"


def make_store(place: str, keep_seconds: float) -> SessionStore:
    """Makes the store that a place stands for.

    Arguments
    ---------
    place : str
        "memory", a URL of Redis, or a folder.
    keep_seconds : float
        How long bytes are kept.

    Returns
    -------
    SessionStore

    Raises
    ------
    ImportError
        If it is Redis, and that is not installed.
    ValueError
        If it is a URL of something else.

    Example
    -------
    >>> make_store("memory", 60).shared
    False
    """
    if place == "memory":
        return MemoryStore(keep_seconds)
    if place.startswith(("redis://", "rediss://", "unix://")):
        try:
            from redis import asyncio as redis
        except ImportError as error:
            raise ImportError(
                "redis: not installed, needed for this --store: pip install "
                '"speechbrain-llsa[redis]"'
            ) from error
        return RedisStore(
            redis.from_url(place, socket_timeout=5, socket_connect_timeout=5),
            keep_seconds,
        )
    if "://" in place:
        raise ValueError(
            must_be(
                "--store", "memory, a folder or a URL of Redis", repr(place)
            )
        )
    return FolderStore(place, keep_seconds)
