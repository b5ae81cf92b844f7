"""Integers that were cast and not scaled are refused; everything that is
scaled passes, however quiet or loud it is."""

import numpy as np
import pytest
import torch

from speechbrain_llsa.decoders.tokenizers import TextDecoder
from speechbrain_llsa.inference.batcher import SessionBatcher
from speechbrain_llsa.inference.speechbrain_interface import (
    ChunkFeatureExtractor,
)
from speechbrain_llsa.inference.streaming_encoder import StreamingEncoder
from speechbrain_llsa_runtime.dataio.samples import ScaleCheck
from speechbrain_llsa_runtime.inference.session import Session
from tiny_model import make_model, make_signal, make_tokenizer

DECODER = TextDecoder(make_tokenizer())
RATE = 16000
SPEECH = make_signal(3 * RATE).numpy()  # -1 to 1, peaks of 0.3
INT16 = (SPEECH * 32767).round().astype(np.int16)
RANDOM = np.random.default_rng(0)


def silence_first(samples, seconds=2.0):
    silence = np.zeros((round(seconds * RATE), *samples.shape[1:]))
    return np.concatenate([silence.astype(samples.dtype), samples])


def floor_first(samples, level, kind=np.int64):
    """A second of noise of one step of a converter, and then samples."""
    floor = RANDOM.integers(-1, 2, RATE).astype(kind) * level
    return np.concatenate([floor.astype(samples.dtype), samples])


