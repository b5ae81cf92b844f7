"""The command ``transcribe``: text, JSON, bad input."""

import io
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch

from headers import encoded, with_number
from speechbrain_llsa.__main__ import main
from speechbrain_llsa.commands.models import Models
from speechbrain_llsa.inference.asr import StreamingASR
from speechbrain_llsa.inference.streaming_encoder import StreamingEncoder
from speechbrain_llsa.model_folder.write import write_streaming_folder
from speechbrain_llsa_runtime.commands import text_output, transcribe
from speechbrain_llsa_runtime.transcripts.endpointer import (
    Endpointer,
    EndpointRule,
)
from tiny_model import make_model, make_signal, make_tokenizer


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
        (["--model", "nowhere", "a.wav"], r"--model must .*got 'nowhere'"),
        (["--model", ".", "a.wav"], "holds no model.json"),
        (["--model", "model", "d.wav"], r"path must .*got 'd.wav'"),
        (["--model", "model", "c.txt"], r"path must .*got 'c.txt'"),
        (["--model", "model", "."], r"path must .*got '.'"),
    ],
)
def test_bad_input_is_one_line(run, arguments, message):
    """Bad input: one line on standard error, exit code 2, no text."""
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert re.search(message, err)
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


def test_a_length_that_was_not_known(run, place, texts):
    """All samples are transcribed, by everything that reads files."""
    content = (place / "a.wav").read_bytes()
    path = place / "endless.wav"
    path.write_bytes(with_number(content, b"data", 0, "<I", 0))
    expected = texts["a.wav"]
    assert run("--model", "model", "endless.wav") == (0, expected + "\n", "")
    code, out, _ = run("--model", "model", "--json", "endless.wav")
    assert (code, json.loads(out)["duration_seconds"]) == (0, 1.875)
    asr = StreamingASR.from_hparams(place / "model")
    assert asr.transcribe_file_offline(path) == expected
    assert asr.transcribe_file(path) == expected
    encoder = StreamingEncoder.from_hparams(place / "model")
    frames = encoder.encode_file(path)
    assert torch.equal(frames, encoder.encode_file(place / "a.wav"))


@pytest.mark.parametrize("format", ["WAV", "RF64", "W64", "AIFF", "AU", "CAF"])
def test_truncated_files(run, place, format):
    """What is there is transcribed; standard error has a line for the file."""
    signal = make_signal(30000).numpy()
    content = encoded(signal, format)
    (place / "cut.wav").write_bytes(content[: len(content) - 31000])
    soundfile.write(place / "there.wav", signal[:14500], 16000)
    _, expected, _ = run("--model", "model", "there.wav")
    code, out, err = run("--model", "model", "cut.wav")
    assert (code, out) == (0, expected)
    assert (
        "warning: cut.wav is truncated: 60000 bytes of samples are decl" in err
    )
    assert err.count("\n") == 1
    _, out, err = run("--model", "model", "cut.wav", "a.wav", "cut.wav")
    assert out.count(expected) == 2
    assert err.count("\n") == 1


# -- words, segments, files


def lines_of(out):
    return [json.loads(line) for line in out.splitlines()]


@pytest.fixture(scope="module")
def words(place):
    """The words of each file, offline."""
    asr = StreamingASR.from_hparams(place / "model")
    names = ["a.wav", "b.flac", "empty.wav"]
    return {name: asr.transcript_offline(place / name).words for name in names}


def test_json_has_words(run, words):
    """Without endpoints a file is one segment, in one line."""
    code, out, _ = run("--json", "--model", "model", *words)
    lines = lines_of(out)
    assert code == 0
    assert [line["segment"] for line in lines] == [0, 0, 0]
    assert all(line["end_of_file"] for line in lines)
    for line, expected in zip(lines, words.values(), strict=True):
        assert line["words"] == [word.to_dict() for word in expected]
    assert len(lines[0]["words"]) > 2


def test_json_of_segments(run, words, texts):
    """With endpoints a line for each segment, and one at the end of the file;
    together they have all words, and the text."""
    options = ["--maximum_length", "0.04", "--silence_after_speech", "0"]
    code, out, err = run("--json", "--model", "model", *options, *words)
    assert (code, err) == (0, "")
    for name, expected in words.items():
        lines = [line for line in lines_of(out) if line["file"] == name]
        ends = [line["end_of_file"] for line in lines]
        assert ends == [False] * (len(lines) - 1) + [True]
        given = [word for line in lines for word in line["words"]]
        assert [(w["word"], w["start"], w["end"]) for w in given] == [
            (word.text, word.start, word.end) for word in expected
        ]
        joined = " ".join(line["text"].strip() for line in lines).split()
        assert joined == texts[name].split()
        numbers = [line["segment"] for line in lines]
        assert numbers == sorted(set(numbers))
        for line in lines:
            assert {w["segment"] for w in line["words"]} <= {line["segment"]}
    assert len(lines_of(out)) > 5


