"""Text on standard output, whatever its encoding."""

import contextlib
import sys

FAILING = ("strict", "surrogateescape")
"""What a stream does about characters that it lacks, if that may end in an
error; anything else is somebody's choice."""


@contextlib.contextmanager
def all_characters():
    """Standard output prints what its encoding lacks as escapes, such as
    ``\\xc9``, as standard error always does: nothing is lost, and nothing is
    in another encoding than the rest. A decorator as well.

    Example
    -------
    >>> with all_characters():
    ...     print("plain")
    plain
    """
    stream, errors = sys.stdout, getattr(sys.stdout, "errors", None)
    changed = errors in FAILING and hasattr(stream, "reconfigure")
    if changed:
        stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        if changed:
            with contextlib.suppress(OSError):
                stream.reconfigure(errors=errors)
