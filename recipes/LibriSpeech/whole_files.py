"""Files and folders that are whole or not there, whenever a process dies."""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path

_SCRATCH = ".part"


def write_atomically(path, content):
    """Writes a file whole or not at all.

    Arguments
    ---------
    path : str or pathlib.Path
        The file; what it held before is replaced.
    content : str or bytes
        What it is to hold; text becomes UTF-8.

    Example
    -------
    >>> path = getfixture("tmp_path") / "example.txt"
    >>> write_atomically(path, "whole")
    >>> path.read_text()
    'whole'
    """
    with written_atomically(path) as scratch:
        data = content.encode() if isinstance(content, str) else content
        scratch.write_bytes(data)


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
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}{_SCRATCH}")
    _remove(scratch)
    try:
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
    finally:
        _remove(scratch)


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
