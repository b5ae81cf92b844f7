"""Warnings that name the line of the user's code."""

import sys

PACKAGES = ("speechbrain_llsa.", "speechbrain_llsa_runtime.")


def caller_stacklevel():
    """The ``stacklevel`` with which a warning names the line that called these
    packages, however deep in them it is issued.

    Returns
    -------
    int
        For ``warnings.warn`` in the function that asks.
    """
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and f"{_module(frame)}.".startswith(
        PACKAGES
    ):
        level, frame = level + 1, frame.f_back
    return level


def _module(frame):
    return frame.f_globals.get("__name__", "")
