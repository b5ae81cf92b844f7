"""Snapshots: serialise a session state to bytes and back. Needs only NumPy.

One rule covers all states: dataclasses, lists and tuples are traversed, and
each leaf is stored under its path, such as ``model.encoder.layers.0.key``:
arrays as in any safetensors file, all other values as JSON in its metadata. A
snapshot contains no code.

Snapshots are untrusted input. They are validated against an expected layout: a
state whose arrays have the right shapes and types, but no content. A snapshot
that deviates from it is rejected before any array is allocated.
"""

import hashlib
import json
from dataclasses import fields, is_dataclass

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from speechbrain_llsa_runtime.utils.errors import must_be

FORMAT = "speechbrain_llsa.session"

VERSION = 4
"""Version of the format; raised whenever the state of a session changes."""

HEADER_BYTES = 1 << 24
"""Maximum length of the header, which holds everything but arrays, including
the text."""

LENGTH_BYTES = 8
"""Bytes at the start of a safetensors file that hold the header's length."""

CHECKSUM_PLACEHOLDER = "0" * 64
"""Takes the place of the checksum while that is computed."""

DAMAGE = (
    SafetensorError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)
"""Errors raised when reading a damaged snapshot."""


def blank_array(dtype, *shape):
    """Makes an array for an expected layout: shape and type, but no memory.

    Arguments
    ---------
    dtype : numpy.dtype or type
        Type of the array.
    *shape : int
        Shape of the array.

    Returns
    -------
    numpy.ndarray

    Example
    -------
    >>> blank_array(np.float32, 1, 1 << 20, 1 << 20).shape
    (1, 1048576, 1048576)
    """
    return np.broadcast_to(np.zeros((), dtype), shape)


def flatten(state, name=""):
    """Collects the leaves of a state by path.

    Arguments
    ---------
    state : object
        A dataclass, a list or a tuple; anything else is a leaf.
    name : str
        Path of the state itself.

    Returns
    -------
    dict
        Leaves by path.

    Example
    -------
    >>> from speechbrain_llsa.state import EncoderState, LayerState
    >>> flat = flatten(EncoderState(("sa", 2), [LayerState(received=7)]))
    >>> flat["signature.1"], flat["layers.0.received"], flat["layers.0.key"]
    (2, 7, None)
    """
    parts = _parts(state)
    if parts is None:
        return {name: state}
    flat = {}
    for key, part in parts.items():
        flat.update(flatten(part, _join(name, key)))
    return flat


def rebuild(layout, flat, name=""):
    """Inverse of :func:`flatten`.

    Arguments
    ---------
    layout : object
        A state with the same dataclasses, lists and tuples.
    flat : dict
        Leaves by path.
    name : str
        Path of the state itself.

    Returns
    -------
    object

    Example
    -------
    >>> from speechbrain_llsa.state import EncoderState, LayerState
    >>> state = EncoderState(("sa", 2), [LayerState(received=7)])
    >>> rebuild(state, flatten(state)) == state
    True
    """
    parts = _parts(layout)
    if parts is None:
        return flat[name]
    parts = {
        key: rebuild(part, flat, _join(name, key))
        for key, part in parts.items()
    }
    if is_dataclass(layout):
        return type(layout)(**parts)
    return type(layout)(parts.values())


def convert(state, function):
    """Applies a function to each leaf of a state.

    Arguments
    ---------
    state : object
        The state.
    function : callable
        Maps a leaf to its replacement.

    Returns
    -------
    object

    Example
    -------
    >>> from speechbrain_llsa.state import LayerState
    >>> convert(LayerState(7), lambda value: value and value + 1).received
    8
    """
    flat = flatten(state)
    converted = {name: function(value) for name, value in flat.items()}
    return rebuild(state, converted)


def below(name, flat):
    """Selects the leaves below a path.

    Arguments
    ---------
    name : str
        The path.
    flat : dict
        Leaves by path.

    Returns
    -------
    dict
        Leaves by path relative to ``name``.

    Example
    -------
    >>> below("layers", {"layers.0.received": 7, "end": None})
    {'0.received': 7}
    """
    start = f"{name}."
    return {
        key.removeprefix(start): value
        for key, value in flat.items()
        if key.startswith(start)
    }


def each_below(name, flat):
    """Selects the leaves below each element of a list, in one pass.

    Arguments
    ---------
    name : str
        The path of the list.
    flat : dict
        Leaves by path.

    Returns
    -------
    list of dict
        Of each element, from the first to the last before one without leaves:
        leaves by path relative to it.

    Example
    -------
    >>> each_below("layers", {"layers.0.end": 7, "layers.1.end": 8, "end": 9})
    [{'end': 7}, {'end': 8}]
    """
    elements = {}
    for key, value in below(name, flat).items():
        index, _, path = key.partition(".")
        elements.setdefault(index, {})[path] = value
    found = []
    while str(len(found)) in elements:
        found.append(elements[str(len(found))])
    return found


def _parts(state):
    if is_dataclass(state):
        return {item.name: getattr(state, item.name) for item in fields(state)}
    if isinstance(state, (list, tuple)):
        return {str(index): part for index, part in enumerate(state)}
    return None


def _join(name, key):
    return f"{name}.{key}" if name else key


