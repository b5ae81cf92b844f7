"""Numeric precision of streaming inference.

SpeechBrain allows PyTorch to round float32 to TF32 on CUDA, as soon as it is
imported (``speechbrain.utils.quirks.allow_tf32``). That is right for training;
but which products are rounded depends on their sizes, which differ between a
stream and a whole utterance. A stream also ignores an autocast that the program
uses for training or inference.
"""

import contextlib
import os
import threading
from collections import Counter
from collections.abc import Iterator

import torch

from speechbrain_llsa_runtime.utils.processes import fork_safe_lock

AUTOCAST_DEVICES = "cpu", "cuda", "mps", "xpu"
"""Device types with an autocast of their own."""

_lock = fork_safe_lock()
_inside = Counter()
"""Nesting depth of ``full_float32`` by thread; only threads that are inside."""

_before = None


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """Makes float32 matrix products use full float32 precision, in all threads
    while any of them is inside, and disables autocast in this thread. Also
    works as a decorator.

    PyTorch has two switches for products on CUDA, and raises an error if a
    program has set both inconsistently: such a program's choice is left alone.
    cuDNN convolutions have a switch of their own; the front end avoids them
    outside of training.

    Example
    -------
    >>> with torch.autocast("cpu"), full_float32():
    ...     torch.get_float32_matmul_precision()
    ...     (torch.ones(1, 2) @ torch.ones(2, 1)).dtype
    'highest'
    torch.float32
    """
    thread = _enter()
    try:
        with contextlib.ExitStack() as without:
            for device in AUTOCAST_DEVICES:
                if torch.is_autocast_enabled(device):
                    without.enter_context(torch.autocast(device, enabled=False))
            yield
    finally:
        with _lock:
            _leave(thread)


def _enter():
    """Enters, and returns the identifier of this thread."""
    global _before
    with _lock:
        if not _inside:
            _before = _forbid_rounding()
        thread = threading.get_ident()
        _inside[thread] += 1
    return thread


def _leave(thread, times=1):
    _inside[thread] -= times
    if not _inside[thread]:
        del _inside[thread]
    if not _inside and _before is not None:
        precision, of_cpu = _before
        if precision is not None:
            torch.set_float32_matmul_precision(precision)
        # which the line before sets too
        torch.backends.mkldnn.matmul.fp32_precision = of_cpu


def _forbid_rounding():
    """Sets the switches and returns their previous values: for all devices
    (``None`` if unchanged) and for the CPU; ``None`` if both are unchanged."""
    matmul = torch.backends.mkldnn.matmul
    precision, of_cpu = None, matmul.fp32_precision
    # both raise an error where switches disagree
    with contextlib.suppress(RuntimeError):
        if torch.backends.cuda.matmul.allow_tf32:
            precision = torch.get_float32_matmul_precision()
            torch.set_float32_matmul_precision("highest")
    if matmul.fp32_precision not in ("none", "ieee"):
        matmul.fp32_precision = "ieee"
    untouched = precision is None and matmul.fp32_precision == of_cpu
    return None if untouched else (precision, of_cpu)


def _forget_other_threads():
    """Other threads do not exist in a forked process."""
    for thread, times in [*_inside.items()]:
        if thread != threading.get_ident():
            _leave(thread, times)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_other_threads)
