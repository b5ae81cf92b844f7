"""Checks of plain values read from JSON, composed into checks of whole files.

A check is a function of the name of a value and the value. It returns nothing,
or raises a ``ValueError`` that says what the value must be. Nothing that it
accepts is converted. Standard library only.
"""

import math
import re
from pathlib import PurePosixPath, PureWindowsPath

from speechbrain_llsa_runtime.utils.errors import must_be

LONGEST_TEXT = 1000
LONGEST_SHOWN = 80

_SHA256 = re.compile("[0-9a-f]{64}")
_RELEASE = re.compile(r"[0-9]{1,4}(\.[0-9]{1,4}){1,3}")


def shown(value):
    """Formats a value for an error message, with bounded length.

    Arguments
    ---------
    value : object
        The value, as read from JSON.

    Returns
    -------
    str

    Example
    -------
    >>> shown("hop"), shown([1, 2]), shown({"a": 1})
    ("'hop'", 'a list of 2', 'an object')
    """
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, int) and abs(value) > 1 << 64:
        return "a larger integer" if value > 0 else "a smaller integer"
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def _refuse(name, expected, value):
    raise ValueError(must_be(name, expected, shown(value)))


def integer(least, most):
    """Makes a check for an integer within a range, both ends included.

    Arguments
    ---------
    least : int
        The smallest.
    most : int
        The largest.

    Returns
    -------
    callable

    Example
    -------
    >>> integer(1, 1000)("hop", 4)
    >>> integer(1, 1000)("hop", 0)
    Traceback (most recent call last):
    ...
    ValueError: hop must be an integer from 1 to 1000, got 0
    """

    def check(name, value):
        if type(value) is not int or not least <= value <= most:
            _refuse(name, f"an integer from {least} to {most}", value)

    return check


def number(least=-1e9, most=1e9):
    """Makes a check for a finite number within a range, both ends included.

    Arguments
    ---------
    least : float
        The smallest.
    most : float
        The largest.

    Returns
    -------
    callable
    """

    def check(name, value):
        if (
            type(value) not in (int, float)
            or not math.isfinite(value)
            or not least <= value <= most
        ):
            _refuse(name, f"a number from {least:g} to {most:g}", value)

    return check


def boolean(name, value):
    """Checks that a value is true or false.

    Arguments
    ---------
    name : str
        Name of the value.
    value : object
        The value.
    """
    if not isinstance(value, bool):
        _refuse(name, "true or false", value)


def one_of(*allowed):
    """Makes a check for one of several values.

    Arguments
    ---------
    *allowed : tuple
        The values.

    Returns
    -------
    callable
    """
    *others, last = ("null" if each is None else repr(each) for each in allowed)
    expected = f"{', '.join(others)} or {last}" if others else last

    def check(name, value):
        if not any(type(value) is type(a) and value == a for a in allowed):
            _refuse(name, expected, value)

    return check


def text(name, value):
    """Checks that a value is text that UTF-8 can encode, of bounded length.

    Arguments
    ---------
    name : str
        Name of the value.
    value : object
        The value.
    """
    if not isinstance(value, str) or len(value) > LONGEST_TEXT:
        _refuse(name, f"text of at most {LONGEST_TEXT} characters", value)
    try:
        value.encode()
    except UnicodeEncodeError:
        _refuse(name, "text that UTF-8 can encode", ascii(value))


def file_name(name, value):
    """Checks that a value names a file in the folder itself: no path.

    Arguments
    ---------
    name : str
        Name of the value.
    value : object
        The value.
    """
    text(name, value)
    if (
        value in ("", ".", "..")
        or not value.isprintable()
        or any(kind(value).name != value
               for kind in (PurePosixPath, PureWindowsPath))
    ):  # fmt: skip
        _refuse(name, "the name of a file in the folder, without a path", value)


def checksum(name, value):
    """Checks that a value is a SHA-256 in hexadecimal digits.

    Arguments
    ---------
    name : str
        Name of the value.
    value : object
        The value.
    """
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        _refuse(name, "64 hexadecimal digits of a SHA-256", value)


def release(name, value):
    """Checks that a value is the version of a program, such as "1.14".

    Arguments
    ---------
    name : str
        Name of the value.
    value : object
        The value.
    """
    if not isinstance(value, str) or not _RELEASE.fullmatch(value):
        _refuse(name, 'a version such as "1.14"', value)


