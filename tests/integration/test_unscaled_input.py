"""Integers that were cast and not scaled, at every entry: refused, with the
likely mistake."""

import io
import os
import sys
import threading
import types

import numpy as np
import pytest
import soundfile
import torch
from speechbrain.inference.ASR import StreamingASR as SpeechBrainStreamingASR
from speechbrain.utils.dynamic_chunk_training import DynChunkTrainConfig

from speechbrain_llsa import StreamingASR, StreamingEncoder
from speechbrain_llsa.__main__ import main
from speechbrain_llsa.decoders.tokenizers import TextDecoder
from speechbrain_llsa.model_folder.write import write_streaming_folder
from tiny_model import make_model, make_signal, make_tokenizer

SIGNAL = make_signal(16000).numpy()
INT16 = (SIGNAL * 32767).round().astype(np.int16)
UNSCALED = INT16.astype(np.float32)
REFUSAL = "samples must be scaled to -1 to 1, got values up to"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model, and a file of floats as somebody cast and wrote them."""
    place = tmp_path_factory.mktemp("place")
    write_streaming_folder(place / "model", make_model(), make_tokenizer())
    soundfile.write(place / "a.wav", UNSCALED, 16000, subtype="FLOAT")
    return place


def push(session, samples=UNSCALED):
    for part in np.split(samples, 20):
        session.push(part)


def run_speechbrain(asr, place):
    context = asr.make_streaming_context(DynChunkTrainConfig(50))
    for chunk in torch.from_numpy(UNSCALED)[None].split(4000, dim=1):
        asr.transcribe_chunk(context, chunk)


WAYS = {
    "a session": (StreamingASR, lambda asr, place: push(asr.session())),
    "a batcher": (
        StreamingASR,
        lambda asr, place: push(asr.batcher().session()),
    ),
    "at once": (
        StreamingASR,
        lambda asr, place: asr.transcribe_batch(
            torch.from_numpy(np.stack([SIGNAL, UNSCALED]))
        ),
    ),
    "a file": (
        StreamingASR,
        lambda asr, place: asr.transcribe_file(place / "a.wav"),
    ),
    "a file at once": (
        StreamingASR,
        lambda asr, place: asr.transcribe_file_offline(place / "a.wav"),
    ),
    "words of a file": (
        StreamingASR,
        lambda asr, place: asr.transcript_offline(place / "a.wav"),
    ),
    "chunks": (StreamingASR, run_speechbrain),
    "SpeechBrain": (SpeechBrainStreamingASR, run_speechbrain),
    "features": (
        StreamingEncoder,
        lambda encoder, place: encoder(torch.from_numpy(UNSCALED)[None]),
    ),
    "features of a file": (
        StreamingEncoder,
        lambda encoder, place: encoder.encode_file(place / "a.wav"),
    ),
    "a stream of features": (
        StreamingEncoder,
        lambda encoder, place: push(encoder.session()),
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_floats_are_refused(way, place):
    kind, run = WAYS[way]
    loaded = kind.from_hparams(source=str(place / "model"))
    with pytest.raises(ValueError, match=f"{REFUSAL} .* int16 samples cast"):
        run(loaded, place)


def test_an_exported_model_refuses(tmp_path):
    """Integers of 32 bits as well."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from speechbrain_llsa.inference.onnx_export import export_model
    from speechbrain_llsa_runtime.inference.onnx import OnnxStreamingASR

    decoder = TextDecoder(make_tokenizer())
    folder = export_model(tmp_path / "exported", make_model(), decoder)
    asr = OnnxStreamingASR.from_folder(folder, threads=1)
    push(asr.session(), SIGNAL)
    push(asr.session(), INT16)
    with pytest.raises(ValueError, match=REFUSAL):
        push(asr.session())
    with pytest.raises(ValueError, match="int16 samples held in int32"):
        push(asr.session(), INT16.astype(np.int32))


def wav(samples, subtype):
    stream = io.BytesIO()
    soundfile.write(stream, samples, 16000, subtype=subtype, format="WAV")
    return stream.getvalue()


PIPED = {
    "floats, not scaled": (["--encoding=f32"], UNSCALED.tobytes(), REFUSAL),
    "int16 taken for floats": (
        ["--encoding=f32"],
        INT16.tobytes(),
        "samples",
    ),
    "a WAV file of such floats": ([], wav(UNSCALED, "FLOAT"), REFUSAL),
    "a WAV file of int16 in int32": (
        [],
        wav(INT16.astype(np.int32), "PCM_32"),
        "int16 samples held in int32",
    ),
}


@pytest.mark.parametrize("case", PIPED)
def test_the_command_that_listens_refuses(case, place, capsys, monkeypatch):
    """With one line, and exit 2."""
    options, data, message = PIPED[case]
    receive, send = os.pipe()

    def write():
        with os.fdopen(send, "wb") as pipe:
            pipe.write(data)

    writing = threading.Thread(target=write)
    writing.start()
    stdin = types.SimpleNamespace(fileno=lambda: receive)
    monkeypatch.setattr(sys, "stdin", stdin)
    line = ["listen", "--model", str(place / "model"), *options, "-"]
    assert main(line) == 2
    writing.join(10)
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
