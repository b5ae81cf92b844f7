"""What a stream's encoding lacks: all text comes, and no error."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from speechbrain.dataio.encoder import CTCTextEncoder

from source_files import PYTHON_PATH
from speechbrain_llsa.__main__ import main
from speechbrain_llsa.inference.asr import StreamingASR
from speechbrain_llsa.model_folder.write import write_streaming_folder
from tiny_model import make_model, make_signal

ROOT = Path(__file__).parents[2]
BROKEN = os.fsdecode(b"b\xff.wav")
"""A name that is not UTF-8."""

NAMES = ["É.wav", BROKEN]


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """A model whose text has accents, and audio with odd names; the text of
    each file."""
    place = tmp_path_factory.mktemp("encodings")
    tokenizer = CTCTextEncoder()
    tokenizer.update_from_iterable("ÀÉÎ一EFG ")
    tokenizer.insert_blank(index=0)
    write_streaming_folder(place / "model", make_model(), tokenizer)
    asr = StreamingASR.from_hparams(place / "model")
    texts = {}
    for index, name in enumerate(NAMES):
        with open(place / name, "wb") as file:
            signal = make_signal(40000, seed=index).numpy()
            soundfile.write(file, signal, 16000, format="WAV")
        texts[name] = asr.transcribe_file_offline(place / name)
        assert set("É一") <= set(texts[name])
    chapter = place / "corpus" / "É" / "7" / "1"
    chapter.mkdir(parents=True)
    (chapter / "7-1-É.wav").write_bytes((place / "É.wav").read_bytes())
    (chapter / "7-1.trans.txt").write_text("7-1-É É\n", encoding="utf-8")
    os.chdir(place)
    return texts


class Streams:
    """Standard output and error of one encoding, as bytes."""

    def __init__(self, monkeypatch, encoding, errors):
        self.buffers = io.BytesIO(), io.BytesIO()
        for name, buffer, each in zip(
            ("stdout", "stderr"),
            self.buffers,
            (errors, "backslashreplace"),
            strict=True,
        ):
            stream = io.TextIOWrapper(
                buffer, encoding, each, write_through=True
            )
            monkeypatch.setattr(sys, name, stream)

    @property
    def output(self):
        return tuple(buffer.getvalue() for buffer in self.buffers)


@pytest.fixture(
    params=[
        ("ascii", "strict"),
        ("ascii", "surrogateescape"),
        ("latin-1", "strict"),
        ("utf-8", "strict"),
    ],
    ids=" ".join,
)
def run(request, monkeypatch, texts):
    """Runs a command: its exit code, and its output as the encoding has it."""
    encoding, errors = request.param

    def run(*arguments):
        streams = Streams(monkeypatch, encoding, errors)
        code = main([*arguments])
        assert sys.stdout.errors == errors
        return code, *streams.output

    run.encode = lambda text: text.encode(encoding, "backslashreplace")
    return run


OPTIONS = ["--model", "model"]


@pytest.mark.parametrize("endpoint", [[], ["--endpoint"]])
def test_transcribe(run, texts, endpoint):
    """Text and names; what the encoding lacks is escaped."""
    code, out, err = run("transcribe", *OPTIONS, *endpoint, *NAMES)
    lines = "".join(f"{name}: {text}\n" for name, text in texts.items())
    assert (code, err) == (0, b"")
    assert out.split() == run.encode(lines).split()


def test_json(run, texts):
    """It is ASCII, whatever the encoding."""
    code, out, _ = run("transcribe", *OPTIONS, "--json", *NAMES)
    lines = [json.loads(line) for line in out.decode("ascii").splitlines()]
    assert code == 0
    assert {line["file"]: line["text"] for line in lines} == texts


def test_word_files(run, texts, tmp_path):
    """They are UTF-8, whatever the encoding."""
    options = ["--output", str(tmp_path)]
    for kind in ("srt", "vtt", "ctm"):
        options += ["--format", kind]
    code, _, err = run("transcribe", *OPTIONS, *options, *NAMES)
    assert (code, err) == (0, b"")
    assert len(list(tmp_path.iterdir())) == 6
    for path in tmp_path.iterdir():
        content = path.read_bytes().decode("utf-8")
        text = texts[f"{path.stem}.wav"]
        assert all(word in content for word in text.split())


def test_listen(run, texts, monkeypatch):
    """The same text."""
    with open("É.wav", "rb") as audio:
        monkeypatch.setattr(sys, "stdin", audio)
        code, out, err = run("listen", *OPTIONS, "--no-endpoint", "-")
    assert (code, err) == (0, b"")
    assert out[:20] == run.encode(texts["É.wav"])[:20]


def test_errors(run):
    """A bad file of such a name."""
    code, out, err = run("transcribe", *OPTIONS, "nó.wav")
    assert (code, out) == (2, b"")
    assert run.encode("error: nó.wav: ") in err and err.count(b"\n") == 1


def test_evaluate(run, tmp_path):
    """Its table, and its files, in UTF-8."""
    options = ["--data", "corpus", "--split", "É", "--runs", "1"]
    options += ["--output", str(tmp_path / BROKEN)]
    code, out, err = run("evaluate", *OPTIONS, *options)
    assert (code, err) == (0, b"")
    assert out.startswith(run.encode("corpus, É\n"))
    content = (tmp_path / BROKEN / "evaluation.json").read_text("ascii")
    assert json.loads(content)["split"] == "É"
    content = (tmp_path / BROKEN / "evaluation.md").read_text("utf-8")
    assert content.startswith("corpus, É\n")
    content = (tmp_path / BROKEN / "alignments_1.txt").read_text("utf-8")
    assert "7-1-É" in content


@pytest.mark.slow
@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {
            "LC_ALL": "C",
            "PYTHONCOERCECLOCALE": "0",
            "PYTHONUTF8": "0",
        },
    ],
    ids=["ascii", "C"],
)
def test_as_a_program(texts, environment):
    """As the shell starts it."""
    program = [sys.executable, "-m", "speechbrain_llsa", "transcribe"]
    done = subprocess.run(
        [*program, *OPTIONS, "É.wav"],
        env={**os.environ, "PYTHONPATH": PYTHON_PATH, **environment},
        capture_output=True,
        check=True,
    )
    text = texts["É.wav"] + "\n"
    assert done.stdout == text.encode("ascii", "backslashreplace")
    assert done.stderr == b""


@pytest.mark.slow
def test_the_example(texts, tmp_path):
    """Without this package: its text comes as well."""
    pytest.importorskip("onnxscript")
    folder = str(tmp_path / "exported")
    assert main(["export", *OPTIONS, "--out", folder]) == 0
    done = subprocess.run(
        [sys.executable, ROOT / "examples/stream_onnx.py", folder, "É.wav"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=True,
    )
    text = texts["É.wav"].strip().encode("ascii", "backslashreplace")
    assert done.stdout.strip() == text


def test_recipes(texts, monkeypatch, tmp_path):
    """Scripts that print where they write to."""
    import ngram

    streams = Streams(monkeypatch, "ascii", "strict")
    out = tmp_path / "É.arpa"
    ngram.main([str(out), "--data", "corpus", "--splits", "É"])
    sys.stdout.flush()
    assert b"\\xc9.arpa: " in streams.output[0]
    assert out.is_file()
