"""The command ``transcribe``: text, JSON, bad input."""

import json
import subprocess
import sys

import pytest
import soundfile
from tiny_model import make_model, make_signal, make_tokenizer

from speechbrain_llsa.__main__ import main
from speechbrain_llsa.inference.asr import StreamingASR
from speechbrain_llsa.inference.folder import write_streaming_folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a model and audio files."""
    place = tmp_path_factory.mktemp("place")
    write_streaming_folder(place / "model", make_model(), make_tokenizer())
    soundfile.write(place / "a.wav", make_signal(30000).numpy(), 16000)
    stereo = make_signal(88200).view(-1, 2).numpy()
    soundfile.write(place / "b.flac", stereo, 44100)
    soundfile.write(place / "empty.wav", stereo[:0], 8000)
    (place / "c.txt").write_text("not audio")
    return place


@pytest.fixture
def run(place, monkeypatch, capsys):
    """Runs the command there; gives exit code, output and errors."""
    monkeypatch.chdir(place)

    def run(*arguments):
        code = main(["transcribe", *arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def texts(place):
    """What each file says, offline."""
    asr = StreamingASR.from_hparams(place / "model")
    names = ["a.wav", "b.flac", "empty.wav"]
    return {name: asr.transcribe_file_offline(place / name) for name in names}


def test_text(run, texts):
    """One file: its text, and nothing else."""
    assert run("--model", "model", "a.wav") == (0, texts["a.wav"] + "\n", "")


@pytest.mark.parametrize(
    ("line", "choice"),
    [
        ([], {}),
        (["--hop", "1"], {"hop": 1}),
        (["--look_ahead", "7", "--hop=5"], {"look_ahead": 7, "hop": 5}),
    ],
)
def test_latencies(run, place, line, choice):
    """--hop and --look_ahead choose among those that a model is trained for;
    the text is that of the same choice offline."""
    folder = place / "latencies"
    if not folder.exists():
        model = make_model(hop=[2, 1, 5], look_ahead=[4, 7])
        write_streaming_folder(folder, model, make_tokenizer())
    asr = StreamingASR.from_hparams(folder)
    text = asr.transcribe_file_offline(place / "a.wav", **choice)
    code, out, _ = run("--model", "latencies", "--json", *line, "a.wav")
    result = json.loads(out)
    assert (code, result["text"]) == (0, text)
    look_ahead_seconds = choice.get("look_ahead", 4) * 0.02
    assert result["look_ahead_seconds"] == pytest.approx(look_ahead_seconds)
    assert bool(choice) == (text != asr.transcribe_file_offline("a.wav"))


def test_many_files(run, texts):
    """Several files: a line for each, with its name."""
    code, out, _ = run("--model", "model", *texts)
    lines = [f"{name}: {text}" for name, text in texts.items()]
    assert (code, out.splitlines()) == (0, lines)


def test_json(run, texts):
    """One line of JSON for each file: text, duration, look-ahead."""
    code, out, err = run("--json", "--model", "model", *texts)
    results = [json.loads(line) for line in out.splitlines()]
    assert (code, err) == (0, "")
    assert [result["text"] for result in results] == list(texts.values())
    assert [result["file"] for result in results] == list(texts)
    durations = [result["duration_seconds"] for result in results]
    assert durations == [1.875, 1.0, 0.0]
    assert {result["look_ahead_seconds"] for result in results} == {0.08}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "nowhere", "a.wav"], "--model: got 'nowhere'"),
        (["--model", ".", "a.wav"], "holds no hyperparams.yaml"),
        (["--model", "model", "a.wav", "d.wav"], "path: got 'd.wav'"),
        (["--model", "model", "c.txt"], "path: got 'c.txt'"),
        (["--model", "model", "."], "path: got '.'"),
    ],
)
def test_bad_input_is_one_line(run, arguments, message):
    """Bad input: one line on standard error, exit code 2, no text."""
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_as_a_program(place, texts):
    """``python -m speechbrain_llsa`` does the same."""
    program = [sys.executable, "-m", "speechbrain_llsa", "transcribe"]
    done = subprocess.run(
        [*program, "--model", "model", "a.wav"],
        cwd=place,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == texts["a.wav"] + "\n"
    assert done.stderr == ""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a terminal")
def test_on_a_terminal(place, texts):
    """On a terminal there is a bar, and the whole text stands there."""
    import os
    import pty

    ours, theirs = pty.openpty()
    program = [sys.executable, "-m", "speechbrain_llsa", "transcribe"]
    with subprocess.Popen(
        [*program, "--model", "model", "a.wav"],
        cwd=place,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "COLUMNS": "500", "LINES": "24"},
    ) as process:
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 1 << 16):
                shown += part
        except OSError:
            pass
    os.close(ours)
    assert process.returncode == 0
    assert texts["a.wav"] in shown.decode()
