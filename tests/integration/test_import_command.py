"""From a source to a model folder that streams, by one command."""

import re

import pytest
import soundfile
import torch

from speechbrain_llsa.__main__ import main
from speechbrain_llsa.inference.asr import StreamingASR
from speechbrain_llsa.inference.streaming_encoder import StreamingEncoder
from speechbrain_llsa.model_folder.finetuning import build_for_finetuning
from speechbrain_llsa.model_folder.load import load_parts
from speechbrain_llsa.pretrained import import_source
from tiny_model import make_signal, split
from tiny_speechbrain import write_experiment
from tiny_transformers import make_transformers, write_folder
from tiny_wav2vec2 import fake_bundle, make_torchaudio

LABELS = ["-", "|", "A", "B", "C"]
GEOMETRY = ["--look_back", "12", "--look_ahead", "4", "--hop", "2"]


@pytest.fixture
def speech(tmp_path):
    """Audio of two rates, at two depths, and what is no audio."""
    folder = tmp_path / "speech"
    (folder / "deep").mkdir(parents=True)
    for number, name in enumerate(("a.wav", "deep/b.flac", "deep/c.WAV")):
        soundfile.write(folder / name, make_signal(9000, number), 16000)
    soundfile.write(folder / "d.ogg", make_signal(9000, 9), 44100)
    (folder / "notes.txt").write_text("no audio")
    return folder


def run_import(capsys, *arguments):
    """Runs the command; returns what it prints."""
    assert main(["import", *map(str, arguments), *GEOMETRY]) == 0
    return capsys.readouterr().out


def assert_encoder_streams(folder):
    """Any split of the audio gives the frames of the whole."""
    encoder = StreamingEncoder.from_hparams(folder)
    signal = make_signal(9000)
    with torch.no_grad():
        frames, _ = encoder(signal[None])
    assert frames.shape[1] > 10
    for lengths in ([], [1, 0, 3333, 700], [500] * 9):
        session = encoder.session()
        pieces = [session.push(part) for part in split(signal, lengths)]
        streamed = torch.cat([*pieces, session.finish()])
        assert (streamed - frames[0]).abs().max() < 1e-5
    return encoder


def assert_text_streams(folder, path):
    """Any split of the audio gives the text of the whole."""
    asr = StreamingASR.from_hparams(folder)
    signal = make_signal(9000)
    text = asr.transcribe_file(str(path))
    assert text and set(text) <= set(" ABC")
    for lengths in ([], [1, 0, 3333, 700], [500] * 9):
        session = asr.session()
        streamed = [
            session.push(part, sample_rate=16000).committed
            for part in split(signal, lengths)
        ]
        assert "".join([*streamed, session.finish().committed]) == text
    return asr


@pytest.mark.parametrize("large", [False, True], ids=["base", "large"])
def test_a_bundle_with_labels(monkeypatch, tmp_path, capsys, speech, large):
    """It becomes a complete folder, of which nothing is left beside it."""
    source = make_torchaudio(large)
    fake_bundle(monkeypatch, "WAV2VEC2_ASR", source, LABELS)
    out = tmp_path / "out"
    arguments = [] if large else ["--calibrate", speech]
    printed = run_import(capsys, "WAV2VEC2_ASR", "--out", out, *arguments)
    assert "- attention llsa in place of aa\n" in printed
    assert ("averages of 4 utterances" in printed) != large
    for path in out.iterdir():
        assert f"\n{path}  {path.stat().st_size:,} bytes\n" in printed
    asr = assert_text_streams(out, speech / "a.wav")
    encoder = asr.model.encoder_wrapper.latent_encoder
    assert (encoder.attention, encoder.positional_look_ahead) == ("llsa", 0)
    assert encoder.geometry.look_back == 12
    assert_encoder_streams(out)
    assert not list(tmp_path.glob(".*"))


def test_a_bundle_without_labels(monkeypatch, tmp_path, capsys, speech):
    """It becomes an encoder, which fine-tuning takes; a head without labels is
    left out."""
    fake_bundle(monkeypatch, "HUBERT_BASE", make_torchaudio(large=False))
    out = tmp_path / "new" / "out"
    printed = run_import(
        capsys,
        *("HUBERT_BASE", "--out", out, "--calibrate", speech),
        *("--attention", "sa", "--positional_look_ahead", 2, "--files", 2),
    )
    assert "averages of 2 utterances" in printed
    assert "- the head is left out: the source has no labels" in printed
    encoder = assert_encoder_streams(out).encoder_wrapper.latent_encoder
    assert (encoder.attention, encoder.positional_look_ahead) == ("sa", 2)
    parts = build_for_finetuning(out, hop=4)
    written = load_parts(out, "encoder")
    for name, part in parts.items():
        part.load_state_dict(written[name].state_dict())


def test_speechbrains_pre_training(tmp_path, capsys):
    experiment, _ = write_experiment(tmp_path / "experiment")
    printed = run_import(capsys, experiment, "--out", tmp_path / "out")
    assert "SpeechBrain's sinusoidal positions are left out" in printed
    assert_encoder_streams(tmp_path / "out")


@pytest.mark.parametrize("name", ["Wav2Vec2ForCTC", "HubertForCTC"])
def test_transformers_with_labels(tmp_path, capsys, speech, name):
    source = make_transformers(name, large=False, pad_token_id=3)
    folder = tmp_path / "source"
    write_folder(folder, source, ["A", "B", "|", "<pad>", "<unk>"])
    out = tmp_path / "out"
    printed = run_import(capsys, folder, "--out", out, "--calibrate", speech)
    assert "labels <unk> are left out" in printed
    assert_text_streams(out, speech / "a.wav")


