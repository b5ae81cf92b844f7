"""The stages of a training: processes that may be killed at any time.

A stage is a recipe in a process of its own. Its cost is recorded while it runs,
so that a stage that is killed and restarted counts all its attempts. A training
is locked by the comparison that runs it, and by the recipe that this starts:
two comparisons at once share the rows, and neither disturbs a recipe whose
comparison was killed.
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
from speechbrain_llsa_runtime.utils.errors import must_be

_BEAT_SECONDS = 5.0
_LAST_LINES = 4
_ENDED = "ended"


class StageError(RuntimeError):
    """Raised if the process of a stage fails."""


@dataclass(frozen=True)
class Cost:
    """Cost of a stage, over all its attempts."""

    seconds: float
    """Wall-clock time."""

    cpu_seconds: float
    """CPU time of all cores."""

    peak_memory_bytes: int | None
    """Peak resident set; ``None`` if no attempt ended."""

    attempts: int
    """Number of starts."""


@contextlib.contextmanager
def locked(folder, wait=False):
    """Locks a folder for this process and its child processes.

    Arguments
    ---------
    folder : pathlib.Path
        The folder; created if necessary.
    wait : bool
        Whether to wait for a lock that another process holds.

    Yields
    ------
    int or None
        A file descriptor to pass to child processes; ``None`` if another
        process holds the lock.
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
    """A command that is run until it has succeeded once.

    Arguments
    ---------
    name : str
        Name of the stage: ``<name>.json`` holds its attempts, and
        ``<name>.log`` its output.
    folder : pathlib.Path
        Folder of the files.
    command : list of str
        The command line.
    settings : dict
        Everything that determines its result, as plain values. Paths of the
        folder and of the recipes may change.

    Raises
    ------
    ValueError
        If the folder holds the stage with different settings.
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
            self.record = _read_record(self.record_path)
            self._check_same(self.record["settings"], settings)

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
        """Whether it has succeeded."""
        return any(each[_ENDED] == 0 for each in self.record["attempts"])

    @property
    def cost(self):
        """Its cost so far, a Cost."""
        attempts = self.record["attempts"]
        peaks = [each["peak_memory_bytes"] for each in attempts]
        return Cost(
            sum(each["seconds"] for each in attempts),
            sum(each["cpu_seconds"] for each in attempts),
            max((peak for peak in peaks if peak is not None), default=None),
            len(attempts),
        )

    def run(self, lock, threads):
        """Runs the command, unless it has succeeded before.

        Arguments
        ---------
        lock : int
            The descriptor from :func:`locked`.
        threads : int
            Number of threads that the process may use.

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
            log = self.log_path.read_text(encoding="utf-8", errors="replace")
            lines = log.strip().splitlines()[-_LAST_LINES:]
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


def _read_record(path):
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        kinds = type(record["settings"]), type(record["attempts"])
        if kinds == (dict, list):
            return record
    except (ValueError, LookupError, TypeError):
        pass
    raise ValueError(
        must_be(str(path), "as compare.py wrote it, or removed", "another")
    )


@contextlib.contextmanager
def _passing_on_signals(process):
    """Passes signals that end the comparison on to the recipe."""

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
    """CPU time of a running process; 0 if the system does not report it."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return 0.0
    # the name, in brackets, may hold anything
    fields = text.rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
