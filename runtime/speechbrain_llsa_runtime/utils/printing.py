"""Prints any text on standard output, whatever its encoding."""

import contextlib
import sys

STRICT_HANDLERS = ("strict", "surrogateescape")
"""Error handlers of a stream that may raise for unencodable characters; any
other handler is a deliberate choice of the user."""


@contextlib.contextmanager
def all_characters():
    """Makes standard output print unencodable characters as escapes, such as
    ``\\xc9``, as standard error always does: nothing is lost, and the encoding
    stays consistent. Also works as a decorator.

    Example
    -------
    >>> with all_characters():
    ...     print("plain")
    plain
    """
    stream, errors = sys.stdout, getattr(sys.stdout, "errors", None)
    changed = errors in STRICT_HANDLERS and hasattr(stream, "reconfigure")
    if changed:
        stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        if changed:
            with contextlib.suppress(OSError):
                stream.reconfigure(errors=errors)
