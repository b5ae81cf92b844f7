"""The stages of a training: processes that may be killed at any time.

A stage is a recipe in a process of its own. What it cost is written down while
it runs, so that a stage which is killed and started again counts all of its
attempts. A training is locked by whoever runs it, and by the recipe that it
started: two comparisons at once share the rows, and none disturbs a recipe
whose comparison was killed.
"""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from speechbrain_llsa_runtime.utils.atomic_files import write_atomically

_BEAT_SECONDS = 5.0
_LAST_LINES = 4
_ENDED = "ended"


class StageError(RuntimeError):
    """A stage whose process failed."""


@dataclass(frozen=True)
class Cost:
    """What a stage took, over all of its attempts."""

    seconds: float
    """By the clock."""

    cpu_seconds: float
    """Of all cores together."""

    peak_memory_bytes: int | None
    """Largest resident set; ``None`` if no attempt came to an end."""

    attempts: int
    """How often it was started."""


@contextlib.contextmanager
def locked(folder, wait=False):
    """Locks a folder, for this process and those that it starts.

    Arguments
    ---------
    folder : pathlib.Path
        Made if need be.
    wait : bool
        Whether to wait for a lock that somebody else holds.

    Yields
    ------
    int or None
        A descriptor to pass on to them; ``None`` if somebody else holds the
        lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield None
            return
        # closing the file gives the lock back, unless a process that was
        # started with it still runs
        yield file.fileno()


class Stage:
    """A command that is run until it has ended well, once.

    Arguments
    ---------
    name : str
        What it is called: its files are ``<name>.json``, its attempts, and
        ``<name>.log``, what it says.
    folder : pathlib.Path
        Where they go.
    command : list of str
        What is run.
    settings : dict
        What decides its result, as plain values. Another folder or another
        copy of the recipes may go on with it.

    Raises
    ------
    ValueError
        If the folder holds the stage with other settings.
    """

    def __init__(self, name, folder, command, settings):
        self.name = name
        self.folder = folder
        self.command = [str(part) for part in command]
        self.record_path = folder / f"{name}.json"
        self.log_path = folder / f"{name}.log"
        # as they come back from the file
        settings = json.loads(json.dumps(settings, default=str))
        self.record = {"settings": settings, "attempts": []}
        if self.record_path.exists():
            found = json.loads(self.record_path.read_text(encoding="utf-8"))
            self._check_same(found["settings"], settings)
            self.record = found

    def _check_same(self, found, wanted):
        different = [
            f"{name} {found.get(name)!r} there, {wanted.get(name)!r} now"
            for name in sorted(found.keys() | wanted.keys())
            if found.get(name) != wanted.get(name)
        ]
        if different:
            raise ValueError(
                f"{self.folder}: holds a {self.name} of other settings "
                f"({'; '.join(different)}); choose another output_folder, or "
                "remove this one"
            )

    @property
    def ended(self):
        """Whether it has ended well."""
        return any(each[_ENDED] == 0 for each in self.record["attempts"])

    @property
    def cost(self):
        """What it took so far: a Cost."""
        attempts = self.record["attempts"]
        peaks = [each["peak_memory_bytes"] for each in attempts]
        return Cost(
            sum(each["seconds"] for each in attempts),
            sum(each["cpu_seconds"] for each in attempts),
            max((peak for peak in peaks if peak is not None), default=None),
            len(attempts),
        )

    def run(self, lock, threads):
        """Runs it, unless it has ended well.

        Arguments
        ---------
        lock : int
            As :func:`locked` gives it.
        threads : int
            Threads that the process may use.

        Raises
        ------
        StageError
            If it fails.
        """
        if self.ended:
            return
        attempt = {
            _ENDED: None,
            "seconds": 0.0,
            "cpu_seconds": 0.0,
            "peak_memory_bytes": None,
        }
        self.record["attempts"].append(attempt)
        self._write()
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
            "MKL_NUM_THREADS": str(threads),
        }
        begin = time.monotonic()
        with open(self.log_path, "a", encoding="utf-8") as log:
            process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                pass_fds=[lock],
            )
        with _passing_on_signals(process):
            usage = self._wait(process, attempt, begin)
        attempt["seconds"] = time.monotonic() - begin
        attempt["cpu_seconds"] = usage.ru_utime + usage.ru_stime
        # kibibytes on Linux, bytes on macOS
        unit = 1 if sys.platform == "darwin" else 1024
        attempt["peak_memory_bytes"] = usage.ru_maxrss * unit
        attempt[_ENDED] = process.returncode
        self._write()
        if process.returncode:
            said = self.log_path.read_text(encoding="utf-8", errors="replace")
            lines = said.strip().splitlines()[-_LAST_LINES:]
            raise StageError(
                f"{self.name} in {self.folder} ended with "
                f"{process.returncode}: {' | '.join(lines)}"
            )

    def _wait(self, process, attempt, begin):
        beat = begin
        while True:
            done, status, usage = os.wait4(process.pid, os.WNOHANG)
            if done:
                process.returncode = os.waitstatus_to_exitcode(status)
                return usage
            now = time.monotonic()
            if now - beat >= _BEAT_SECONDS:
                beat = now
                attempt["seconds"] = now - begin
                attempt["cpu_seconds"] = _cpu_seconds(process.pid)
                self._write()
            time.sleep(0.1)

    def _write(self):
        write_atomically(
            self.record_path, json.dumps(self.record, indent=1) + "\n"
        )


@contextlib.contextmanager
def _passing_on_signals(process):
    """Whoever ends the comparison ends the recipe as well."""

    def end(number, frame):
        process.terminate()
        process.wait()
        raise SystemExit(128 + number)

    previous = {
        number: signal.signal(number, end)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _cpu_seconds(pid):
    """Of a process that runs; 0 where the system does not tell."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return 0.0
    # the name, in brackets, may hold anything
    fields = text.rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
