"""Stores of sessions: memory, a folder, Redis."""

import asyncio
import secrets

import pytest

from speechbrain_llsa_runtime.server import (
    resumption as resumption_module,
)
from speechbrain_llsa_runtime.server import session_store
from speechbrain_llsa_runtime.server.resumption import (
    Resumption,
    StoreError,
    read_key,
)
from speechbrain_llsa_runtime.server.session_store import (
    FolderStore,
    MemoryStore,
    RedisStore,
    make_store,
)

KINDS = ("memory", "folder", "redis")


def make(kind, folder, keep_seconds=60):
    if kind == "memory":
        return MemoryStore(keep_seconds)
    if kind == "folder":
        return FolderStore(folder / "sessions", keep_seconds)
    fakeredis = pytest.importorskip("fakeredis")
    return RedisStore(fakeredis.FakeAsyncRedis(), keep_seconds)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_put_is_got(kind, tmp_path):
    """Bytes of any kind, replaced, and unknown names."""

    async def use():
        store = make(kind, tmp_path)
        data = secrets.token_bytes(100_000)
        await store.put("one", b"before")
        await store.put("one", data)
        await store.put("two", b"")
        assert await store.get("one") == data
        assert await store.get("two") == b""
        assert await store.get("three") is None

    asyncio.run(use())


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_kept_for_ever(kind, tmp_path):
    async def use():
        store = make(kind, tmp_path, keep_seconds=0.05)
        await store.put("one", b"bytes")
        await asyncio.sleep(0.2)
        assert await store.get("one") is None

    asyncio.run(use())


def test_two_processes_share_a_folder(tmp_path):
    """What one store has put, another one of the folder gets."""

    async def use():
        await FolderStore(tmp_path, 60).put("one", b"bytes")
        assert await FolderStore(tmp_path, 60).get("one") == b"bytes"

    asyncio.run(use())


@pytest.mark.parametrize("kind", KINDS)
def test_the_newest_bytes_win(kind, tmp_path):
    """However fast they come from the worker's thread."""

    async def use():
        resumption = Resumption(make(kind, tmp_path))
        name = resumption.new_name()
        storage = resumption.storage(name)
        for number in range(100):
            await asyncio.to_thread(storage.store, str(number).encode())
        assert await resumption.get(name) == b"99"

    asyncio.run(use())


def test_memory_is_bounded(monkeypatch):
    """The oldest streams give way."""
    monkeypatch.setattr(session_store, "MOST_BYTES", 1000)

    async def use():
        store = MemoryStore(60)
        for name in "abcde":
            await store.put(name, bytes(300))
        got = [await store.get(name) is not None for name in "abcde"]
        assert got == [False, False, True, True, True]

    asyncio.run(use())


def test_a_store_that_hangs_or_fails(monkeypatch):
    """Is waited for no longer than a moment; what it cannot give is an
    error, and what it cannot take is only logged."""
    monkeypatch.setattr(resumption_module, "ANSWER_SECONDS", 0.05)

    class Hanging:
        shared = True

        async def put(self, name, data):
            await asyncio.sleep(99)

        get = put

    class Failing:
        shared = True

        async def put(self, name, data=None):
            raise ConnectionError("no route")

        get = put

    async def use(store):
        store.get = lambda name: store.put(name, None)
        resumption = Resumption(store)
        name = resumption.new_name()
        await resumption.put(name, b"bytes")
        with pytest.raises(StoreError):
            await resumption.get(name)

    asyncio.run(use(Hanging()))
    asyncio.run(use(Failing()))


def test_names():
    """Are signed by a key: another one does not know them."""

    one = Resumption(MemoryStore(60), b"0123456789abcdef")
    same = Resumption(MemoryStore(60), b"0123456789abcdef")
    other = Resumption(MemoryStore(60))
    name = one.new_name()
    assert one.is_signed(name) and same.is_signed(name)
    for forged in ("", ".", "a.b", name[1:], name + "0", "../" + name, "é.é"):
        assert not one.is_signed(forged)
    assert not other.is_signed(name)
    assert one.new_name() != name


def test_keys(tmp_path):
    path = tmp_path / "key"
    path.write_bytes(b"0123456789abcdef\n")
    assert read_key(path) == b"0123456789abcdef"
    path.write_bytes(b"short")
    with pytest.raises(ValueError, match="at least 16 bytes"):
        read_key(path)
    with pytest.raises(ValueError, match="--store must be"):
        make_store("http://host", 60)
