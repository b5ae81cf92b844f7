"""The command ``evaluate``: table, JSON, picture, several models."""

import json
import os
import re

import numpy as np
import pytest
import soundfile

from speechbrain_llsa.__main__ import main
from speechbrain_llsa.commands.evaluate import Row, make_rows
from speechbrain_llsa.inference.asr import StreamingASR
from speechbrain_llsa.model_folder.write import write_streaming_folder
from tiny_model import make_model, make_signal, make_tokenizer

UTTERANCES = 3


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Models, and a split of utterances of a second, one of them at another
    rate, whose transcripts are what the first model says, but for one word
    too many; each word ends at 0.4 s."""
    place = tmp_path_factory.mktemp("place")
    for name, options in (
        ("llsa", {"hop": [2, 4]}),
        ("aa", {"attention": "aa"}),
    ):
        write_streaming_folder(
            place / name, make_model(**options), make_tokenizer()
        )
    asr = StreamingASR.from_hparams(place / "llsa")
    chapter = place / "corpus" / "test" / "7" / "1"
    chapter.mkdir(parents=True)
    transcripts, times, rows = "", "", "ID,duration,wav,spk_id,wrd\n"
    for index in range(UTTERANCES):
        path = chapter / f"7-1-{index:04d}.flac"
        rate = 8000 if index == 1 else 16000
        soundfile.write(path, make_signal(rate, seed=index).numpy(), rate)
        words = asr.transcribe_file_offline(path).split()
        words += ["MORE"] * (index == 0)
        transcripts += f"{path.stem} {' '.join(words)}\n"
        rows += f"{path.stem},1.0,{path},7,{' '.join(words)}\n"
        for word in words:
            times += f"{path.stem} 1 0.3 0.1 {word}\n"
    (chapter / "7-1.trans.txt").write_text(transcripts)
    (chapter / "7-1.ctm").write_text(times)
    (place / "test.csv").write_text(rows)
    return place


@pytest.fixture
def run(place, monkeypatch, capsys):
    """Runs the command there; gives what it prints."""
    monkeypatch.chdir(place)

    def run(*arguments, models=("llsa",)):
        line = ["evaluate", "--model", *models, "--runs", "1", *arguments]
        assert main(line) == 0
        captured = capsys.readouterr()
        assert captured.err == ""
        return captured.out

    return run


TEST = ("--data", "corpus", "--split", "test")


def cells(output):
    """Of the table: rows by the names of the columns."""
    lines = [line for line in output.splitlines() if line.startswith("|")]
    header, _, *rows = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in lines
    )
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_output(run, place):
    """The table that is printed is written, with JSON, a picture and the
    alignments; they say the same."""
    printed = run(*TEST, "--output", "results/new", "--json", "a.json")
    folder = place / "results" / "new"
    assert sorted(path.name for path in folder.iterdir()) == [
        "alignments_1.txt",
        "evaluation.json",
        "evaluation.md",
        "evaluation.png",
    ]
    assert (folder / "evaluation.md").read_text() == printed
    assert printed.startswith("corpus, test\n\n- 3 utterances, 0.1 minutes")
    text = (folder / "evaluation.json").read_text()
    assert text == (place / "a.json").read_text()
    results = json.loads(text)
    assert (results["data"], results["split"]) == ("corpus", "test")
    (found,) = results["evaluations"]
    assert found["streamed"]["wer"]["errors"] == 1
    assert found["offline"]["wer"] == found["streamed"]["wer"]
    assert found["different_texts"] == 0
    assert found["audio_seconds"] == UTTERANCES
    assert found["word_ends"] == "reference"
    (row,) = cells(printed)
    rate, delay = found["streamed"]["wer"], found["emission_delay"]
    assert row["WER % streamed"] == (
        f"{rate['percent']:.2f} ({rate['low']:.2f} to {rate['high']:.2f})"
    )
    assert row["word committed after"] == (
        f"{delay['median_seconds']:.2f} s ({delay['p90_seconds']:.2f} s)"
    )
    assert (row["look-ahead"], row["hop"]) == ("0.08 s", "2")
    assert re.fullmatch(r"\d+\.\d{3}", row["real-time factor"])
    assert (folder / "evaluation.png").read_bytes().startswith(b"\x89PNG")
    alignments = (folder / "alignments_1.txt").read_text()
    assert all(f"\n7-1-000{i}, " in alignments for i in range(UTTERANCES))


def test_limit_and_manifest(run, place):
    """The first utterances alone; a manifest gives what its folder gives,
    with the times of words beside the audio."""
    printed = run(*TEST, "--limit", "2", "--json", "tree.json")
    assert "- 2 utterances" in printed
    run("--data", "test.csv", "--limit", "2", "--json", "manifest.json")
    tree, manifest = (
        json.loads((place / name).read_text())["evaluations"][0]
        for name in ("tree.json", "manifest.json")
    )
    for name in ("emission_delay", "display_delay", "utterances"):
        assert tree[name] == manifest[name]
    assert tree["streamed"]["wer"] == manifest["streamed"]["wer"]


def test_bad_files_are_left_out_if_wanted(run, place):
    """As the preparation of manifests does."""
    chapter = place / "corpus" / "torn" / "8" / "1"
    chapter.mkdir(parents=True)
    soundfile.write(chapter / "8-1-0000.wav", np.zeros(4000), 16000)
    (chapter / "8-1-0001.wav").write_text("not audio")
    (chapter / "8-1.trans.txt").write_text("8-1-0000 A\n8-1-0001 B\n")
    data = ("--data", "corpus", "--split", "torn")
    assert "- 1 utterance," in run(*data, "--on_bad_file", "skip")


def test_truncated_audio_of_a_manifest(place, monkeypatch, capsys):
    """Is measured as far as it goes, with a line on standard error."""
    monkeypatch.chdir(place)
    soundfile.write(place / "cut.wav", make_signal(16000).numpy(), 16000)
    os.truncate(place / "cut.wav", 20000)
    (place / "cut.csv").write_text("ID,duration,wav,wrd\n1,1.0,cut.wav,A\n")
    command = ["evaluate", "--model", "llsa", "--runs", "1"]
    assert main([*command, "--data", "cut.csv"]) == 0
    lines = capsys.readouterr().err.splitlines()
    told = [line for line in lines if "is truncated: 32000 bytes" in line]
    assert len(told) == 1 and "warning: cut.wav" in told[0]


def test_rows():
    """Every geometry of every model, by the model's own name."""
    rows = make_rows(
        ["a/sa/model", "a/llsa/model"], hops=[2, 4], look_aheads=[0]
    )
    assert rows == [
        Row("a/sa/model", "sa", 2, 0),
        Row("a/sa/model", "sa", 4, 0),
        Row("a/llsa/model", "llsa", 2, 0),
        Row("a/llsa/model", "llsa", 4, 0),
    ]


