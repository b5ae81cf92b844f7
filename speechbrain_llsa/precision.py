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
_allowed = False


@contextlib.contextmanager
def full_float32():
    """Has matrix products of float32 on CUDA computed in float32, in all
    threads, for as long as any of them is inside; also a decorator.

    Where a program has chosen by ``fp32_precision``, PyTorch's other switch
    for the same, its choice stands. Convolutions have a switch of their own,
    and the front end asks cuDNN for none outside of training.

    Example
    -------
    >>> torch.backends.cuda.matmul.allow_tf32 = True
    >>> with full_float32():
    ...     torch.backends.cuda.matmul.allow_tf32
    False
    >>> torch.backends.cuda.matmul.allow_tf32
    True
    """
    entered = _enter()
    try:
        yield
    finally:
        if entered:
            _leave()


def _enter():
    """Whether there will be anything to undo."""
    global _inside, _allowed
    with _lock:
        if _inside == 0:
            try:
                _allowed = torch.backends.cuda.matmul.allow_tf32
            except RuntimeError:
                # asked after somebody used the other switch
                return False
            torch.backends.cuda.matmul.allow_tf32 = False
        _inside += 1
    return True


def _leave():
    global _inside
    with _lock:
        _inside -= 1
        if _inside == 0:
            torch.backends.cuda.matmul.allow_tf32 = _allowed
