"""Fuzzes targets, in a process of its own that may crash.

    python tests/fuzz/worker.py TARGET,TARGET,... SEED INPUTS FOLDER

FOLDER/TARGET/input holds the input that is tried, so that it is there after a
crash. A signal ends the process after ``HANG_SECONDS`` with one input, and
memory beyond ``MEMORY_BYTES`` is refused. Prints one line of JSON with figures
for each target.
"""

import json
import logging
import re
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from mutations import damaged, damages
from speechbrain.utils.importutils import LazyModule
from targets import NAMED_ERRORS, TARGETS

HANG_SECONDS = 20
MEMORY_BYTES = 1 << 30


def run(target, seed_number, inputs, folder):
    """Tries damaged inputs, until one does not give a named error.

    Arguments
    ---------
    target : Target
        What is fuzzed.
    seed_number : int
        Decides the inputs.
    inputs : int
        How many.
    folder : pathlib.Path
        An empty folder.

    Returns
    -------
    dict
        Figures: inputs, refused ones, slowest in seconds of the processor,
        peak memory over the memory at the start in MiB.

    Raises
    ------
    Exception
        What an input gave in the place of a named error. The shortest such
        input is in ``folder / "input"``.
    """
    files = folder / "files"
    files.mkdir()
    _limit_memory(None)
    target.prepare(files)
    content = (files / target.file_name).read_bytes()
    target.load(files)
    figures = {"target": target.name, "inputs": 0, "refused": 0, "slowest": 0.0}
    before = _peak_kib()
    _limit_memory(MEMORY_BYTES)

    @seed(seed_number)
    @settings(
        max_examples=inputs,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(damages(target.tokens))
    def attempt(changes):
        changed = damaged(content, changes)
        (folder / "input").write_bytes(changed)
        (files / target.file_name).write_bytes(changed)
        signal.alarm(HANG_SECONDS)
        begin = time.process_time()
        try:
            target.load(files)
        except NAMED_ERRORS as error:
            figures["refused"] += 1
            check_message(str(error))
        finally:
            signal.alarm(0)
        figures["inputs"] += 1
        spent = time.process_time() - begin
        figures["slowest"] = round(max(figures["slowest"], spent), 3)

    attempt()
    figures["peak_mib"] = round((_peak_kib() - before) / 1024, 1)
    return figures


def check_message(message):
    """One line of bounded length that begins with the name of the argument."""
    if not re.match(r"[a-z_]+(: | must )", message) or "\n" in message:
        raise AssertionError(f"no named error in one line: {message!r}")
    if len(message) > 1500:
        raise AssertionError(f"{len(message)} characters: {message[:200]!r}")


def _peak_kib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _limit_memory(more):
    """Allows so many bytes more than there are now, or any number."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    used = int(re.search(r"VmSize:\s*(\d+)", status)[1]) * 1024
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    soft = hard if more is None else used + more
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _quiet_lazy_modules():
    """hypothesis asks all modules for their file, and SpeechBrain's lazy ones
    import what may not be installed."""
    ask = LazyModule.__getattr__

    def __getattr__(self, name):
        if name == "__file__":
            raise AttributeError(name)
        return ask(self, name)

    LazyModule.__getattr__ = __getattr__


if __name__ == "__main__":
    names, seed_text, inputs_text, folder_name = sys.argv[1:]
    torch.set_num_threads(1)
    logging.disable()
    tempfile.tempdir = folder_name
    _quiet_lazy_modules()
    for name in names.split(","):
        place = Path(folder_name, name)
        place.mkdir()
        result = run(TARGETS[name], int(seed_text), int(inputs_text), place)
        print(json.dumps(result), flush=True)
