"""Lazy imports: names of a module that load on first use. Standard library
only."""

import sys
from importlib import import_module


def lazy_names(module, homes):
    """Makes the hooks with which a module re-exports names lazily, so that
    PyTorch is imported only by users of names that need it.

    Arguments
    ---------
    module : str
        The module's ``__name__``.
    homes : dict of str to str
        The defining module of each name.

    Returns
    -------
    list of str
        The module's ``__all__``.
    callable
        Its ``__getattr__``.
    callable
        Its ``__dir__``.

    Example
    -------
    >>> names, get, _ = lazy_names("module", {"Transcript": "transcripts"})
    >>> names
    ['Transcript']
    >>> get("nothing")
    Traceback (most recent call last):
    ...
    AttributeError: module 'module' has no attribute 'nothing'
    """

    def get(name):
        if name not in homes:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        return getattr(import_module(homes[name]), name)

    def names():
        return sorted({*homes, *vars(sys.modules[module])})

    return list(homes), get, names
