"""Damage to files, as hypothesis draws it.

Damage is drawn without the file, since hypothesis keeps what it draws.
"""

import re

from hypothesis import strategies as st

HEADER_BYTES = 512

NUMBERS = tuple(
    number.to_bytes(size, order)
    for size in (1, 2, 4, 8)
    for number in (0, 1, (1 << 8 * size) - 1, 1 << 8 * size - 1)
    for order in ("little", "big")
)
"""Numbers at the edge of their size."""

VALUE = re.compile(rb"(?:: |=> |- )([^\n,]*)")
"""A value in YAML, or in a file of labels."""

KINDS = ("overwrite", "number", "number", "insert", "cut", "end", "repeat")


def damages(tokens=()):
    """One to 4 changes of a file.

    Arguments
    ---------
    tokens : tuple of bytes
        Text with a meaning in the format.

    Returns
    -------
    hypothesis.strategies.SearchStrategy
        Of what :func:`damaged` takes.
    """
    kinds = KINDS + ("token",) * 3 * bool(tokens)
    return st.lists(_change(kinds, tokens), min_size=1, max_size=4)


def damaged(content, changes):
    """A file with changes.

    Arguments
    ---------
    content : bytes
        The valid file.
    changes : list of tuple
        What :func:`damages` draws.

    Returns
    -------
    bytes
    """
    for kind, place, in_header, length, piece in changes:
        content = _changed(content, kind, place, in_header, length, piece)
    return content


@st.composite
def _change(draw, kinds, tokens):
    """What happens, where, to how many bytes, and the bytes that come."""
    kind = draw(st.sampled_from(kinds))
    piece = b""
    if kind in ("number", "token"):
        pieces = NUMBERS if kind == "number" else tokens
        piece = draw(st.sampled_from(pieces))
    elif kind in ("overwrite", "insert"):
        piece = draw(st.binary(min_size=1, max_size=16))
    elif kind == "repeat":
        piece = bytes(draw(st.sampled_from([2, 100])))
    place = draw(st.integers(0, 1 << 32))
    in_header = draw(st.booleans())
    return kind, place, in_header, draw(st.integers(0, 64)), piece


def _changed(content, kind, place, in_header, length, piece):
    values = []
    if kind == "token":
        values = [match.span(1) for match in VALUE.finditer(content)]
    if values and length >= 16:
        start, end = values[place % len(values)]
        return content[:start] + piece + content[end:]
    reach = min(HEADER_BYTES, len(content)) if in_header else len(content)
    start = place % (reach + 1)
    end = start + length
    if kind == "end":
        return content[:start]
    if kind == "cut":
        return content[:start] + content[end:]
    if kind == "repeat":
        times = len(piece)
        return content[:start] + content[start:end] * times + content[end:]
    if kind in ("insert", "token"):
        return content[:start] + piece + content[start:]
    return content[:start] + piece + content[start + len(piece) :]
