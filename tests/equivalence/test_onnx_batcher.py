"""Many streams of an exported model in one batch: each gives what it gives
alone."""

import random

import numpy as np
import pytest

from speechbrain_llsa.decoders.tokenizers import TextDecoder
from speechbrain_llsa.inference.onnx_export import export_model
from speechbrain_llsa_runtime.inference.batcher import StreamError
from speechbrain_llsa_runtime.inference.onnx import OnnxStreamingASR
from speechbrain_llsa_runtime.transcripts.endpointer import (
    Endpointer,
    EndpointRule,
)
from speechbrain_llsa_runtime.transcripts.transcript import Transcript
from tiny_model import (
    IMPORTED,
    make_front_end,
    make_model,
    make_signal,
    make_tokenizer,
)
from transcripts import assert_same, final_words, push_all

pytest.importorskip("onnxscript")

DECODER = TextDecoder(make_tokenizer())
MODELS = {
    "llsa": {"hop": 1, "look_ahead": 4},
    "llsa, hop 3": {"hop": 3, "look_ahead": 2},
    "sa": {"attention": "sa", "look_ahead": 2},
    "maa": {"attention": "maa", "look_ahead": 1},
    "imported": {"extractor": make_front_end(), **IMPORTED},
}
RATES = (None, 8000, 16000, 44100)


@pytest.fixture(scope="module", params=MODELS)
def asr(request, tmp_path_factory):
    """An exported model."""
    place = tmp_path_factory.mktemp("exported") / "model"
    model = make_model(**MODELS[request.param])
    return OnnxStreamingASR.from_folder(export_model(place, model, DECODER))


def drain(batcher):
    while batcher.step():
        pass


def test_any_schedule(asr):
    """Streams of all lengths and rates, in pushes of any sizes, join as slots
    become free: what they say is what each one says alone."""
    schedule, batcher = random.Random(7), asr.batcher(slots=3)
    lengths = [30000, 0, 1, 641, 16001, 640, 9999, 1000, 22222, 5]
    waiting = [make_signal(n, seed).numpy() for seed, n in enumerate(lengths)]
    streams, live = [], {}
    while waiting or live:
        while waiting and batcher.free_slots:
            session, rate = batcher.session(), RATES[len(streams) % 4]
            streams.append((session, waiting[0], rate))
            live[session] = waiting.pop(0)
        for session, signal in list(live.items()):
            if schedule.random() < 0.4:
                continue
            rate = next(r for s, _, r in streams if s is session)
            size = schedule.choice([0, 1, 7, 319, 1500, 6001])
            session.push(signal[:size], rate)
            live[session] = signal[size:]
            if size >= len(signal):
                session.finish()
                del live[session]
        while schedule.random() < 0.8 and batcher.step():
            pass
    drain(batcher)
    assert batcher.free_slots == 3
    spoken = 0
    for session, signal, rate in streams:
        alone = asr.session()
        said = push_all(alone, np.array_split(signal, 9), rate)
        assert session.finished and session.text == alone.text
        assert_same(
            session.read(),
            Transcript(alone.text, "", tuple(final_words(said))),
        )
        spoken += len(alone.text)
    assert spoken > 40


def test_transcripts_are_those_of_a_session(asr):
    """Pushed a step at a time, reading says what a session's push says, with
    the endpointer of the batcher."""
    endpointer = Endpointer(maximum_length=EndpointRule(length_seconds=0.2))
    batcher = asr.batcher(endpointer=endpointer)
    batched, session = batcher.session(), asr.session(endpointer=endpointer)
    signal, shown = make_signal(20000).numpy(), 0
    for first in range(0, 20000, asr.model.clock.step_samples):
        part = signal[first : first + asr.model.clock.step_samples]
        expected = session.push(part)
        batched.push(part)
        drain(batcher)
        assert_same(batched.read(), expected)
        shown += bool(expected.provisional)
    batched.finish()
    drain(batcher)
    assert_same(batched.read(), session.finish())
    assert batched.finished and shown > 3


def test_a_poisoned_stream_ends_alone(asr):
    """What is not finite in one state ends that stream, and changes no bit of
    the others'."""
    texts = []
    for number in (0.0, float("nan")):
        batcher = asr.batcher(slots=3)
        sessions = [batcher.session() for _ in range(3)]
        for seed, session in enumerate(sessions):
            session.push(make_signal(20000, seed).numpy())
        batcher.step()
        for kept in batcher._state:
            kept[1].reshape(-1)[-1] += number
        drain(batcher)
        for session in (sessions[0], sessions[2]):
            session.finish()
        drain(batcher)
        texts.append((sessions[0].text, sessions[2].text))
    assert texts[0] == texts[1] and all(texts[0])
    with pytest.raises(StreamError, match="must be finite"):
        sessions[1].read()
    assert batcher.free_slots == 3


def test_bad_input(asr):
    with pytest.raises(ValueError, match=r"slots must be.*got 0"):
        asr.batcher(slots=0)
    with pytest.raises(TypeError, match="slots must be"):
        asr.batcher(slots="4")
    batcher = asr.batcher(slots=1)
    session = batcher.session()
    with pytest.raises(RuntimeError, match="sessions must be at most 1"):
        batcher.session()
    with pytest.raises(ValueError, match="NaN"):
        session.push(np.full(9, np.nan, np.float32))
    assert batcher.free_slots == 1