def write_snapshot(state, fingerprint):
    """Serialises a state.

    Arguments
    ---------
    state : object
        The state: dataclasses, lists and tuples of arrays, numbers and strings.
    fingerprint : str
        Identifies the model that the state belongs to.

    Returns
    -------
    bytes
        A safetensors file.

    Raises
    ------
    ValueError
        If the text in it is longer than a snapshot can hold.

    Example
    -------
    >>> from speechbrain_llsa_runtime.decoders.greedy import CTCGreedyState
    >>> state = CTCGreedyState(np.array([3]))
    >>> data = write_snapshot(state, "model A")
    >>> read_snapshot(data, "model A", lambda values: state)
    CTCGreedyState(last=array([3]))
    >>> read_snapshot(data, "B", lambda values: state)
    Traceback (most recent call last):
    ...
    ValueError: snapshot must be one of 'B', this model with these options, \
got one of 'model A'
    """
    arrays, values = _split(flatten(state))
    session = {
        "checksum": CHECKSUM_PLACEHOLDER,
        "format": FORMAT,
        "version": VERSION,
        "fingerprint": fingerprint,
        "values": values,
    }
    # A single entry: the order of several would be random.
    metadata = {"session": json.dumps(session, ensure_ascii=False)}
    arrays = {name: np.ascontiguousarray(a) for name, a in arrays.items()}
    data = save(arrays, metadata)
    if _header_bytes(data) > HEADER_BYTES:
        raise ValueError(
            must_be(
                "session",
                (
                    f"one with at most {HEADER_BYTES} bytes of text and "
                    "counters for a "
                    "snapshot"
                ),
                _header_bytes(data),
            )
        )
    checksum = hashlib.sha256(data).hexdigest()
    return data.replace(CHECKSUM_PLACEHOLDER.encode(), checksum.encode(), 1)


def read_snapshot(data, fingerprint, make_layout):
    """Validates a snapshot and restores its state.

    Arguments
    ---------
    data : bytes
        The result of :func:`write_snapshot`; may be untrusted.
    fingerprint : str
        Identifies the model that the state is for.
    make_layout : callable
        Returns the expected layout of the state. Its argument is a dict of all
        leaves that are not arrays, by path.

    Returns
    -------
    object
        The state.

    Raises
    ------
    TypeError
        If the snapshot is not bytes.
    ValueError
        If it is damaged, belongs to another model or version, or does not match
        the expected layout.
    """
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError(must_be("snapshot", "bytes", type(data).__name__))
    data = bytes(data)
    try:
        session = _read_session(data)
        kind, version = session["format"], session["version"]
        checksum, owner = session["checksum"], session["fingerprint"]
        values = dict(session["values"])
    except DAMAGE as error:
        raise _damaged("no snapshot can be read from them") from error
    if kind != FORMAT or type(version) is not int or version != VERSION:
        raise ValueError(
            must_be(
                "snapshot",
                f"of format {FORMAT!r} in version {VERSION}",
                f"{_short(kind)} in version {_short(version)}",
            )
        )
    if checksum != _checksum(data, checksum):
        raise _damaged("their checksum is another one")
    if owner != fingerprint:
        raise ValueError(
            must_be(
                "snapshot",
                f"one of {fingerprint!r}, this model with these options",
                f"one of {_short(owner)}",
            )
        )
    try:
        layout = make_layout(values)
        blanks, expected = _split(flatten(layout))
        _check_equal(expected, values)
        size = sum(blank.nbytes for blank in blanks.values())
        size += LENGTH_BYTES + _header_bytes(data)
        if len(data) != size:
            raise ValueError(f"{len(data)} bytes, and should be {size}")
        arrays = load(data)
        _check_equal(_kinds(blanks), _kinds(arrays))
        for name, array in arrays.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise ValueError(f"{name} holds NaN or infinite numbers")
    except DAMAGE as error:
        raise _damaged(error) from error
    return rebuild(layout, {**values, **arrays})


def _damaged(reason):
    return ValueError(
        must_be(
            "snapshot",
            "bytes that snapshot() gave",
            f"damaged or other ones: {reason}",
        )
    )


def _split(flat):
    """Separates arrays from all other leaves."""
    arrays = {
        name: value
        for name, value in flat.items()
        if isinstance(value, np.ndarray)
    }
    return arrays, {n: v for n, v in flat.items() if n not in arrays}


def _kinds(arrays):
    return {name: (str(a.dtype), a.shape) for name, a in arrays.items()}


def _short(value):
    return repr(value)[:80]


def _header_bytes(data):
    return int.from_bytes(data[:LENGTH_BYTES], "little")


def _read_session(data):
    """Reads the entry about the session in the metadata."""
    if _header_bytes(data) > HEADER_BYTES:
        raise ValueError(f"a header of {_header_bytes(data)} bytes")
    header = data[LENGTH_BYTES:][: _header_bytes(data)]
    return json.loads(json.loads(header)["__metadata__"]["session"])


def _checksum(data, checksum):
    blanked = data.replace(
        str(checksum).encode(), CHECKSUM_PLACEHOLDER.encode(), 1
    )
    return hashlib.sha256(blanked).hexdigest()


def _check_equal(expected, actual):
    """Raises unless two dicts are equal, including the types of values."""
    for name in sorted(expected.keys() | actual.keys()):
        wanted, got = (
            _short(table[name]) if name in table else "nothing"
            for table in (expected, actual)
        )
        if wanted != got or expected[name] != actual[name]:
            raise ValueError(f"{name[:80]} is {got}, and should be {wanted}")
