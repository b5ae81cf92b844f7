"""Names of a module that load when they are first used. Standard library
only."""

import sys
from importlib import import_module


def lazy_names(module, homes):
    """What a module needs to give names that stand elsewhere.

    What needs no PyTorch does not import it then.

    Arguments
    ---------
    module : str
        The module's ``__name__``.
    homes : dict of str to str
        For each name the module that holds it.

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
