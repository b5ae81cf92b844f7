"""Bad command lines and files: exit code 2, one line on standard error, no
traceback, for the package's commands and the recipes' scripts."""

import importlib
import logging
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file

from model_data import change_description
from source_files import PYTHON_PATH
from speechbrain_llsa.__main__ import main
from speechbrain_llsa.model_folder.write import write_streaming_folder
from tiny_model import make_model, make_signal, make_tokenizer

ROOT = Path(__file__).parents[2]
SMALL = {
    name: str(ROOT / "hparams" / f"{name}_small.yaml")
    for name in ("pretrain", "finetune")
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Models, audio and folders, good and bad."""
    place = tmp_path_factory.mktemp("commands")
    write_streaming_folder(place / "model", make_model(), make_tokenizer())
    write_streaming_folder(place / "aa", make_model("aa"), make_tokenizer())
    for name in ("broken", "tagged"):
        write_streaming_folder(place / name, make_model(), make_tokenizer())
    (place / "broken" / "head.safetensors").write_bytes(b"PK")
    change_description(place / "tagged", "encoder", dropout="!apply:a")
    signal = make_signal(4000).numpy()
    soundfile.write(place / "good.wav", signal, 16000)
    soundfile.write(place / "empty.wav", signal[:0], 16000)
    soundfile.write(place / "one.wav", signal[:1], 16000)
    soundfile.write(place / "nine.wav", np.zeros((100, 9)), 16000)
    signal[99] = np.nan
    soundfile.write(place / "nan.wav", signal, 16000, subtype="FLOAT")
    (place / "text.wav").write_text("not audio")
    (place / "bad.yaml").write_text("a: [")
    (place / "list.yaml").write_text("- 1")
    (place / "lines.jsonl").write_text("{}\n")
    (place / "corpus" / "train").mkdir(parents=True)
    for split, lines, times in (
        ("good", "7-1-0000 A\n", ""),
        ("silent", "", ""),
        ("lost", "7-1-0000 A\n7-1-0001 B\n", ""),
        ("untimed", "7-1-0000 A\n", "7-1-0000 1 0.1 A\n"),
        ("other", "7-1-0000 A\n", "7-1-0000 1 0.1 0.1 B\n"),
        ("torn", "7-1-0000 A\n", ""),
    ):
        chapter = place / "corpus" / split / "7" / "1"
        chapter.mkdir(parents=True)
        soundfile.write(chapter / "7-1-0000.wav", signal[100:], 16000)
        (chapter / "7-1.trans.txt").write_text(lines)
        if times:
            (chapter / "7-1.ctm").write_text(times)
    (chapter / "7-1-0000.wav").write_text("not audio")
    (place / "plain.csv").write_text("ID,wav\n1,good.wav\n")
    (place / "lost.csv").write_text("ID,wav,wrd\n1,no.wav,A\n")
    (place / "mute.csv").write_text("ID,wav,wrd\n1,good.wav,\n")
    (place / "bad.json").write_text("{")
    for name, text in (
        ("damaged", "{"),
        ("wavlm", '{"model_type": "wavlm"}'),
        ("weightless", '{"model_type": "moonshine"}'),
        ("unfitting", '{"model_type": "moonshine"}'),
    ):
        (place / "sources" / name).mkdir(parents=True)
        (place / "sources" / name / "config.json").write_text(text)
    save_file(
        {"conv1.weight": torch.ones(2)},
        place / "sources" / "unfitting" / "model.safetensors",
    )
    return place


TRANSCRIBE = ["transcribe", "--model", "model"]

MEASURE = ["evaluate", "--model", "model", "--data"]
GOOD = [*MEASURE, "corpus", "--split", "good"]

BUNDLE = ["import", "WAV2VEC2_BASE", "--out", "imported"]
FOLDER = ["import", "--out", "imported"]
EXPORT = ["export", "--model", "model", "--out", "exported"]

COMMANDS = [
    ([], "required: COMMAND"),
    (["sing"], "invalid choice: 'sing'"),
    (["transcribe"], "required: FILE"),
    (TRANSCRIBE, "required: FILE"),
    ([*TRANSCRIBE, "good.wav", "--fast"], "unrecognized arguments: --fast"),
    (
        ["transcribe", "--model", "no", "good.wav"],
        r"--model must .*got 'no'",
    ),
    (["transcribe", "--model", "good.wav", "good.wav"], "--model must .*got"),
    (["transcribe", "--model", "corpus", "good.wav"], "holds no model.json"),
    (["transcribe", "--model", "broken", "good.wav"], "head.safetensors"),
    (
        ["transcribe", "--model", "tagged", "good.wav"],
        "unknown entry 'drop",
    ),
    (
        ["transcribe", "--model", "aa", "good.wav"],
        r"attention must .*got 'aa'",
    ),
    ([*TRANSCRIBE, "--hop", "3", "good.wav"], r"hop must be 2.*got 3"),
    ([*TRANSCRIBE, "--look_ahead=x", "good.wav"], "--look_ahead: invalid int"),
    (
        [*TRANSCRIBE, "--look_ahead=9", "good.wav"],
        r"look_ahead must .*got 9",
    ),
    ([*TRANSCRIBE, "missing.wav"], r"path must .*got 'missing.wav'"),
    ([*TRANSCRIBE, "corpus"], r"path must .*got 'corpus'"),
    ([*TRANSCRIBE, "text.wav"], r"path must .*got 'text.wav'"),
    ([*TRANSCRIBE, "nine.wav"], r"channels must .*got 9"),
    ([*TRANSCRIBE, "--json", "nan.wav"], r"samples must .*got NaN"),
    (["picture"], "required: OUT.png"),
    (
        ["picture", "a.jpg"],
        "OUT.png must be a name that ends in .png, got 'a.jpg'",
    ),
    (
        ["picture", "no/a.png"],
        "OUT.png must be a file in a folder that exists, got 'no/a.png'",
    ),
    (["picture", "a.png", "--layers", "x"], "--layers: invalid int"),
    (["picture", "a.png", "--layers", "0"], r"num_layers must .*got 0"),
    (["picture", "a.png", "--look_back", "-1"], r"look_back must .*got -1"),
    (["picture", "a.png", "--hop", "0"], r"hop must .*got 0"),
    (["picture", "a.png", "--frames", "0"], r"frames must .*got 0"),
    (
        ["picture", "a.png", "--frames", "999999999"],
        "frames must be few enough for at most 10000 frames",
    ),
    (["evaluate"], "required: --data"),
    (["evaluate", "--model", "no", *GOOD[3:]], r"--model must .*got 'no'"),
    (
        ["evaluate", "--model", "model", "no", *GOOD[3:]],
        r"--model must .*got 'no'",
    ),
    (
        ["evaluate", "--model", "model", "broken", *GOOD[3:]],
        "head.safetensors",
    ),
    ([*GOOD, "--search=greedy", "--beam_size=4"], "--search must be beam with"),
    ([*GOOD, "--beam_size=0"], r"beam_size must .*got 0"),
    ([*GOOD, "--language_model=no.arpa"], r"language_model must .*got 'no"),
    ([*MEASURE, "corpus"], r"--split must .*got none"),
    ([*MEASURE, "no", "--split", "good"], "data_folder must be an existing"),
    ([*MEASURE, "corpus", "--split", "tset"], "tset not found, there are good"),
    ([*MEASURE, "corpus", "--split", "train"], "split train must hold audio"),
    ([*MEASURE, "corpus", "--split", "silent"], "7-1-0000.wav has no trans"),
    ([*MEASURE, "corpus", "--split", "lost"], "7-1-0001, which has no audio"),
    ([*MEASURE, "corpus", "--split", "torn"], "7-1-0000.wav cannot be read"),
    ([*MEASURE, "corpus", "--split", "untimed"], "7-1.ctm, line 1 must .*got"),
    ([*MEASURE, "corpus", "--split", "other"], "got the words 'B'"),
    (
        [*MEASURE, "lost.csv", "--split", "good"],
        r"--split must .*got 'good'",
    ),
    ([*MEASURE, "no.csv"], r"manifest must .*got 'no.csv'"),
    ([*MEASURE, "plain.csv"], "'wrd'"),
    ([*MEASURE, "lost.csv"], "wav of .* existing file, got 'no.wav'"),
    ([*MEASURE, "mute.csv"], "without any"),
    ([*MEASURE, "bad.json"], r"manifest must .*got 'bad.json'"),
    ([*GOOD, "--limit", "0"], r"--limit must .*got 0"),
    ([*GOOD, "--threads", "0"], r"--threads must .*got 0"),
    ([*GOOD, "--runs", "0"], r"--runs must .*got 0"),
    ([*GOOD, "--resamples", "0"], r"--resamples must .*got 0"),
    ([*GOOD, "--push_seconds", "0"], r"push_seconds must .*got 0"),
    ([*GOOD, "--device", "quantum"], r"--device must .*got 'quantum'"),
    ([*GOOD, "--hop", "2", "3"], r"hop must .*got 3"),
    ([*GOOD, "--look_ahead", "x"], "--look_ahead: invalid int"),
    ([*GOOD, "--json", "no/a.json"], r"--json must .*got 'no/a.json'"),
    ([*GOOD, "--output", "good.wav"], r"--output must .*got 'good.wav'"),
    ([*GOOD, "--precision", "fp8"], "--precision: invalid choice"),
    (["import"], "required: SOURCE, --out"),
    (BUNDLE[:2], "required: --out"),
    ([*FOLDER, "missing"], r"SOURCE must be a folder, .*got 'missing'"),
    ([*FOLDER, "WAV2VEC3"], r"SOURCE must be a folder, .*got 'WAV2VEC3'"),
    ([*FOLDER, "no/such/folder"], r"SOURCE must .*got 'no/such/folder'"),
    ([*FOLDER, "WAVLM_BASE"], r"SOURCE must .*got WavLM, 'WAVLM_BASE'"),
    ([*FOLDER, "corpus"], r"SOURCE must be a folder with .*got 'corpus'"),
    ([*FOLDER, "model"], "got 'model', a model folder, which fine-tuning"),
    ([*FOLDER, "sources/damaged"], "config.json must be JSON, got"),
    ([*FOLDER, "sources/wavlm"], "hubert or moonshine, got one of 'wavlm'"),
    ([*FOLDER, "sources/weightless"], "with a model.safetensors, got"),
    ([*FOLDER, "sources/unfitting"], "weights must be those of Moonshine"),
    ([*BUNDLE[:3], "corpus"], "--out must be a new or empty folder"),
    ([*BUNDLE[:3], "good.wav"], "--out must be a new .*got 'good.wav'"),
    ([*BUNDLE, "--attention", "full"], "--attention: invalid choice: 'full'"),
    ([*BUNDLE, "--look_back", "-1"], r"look_back must .*got -1"),
    ([*BUNDLE, "--look_ahead", "x"], "--look_ahead: invalid int"),
    ([*BUNDLE, "--hop", "0"], r"hop must .*got 0"),
    (
        [*BUNDLE, "--positional_look_ahead", "-1"],
        r"positional_look_ahead must .*got -1",
    ),
    ([*BUNDLE, "--files", "0"], r"--files must .*got 0"),
    ([*BUNDLE, "--report"], "--calibrate must be a folder with speech"),
    ([*BUNDLE, "--calibrate", "no"], r"--calibrate must .*got 'no'"),
    (
        [*BUNDLE, "--calibrate", "corpus/train"],
        r"--calibrate must be a folder with audio .*got 'corpus/train'",
    ),
    (["export", "--model", "model"], "required: --out"),
    ([*EXPORT, "--precision"], "--precision: expected at least one"),
    ([*EXPORT, "--precision", "int8", "fp8"], "--precision: invalid choice"),
    ([*EXPORT, "--int8", "--precision", "int8"], "not allowed with.*--int8"),
]


@pytest.mark.parametrize(
    ("arguments", "words"),
    COMMANDS,
    ids=["-".join(arguments) or "none" for arguments, _ in COMMANDS],
)
def test_bad_commands(place, monkeypatch, capsys, arguments, words):
    """Commands of the package."""
    monkeypatch.chdir(place)
    try:
        code = main(arguments)
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    assert (code, captured.out.strip()) == (2, "")
    assert captured.err.count("\n") == 1 and captured.err.endswith("\n")
    assert re.search(words, captured.err)
    assert "Traceback" not in captured.err
    assert not list(place.glob("a.png")) + list(place.glob("*imported*"))


def test_edge_cases_are_good(place, monkeypatch, capsys):
    """No audio and one sample give an empty line."""
    monkeypatch.chdir(place)
    for name in ("empty.wav", "one.wav"):
        assert main([*TRANSCRIBE, name]) == 0
        captured = capsys.readouterr()
        assert (captured.out, captured.err) == ("\n", "")


CURVES = "speechbrain_llsa.training.curves"

SCRIPTS = [
    ("pretrain", [], "param_file"),
    ("pretrain", ["no.yaml"], r"param_file must .*got 'no.yaml'"),
    ("pretrain", ["corpus"], r"param_file must .*got 'corpus'"),
    ("pretrain", ["bad.yaml"], r"param_file must .*got 'bad.yaml'"),
    ("pretrain", ["list.yaml"], r"param_file must .*got 'list.yaml'"),
    ("pretrain", [SMALL["pretrain"]], "data_folder"),
    ("pretrain", [SMALL["pretrain"], "--hop"], r"--hop must have a value"),
    ("pretrain", [SMALL["pretrain"], "--hop", "x"], r"--hop must .*got 'x'"),
    (
        "pretrain",
        [SMALL["pretrain"], "--hip", "1"],
        r"--hip must .*near to it",
    ),
    (
        "pretrain",
        [SMALL["pretrain"], "--data_folder", "no"],
        "data_folder must be an existing folder",
    ),
    (
        "pretrain",
        [SMALL["pretrain"], "--data_folder", "corpus", "--attention", "x"],
        r"attention must .*got 'x'",
    ),
    (
        "pretrain",
        [SMALL["pretrain"], "--data_folder", "corpus", "--hop", "0"],
        r"hop must .*got 0",
    ),
    (
        "pretrain",
        [SMALL["pretrain"], "--data_folder", "corpus"],
        "valid not found",
    ),
    ("finetune_ctc", [], "param_file"),
    (
        "finetune_ctc",
        [SMALL["finetune"], "--data_folder", "good.wav"],
        "data_folder must be an existing folder",
    ),
    (
        "finetune_ctc",
        [SMALL["finetune"], "--data_folder", "corpus"],
        "test not found",
    ),
    ("synthesize", [], "required: OUT, --split"),
    ("synthesize", ["out", "--split", "a"], "must look like"),
    (
        "synthesize",
        ["out", "--split", "a:voices=2:utterances=1"],
        "voices <= utterances",
    ),
    (
        "synthesize",
        ["out", "--split", "a:voices=1:utterances=1", "--workers", "0"],
        "workers must be at least 1",
    ),
    (
        "synthesize",
        ["good.wav", "--split", "a:voices=1:utterances=1"],
        "good.wav",
    ),
    ("librispeech_prepare", [], "required: --data_folder"),
    (
        "librispeech_prepare",
        ["--data_folder", "no", "--save_folder", "s", "--splits", "a"],
        "data_folder must be an existing folder",
    ),
    (
        "librispeech_prepare",
        ["--data_folder", "corpus", "--save_folder", "s", "--splits", "train"],
        "split train must hold audio",
    ),
    (
        "speechbrain_llsa.training.curves",
        [],
        "required: CURVES.jsonl, CURVES.png",
    ),
    (
        "speechbrain_llsa.training.curves",
        ["no", "a.png"],
        r"CURVES.jsonl must .*got 'no'",
    ),
    (
        "speechbrain_llsa.training.curves",
        ["lines.jsonl", "a.png"],
        "CURVES.jsonl must hold values",
    ),
    (CURVES, ["nan.wav", "a.png"], "can't decode"),
    (
        "speechbrain_llsa.training.curves",
        ["lines.jsonl", "a.txt"],
        r"CURVES.png must .*got 'a.txt'",
    ),
]


@pytest.mark.parametrize(
    ("script", "arguments", "words"),
    SCRIPTS,
    ids=[f"{row[0]}-{index}" for index, row in enumerate(SCRIPTS)],
)
def test_bad_scripts(place, monkeypatch, capsys, script, arguments, words):
    """Scripts of the recipes, as they run by themselves."""
    # they set up logging to a stream that ends with the test
    monkeypatch.setattr(logging.root, "handlers", [*logging.root.handlers])
    monkeypatch.setattr(logging.root, "level", logging.root.level)
    module = importlib.import_module(script)
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "argv", [f"{script}.py", *arguments])
    if hasattr(module, "prepare"):
        from speechbrain_llsa.training.recipe import exit_on_bad_input

        if arguments:
            arguments = [*arguments, "--output_folder", "out"]

        def run():
            exit_on_bad_input(module.prepare, arguments)
    else:

        def run():
            module.main(arguments)

    with pytest.raises(SystemExit) as stop:
        run()
    *_, last = capsys.readouterr().err.splitlines()
    assert stop.value.code == 2
    assert re.search(words, last) and ": error: " in last


@pytest.mark.parametrize(
    "script", ["LibriSpeech/pretrain", "Synthetic/synthesize"]
)
def test_scripts_as_programs(place, script):
    """The same from the shell, where the last line is the error."""
    done = subprocess.run(
        [sys.executable, ROOT / "recipes" / f"{script}.py"],
        cwd=place,
        env={"PYTHONPATH": PYTHON_PATH},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert f"{Path(script).name}.py: error: " in done.stderr
