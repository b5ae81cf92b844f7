"""CPUs of a process, and locks across a fork."""

import os
import threading

import pytest

from speechbrain_llsa_runtime.utils import processes as process


def test_cpus_are_those_of_the_affinity(monkeypatch, tmp_path):
    """And no more than the container has time for, rounded up."""
    limit = tmp_path / "cpu.max"
    monkeypatch.setattr(process, "CPU_LIMIT", limit)
    monkeypatch.setattr(
        os, "sched_getaffinity", lambda pid: {1, 4, 5, 7}, raising=False
    )
    assert process.available_cpus() == 4
    for content, cpus in (
        ("max 100000\n", 4),
        ("150000 100000\n", 2),
        ("1000 100000\n", 1),
        ("900000 100000\n", 4),
        ("nonsense", 4),
    ):
        limit.write_text(content)
        assert process.available_cpus() == cpus
    limit.unlink()
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert process.available_cpus() == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_fork_waits_for_a_lock():
    """Of another thread, but not for one of its own; then it is free in
    parent and child."""
    locks = [process.fork_safe_lock() for _ in range(2)]
    held, leave, done = threading.Event(), threading.Event(), []

    def hold():
        with locks[0]:
            held.set()
            leave.wait()
            done.append("held")

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    threading.Timer(0.2, leave.set).start()
    with locks[1]:
        pid = os.fork()
        if not pid:
            free = all(lock.acquire(timeout=5) for lock in locks)
            os._exit(0 if free and done == ["held"] else 1)
    assert os.waitpid(pid, 0)[1] == 0
    thread.join()
    for lock in locks:
        assert lock.acquire(timeout=5)
        lock.release()