UNSCALED = {
    "int16 as float32": INT16.astype(np.float32),
    "int16 as float64": INT16.astype(np.float64),
    "int16 in int32": INT16.astype(np.int32),
    "quiet int16 as float32": (INT16 // 300).astype(np.float32),
    "quiet int16 in int32": (INT16 // 300).astype(np.int32),
    "behind silence": silence_first(INT16.astype(np.float32)),
    "behind silence in int32": silence_first(INT16.astype(np.int32)),
    "behind a noise floor": floor_first(INT16.astype(np.float32), 1),
    "behind a noise floor in int32": floor_first(INT16.astype(np.int32), 1),
    "stereo": np.stack([INT16, INT16 * 0], 1).astype(np.float32),
    "stereo in int32": np.stack([INT16 * 0, INT16], 1).astype(np.int32),
    "resampled by somebody": np.interp(
        np.arange(0, RATE, 0.7), np.arange(RATE), INT16[:RATE]
    ).astype(np.float32),
    "int24 as float32": (SPEECH * 2**23).astype(np.float32),
    "int32 as float64": (SPEECH * 2.0**31).round(),
}


def int32(samples):
    return (samples.astype(np.float64) * 2**31).astype(np.int32)


NOISE = RANDOM.standard_normal(3 * RATE).astype(np.float32)
SCALED = {
    "float32": SPEECH,
    "float64": SPEECH.astype(np.float64),
    "int16": INT16,
    "int32": int32(SPEECH),
    "silence": np.zeros(3 * RATE, np.float32),
    "silence in int32": np.zeros(3 * RATE, np.int32),
    "int16 with a noise floor": floor_first(INT16, 1),
    "int16 that is a noise floor": floor_first(INT16[:0], 1),
    "floats of 16 bit with a noise floor": floor_first(SPEECH, 1 / 32768),
    "int32 of 16 bit": INT16.astype(np.int32) << 16,
    "int32 of 16 bit with a noise floor": floor_first(
        INT16.astype(np.int32) << 16, 1 << 16
    ),
    "int32 of 24 bit with a noise floor": floor_first(
        int32(SPEECH) >> 8 << 8, 1 << 8
    ),
    "24 bit to the right": int32(SPEECH) >> 8,
    "floats at -90 dB": SPEECH * 10 ** (-90 / 20),
    "floats at -150 dB": SPEECH * 10 ** (-150 / 20),
    "int32 at -60 dB": int32(SPEECH * 10 ** (-60 / 20)),
    "noise at -90 dB in int32": int32(NOISE * 10 ** (-90 / 20)),
    "clipped": np.sign(SPEECH),
    "clipped in int32": int32(np.sign(SPEECH) * 0.99999),
    "clipped, from 0": (SPEECH > 0).astype(np.float32),
    "three times too loud": SPEECH / np.abs(SPEECH).max() * 3,
    "20 dB of gain": SPEECH / np.abs(SPEECH).max() * 10,
    "full scale noise": NOISE,
    "stereo": np.stack([SPEECH, -SPEECH], 1),
    "few samples": np.full(9, 4.0, np.float32),
}


def session():
    return Session(make_model(), DECODER)


def encoder_session():
    model = make_model()
    return StreamingEncoder(model.extractor, model.encoder_wrapper).session()


def verdict(samples, lengths, sample_rate=RATE):
    """Whether samples are refused, pushed in pieces of such lengths."""
    check, start = ScaleCheck(), 0
    while start < len(samples):
        length = next(lengths)
        try:
            check = check.push(samples[start : start + length], sample_rate)
        except ValueError as error:
            return str(error)
        start += length
    return None


def lengths(length):
    while True:
        yield length


def random_lengths():
    while True:
        yield int(RANDOM.integers(1, 5000))


SPLITS = {
    "at once": lambda: lengths(10**9),
    "by frames": lambda: lengths(320),
    "anyhow": random_lengths,
}


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("name", UNSCALED)
def test_unscaled_integers_are_refused(name, split):
    """However they are pushed."""
    message = verdict(UNSCALED[name], SPLITS[split]())
    assert message and message.startswith("samples must ")
    assert any(each in message for each in ("int16", "integers cast to"))
    assert verdict(torch.from_numpy(UNSCALED[name]), SPLITS[split]())


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("name", SCALED)
def test_scaled_samples_pass(name, split):
    """However they are pushed."""
    assert verdict(SCALED[name], SPLITS[split]()) is None


def test_the_verdict_is_that_of_any_split():
    """Levels around the bounds, with what follows the first half second."""
    for seed in range(60):
        generator = np.random.default_rng(seed)
        kind = generator.choice(["float32", "int32"])
        level = 2.0 ** generator.uniform(-2, 8 if kind == "float32" else 18)
        count = generator.integers(7000, 16000)
        samples = generator.standard_normal(count) * level
        if generator.random() < 0.5:
            samples = samples.round()
        samples[generator.random(count) < 0.2] = 0
        louder = np.full(9000, 12345.0 if kind == "float32" else 2.0**30)
        samples = np.concatenate([samples, louder]).astype(kind)
        verdicts = {bool(verdict(samples, SPLITS[split]())) for split in SPLITS}
        assert len(verdicts) == 1


def test_the_rate_says_how_much_is_heard():
    """Half a second of it: 4000 samples at 8 kHz decide."""
    samples = INT16[INT16 != 0][:4000].astype(np.float64)
    samples = np.concatenate([samples, samples * 2.0**16])
    samples = samples.astype(np.int32)
    assert verdict(samples, lengths(100), 8000)
    assert not verdict(samples, lengths(100), 16000)


@pytest.mark.parametrize("make", [session, encoder_session])
@pytest.mark.parametrize("name", ["int16 as float32", "int16 in int32"])
def test_a_refused_push_leaves_the_session(make, name):
    """As it was: it can go on with samples that are scaled."""
    session, refused = make(), None
    session.push(SPEECH[:5000])
    for part in np.split(UNSCALED[name], 15):
        before = session.fork()
        try:
            session.push(part)
        except ValueError as error:
            refused = str(error)
            break
    assert "int16" in refused
    given, expected = (
        str([each.push(SPEECH), each.finish()]) for each in (session, before)
    )
    assert given == expected
    session.reset()
    with pytest.raises(ValueError, match=r"samples must .* int16"):
        session.push(UNSCALED[name])


def test_a_snapshot_may_forget_what_was_heard():
    """Behind it the decision is made anew: what is scaled goes on, what is
    not is refused."""
    model = make_model()
    session = Session(model, DECODER)
    for part in np.split(SCALED["int32 of 24 bit with a noise floor"], 16):
        session.push(part)
        session = Session(model, DECODER, session.snapshot())
    for name in ("int16 as float32", "int16 in int32"):
        with pytest.raises(ValueError, match=r"samples must .* int16"):
            session.push(UNSCALED[name])
    session.finish()


def test_a_batched_session_refuses():
    """And ends by it, as by any other bad push."""
    for name in ("int16 as float32", "int16 in int32"):
        session = SessionBatcher(make_model(), DECODER, slots=1).session()
        with pytest.raises(ValueError, match=r"samples must .* int16"):
            session.push(UNSCALED[name])
        assert "int16" in str(session.error)


@pytest.mark.parametrize("attention", ["llsa", "aa"])
def test_whole_utterances_are_refused(attention):
    """Each row is looked at; what is scaled passes."""
    model = make_model(attention)
    encoder = StreamingEncoder(model.extractor, model.encoder_wrapper)
    wavs = torch.from_numpy(np.stack([SPEECH, SPEECH * 32768]))
    with pytest.raises(ValueError, match="samples must be scaled to -1 to 1"):
        encoder(wavs)
    with pytest.raises(TypeError, match=r"wavs must .*, got torch.int16"):
        encoder(torch.from_numpy(INT16)[None])
    assert len(encoder(wavs[:1])[0]) == 1


def test_the_host_refuses():
    """A chunk, and the context stays as it was; other rows do not hide it."""
    features = ChunkFeatureExtractor(make_model().extractor)
    context = features.make_streaming_context()
    good = torch.from_numpy(np.stack([SPEECH, SPEECH]))[:, :5000]
    bad = torch.from_numpy(np.stack([SPEECH, INT16]))[:, :5000]
    features(good, context)
    for _ in range(2):
        with pytest.raises(ValueError, match="int16 samples cast to float32"):
            features(bad, context)
    features(good, context)
    assert context.front_end.samples == 10000
