"""Files and folders that are whole or not there, whenever a process dies or
a disk is full."""

import os
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path

from speechbrain_llsa_runtime.utils.errors import must_be, reason

_SCRATCH = ".part"


class WriteError(OSError):
    """A file or folder that cannot be written, as on a full disk."""


@contextmanager
def naming(path, *others):
    """Names what could not be written, and how much room there is for it.

    Arguments
    ---------
    path : str or pathlib.Path
        What is written.
    *others : type
        Errors that tell of a full disk besides ``OSError``.

    Raises
    ------
    WriteError
        If it cannot be written.

    Example
    -------
    >>> with naming("nowhere/example.txt"):
    ...     open("nowhere/example.txt", "w")
    Traceback (most recent call last):
    ...
    speechbrain_llsa_runtime.utils.atomic_files.WriteError: could not write \
nowhere/example.txt: [Errno 2] No such file or directory: 'nowhere/example.txt'
    """
    try:
        yield
    except WriteError:
        raise
    except (OSError, *others) as error:
        room = ""
        with suppress(OSError):
            free = shutil.disk_usage(Path(path).parent).free
            room = f", where {free / 1e6:.1f} MB are free"
        raise WriteError(
            f"could not write {path}{room}: {reason(error)}"
        ) from error


def write_atomically(path, content):
    """Writes a file whole or not at all.

    Arguments
    ---------
    path : str or pathlib.Path
        The file; what it held before is replaced.
    content : str or bytes
        What it is to hold; text becomes UTF-8, and bytes of names that are
        not, escapes.

    Example
    -------
    >>> path = getfixture("tmp_path") / "example.txt"
    >>> write_atomically(path, "whole")
    >>> path.read_text()
    'whole'
    """
    with written_atomically(path) as scratch:
        if isinstance(content, str):
            content = content.encode(errors="backslashreplace")
        scratch.write_bytes(content)


@contextmanager
def written_atomically(path):
    """Gives a place beside a file or folder, which it takes at the end.

    Arguments
    ---------
    path : str or pathlib.Path
        The file or folder; what was there before is replaced.

    Yields
    ------
    pathlib.Path
        Where to write; it does not exist yet. After an error it is removed,
        and what was there before stays.

    Raises
    ------
    WriteError
        If it cannot be written.

    Example
    -------
    >>> folder = getfixture("tmp_path") / "example"
    >>> with written_atomically(folder) as scratch:
    ...     scratch.mkdir()
    ...     _ = (scratch / "one.txt").write_text("1")
    >>> [path.name for path in folder.iterdir()]
    ['one.txt']
    """
    path = Path(path)
    scratch = path.with_name(f".{path.name}{_SCRATCH}")
    with naming(path), _removed_at_last(scratch):
        path.parent.mkdir(parents=True, exist_ok=True)
        yield scratch
        for written in (*scratch.rglob("*"), scratch):
            sync(written)
        if path.is_dir():
            # a folder cannot take the place of one that is not empty
            old = path.with_name(f".{path.name}.old")
            _remove(old)
            path.rename(old)
            scratch.rename(path)
            _remove(old)
        else:
            scratch.replace(path)
        sync(path.parent)


def check_replaceable(folder, marker):
    """Refuses a place where there is something else.

    Arguments
    ---------
    folder : str or pathlib.Path
        Where a folder is to be.
    marker : str
        The file in it by which an earlier one is known.

    Returns
    -------
    pathlib.Path
        The place.

    Raises
    ------
    FileExistsError
        If there is something that is neither an earlier one nor empty.

    Example
    -------
    >>> check_replaceable(getfixture("tmp_path"), "model.json").is_dir()
    True
    """
    folder = Path(folder)
    if folder.exists() and not _may_be_replaced(folder, marker):
        raise FileExistsError(
            must_be(
                "folder",
                ("a new or empty folder, or one that was written before"),
                f"{str(folder)!r}, which holds something else",
            )
        )
    return folder


def _may_be_replaced(folder, marker):
    if not folder.is_dir():
        return False
    return (folder / marker).is_file() or not any(folder.iterdir())


@contextmanager
def _removed_at_last(path):
    _remove(path)
    try:
        yield
    finally:
        _remove(path)


def sync(path):
    """Waits until a file, or the entries of a folder, are on the disk.

    Arguments
    ---------
    path : str or pathlib.Path
        The file or folder.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path):
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
