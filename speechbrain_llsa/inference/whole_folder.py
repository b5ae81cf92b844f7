"""Folders that are complete or not there at all."""

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path


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
            f"folder: got {str(folder)!r}, which holds something else; allowed "
            "is a new or empty folder, or one that was written before"
        )
    return folder


def _may_be_replaced(folder, marker):
    if not folder.is_dir():
        return False
    return (folder / marker).is_file() or not any(folder.iterdir())


@contextmanager
def whole_folder(folder, prefix):
    """Gives a new folder beside a place, which it takes at the end.

    Arguments
    ---------
    folder : pathlib.Path
        The place; what :func:`check_replaceable` lets pass is replaced.
    prefix : str
        What names of folders that are not complete yet begin with.

    Yields
    ------
    pathlib.Path
        Where to write. After an error it is removed, and what was there
        before stays.

    Example
    -------
    >>> folder = getfixture("tmp_path") / "example"
    >>> with whole_folder(folder, ".example-") as new:
    ...     _ = (new / "one.txt").write_text("1")
    >>> [path.name for path in folder.iterdir()]
    ['one.txt']
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=prefix, dir=folder.parent))
    try:
        new, old = scratch / "new", scratch / "old"
        new.mkdir()
        yield new
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