def listed(check_item, least=0, most=64):
    """Makes a check for a list.

    Arguments
    ---------
    check_item : callable
        Checks each of its values.
    least : int
        The least length.
    most : int
        The largest length.

    Returns
    -------
    callable

    Example
    -------
    >>> listed(integer(1, 9))("strides", [5, 2, 0])
    Traceback (most recent call last):
    ...
    ValueError: strides[2] must be an integer from 1 to 9, got 0
    """

    def check(name, value):
        if not isinstance(value, list) or not least <= len(value) <= most:
            _refuse(name, f"a list of {least} to {most} values", value)
        for index, each in enumerate(value):
            check_item(f"{name}[{index}]", each)

    return check


def one_or_listed(check_item, most=64):
    """Makes a check for a value, or a list of at least one.

    Arguments
    ---------
    check_item : callable
        Checks the value, or each of them.
    most : int
        The largest length.

    Returns
    -------
    callable
    """
    several = listed(check_item, 1, most)

    def check(name, value):
        (several if isinstance(value, list) else check_item)(name, value)

    return check


def optional(check_value):
    """Makes a check for a value or null.

    Arguments
    ---------
    check_value : callable
        Checks the value.

    Returns
    -------
    callable
    """

    def check(name, value):
        if value is not None:
            check_value(name, value)

    return check


def absent_or(check_value):
    """Makes a check for an entry that an object may lack.

    Arguments
    ---------
    check_value : callable
        Checks the value, where there is one.

    Returns
    -------
    callable

    Example
    -------
    >>> check = fields(bias=absent_or(boolean))
    >>> check("head", {})
    >>> check("head", {"bias": 1})
    Traceback (most recent call last):
    ...
    ValueError: head.bias must be true or false, got 1
    """

    def check(name, value):
        check_value(name, value)

    check.may_be_absent = True
    return check


def built_by(kind):
    """Makes a check for the arguments of a class that checks them itself.

    Arguments
    ---------
    kind : callable
        The class. It is called with the entries of the object.

    Returns
    -------
    callable
    """

    def check(name, value):
        if not isinstance(value, dict):
            _refuse(name, "an object", value)
        try:
            kind(**value)
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"{name}: {error}") from error

    return check


def fields(required=None, **allowed):
    """Makes a check for an object with known entries.

    Arguments
    ---------
    required : collection of str, optional
        Names of the entries that must be there; by default all but those
        whose check is :func:`absent_or`.
    **allowed : dict
        A check for each entry, by its name.

    Returns
    -------
    callable

    Example
    -------
    >>> check = fields(in_dim=integer(1, 9), bias=boolean)
    >>> check("head", {"in_dim": 3, "bias": True})
    >>> check("head", {"in_dim": 3, "bais": True})
    Traceback (most recent call last):
    ...
    ValueError: head has the unknown entry 'bais'
    """
    if required is None:
        required = {
            name
            for name, check_entry in allowed.items()
            if not getattr(check_entry, "may_be_absent", False)
        }

    def check(name, value):
        if not isinstance(value, dict):
            _refuse(name or "content", "an object", value)
        where = name or "it"
        unknown = value.keys() - allowed.keys()
        if unknown:
            raise ValueError(
                f"{where} has the unknown entry {shown(min(unknown))}"
            )
        missing = sorted(required - value.keys())
        if missing:
            raise ValueError(f"{where} lacks the entry {missing[0]!r}")
        for entry, each in value.items():
            allowed[entry](f"{name}.{entry}" if name else entry, each)

    return check


def by_kind(**kinds):
    """Makes a check for an object whose entry ``kind`` says what else it holds.

    Arguments
    ---------
    **kinds : dict
        For each kind a dict with the check of each other entry.

    Returns
    -------
    callable
    """
    check_kind = one_of(*kinds)
    checks = {
        kind: fields(kind=check_kind, **entries)
        for kind, entries in kinds.items()
    }

    def check(name, value):
        if not isinstance(value, dict):
            _refuse(name or "content", "an object", value)
        kind = value.get("kind")
        check_kind(f"{name}.kind" if name else "kind", kind)
        checks[kind](name, value)

    return check
