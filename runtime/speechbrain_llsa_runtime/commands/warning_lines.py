"""Prints warnings about audio as plain lines on standard error."""

import contextlib
import sys
import warnings

from tqdm import tqdm


@contextlib.contextmanager
def warning_lines(category, prefix=""):
    """Prints each warning of a category once, as a line on standard error, and
    leaves other warnings alone.

    Arguments
    ---------
    category : type
        The class of the warnings.
    prefix : str
        Text before each, such as the name of a file.

    Example
    -------
    >>> with warning_lines(UserWarning, "a.wav: "):
    ...     warnings.warn("it is quiet")
    """
    shown, show_others = set(), warnings.showwarning

    def show(message, shown_category, *place, **others):
        if not issubclass(shown_category, category):
            show_others(message, shown_category, *place, **others)
        elif str(message) not in shown:
            shown.add(str(message))
            tqdm.write(f"{prefix}warning: {message}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("always", category)
        warnings.showwarning = show
        yield