def test_a_line_for_each_segment(run, texts):
    """As text: a line when a segment closes, with the name of its file where
    there are several."""
    options = ["--model", "model", "--maximum_length", "0.04"]
    code, out, _ = run(*options, "a.wav")
    assert code == 0
    assert len(out.splitlines()) > 2
    assert out.split() == texts["a.wav"].split()
    code, out, _ = run(*options, "a.wav", "b.flac")
    names = {line.split(": ")[0] for line in out.splitlines()}
    assert names == {"a.wav", "b.flac"}


def test_endpoints_of_the_model(place, run, texts):
    """Rules in the model's folder hold, unless the command says otherwise."""
    write_streaming_folder(
        place / "endpointing",
        make_model(),
        make_tokenizer(),
        Endpointer(maximum_length=EndpointRule(length_seconds=0.04)),
    )
    _, out, _ = run("--model", "endpointing", "a.wav")
    assert len(out.splitlines()) > 2
    _, out, _ = run("--model", "endpointing", "--no-endpoint", "a.wav")
    assert out == texts["a.wav"] + "\n"
    options = ["--maximum_length", "0", "--silence_after_speech", "0"]
    _, out, _ = run("--model", "endpointing", *options, "a.wav")
    assert out.splitlines() == [" ".join(texts["a.wav"].split())]


def test_files_beside_the_audio(place, run, words):
    """One for each format: they name the words and when they are spoken."""
    options = ["--format", "srt", "--format", "vtt", "--format", "ctm"]
    code, _, err = run("--model", "model", *options, "a.wav", "empty.wav")
    assert (code, err) == (0, "")
    expected = words["a.wav"]
    fields = [
        line.split() for line in (place / "a.ctm").read_text().splitlines()
    ]
    assert [f[4] for f in fields] == [word.text for word in expected]
    for (name, channel, start, duration, _, confidence), word in zip(
        fields, expected, strict=True
    ):
        assert (name, channel) == ("a", "1")
        assert float(start) == word.start
        assert float(start) + float(duration) == pytest.approx(word.end)
        assert float(confidence) == pytest.approx(word.confidence, abs=1e-4)
    assert (place / "empty.ctm").read_text() == ""
    assert (place / "empty.srt").read_text() == ""
    assert (place / "empty.vtt").read_text() == "WEBVTT\n"
    for kind, point in (("srt", ","), ("vtt", ".")):
        text = (place / f"a.{kind}").read_text()
        pattern = rf"(\d\d):(\d\d):(\d\d\{point}\d\d\d)"
        times = [
            float(h) * 3600 + float(m) * 60 + float(s.replace(",", "."))
            for h, m, s in re.findall(pattern, text)
        ]
        assert times == sorted(times)
        assert times[0] == expected[0].start
        assert times[-1] == expected[-1].end
        spoken = [w for line in text.splitlines() for w in line.split()]
        letters = set(" ".join(word.text for word in expected))
        assert [w for w in spoken if set(w) <= letters] == [
            word.text for word in expected
        ]
    assert not list(place.glob(".*"))


def test_files_in_a_folder(place, run):
    """It is made if need be."""
    options = ["--format", "srt", "--output", "new/subtitles"]
    assert run("--model", "model", *options, "a.wav")[0] == 0
    names = [path.name for path in (place / "new" / "subtitles").iterdir()]
    assert names == ["a.srt"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "doc"], "invalid choice: 'doc'"),
        (["--output", "x"], r"--format must .*got only --output 'x'"),
        (
            ["--maximum_length", "-1"],
            "--maximum_length: length_seconds must .*got",
        ),
        (["--silence_after_speech", "nan"], "--silence_after_speech: silence"),
        (["--maximum_length", "long"], "invalid float value: 'long'"),
        (
            ["--no-endpoint", "--maximum_length", "3"],
            r"--maximum_length must .*got 3",
        ),
    ],
)
def test_bad_options_are_one_line(run, capsys, arguments, message):
    """Also what the parser itself refuses."""
    try:
        code, out, err = run("--model", "model", "a.wav", *arguments)
    except SystemExit as stopped:
        code, (out, err) = stopped.code, capsys.readouterr()
    assert (code, out) == (2, "")
    assert re.search(message, err)
    assert err.count("\n") == 1


def test_two_files_of_one_name(run):
    """Neither is written over the other."""
    options = ["--format", "srt", "--output", "o"]
    code, out, err = run("--model", "model", *options, "a.wav", "sub/a.wav")
    assert (code, out) == (2, "")
    assert "names of audio files must be different" in err
    assert "got two that give 'o/a.srt'" in err


def test_an_output_that_cannot_be_written(place, run):
    """A file in the place of the folder is named."""
    options = ["--format", "srt", "--output", "c.txt"]
    code, _, err = run("--model", "model", *options, "a.wav")
    assert code == 2
    assert "c.txt" in err
    assert err.count("\n") == 1


def test_the_model_stays_as_it_is(run, place, monkeypatch):
    """What a command is told is of its sessions: others of the same model
    close their segments where the model says."""
    asr = StreamingASR.from_hparams(place / "model")
    asr.endpointer = own = Endpointer(
        maximum_length=EndpointRule(length_seconds=0.2)
    )
    monkeypatch.setattr(Models, "load", lambda self, arguments: asr)
    before = dict(vars(asr))
    code, out, _ = run("--model=model", "--json", "--no-endpoint", "a.wav")
    assert (code, len(out.splitlines())) == (0, 1)
    assert vars(asr) == before
    session = asr.session()
    assert session.push(make_signal(30000)).words[-1].segment > 0
    assert asr.endpointer is own


