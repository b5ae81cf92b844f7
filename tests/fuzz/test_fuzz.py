"""Damaged files give a named error: no hang, no crash, no gigabyte.

Targets are fuzzed in a process of their own (``worker.py``), which is ended
after 20 seconds with one input, and refused a gigabyte. The long profile
tries ``LONG_INPUTS`` for each target: ``pytest -m long tests/fuzz -s``.
"""

import base64
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from targets import TARGETS
from worker import check_message

from source_files import PYTHON_PATH

WORKER = Path(__file__).with_name("worker.py")

SHORT_INPUTS = 40
LONG_INPUTS = 1500


def fuzz(names, seed, inputs, folder):
    """Runs the worker; gives its figures, or fails with the input."""
    done = subprocess.run(
        [
            sys.executable,
            WORKER,
            ",".join(names),
            str(seed),
            str(inputs),
            folder,
        ],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "PYTHONPATH": PYTHON_PATH,
            "OMP_NUM_THREADS": "1",
        },
        check=False,
    )
    figures = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode == 0:
        return figures
    how = "an error without a name"
    if done.returncode < 0:
        how = signal.Signals(-done.returncode).name
    name = names[len(figures)]
    kept = folder / name / "input"
    content = kept.read_bytes() if kept.is_file() else b""
    pytest.fail(
        f"{name}, seed {seed}: {how}\n{done.stderr[-3000:]}\n"
        f"input ({len(content)} bytes) in base64: "
        f"{base64.b64encode(content[:3000]).decode()}"
    )


@pytest.mark.slow
def test_damaged_files(tmp_path):
    """A few inputs for each target."""
    results = fuzz(list(TARGETS), 1, SHORT_INPUTS, tmp_path)
    assert [figures["target"] for figures in results] == list(TARGETS)
    for figures in results:
        assert figures["inputs"] >= SHORT_INPUTS
        assert figures["refused"] > SHORT_INPUTS / 4


@pytest.mark.long
@pytest.mark.parametrize("name", TARGETS)
def test_many_damaged_files(name, tmp_path):
    """Many inputs for each target, with figures to report."""
    (figures,) = fuzz([name], 2, LONG_INPUTS, tmp_path)
    print(json.dumps(figures))
    assert figures["inputs"] >= LONG_INPUTS


BAD_WORKER = """
import runpy
import sys

sys.path[:0] = {path}
import targets


def prepare(folder):
    (folder / "a").write_bytes(bytes(99))


def load(folder):
    if (folder / "a").read_bytes() == bytes(99):
        return
    {body}


targets.TARGETS["bad"] = targets.Target("bad", "a", prepare, load)
runpy.run_path({worker!r}, run_name="__main__")
"""
"""The worker, with a target that goes wrong."""


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise KeyError('a')", "an error without a name"),
        ("bytearray(2 << 30)", "MemoryError"),
        ("import ctypes; ctypes.string_at(0)", "SIGSEGV"),
        ("import signal; signal.alarm(1)\nwhile True: pass", "SIGALRM"),
    ],
)
def test_the_fuzzer_finds(body, words, tmp_path, monkeypatch):
    """A loader that crashes, hangs, takes memory or gives another error is a
    failure, with its input."""
    worker = tmp_path / "worker.py"
    worker.write_text(
        BAD_WORKER.format(
            path=[str(WORKER.parent), str(WORKER.parents[1])],
            worker=str(WORKER),
            body=body.replace("\n", "\n    "),
        ),
        encoding="utf-8",
    )
    monkeypatch.setattr(sys.modules[__name__], "WORKER", worker)
    (tmp_path / "work").mkdir()
    with pytest.raises(pytest.fail.Exception) as caught:
        fuzz(["bad"], 1, 20, tmp_path / "work")
    assert words in str(caught.value)
    assert "base64: " in str(caught.value)


@pytest.mark.parametrize("message", ["no name", "name:\nlines", "a: " * 999])
def test_messages_are_one_named_line(message):
    """What counts as a named error."""
    with pytest.raises(AssertionError):
        check_message(message)
