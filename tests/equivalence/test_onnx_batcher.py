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
    CONFORMER,
    IMPORTED,
    make_front_end,
    make_log_mel,
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
    "conformer": CONFORMER,
    "log mel": {"extractor": make_log_mel(), "hop": 1},
    "int8": {"hop": 2, "look_ahead": 2},
}
RATES = (None, 8000, 16000, 44100)


@pytest.fixture(scope="module", params=MODELS)
def asr(request, tmp_path_factory):
    """An exported model."""
    place = tmp_path_factory.mktemp("exported") / "model"
    model = make_model(**MODELS[request.param])
    precision = "int8" if request.param == "int8" else "fp32"
    return OnnxStreamingASR.from_folder(
        export_model(place, model, DECODER, precisions=(precision,))
    )


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


@pytest.mark.parametrize("rate", RATES)
def test_a_stream_moves_in_and_out_of_batches(asr, rate):
    """Snapshots are the same bytes wherever the stream runs, and what it says
    is what it says without a move."""
    signal = make_signal(40000, 3).numpy()
    schedule = random.Random(5)
    options = {"endpointer": Endpointer()}
    whole = asr.session(**options)
    expected = push_all(whole, [signal], rate)
    session, said = asr.session(**options), ""
    batchers = [asr.batcher(slots=2, **options) for _ in range(2)]
    others = [batcher.session() for batcher in batchers]
    others[0].push(make_signal(9000, 4).numpy())
    while len(signal):
        size = schedule.choice([1, 400, 3000, 9000])
        pushed = session.push(signal[:size], rate)
        said += pushed.committed
        signal = signal[size:]
        data = session.snapshot()
        batched = schedule.choice(batchers).session(snapshot=data)
        assert batched.snapshot() == data
        size = schedule.choice([0, 1, 400, 9000])
        batched.push(signal[:size], rate)
        signal = signal[size:]
        data = batched.snapshot()
        said += batched.read().committed
        batched.close()
        session = asr.session(snapshot=data, **options)
        assert session.snapshot() == data
    said += session.finish().committed
    assert said == "".join(each.committed for each in expected) != ""
    assert session.text == whole.text


def test_snapshots_of_streams_that_begin_and_end(asr):
    """Before the first push, after the last, and of one that has left."""
    batcher = asr.batcher(slots=2)
    early = batcher.session()
    assert early.snapshot() == asr.session().snapshot()
    for end in ("finish", "close"):
        again = batcher.session(snapshot=early.snapshot())
        getattr(again, end)()
        assert again.text == ""
    early.push(make_signal(9000).numpy())
    early.finish()
    data = early.snapshot()
    assert early.finished and batcher.free_slots == 2
    assert asr.session(snapshot=data).text == early.text
    with pytest.raises(ValueError, match="snapshot must be of a stream that"):
        batcher.session(snapshot=data)
    with pytest.raises(ValueError, match="got a call after close"):
        again.snapshot()
    with pytest.raises(ValueError, match="snapshot must be bytes that"):
        batcher.session(snapshot=data[:-3])
    with pytest.raises(TypeError, match="snapshot must be bytes, got str"):
        batcher.session(snapshot="text")
    assert batcher.free_slots == 2


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
