"""CPUs available to this process, and locks that survive a fork."""

import itertools
import os
import threading
import weakref

CPU_LIMIT = "/sys/fs/cgroup/cpu.max"
"""File with the CPU quota of a container on Linux: time per period."""

_locks = weakref.WeakValueDictionary()
_numbers = itertools.count()
_held = []


def available_cpus():
    """Number of CPUs that this process may use: those of its affinity, limited
    by the CPU quota of its container.

    Returns
    -------
    int
        At least 1.

    Example
    -------
    >>> 1 <= available_cpus() <= os.cpu_count()
    True
    """
    if hasattr(os, "sched_getaffinity"):
        cpus = len(os.sched_getaffinity(0))
    else:
        cpus = os.cpu_count() or 1
    try:
        with open(CPU_LIMIT, encoding="ascii") as file:
            quota, period = map(int, file.read().split())
    except (OSError, ValueError):  # no container, or "max"
        return cpus
    return max(1, min(cpus, -(-quota // period)))


def fork_safe_lock():
    """Makes a lock that is free in a forked process, and whose data is
    consistent there: a fork waits until no other thread holds the lock.

    Returns
    -------
    threading.RLock

    Example
    -------
    >>> with fork_safe_lock():
    ...     print("alone")
    alone
    """
    lock = threading.RLock()
    _locks[next(_numbers)] = lock
    return lock


class CallLock:
    """A lock, free in a forked process, that is no part of a value: what is
    copied or pickled with it gets one of its own.

    Example
    -------
    >>> import copy
    >>> lock = CallLock()
    >>> with lock, copy.deepcopy(lock):
    ...     pass
    """

    def __init__(self):
        self._lock = fork_safe_lock()

    def __enter__(self):
        self._lock.acquire()

    def __exit__(self, *error):
        self._lock.release()

    def __reduce__(self):
        return CallLock, ()


def _acquire_all():
    """Acquires all locks, newest first: the holder of a lock may request an
    older one, since that belongs to a module imported earlier."""
    global _held
    locks = list(_locks.values())[::-1]
    for lock in locks:
        lock.acquire()
    _held = locks


def _release_all():
    global _held
    locks, _held = _held, []
    for lock in locks:
        lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_acquire_all,
        after_in_parent=_release_all,
        after_in_child=_release_all,
    )
