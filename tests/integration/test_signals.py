"""Commands that a signal breaks off: what they print, leave and return."""

import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import soundfile

from source_files import PYTHON_PATH
from speechbrain_llsa.__main__ import main
from speechbrain_llsa.commands import evaluate, picture
from speechbrain_llsa.inference import onnx_export as export
from speechbrain_llsa.model_folder.write import write_streaming_folder
from speechbrain_llsa_runtime.commands import transcribe
from tiny_model import make_model, make_signal, make_tokenizer

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("signals") / "model"
    return write_streaming_folder(folder, make_model(), make_tokenizer())


@pytest.fixture
def place(model, tmp_path, monkeypatch):
    """An empty folder but for two files, and the model as a link."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").symlink_to(model)
    chapter = tmp_path / "corpus" / "test" / "7" / "1"
    chapter.mkdir(parents=True)
    lines = ""
    for name in ("7-1-0000", "7-1-0001"):
        soundfile.write(chapter / f"{name}.wav", make_signal(20000), 16000)
        lines += f"{name} A B\n"
    (chapter / "7-1.trans.txt").write_text(lines)
    return tmp_path


@pytest.fixture(params=CODES, ids=lambda number: number.name)
def number(request):
    return request.param


@pytest.fixture
def broken_off(place, number, capsys):
    """Runs a command that a signal breaks off: what it leaves, and prints."""

    def broken_off(*arguments):
        before = [signal.getsignal(each) for each in CODES]
        files = {*place.rglob("*")}
        assert main([*arguments]) == CODES[number]
        assert [signal.getsignal(each) for each in CODES] == before
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return {
            str(path.relative_to(place)) for path in {*place.rglob("*")} - files
        }, captured.out

    return broken_off


def raising(number, function, calls=1):
    """A function that sends a signal after so many calls."""
    count = 0

    @functools.wraps(function)
    def wrapper(*arguments, **options):
        nonlocal count
        count += 1
        result = function(*arguments, **options)
        if count == calls:
            signal.raise_signal(number)
        return result

    return wrapper


def test_transcribe(broken_off, number, monkeypatch):
    """The files that are done have their words; of the one that is read,
    there is the text so far, and no file."""
    read = transcribe.read_blocks
    name = "corpus/test/7/1/7-1-000"

    def read_blocks(path, seconds):
        for index, block in enumerate(read(path, seconds)):
            if index == 9 and path.endswith("1.wav"):
                signal.raise_signal(number)
            yield block

    monkeypatch.setattr(transcribe, "read_blocks", read_blocks)
    options = ["--model", "model", "--format", "srt", "--output", "words"]
    left, out = broken_off(
        "transcribe", *options, f"{name}0.wav", f"{name}1.wav"
    )
    assert left == {"words", "words/7-1-0000.srt"}
    done, begun = out.splitlines()
    assert done.startswith(f"{name}0.wav: ")
    assert begun.startswith(f"{name}1.wav: ") and begun != done


def test_an_unfinished_file(broken_off, number, monkeypatch):
    """A signal while a file of words is written: no part of it."""
    monkeypatch.setattr(Path, "write_bytes", raising(number, Path.write_bytes))
    options = ["--model", "model", "--format", "srt", "--output", "words"]
    left, _ = broken_off("transcribe", *options, "corpus/test/7/1/7-1-0000.wav")
    assert left == {"words"}


def test_evaluate(broken_off, number, monkeypatch):
    """Nothing is left of a row that is not done."""
    monkeypatch.setattr(
        evaluate, "evaluate", raising(number, lambda *_, **__: None)
    )
    options = ["--data", "corpus", "--split", "test", "--output", "out"]
    left, out = broken_off("evaluate", "--model", "model", *options)
    assert (left, out) == (set(), "")


@pytest.mark.parametrize("number", [signal.SIGTERM])
def test_export(broken_off, number, monkeypatch):
    """Neither a part of a folder, nor the folder beside it."""
    pytest.importorskip("onnxscript")
    monkeypatch.setattr(export, "_quantise", raising(number, export._quantise))
    left, out = broken_off(
        "export", "--model", "model", "--out", "exported", "--int8"
    )
    assert (left, out) == (set(), "")


def test_picture(broken_off, number, monkeypatch):
    """No file, or a whole one."""
    monkeypatch.setattr(
        picture,
        "draw_dependencies",
        raising(number, picture.draw_dependencies),
    )
    left, out = broken_off("picture", "a.png")
    assert (left, out) == ({"a.png"}, "")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "setsid"), reason="needs sessions")
def test_a_service_with_children(place):
    """As a program: SIGTERM ends the rows that run beside it."""
    program = [sys.executable, "-m", "speechbrain_llsa", "evaluate"]
    options = ["--data", "corpus", "--split", "test", "--runs", "1000000"]
    process = subprocess.Popen(
        [*program, "--model", "model", "model", *options],
        env={
            **os.environ,
            "PYTHONPATH": PYTHON_PATH,
        },
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while "multiprocessing" not in "".join(
        Path(f"/proc/{child}/cmdline").read_text()
        for child in children.read_text().split()
    ):
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, b"Traceback" in err) == (143, False), err
    with pytest.raises(ProcessLookupError):
        for _ in range(300):  # Python's own tracker ends a little later
            os.killpg(process.pid, 0)
            time.sleep(0.1)
