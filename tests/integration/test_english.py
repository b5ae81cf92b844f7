"""The model that ships: English, by its name."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import release
import soundfile

from speechbrain_llsa.__main__ import main
from speechbrain_llsa.inference.asr import StreamingASR
from speechbrain_llsa.inference.streaming_encoder import StreamingEncoder
from speechbrain_llsa.model_folder.shipped import MODELS
from speechbrain_llsa_runtime.inference.onnx import OnnxStreamingASR
from speechbrain_llsa_runtime.model_folder import shipped as runtime

GRAPH_BYTES, WEIGHT_BYTES = 10_000_000, 20_000_000

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def speech(digits_corpus):
    """A synthetic utterance, (samples,), and its file."""
    path = sorted(Path(digits_corpus).glob("test/*/*/*.flac"))[0]
    return soundfile.read(path, dtype="float32")[0], path


@pytest.fixture(scope="module")
def asr():
    return StreamingASR.from_hparams("english")


def stream(session, samples, sizes):
    for push in np.split(samples, np.cumsum(sizes)):
        session.push(push, 16000)
    session.finish()
    return session.text


@pytest.mark.parametrize("search", ["greedy", "beam"])
def test_streamed_is_offline(search, asr, speech):
    """For any split, with and without beam search."""
    samples, path = speech
    offline = asr.transcript_offline(path, search=search).committed
    assert offline.split()
    generator = np.random.default_rng(0)
    for longest in (700, 9000, 10**6):
        sizes = generator.integers(1, longest, size=40)
        sizes = sizes[np.cumsum(sizes) < len(samples)]
        session = asr.session(search=search)
        assert stream(session, samples, sizes) == offline


def test_the_graph_says_what_the_weights_say(asr, speech):
    """In 8 bits nearly every letter is the same."""
    samples, _ = speech
    exported = OnnxStreamingASR.from_folder("english")
    texts = [
        stream(session, samples, [])
        for session in (asr.session(search="greedy"), exported.session())
    ]
    assert texts[0] and len(texts[0]) == pytest.approx(len(texts[1]), rel=0.1)
    same = sum(a == b for a, b in zip(*texts, strict=False))
    assert same > 0.8 * len(texts[0])


def test_commands_take_it_by_default(speech, capsys):
    """Without --model, and by its name."""
    _, path = speech
    texts = []
    for options in ([], ["--model", "english"]):
        assert main(["transcribe", *options, str(path)]) in (0, None)
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] and texts[0].strip()


def test_its_latency(asr):
    """Hop 8 and look_ahead 8, in frames of 24 ms."""
    assert asr.model.frame_seconds == 0.024
    geometry = asr.model.geometries.default
    assert (geometry.hop, geometry.look_ahead) == (8, 8)


def test_its_layers_are_features():
    encoder = StreamingEncoder.from_hparams("english")
    assert encoder.encoder_wrapper.latent_encoder.d_model == 288


def test_it_is_small():
    graph, weights = runtime.MODELS / "english", MODELS / "english"
    assert sum(f.stat().st_size for f in graph.iterdir()) < GRAPH_BYTES
    sizes = [f.stat().st_size for f in weights.glob("*.safetensors")]
    assert sum(sizes) < WEIGHT_BYTES


def test_its_card_and_licences_lie_beside_it():
    """As the recipe has them."""
    for folder in (runtime.MODELS, MODELS):
        for file in release.CARD.iterdir():
            shipped = folder / "english" / file.name
            assert shipped.read_bytes() == file.read_bytes()
        text = (folder / "english" / "LICENSES.md").read_text()
        assert "Copyright (c) 2025 Moonshine AI" in text
        assert "CC BY 4.0" in text


def test_streaming_needs_no_compiler():
    """PyTorch's compiler and sympy take seconds to import, which a live stream
    would wait for."""
    code = """
import sys
import numpy as np
from speechbrain_llsa import StreamingASR

session = StreamingASR.from_hparams("english").session(search="greedy")
session.push(np.zeros(32000, np.float32))
session.finish()
slow = {"sympy", "torch._dynamo", "torch._inductor"} & sys.modules.keys()
print(sorted(slow))
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
