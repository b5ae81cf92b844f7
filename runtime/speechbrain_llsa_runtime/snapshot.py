"""Snapshots: a state as bytes, and back. Needs NumPy alone.

One rule for all states: dataclasses, lists and tuples are walked, and each
value at the end of a path such as ``model.encoder.layers.0.key`` is written
under that name: arrays as in any safetensors file, the rest as JSON into its
metadata. Nothing in it is code.

A snapshot may come from a stranger. It is read against a form: a state whose
arrays have the right shapes and types, and no content. What is not exactly of
that form is refused before any array is made.
"""

import hashlib
import json
from dataclasses import fields, is_dataclass

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from speechbrain_llsa_runtime.utils.errors import must_be

FORMAT = "speechbrain_llsa.session"

VERSION = 2
"""Of the format. It goes up when what a session remembers changes."""

HEADER_BYTES = 1 << 24
"""Longest header: all that is not an array, and so the text."""

LENGTH_BYTES = 8
"""A safetensors file begins with the length of its header."""

BLANK = "0" * 64
"""Stands in the place of the checksum while it is calculated."""

DAMAGE = (
    SafetensorError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)
"""What is raised where a snapshot does not hold what it should."""


def blank_array(dtype, *shape):
    """An array for a form: shape and type, without content or memory.

    Arguments
    ---------
    dtype : numpy.dtype or type
        Its type.
    *shape : int
        Its shape.

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
    """The values at the end of all paths through a state.

    Arguments
    ---------
    state : object
        A dataclass, a list or a tuple; anything else is such a value.
    name : str
        Where it stands.

    Returns
    -------
    dict
        Values by name.

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


def rebuild(form, flat, name=""):
    """The inverse of :func:`flatten`.

    Arguments
    ---------
    form : object
        Says which dataclasses, lists and tuples there are.
    flat : dict
        Values by name.
    name : str
        Where the form stands.

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
    parts = _parts(form)
    if parts is None:
        return flat[name]
    parts = {
        key: rebuild(part, flat, _join(name, key))
        for key, part in parts.items()
    }
    if is_dataclass(form):
        return type(form)(**parts)
    return type(form)(parts.values())


def convert(state, function):
    """The same state with each value at the end of a path converted.

    Arguments
    ---------
    state : object
        The state.
    function : callable
        From a value to the one in its place.

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
    """The values below a place in a state.

    Arguments
    ---------
    name : str
        The place.
    flat : dict
        Values by name.

    Returns
    -------
    dict
        Values by what follows the place in their names.

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


def _parts(state):
    if is_dataclass(state):
        return {item.name: getattr(state, item.name) for item in fields(state)}
    if isinstance(state, (list, tuple)):
        return {str(index): part for index, part in enumerate(state)}
    return None


def _join(name, key):
    return f"{name}.{key}" if name else key


def write_snapshot(state, fingerprint):
    """A state as bytes.

    Arguments
    ---------
    state : object
        The state: dataclasses, lists and tuples of arrays, numbers and texts.
    fingerprint : str
        Says which model it belongs to.

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
    about = {
        "checksum": BLANK,
        "format": FORMAT,
        "version": VERSION,
        "fingerprint": fingerprint,
        "values": values,
    }
    # One entry, or their order would be by chance.
    metadata = {"session": json.dumps(about, ensure_ascii=False)}
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
    return data.replace(BLANK.encode(), checksum.encode(), 1)


def read_snapshot(data, fingerprint, make_form):
    """The state that a snapshot holds.

    Arguments
    ---------
    data : bytes
        What :func:`write_snapshot` gave.
    fingerprint : str
        Of the model that the state is for.
    make_form : callable
        Gives the form that the state must have. Its argument is a dict of all
        values that are not arrays, by name.

    Returns
    -------
    object
        The state.

    Raises
    ------
    TypeError
        If the snapshot is not bytes.
    ValueError
        If it is damaged, of another model or of another version, or if its
        content is not of the form.
    """
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise TypeError(must_be("snapshot", "bytes", type(data).__name__))
    data = bytes(data)
    try:
        about = _read_about(data)
        kind, version = about["format"], about["version"]
        checksum, owner = about["checksum"], about["fingerprint"]
        values = dict(about["values"])
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
        form = make_form(values)
        blanks, expected = _split(flatten(form))
        _check_same(expected, values)
        size = sum(blank.nbytes for blank in blanks.values())
        size += LENGTH_BYTES + _header_bytes(data)
        if len(data) != size:
            raise ValueError(f"{len(data)} bytes, and should be {size}")
        arrays = load(data)
        _check_same(_kinds(blanks), _kinds(arrays))
        for name, array in arrays.items():
            if array.dtype.kind == "f" and not np.isfinite(array).all():
                raise ValueError(f"{name} holds NaN or infinite numbers")
    except DAMAGE as error:
        raise _damaged(error) from error
    return rebuild(form, {**values, **arrays})


def _damaged(reason):
    return ValueError(
        must_be(
            "snapshot",
            "bytes that snapshot() gave",
            f"damaged or other ones: {reason}",
        )
    )


def _split(flat):
    """Arrays, and all other values."""
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


def _read_about(data):
    """What the metadata of a safetensors file say of a session."""
    if _header_bytes(data) > HEADER_BYTES:
        raise ValueError(f"a header of {_header_bytes(data)} bytes")
    header = data[LENGTH_BYTES:][: _header_bytes(data)]
    return json.loads(json.loads(header)["__metadata__"]["session"])


def _checksum(data, checksum):
    blanked = data.replace(str(checksum).encode(), BLANK.encode(), 1)
    return hashlib.sha256(blanked).hexdigest()


def _check_same(expected, given):
    """Two dicts are the same, in the types of their values as well."""
    for name in sorted(expected.keys() | given.keys()):
        wanted, got = (
            _short(table[name]) if name in table else "nothing"
            for table in (expected, given)
        )
        if wanted != got or expected[name] != given[name]:
            raise ValueError(f"{name[:80]} is {got}, and should be {wanted}")
