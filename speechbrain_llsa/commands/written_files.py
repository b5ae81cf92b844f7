"""Shows what a command has written."""

from pathlib import Path


def print_files(folder):
    """Prints each file in a folder, at any depth, with its size.

    Arguments
    ---------
    folder : str or pathlib.Path
        The folder.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> (folder / "1").mkdir()
    >>> _ = (folder / "1" / "model.json").write_text("{}")
    >>> print_files(folder)  # doctest: +ELLIPSIS
    /.../1/model.json  2 bytes
    """
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file():
            print(f"{path}  {path.stat().st_size:,} bytes")