# -- bad files among good ones


@pytest.fixture(scope="module")
def bad(place):
    """Files that cannot be read, or not to their end, and a part of what
    stderr says of each."""
    whole = io.BytesIO()
    soundfile.write(whole, make_signal(64000).numpy(), 16000, format="FLAC")
    content = whole.getvalue()
    (place / "cut.flac").write_bytes(content[: len(content) // 2])
    (place / "nothing.wav").write_bytes(b"")
    (place / "folder.wav").mkdir()
    signal = make_signal(64000).numpy()
    signal[60000] = np.nan
    soundfile.write(place / "nan.wav", signal, 16000, subtype="FLOAT")
    return {
        "cut.flac": "libsndfile",
        "nothing.wav": "must be audio",
        "folder.wav": "must be an existing audio file",
        "nan.wav": "got NaN",
        "missing.wav": "must be an existing audio file",
        f"{'x' * 300}.wav": "File name too long",
    }


HEARD = ("cut.flac", "nan.wav")
"""Those that have text before they are bad."""


@pytest.mark.parametrize("place_of_bad", ["first", "between", "last"])
def test_bad_files_do_not_stop_others(run, texts, bad, place_of_bad):
    """All others are done; at the end there is a line for each bad one, and
    the exit code is 2. What was heard of a bad one stands there."""
    good = ["a.wav", "b.flac"]
    names = [*bad, *good] if place_of_bad == "first" else [*good, *bad]
    if place_of_bad == "between":
        names = ["a.wav", *bad, "b.flac", "a.wav"]
    code, out, err = run("--model", "model", *names)
    assert code == 2
    said = [line.split(": ") for line in out.splitlines()]
    assert [name for name, _ in said] == [
        name for name in names if name in (*good, *HEARD)
    ]
    for name, text in said:
        assert text == texts[name] if name in good else len(text) > 10
    for line, (name, words) in zip(err.splitlines(), bad.items(), strict=True):
        assert f"error: {name}: " in line and re.search(words, line)


def test_json_of_bad_files(run, texts, bad):
    """The last line of a file that was heard in part says why."""
    names = ["a.wav", *bad, "b.flac"]
    code, out, err = run("--json", "--model", "model", *names)
    lines = {line["file"]: line for line in lines_of(out)}
    assert (code, err.count("\n")) == (2, len(bad))
    assert [*lines] == ["a.wav", *HEARD, "b.flac"]
    for name, line in lines.items():
        assert line["end_of_file"]
        if name in HEARD:
            assert bad[name] in line["error"] and len(line["text"]) > 10
        else:
            assert "error" not in line and line["text"] == texts[name]


def test_word_files_of_bad_files(place, run, bad, tmp_path):
    """Only what was read to its end has some; a place that cannot be written
    to is named for its file alone."""
    options = ["--format", "srt", "--output", str(tmp_path)]
    code, _, _ = run("--model", "model", *options, *bad, "a.wav", "b.flac")
    assert code == 2
    assert {each.name for each in tmp_path.iterdir()} == {"a.srt", "b.srt"}
    (tmp_path / "a.srt").unlink()
    (tmp_path / "a.srt" / "x").mkdir(parents=True)
    (tmp_path / ".a.srt.part").mkdir()
    (tmp_path / "b.srt").unlink()
    (tmp_path / ".a.srt.part").rmdir()
    soundfile.write(place / f"{'y' * 249}.wav", [0.0] * 99, 16000)
    code, _, err = run(
        "--model", "model", *options, f"{'y' * 249}.wav", "b.flac"
    )
    assert (code, err.count("\n")) == (2, 1) and "could not write" in err
    assert (tmp_path / "b.srt").read_text()


def test_a_bad_file_twice(run):
    """It is named once."""
    code, out, err = run("--model", "model", "c.txt", "c.txt")
    assert (code, out, err.count("\n")) == (2, "", 1)


@pytest.mark.parametrize("json_option", [[], ["--json"]])
def test_nobody_reads(run, monkeypatch, json_option):
    """A closed pipe ends it at once, without an error: no other file is
    begun."""
    read = transcribe.read_blocks
    begun = []

    def read_blocks(path, seconds):
        begun.append(path)
        return read(path, seconds)

    def broken(*_):
        raise BrokenPipeError

    monkeypatch.setattr(transcribe, "read_blocks", read_blocks)
    with open(os.devnull, "w") as nowhere:
        monkeypatch.setattr(sys, "stdout", nowhere)
        monkeypatch.setattr(transcribe.tqdm, "write", broken)
        monkeypatch.setattr(text_output.PlainOutput, "_write", broken)
        code = main(
            ["transcribe", "--model", "model", *json_option, "a.wav", "b.flac"]
        )
    assert (code, begun) == (0, ["a.wav"])