def test_transformers_without_labels(tmp_path, capsys):
    source = make_transformers("Wav2Vec2Model", large=True)
    folder = write_folder(tmp_path / "source", source)
    run_import(capsys, folder, "--out", tmp_path / "out")
    assert_encoder_streams(tmp_path / "out")


def test_acausal_models_need_no_speech(monkeypatch, tmp_path, capsys):
    """They see whole utterances as their source does, and give what it
    gives."""
    source = make_torchaudio(large=False)
    fake_bundle(monkeypatch, "WAV2VEC2_ASR", source, LABELS)
    out = tmp_path / "out"
    run_import(
        capsys,
        *("WAV2VEC2_ASR", "--out", out, "--attention", "aa"),
        *("--positional_look_ahead", 3),
    )
    signal = make_signal(9000)[None]
    with torch.no_grad():
        ours, _ = StreamingASR.from_hparams(out).model(signal)
        logits, _ = source(signal)
    assert (ours - logits.log_softmax(-1)).abs().max() < 1e-5


def changes(printed):
    """The rows of the report, with numbers."""
    rows = re.findall(r"^\| (.*?) \| (\S+) \| (\S+) \|$", printed, re.M)
    assert rows[0] == ("step", "mean", "largest")
    return {name: (float(mean), float(most)) for name, mean, most in rows[2:]}


def test_the_report_of_base(monkeypatch, tmp_path, capsys, speech):
    """Each step moves the output; the last is that of the written model."""
    fake_bundle(monkeypatch, "HUBERT_BASE", make_torchaudio(large=False))
    out = tmp_path / "out"
    printed = run_import(
        capsys, "HUBERT_BASE", "--out", out, "--calibrate", speech, "--report"
    )
    assert "from the exact model, 4 utterances:\n" in printed
    rows = changes(printed)
    assert list(rows) == [
        "fixed norms",
        "cut positions",
        "look_back 12",
        "llsa, look_ahead 4, hop 2",
    ]
    exact = import_source("HUBERT_BASE")
    encoder = StreamingEncoder.from_hparams(out)
    differences = []
    for path in ("a.wav", "deep/b.flac", "deep/c.WAV"):
        samples, _ = soundfile.read(speech / path, dtype="float32")
        signal = torch.from_numpy(samples)[None]
        with torch.no_grad():
            latents = exact.extractor(signal)
            wanted = exact.encoder_wrapper(latents)["embeddings"]
            frames, _ = encoder(signal)
        differences.append((frames - wanted).norm() / wanted.norm())
    mean, most = rows["llsa, look_ahead 4, hop 2"]
    assert 0 < min(differences) < mean * 1.1
    assert max(differences) < most * 1.01


def test_the_report_of_a_model_that_normalises(tmp_path, capsys, speech):
    """The exact model has its normalised waveforms; without norms over time
    the speech is for the report alone."""
    experiment, _ = write_experiment(tmp_path / "experiment")
    printed = run_import(
        capsys,
        *(experiment, "--out", tmp_path / "out", "--report"),
        *("--calibrate", speech, "--attention", "maa"),
    )
    rows = changes(printed)
    assert list(rows) == [
        "waveforms as they are",
        "look_back 12",
        "maa, look_ahead 4",
    ]
    assert all(0 < mean <= most for mean, most in rows.values())
    assert "averages of" not in printed


def test_nothing_changes_where_nothing_is_cut(monkeypatch, tmp_path, capsys):
    """With all that the source sees, each step is exact."""
    fake_bundle(monkeypatch, "HUBERT_LARGE", make_torchaudio(large=True))
    soundfile.write(tmp_path / "a.wav", make_signal(9000), 16000)
    command = [
        *("import", "HUBERT_LARGE", "--out", str(tmp_path / "out")),
        *("--calibrate", str(tmp_path), "--report", "--attention", "maa"),
        *("--look_back", "900", "--look_ahead", "900"),
        *("--positional_look_ahead", "3"),
    ]
    assert main(command) == 0
    rows = changes(capsys.readouterr().out)
    assert list(rows) == ["look_back 900", "maa, look_ahead 900"]
    assert all(most < 1e-5 for _, most in rows.values())


BAD = {
    "base": ([], r"--calibrate FOLDER.*got one with following\.0\.0"),
    "ahead": (
        ["--calibrate", "speech", "--positional_look_ahead", "4"],
        "positional_look_ahead must be at most 3",
    ),
    "short": (["--calibrate", "short"], r"'short/a\.wav' must be at least 45"),
    "silent": (["--calibrate", "silent"], r"'silent/a\.wav' must be speech"),
    "text": (["--calibrate", "text"], r"path must be audio .*text/a\.wav"),
}


@pytest.mark.parametrize(("arguments", "words"), BAD.values(), ids=BAD)
def test_nothing_is_written_after_an_error(
    monkeypatch, tmp_path, capsys, speech, arguments, words
):
    """One line says what is wrong, of the audio with the name of its file."""
    monkeypatch.chdir(tmp_path)
    fake_bundle(monkeypatch, "HUBERT_BASE", make_torchaudio(large=False))
    for name, samples in (("short", 9), ("silent", 900)):
        (tmp_path / name).mkdir()
        soundfile.write(f"{name}/a.wav", torch.zeros(samples), 16000)
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.wav").write_text("not audio")
    assert main(["import", "HUBERT_BASE", "--out", "out", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert re.search(words, captured.err)
    assert not list(tmp_path.glob("*out*")) + list(tmp_path.glob(".*"))
