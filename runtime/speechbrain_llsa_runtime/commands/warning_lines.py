"""Warnings about the audio, as lines on standard error."""

import contextlib
import sys
import warnings

from tqdm import tqdm


@contextlib.contextmanager
def warning_lines(category, prefix=""):
    """A warning is a line on standard error, once; and others are as ever.

    Arguments
    ---------
    category : type
        The class of the warnings.
    prefix : str
        What stands before them, such as the name of a file.

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
