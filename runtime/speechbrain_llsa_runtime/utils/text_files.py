"""Reading of users' text files: UTF-8, with or without a byte order mark."""

import codecs
import io
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

_OTHER_MARKS = {
    # that of UTF-32 begins with that of UTF-16
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def read_text(path):
    """Reads a text file.

    Arguments
    ---------
    path : str or pathlib.Path
        The file.

    Returns
    -------
    str
        Its text, without a byte order mark.

    Raises
    ------
    ValueError
        If it is not UTF-8; the message names the file and the line.

    Example
    -------
    >>> path = getfixture("tmp_path") / "example.txt"
    >>> _ = path.write_bytes(b"\\xef\\xbb\\xbfwith a mark")
    >>> read_text(path)
    'with a mark'
    """
    try:
        return decode_text(Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} {error}") from None


def read_lines(path):
    """Reads the lines of a text file. Lines end with a line feed, optionally
    after a carriage return; other characters that Python takes for line ends
    are part of the text.

    Arguments
    ---------
    path : str or pathlib.Path
        The file.

    Returns
    -------
    list of str
        The lines, without line ends.

    Raises
    ------
    ValueError
        If it is not UTF-8.

    Example
    -------
    >>> path = getfixture("tmp_path") / "example.txt"
    >>> _ = path.write_bytes(b"ONE\\x0bTWO\\r\\nTHREE")
    >>> read_lines(path)
    ['ONE\\x0bTWO', 'THREE']
    """
    *lines, last = read_text(path).split("\n")
    if last:
        lines.append(last)
    return [line.removesuffix("\r") for line in lines]


def open_text(path):
    """Opens a text file for a reader that needs a stream with a ``name``.

    Arguments
    ---------
    path : str or pathlib.Path
        The file.

    Returns
    -------
    io.StringIO

    Raises
    ------
    ValueError
        If it is not UTF-8.
    """
    stream = io.StringIO(read_text(path))
    stream.name = str(path)
    return stream


def other_encoding(head):
    """Detects another encoding than UTF-8 by the first bytes of a file.

    Arguments
    ---------
    head : bytes
        The first bytes, or all of them.

    Returns
    -------
    str or None
        Description of the encoding; ``None`` if it may be UTF-8.
    """
    for mark, name in _OTHER_MARKS.items():
        if head.startswith(mark):
            return name
    if b"\0" not in head:
        return None
    every_second = head[:2].count(0) == head[2:4].count(0) == 1
    return "UTF-16" if every_second else "zero bytes"


def decode_text(content):
    """Decodes the content of a text file.

    Arguments
    ---------
    content : bytes
        The whole content.

    Returns
    -------
    str
        Its text, without a byte order mark.

    Raises
    ------
    ValueError
        If it is not UTF-8. The message is a fragment, to be preceded by the
        name of the file.
    """
    found = other_encoding(content)
    if found is not None:
        raise ValueError(f"must be UTF-8, got {found}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # the position does not count the mark
        rest = content.removeprefix(codecs.BOM_UTF8)
        line = rest.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"must be UTF-8, got the byte {rest[error.start]:#04x} in line "
            f"{line}"
        ) from None


@contextmanager
def without_byte_order_mark(path):
    """Provides a text file to a reader that takes a byte order mark for text.

    Arguments
    ---------
    path : str or pathlib.Path
        The file.

    Yields
    ------
    pathlib.Path
        The file; or a copy without the mark, if it has one.
    """
    path = Path(path)
    with path.open("rb") as stream:
        if stream.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
            yield path
            return
        with tempfile.NamedTemporaryFile(suffix=path.suffix) as copy:
            shutil.copyfileobj(stream, copy)
            copy.flush()
            yield Path(copy.name)
