"""One channel of several: sessions, files and commands."""

import os
import sys
import threading
import types
import warnings

import numpy as np
import pytest
import soundfile
import torch

from speechbrain_llsa import StreamingASR, StreamingEncoder
from speechbrain_llsa.__main__ import main
from speechbrain_llsa.model_folder.write import write_streaming_folder
from speechbrain_llsa_runtime.dataio.channels import CancelledChannelsWarning
from tiny_model import make_model, make_signal, make_tokenizer

SAMPLES, RATE = 60000, 22050


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model, files in mono and in stereo, and a corpus in stereo."""
    place = tmp_path_factory.mktemp("channel")
    write_streaming_folder(place / "model", make_model(), make_tokenizer())
    left, right = (make_signal(SAMPLES, seed).numpy() for seed in (0, 1))
    chapter = place / "corpus" / "test" / "7" / "1"
    chapter.mkdir(parents=True)
    for path, channels in {
        "left.wav": [left],
        "right.wav": [right],
        "stereo.wav": [left, right],
        "opposite.wav": [right, -right],
        "corpus/test/7/1/7-1-0000.wav": [right, -right],
    }.items():
        signal = np.stack(channels, axis=1)
        soundfile.write(place / path, signal, RATE, subtype="FLOAT")
    text = StreamingASR.from_hparams(place / "model").transcribe_file(
        place / "right.wav"
    )
    (chapter / "7-1.trans.txt").write_text(f"7-1-0000 {text}\n")
    return place


@pytest.fixture(scope="module")
def asr(place):
    return StreamingASR.from_hparams(place / "model")


@pytest.fixture(scope="module")
def texts(asr, place):
    """By channel."""
    names = ["left.wav", "right.wav"]
    texts = [asr.transcribe_file(place / name) for name in names]
    assert texts[0] != texts[1]
    return texts


def read(place, name):
    return soundfile.read(place / name, dtype="float32", always_2d=True)[0]


def batched(asr, samples, channel):
    batcher = asr.batcher(slots=2)
    sessions = [batcher.session(channel=each) for each in (channel, None)]
    for session in sessions:
        session.push(samples, RATE)
        session.finish()
    while batcher.step():
        pass
    return sessions[0].text


def of_session(asr, samples, channel):
    session = asr.session(channel=channel)
    for push in np.array_split(samples, 7):
        session.push(push, RATE)
    session.finish()
    return session.text


@pytest.mark.parametrize("way", [of_session, batched])
def test_sessions(asr, place, texts, way):
    """They give the text of the channel."""
    samples = read(place, "stereo.wav")
    for channel in (0, 1):
        assert way(asr, samples, channel) == texts[channel]


@pytest.mark.parametrize("channel", [0, 1])
def test_files(asr, place, texts, channel):
    """So do all that read one."""
    path, options = place / "stereo.wav", {"channel": channel}
    streamed = asr.transcribe_file_streaming(path, **options)
    for text in (
        asr.transcribe_file(path, **options),
        "".join(streamed),
        asr.transcribe_file_offline(path, **options),
        asr.transcript_offline(path, **options).committed,
    ):
        assert text == texts[channel]


def test_features(place):
    """Frames of the channel, in a session and of a file."""
    encoder = StreamingEncoder.from_hparams(place / "model")
    expected = encoder.encode_file(place / "right.wav")
    assert torch.equal(
        encoder.encode_file(place / "stereo.wav", channel=1), expected
    )
    session = encoder.session(channel=1)
    frames = [
        session.push(read(place, "stereo.wav"), RATE),
        session.finish(),
    ]
    assert torch.allclose(torch.cat(frames), expected, atol=1e-4)


def test_snapshots(asr, place, texts):
    """The channel is an option that a snapshot is checked against; forks and
    new beginnings keep it."""
    samples = read(place, "stereo.wav")
    session = asr.session(channel=1)
    session.push(samples[:30000], RATE)
    data = session.snapshot()
    restored = asr.session(data, channel=1)
    for each in (restored, session.fork()):
        each.push(samples[30000:])
        each.finish()
        assert each.text == texts[1]
    for others in ({}, {"channel": 0}):
        with pytest.raises(ValueError, match="with these options"):
            asr.session(data, **others)
    session.reset()
    session.push(samples, RATE)
    session.finish()
    assert session.text == texts[1]


def test_no_such_channel_leaves_a_session_as_it_was(asr, place, texts):
    """As any bad push does."""
    session = asr.session(channel=1)
    with pytest.raises(ValueError, match="channel must be below 1"):
        session.push(read(place, "left.wav"), RATE)
    session.push(read(place, "stereo.wav"), RATE)
    session.finish()
    assert session.text == texts[1]
    with pytest.raises(ValueError, match=r"channel must .*got -1"):
        asr.batcher(slots=1).session(channel=-1)


def test_warnings(asr, place, texts):
    """One for a session or a file, which names the caller's line, and none
    where a channel is taken."""
    path = place / "opposite.wav"
    for call in (
        lambda: of_session(asr, read(place, "opposite.wav"), None),
        lambda: asr.transcribe_file_offline(path),
    ):
        with pytest.warns(CancelledChannelsWarning) as told:
            call()
        assert len(told) == 1
    with pytest.warns(CancelledChannelsWarning) as told:
        asr.session().push(read(place, "opposite.wav"), RATE)
    assert told[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error", CancelledChannelsWarning)
        assert asr.transcribe_file(path, channel=0) == texts[1]
        asr.transcribe_file(place / "stereo.wav")


@pytest.fixture
def run(place, monkeypatch, capsys):
    monkeypatch.chdir(place)

    def run(*arguments):
        code = main([*arguments, "--model", "model"])
        return code, *capsys.readouterr()

    return run


def test_transcribe(run, texts):
    """The text of the channel; a line for each file whose channels cancel
    out; a file without the channel is a bad one among others."""
    names = ["opposite.wav", "stereo.wav", "right.wav"]
    code, out, err = run("transcribe", "--channel", "0", *names)
    assert (code, err) == (0, "")
    said = [line.split(": ")[1] for line in out.splitlines()]
    assert said == [texts[1], texts[0], texts[1]]
    code, out, err = run("transcribe", "--channel", "1", *names[1:])
    assert (code, out) == (2, f"stereo.wav: {texts[1]}\n")
    assert "error: right.wav: channel must be below 1" in err
    code, out, err = run("transcribe", *names[:2], "opposite.wav")
    assert code == 0 and err.count("\n") == 2
    for line in err.splitlines():
        assert line.startswith("opposite.wav: warning: the 2 channels cancel")


def feed(descriptor, data):
    with os.fdopen(descriptor, "wb") as pipe:
        pipe.write(data)


def test_listen(run, place, texts, monkeypatch):
    """The same from a pipe."""
    for options, words in ((["--channel", "1"], ""), ([], "cancel out")):
        receive, send = os.pipe()
        name = "opposite.wav" if words else "stereo.wav"
        samples = read(place, name)
        write = threading.Thread(
            target=feed, args=(send, samples.tobytes()), daemon=True
        )
        write.start()
        stdin = types.SimpleNamespace(fileno=lambda at=receive: at)
        monkeypatch.setattr(sys, "stdin", stdin)
        raw = ["--encoding", "f32", "--sample_rate", str(RATE)]
        raw += ["--channels", "2", "--no-endpoint"]
        code, out, err = run("listen", "-", *raw, *options)
        os.close(receive)
        assert code == 0 and words in err and err.count("\n") == bool(words)
        if not words:
            assert out.split() == texts[1].split()


def test_evaluate(run):
    """A corpus in stereo: no errors in a channel, and one line about the
    mean."""
    options = ["--data", "corpus", "--split", "test", "--runs", "1"]
    code, out, err = run("evaluate", *options, "--channel", "0")
    assert (code, err) == (0, "") and "0.00 (0.00 to 0.00)" in out
    code, out, err = run("evaluate", *options)
    assert (code, err.count("\n")) == (0, 1) and "cancel out" in err
