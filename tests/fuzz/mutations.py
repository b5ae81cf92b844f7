"""Damaged files, as hypothesis draws them."""

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


@st.composite
def damaged(draw, content, tokens=()):
    """A valid file with up to 4 changes.

    Arguments
    ---------
    draw : callable
        Of hypothesis.
    content : bytes
        The valid file.
    tokens : tuple of bytes
        Text with a meaning in the format.

    Returns
    -------
    bytes
    """
    for _ in range(draw(st.integers(1, 4))):
        content = draw(_changed(content, tokens))
    return content


@st.composite
def _changed(draw, content, tokens):
    kinds = ["overwrite", "number", "number", "insert", "cut", "end", "repeat"]
    kind = draw(st.sampled_from(kinds + ["token"] * 3 * bool(tokens)))
    place = draw(_place(content))
    after = place + draw(st.integers(0, 64))
    if kind == "end":
        return content[:place]
    if kind == "cut":
        return content[:place] + content[after:]
    if kind == "repeat":
        times = draw(st.sampled_from([2, 100]))
        return content[:place] + content[place:after] * times + content[after:]
    if kind == "number":
        piece = draw(st.sampled_from(NUMBERS))
    elif kind == "token":
        piece = draw(st.sampled_from(tokens))
        place, after = draw(_value(content))
        return content[:place] + piece + content[after:]
    else:
        piece = draw(st.binary(min_size=1, max_size=16))
    if kind == "insert":
        return content[:place] + piece + content[place:]
    return content[:place] + piece + content[place + len(piece) :]


@st.composite
def _value(draw, content):
    """Where a value of a text stands, or any place."""
    found = list(VALUE.finditer(content))
    if found and draw(st.integers(0, 3)):
        return draw(st.sampled_from(found)).span(1)
    place = draw(_place(content))
    return place, place


def _place(content):
    """Anywhere, but half of the time in the header."""
    anywhere = st.integers(0, len(content))
    return st.integers(0, min(HEADER_BYTES, len(content))) | anywhere
