"""Weights that are not finite: every way of transcribing names them, and a
stream that meets them is as it was."""

import pytest
import soundfile
import torch
from speechbrain.inference.ASR import StreamingASR as SpeechBrainStreamingASR
from speechbrain.utils.dynamic_chunk_training import DynChunkTrainConfig

from speechbrain_llsa.__main__ import main
from speechbrain_llsa.inference.asr import StreamingASR
from speechbrain_llsa.model_folder.write import write_streaming_folder
from tiny_model import make_model, make_signal, make_tokenizer
from tiny_transducer import make_transducer

MODELS = {"CTC": make_model, "transducer": make_transducer}


def broken(asr, monkeypatch):
    """Makes one number of the last layer NaN, for a time."""
    head = asr.hparams.model.head
    bias = head.bias.detach().clone()
    bias[-1] = float("nan")
    monkeypatch.setattr(head.bias, "data", bias)


@pytest.fixture(scope="module", params=MODELS)
def folder(request, tmp_path_factory):
    return write_streaming_folder(
        tmp_path_factory.mktemp(request.param) / "streaming",
        MODELS[request.param](),
        make_tokenizer(),
    )


def test_a_session_is_as_it_was(folder, monkeypatch):
    """Neither text nor snapshot change, and with whole weights it goes on."""
    asr = StreamingASR.from_hparams(folder)
    signal = make_signal(20000)
    session = asr.session()
    session.push(signal[:9000])
    text, snapshot = session.text, session.snapshot()
    with monkeypatch.context() as patch:
        broken(asr, patch)
        for call in (lambda: session.push(signal[9000:]), session.finish):
            with pytest.raises(
                FloatingPointError, match=r"outputs .*got NaN .*frame \d+"
            ):
                call()
    assert (session.text, session.snapshot()) == (text, snapshot)
    session.push(signal[9000:])
    session.finish()
    assert session.text == asr.transcribe_batch(signal[None])[0] != ""


def test_whole_utterances(folder, monkeypatch, tmp_path):
    """Batches and files, with and without times of words."""
    asr = StreamingASR.from_hparams(folder)
    broken(asr, monkeypatch)
    path = tmp_path / "speech.wav"
    soundfile.write(path, make_signal(9000).numpy(), 16000, subtype="FLOAT")
    for call in (
        lambda: asr.transcribe_batch(make_signal(9000)[None]),
        lambda: asr.transcribe_file(path),
        lambda: asr.transcript_offline(path),
    ):
        with pytest.raises(FloatingPointError, match="must be finite"):
            call()


@pytest.mark.parametrize("kind", [StreamingASR, SpeechBrainStreamingASR])
def test_chunks_of_speechbrain(folder, monkeypatch, kind):
    """Our class, and SpeechBrain's unmodified one."""
    asr = kind.from_hparams(source=str(folder))
    broken(asr, monkeypatch)
    context = asr.make_streaming_context(DynChunkTrainConfig(16))
    chunk = make_signal(5120)[None]
    with pytest.raises(FloatingPointError, match="must be finite"):
        for _ in range(4):
            asr.transcribe_chunk(context, chunk, torch.ones(1))


def test_commands(folder, monkeypatch, tmp_path, capsys):
    """One line for each file."""
    asr = StreamingASR.from_hparams(folder)
    broken(asr, monkeypatch)
    monkeypatch.setattr(StreamingASR, "from_hparams", lambda *_, **__: asr)
    paths = [str(tmp_path / name) for name in ("one.wav", "two.wav")]
    for path in paths:
        soundfile.write(path, make_signal(9000).numpy(), 16000)
    assert main(["transcribe", "--model", str(folder), *paths]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    for path, line in zip(paths, lines, strict=True):
        assert path in line and "must be finite, got NaN" in line
