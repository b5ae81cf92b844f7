"""The precision of matrix products in a stream.

The host allows PyTorch to round float32 to TF32 on CUDA, as soon as it is
imported (``speechbrain.utils.quirks.allow_tf32``). That is right for training;
but which products are rounded depends on their sizes, and a stream's are not
those of the whole utterance.
"""

import contextlib
import threading

import torch

_lock = threading.Lock()
_inside = 0
_before = None


@contextlib.contextmanager
def full_float32():
    """Has matrix products of float32 computed in float32, in all threads, for
    as long as any of them is inside; also a decorator.

    PyTorch has two switches for it, and raises an error where a program has
    used both and they disagree: such a program's choice is left alone.
    Convolutions of cuDNN have a switch of their own, and the front end asks
    for none outside of training.

    Example
    -------
    >>> with full_float32():
    ...     torch.get_float32_matmul_precision()
    'highest'
    """
    entered = _enter()
    try:
        yield
    finally:
        if entered:
            _leave()


def _enter():
    """Whether there will be anything to undo."""
    global _inside, _before
    with _lock:
        if _inside == 0:
            try:
                precision = torch.get_float32_matmul_precision()
                allowed = torch.backends.cuda.matmul.allow_tf32
            except RuntimeError:
                return False
            if not allowed:
                return False
            _before = precision, torch.backends.mkldnn.matmul.fp32_precision
            torch.set_float32_matmul_precision("highest")
        _inside += 1
    return True


def _leave():
    global _inside
    with _lock:
        _inside -= 1
        if _inside == 0:
            precision, of_cpu = _before
            torch.set_float32_matmul_precision(precision)
            # which the line before sets too
            torch.backends.mkldnn.matmul.fp32_precision = of_cpu
