"""Argument checks; each error is one sentence that names the argument.

Standard library only.
"""

import math
from numbers import Integral, Real

from speechbrain_llsa_runtime.utils.errors import must_be


def check_integer(name, value, minimum, maximum=math.inf):
    """Raises an error unless a value is an integer within a range.

    Arguments
    ---------
    name : str
        Name of the value, for the error.
    value : int
        The value.
    minimum : int
        The smallest allowed value.
    maximum : int
        The largest allowed value.

    Raises
    ------
    TypeError
        If it is not an integer.
    ValueError
        If it is out of range.

    Example
    -------
    >>> check_integer("hop", 4, 1)
    """
    allowed = f"an integer of at least {minimum}"
    if maximum < math.inf:
        allowed = f"an integer from {minimum} to {maximum}"
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(
            must_be(name, allowed, f"{value!r} ({type(value).__name__})")
        )
    if not minimum <= value <= maximum:
        raise ValueError(must_be(name, allowed, value))


def check_number(name, value, minimum, maximum=math.inf):
    """Raises an error unless a value is a finite number within a range.

    Arguments
    ---------
    name : str
        Name of the value, for the error.
    value : float
        The value.
    minimum : float
        The smallest allowed value.
    maximum : float
        The largest allowed value.

    Raises
    ------
    TypeError
        If it is not a number.
    ValueError
        If it is out of range, infinite or NaN.

    Example
    -------
    >>> check_number("dropout", 0.1, 0, 1)
    """
    bounds = f"of at least {minimum}"
    if maximum < math.inf:
        bounds = f"from {minimum} to {maximum}"
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(
            must_be(
                name,
                f"a number {bounds}",
                f"{value!r} ({type(value).__name__})",
            )
        )
    if not minimum <= value <= maximum or math.isinf(value):
        kind = "a finite number" if value == math.inf else "a number"
        raise ValueError(must_be(name, f"{kind} {bounds}", value))


def check_type(name, value, kind):
    """Raises an error unless a value has one of the given types.

    Arguments
    ---------
    name : str
        Name of the value, for the error.
    value : object
        The value.
    kind : type or tuple of type
        The type, or several.

    Raises
    ------
    TypeError
        If it has another type.

    Example
    -------
    >>> check_type("attention", "sa", str)
    """
    if not isinstance(value, kind):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        names = " or ".join(each.__name__ for each in kinds)
        raise TypeError(must_be(name, names, type(value).__name__))