@pytest.mark.slow
def test_several_rows(run, place):
    """A row for each geometry, from a process of its own: what it gives
    alone."""
    hops = ("--hop", "2", "4")
    rows = cells(run(*TEST, *hops, "--limit", "1", "--output", "several"))
    assert [row["hop"] for row in rows] == ["2", "4"]
    text = (place / "several" / "evaluation.json").read_text()
    _, found = json.loads(text)["evaluations"]
    run(*TEST, "--hop", "4", "--limit", "1", "--json", "one.json")
    (one,) = json.loads((place / "one.json").read_text())["evaluations"]
    for name in ("streamed", "offline"):
        assert found[name]["wer"] == one[name]["wer"]
    assert found["emission_delay"] == one["emission_delay"]
    assert len(list((place / "several").glob("alignments_*.txt"))) == 2


def test_acausal(run):
    """Offline alone; it looks ahead to the end."""
    (row,) = cells(run(*TEST, "--limit", "1", models=("aa",)))
    assert row["look-ahead"] == "whole utterance"
    assert "WER % offline" in row and "WER % streamed" not in row


def test_any_search(run, monkeypatch):
    """Greedy or with beams, whatever the folder says: both streamed texts are
    those of offline, and the beams are as many as the command says."""
    made = []
    make = StreamingASR.beam_search

    def record(asr, **changes):
        made.append(changes)
        return make(asr, **changes)

    monkeypatch.setattr(StreamingASR, "beam_search", record)
    for options in (["--search=greedy"], ["--beam_size=3"]):
        (row,) = cells(run(*TEST, "--limit", "2", *options))
        assert row["WER % offline"] == row["WER % streamed"]
    assert made == [{"beam_size": 3}]


@pytest.mark.slow
def test_exported(run, place):
    """A folder of graphs streams to the same texts, and is nothing else."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    export = ["export", "--model", "llsa", "--out", "exported"]
    assert main(export) == 0
    run(*TEST, "--json", "exported.json", models=("exported",))
    (found,) = json.loads((place / "exported.json").read_text())["evaluations"]
    assert found["offline"] is None and found["different_texts"] is None
    assert found["streamed"]["wer"]["errors"] == 1
    assert found["threads"] == 1
    line = ["evaluate", "--model", "exported", *TEST, "--beam_size=3"]
    assert main(line) == 2
