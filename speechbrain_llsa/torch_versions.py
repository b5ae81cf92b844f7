"""Checks that the installed torch and torchaudio work together.

torchaudio is compiled against torch, and its releases declare wider ranges of
torch than they load with: 2.11.0 declares nothing, 2.11.1 any torch from 2.11.
Standard library only.
"""

import re
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

WORKING_PAIRS = {
    # torchaudio: torch from, torch below
    (2, 9, 0): ((2, 9), (2, 10)),
    (2, 9, 1): ((2, 9), (2, 10)),
    (2, 10, 0): ((2, 10), (2, 11)),
    (2, 11, 0): ((2, 11), (2, 15)),
    (2, 11, 1): ((2, 13), (2, 16)),
}
"""Pairs that were tested; CONTRIBUTING.md says how."""

REPAIR = 'pip install --upgrade "torch>=2.13,<2.16" "torchaudio==2.11.1"'
"""Installs a working pair, whatever is installed now."""


def check_torch_versions():
    """Rejects a torch and a torchaudio that cannot be loaded together.

    A pair that is known to work costs nothing: only its package metadata is
    read. Any other is imported, because builds from other sources may work.
    Does nothing if one of the two is missing.

    Raises
    ------
    ImportError
        If they cannot be loaded together.

    Example
    -------
    >>> check_torch_versions()
    """
    try:
        torch, torchaudio = version("torch"), version("torchaudio")
    except PackageNotFoundError:
        return
    if known_to_work(torch, torchaudio):
        return
    try:
        import_module("torchaudio")
    except (ImportError, OSError, RuntimeError) as error:
        raise ImportError(
            f"torch and torchaudio must be built for each other, got torch "
            f"{torch} and torchaudio {torchaudio}; this installs a pair that "
            f"is: {REPAIR}",
            # python -m speechbrain_llsa says it in one line then
            name="speechbrain_llsa",
        ) from error


def known_to_work(torch, torchaudio):
    """Whether a pair was tested and works.

    Arguments
    ---------
    torch : str
        Version of torch. One with a local label, as in "2.13.0+cpu", is not
        from PyPI, and counts as unknown.
    torchaudio : str
        Version of torchaudio.

    Returns
    -------
    bool

    Example
    -------
    >>> known_to_work("2.15.0", "2.11.1"), known_to_work("2.12.1", "2.11.1")
    (True, False)
    """
    release = r"\d+\.\d+\.\d+"
    if not re.fullmatch(release, torch) or not re.fullmatch(
        release, torchaudio
    ):
        return False
    first, end = WORKING_PAIRS.get(_numbers(torchaudio), ((0,), (0,)))
    return first <= _numbers(torch) < end


def _numbers(release):
    return tuple(map(int, release.split(".")))
