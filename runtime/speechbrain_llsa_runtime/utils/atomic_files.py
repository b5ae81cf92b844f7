"""Atomic writes: a file or folder is complete or absent, even after a crash or
on a full disk."""

import os
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path

from speechbrain_llsa_runtime.utils.errors import must_be, reason

_SCRATCH = ".part"


class WriteError(OSError):
    """Raised if a file or folder cannot be written, as on a full disk."""


@contextmanager
def naming_write_errors(path, *others):
    """Makes write errors name the path, and the free space on its disk.

    Arguments
    ---------
    path : str or pathlib.Path
        The file or folder that is written within.
    *others : type
        Errors other than ``OSError`` that may mean a full disk.

    Raises
    ------
    WriteError
        If one of these errors occurs.

    Example
    -------
    >>> with naming_write_errors("nowhere/example.txt"):
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
        free_space = ""
        with suppress(OSError):
            free = shutil.disk_usage(Path(path).parent).free
            free_space = f", where {free / 1e6:.1f} MB are free"
        raise WriteError(
            f"could not write {path}{free_space}: {reason(error)}"
        ) from error


def write_atomically(path, content):
    """Writes a file atomically.

    Arguments
    ---------
    path : str or pathlib.Path
        The file; previous content is replaced.
    content : str or bytes
        The new content. Text is encoded as UTF-8; characters that UTF-8 cannot
        encode, as in undecodable file names, become escapes.

    Example
    -------
    >>> path = getfixture("tmp_path") / "example.txt"
    >>> write_atomically(path, "complete")
    >>> path.read_text()
    'complete'
    """
    with written_atomically(path) as scratch:
        if isinstance(content, str):
            content = content.encode(errors="backslashreplace")
        scratch.write_bytes(content)


@contextmanager
def written_atomically(path):
    """Provides a temporary path beside a file or folder, which replaces it at
    the end.

    Arguments
    ---------
    path : str or pathlib.Path
        The file or folder; a previous one is replaced.

    Yields
    ------
    pathlib.Path
        The path to write to; it does not exist yet. After an error it is
        removed, and a previous file or folder is kept.

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
    with naming_write_errors(path), _removed_at_exit(scratch):
        path.parent.mkdir(parents=True, exist_ok=True)
        yield scratch
        for written in (*scratch.rglob("*"), scratch):
            sync(written)
        if path.is_dir():
            # rename cannot replace a folder that is not empty
            old = path.with_name(f".{path.name}.old")
            _remove(old)
            path.rename(old)
            scratch.rename(path)
            _remove(old)
        else:
            scratch.replace(path)
        sync(path.parent)


def check_replaceable(folder, marker):
    """Checks that a folder may be written: it is new, empty, or a previous
    output.

    Arguments
    ---------
    folder : str or pathlib.Path
        The folder to write.
    marker : str
        Name of the file that identifies a previous output.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    FileExistsError
        If the path holds anything else.

    Example
    -------
    >>> check_replaceable(getfixture("tmp_path"), "model.json").is_dir()
    True
    """
    folder = Path(folder)
    if folder.exists() and not _is_replaceable(folder, marker):
        raise FileExistsError(
            must_be(
                "folder",
                ("a new or empty folder, or one that was written before"),
                f"{str(folder)!r}, which holds something else",
            )
        )
    return folder


def _is_replaceable(folder, marker):
    if not folder.is_dir():
        return False
    return (folder / marker).is_file() or not any(folder.iterdir())


@contextmanager
def _removed_at_exit(path):
    _remove(path)
    try:
        yield
    finally:
        _remove(path)


def sync(path):
    """Waits until a file, or the entries of a folder, are on disk.

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
