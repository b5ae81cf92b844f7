"""The program that makes a model folder of Moonshine's weights."""

import re

import moonshine_ort
import onnxruntime_check
import pytest
import soundfile
import torch

from speechbrain_llsa.inference.streaming_encoder import StreamingEncoder
from tiny_model import make_signal, split
from tiny_moonshine import SIZES, make_weights, moonshine


@pytest.fixture
def line(monkeypatch, tmp_path):
    """The command line, with speech, and a file that stands for the wheel."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(moonshine_ort, "SIZES", SIZES)
    weights = {name: w.float() for name, w in make_weights().items()}
    monkeypatch.setattr(moonshine_ort, "read_weights", lambda _: weights)
    for name in ("speech/a.wav", "speech/b/c.flac"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(name, make_signal(9000, len(name)), 16000)
    (tmp_path / "encoder_model.ort").write_bytes(b"graph")
    return [
        *("--wheel", "encoder_model.ort", "--audio", "speech"),
        *("--out", "out", "--look_back", "8", "--look_ahead", "3"),
    ]


def fake_session(monkeypatch, noise):
    """ONNX Runtime, which gives what Moonshine gives, and noise."""
    onnxruntime = pytest.importorskip("onnxruntime")

    class Session:
        def __init__(self, content, providers):
            assert content == b"graph"

        def run(self, names, inputs):
            samples = torch.from_numpy(inputs["input_values"])
            assert inputs["attention_mask"].shape == samples.shape
            weights = {name: w.float() for name, w in make_weights().items()}
            output = moonshine(weights, samples)[-1]
            generator = torch.Generator().manual_seed(0)
            random = torch.randn(output.shape, generator=generator)
            return [(output + noise * random).numpy()]

    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)


def test_the_program(monkeypatch, capsys, line):
    """It compares each utterance, and writes an encoder that streams."""
    fake_session(monkeypatch, noise=0.001)
    moonshine_ort.main([*line, "--report"])
    printed = capsys.readouterr().out
    found = re.findall(
        r"^(speech\S+): correlation 1\.0000, largest difference 0\.00\d+$",
        printed,
        re.MULTILINE,
    )
    assert found == ["speech/a.wav", "speech/b/c.flac"]
    assert "averages of 2 utterances" in printed
    assert re.search(r"^\| fixed norms \|", printed, re.MULTILINE)
    encoder = StreamingEncoder.from_hparams("out")
    signal = make_signal(9000)
    with torch.no_grad():
        frames, _ = encoder(signal[None])
    session = encoder.session()
    pieces = [session.push(part) for part in split(signal, [1, 0, 3000])]
    streamed = torch.cat([*pieces, session.finish()])
    assert (streamed - frames[0]).abs().max() < 1e-5


def test_another_model_is_not_written(monkeypatch, capsys, line, tmp_path):
    """An utterance whose outputs differ is named."""
    fake_session(monkeypatch, noise=1.0)
    with pytest.raises(SystemExit) as stop:
        moonshine_ort.main(line)
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.count("\n") == 1
    expected = onnxruntime_check.LEAST_CORRELATION
    assert f"ONNX Runtime must be at least {expected}, got 0." in error
    assert "for 'speech/a.wav'" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--wheel", "no"], "source must be an existing file, got 'no'"),
        (["--audio", "no"], "--audio must be an existing folder, got 'no'"),
        (["--out", "speech"], "--out must be a new or empty folder"),
        (["--hop", "0"], "hop must be"),
    ],
)
def test_bad_input(capsys, line, arguments, words):
    with pytest.raises(SystemExit) as stop:
        moonshine_ort.main([*line, *arguments])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and error.count("\n") == 1
    assert words in error
