"""The precision of what is computed for a stream.

SpeechBrain allows PyTorch to round float32 to TF32 on CUDA, as soon as it is
imported (``speechbrain.utils.quirks.allow_tf32``). That is right for training;
but which products are rounded depends on their sizes, and a stream's are not
those of the whole utterance. Nor is a stream computed in the type of an
autocast that a program trains or infers with.
"""

import contextlib
import os
import threading
from collections import Counter
from collections.abc import Iterator

import torch

from speechbrain_llsa_runtime.utils.processes import fork_safe_lock

AUTOCAST_DEVICES = "cpu", "cuda", "mps", "xpu"
"""Each has an autocast of its own."""

_lock = fork_safe_lock()
_inside = Counter()
"""How often each thread is inside; those that are not are not in it."""

_before = None


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """Has matrix products of float32 computed in float32, in all threads, for
    as long as any of them is inside, and takes this thread out of autocast;
    also a decorator.

    PyTorch has two switches for products on CUDA, and raises an error where a
    program has used both and they disagree: such a program's choice is left
    alone. Convolutions of cuDNN have a switch of their own, and the front end
    asks for none outside of training.

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
    """Gives the thread that is inside now."""
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
    """Gives what the switches were: that of all devices, ``None`` where it
    stays, and that of the CPU; ``None`` where both stay."""
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
    """They do not live on in a forked process."""
    for thread, times in [*_inside.items()]:
        if thread != threading.get_ident():
            _leave(thread, times)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_other_threads)
