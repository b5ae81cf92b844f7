"""Shows what a command has written."""

from pathlib import Path


def print_files(folder):
    """Prints each file of a folder with its size.

    Arguments
    ---------
    folder : str or pathlib.Path
        The folder.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> _ = (folder / "model.json").write_text("{}")
    >>> print_files(folder)  # doctest: +ELLIPSIS
    /.../model.json  2 bytes
    """
    for path in sorted(Path(folder).iterdir()):
        print(f"{path}  {path.stat().st_size:,} bytes")
