"""Streams move between batches and sessions alone by snapshots, in PyTorch:
what they say is what they say without a move."""

import random

import numpy as np
import pytest
import torch

from speechbrain_llsa.decoders.beam_search import BeamSearch
from speechbrain_llsa.decoders.tokenizers import TextDecoder
from speechbrain_llsa.inference.batcher import SessionBatcher
from speechbrain_llsa_runtime.inference.batcher import StreamError
from speechbrain_llsa_runtime.inference.session import Session
from speechbrain_llsa_runtime.snapshot import flatten
from speechbrain_llsa_runtime.transcripts.endpointer import Endpointer
from tiny_model import (
    CONFORMER,
    IMPORTED,
    make_front_end,
    make_log_mel,
    make_model,
    make_signal,
    make_tokenizer,
)

DECODER = TextDecoder(make_tokenizer())
MODELS = {
    "llsa": {"hop": 1, "look_ahead": 4},
    "llsa, hop 3": {"hop": 3, "look_ahead": 2},
    "llsa, hop 8": {"hop": 8, "look_ahead": 0},
    "sa": {"attention": "sa", "hop": 1, "look_ahead": 2},
    "sa, steps of 3": {"attention": "sa", "hop": 3, "look_ahead": 2},
    "maa, steps of 4": {"attention": "maa", "hop": 4, "look_ahead": 1},
    "imported": {"extractor": make_front_end(), **IMPORTED},
    "log mel": {"extractor": make_log_mel(), "hop": 1},
    "log mel, sa": {"extractor": make_log_mel(), "attention": "sa", "hop": 3},
    "imported, maa": {"attention": "maa", "hop": 3, **IMPORTED},
    "conformer": CONFORMER,
    "conformer, sa, steps of 3": {
        **CONFORMER,
        "attention": "sa",
        "hop": 3,
        "look_ahead": 1,
    },
}
LENGTHS = (0, 1, 320, 641, 1000, 2000, 5000, 20001)


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    return make_model(**MODELS[request.param])


@pytest.fixture(scope="module")
def in_steps():
    """Whose steps commit several frames, some of them in a session before."""
    return make_model("sa", hop=4, look_ahead=2)


def drain(batcher):
    while batcher.step():
        pass


def assert_close(state, other):
    """Equal counters and shapes, and equal numbers but for rounding."""
    parts, others = flatten(state), flatten(other)
    assert parts.keys() == others.keys()
    for name, part in parts.items():
        if isinstance(part, torch.Tensor):
            assert part.shape == others[name].shape, name
            if part.numel():
                assert (part - others[name]).abs().max() < 1e-4, name
        elif isinstance(part, np.ndarray):
            assert np.array_equal(part, others[name]), name
        elif isinstance(part, float):
            assert part == pytest.approx(others[name], abs=1e-4), name
        else:
            assert part == others[name], name


@pytest.mark.parametrize("samples", LENGTHS)
def test_a_snapshot_is_that_of_a_session(model, samples):
    """After any number of samples, and it goes on in either."""
    signal, rest = make_signal(samples), make_signal(12000, 5)
    alone, batcher = Session(model, DECODER), SessionBatcher(model, DECODER, 3)
    alone.push(signal)
    batched = batcher.session()
    batched.push(signal)
    moved = Session(model, DECODER, batched.snapshot())
    assert_close(moved._state, alone._state)
    streams = [
        batched,
        batcher.session(snapshot=alone.snapshot()),
        batcher.session(snapshot=batched.snapshot()),
    ]
    for part in rest.split(2777):
        expected = alone.push(part)
        assert moved.push(part).committed == expected.committed
        for stream in streams:
            stream.push(part)
        drain(batcher)
    assert alone.finish().committed == moved.finish().committed
    for stream in streams:
        stream.finish()
    drain(batcher)
    assert {stream.text for stream in (*streams, moved)} == {alone.text}
    assert all(stream.finished for stream in streams) and alone.text


@pytest.mark.parametrize("rate", [None, 44100])
@pytest.mark.parametrize("beams", [False, True])
def test_a_stream_moves_in_and_out_of_batches(model, rate, beams):
    """At any time, next to others: nothing that is said is lost or said
    twice."""
    search = BeamSearch(DECODER, beam_size=4) if beams else None
    options = {"endpointer": Endpointer(), "search": search}
    signal, schedule = make_signal(40000, 3), random.Random(5)
    whole = Session(model, DECODER, **options)
    expected = whole.push(signal, rate).committed + whole.finish().committed
    batchers = [SessionBatcher(model, DECODER, 2, **options) for _ in "ab"]
    batchers[0].session().push(make_signal(9000, 4))
    session, said = Session(model, DECODER, **options), ""
    while len(signal):
        size = schedule.choice([1, 400, 3000, 9000])
        said += session.push(signal[:size], rate).committed
        signal = signal[size:]
        data = session.snapshot()
        batched = schedule.choice(batchers).session(snapshot=data)
        assert batched.snapshot() == data
        for size in schedule.choices([0, 1, 400, 2000], k=3):
            batched.push(signal[:size], rate)
            signal = signal[size:]
            if schedule.random() < 0.5:
                batched._batcher.step()
            data = batched.snapshot()
            assert batched.snapshot() == data
        said += batched.read().committed
        batched.close()
        session = Session(model, DECODER, data, **options)
        assert session.snapshot() == data
    said += session.finish().committed
    assert said == expected != ""
    assert session.text == whole.text


def test_a_snapshot_changes_nothing(model):
    """A stream that is written all the time says what one says that is not."""
    texts = []
    for written in (False, True):
        batcher = SessionBatcher(model, DECODER, 2)
        sessions, said = [batcher.session() for _ in range(2)], ["", ""]
        for part in make_signal(20000, 6).split(777):
            for number, session in enumerate(sessions):
                session.push(part)
                if written and number:
                    session.snapshot()
            batcher.step()
            for number, session in enumerate(sessions):
                said[number] += session.read().committed
        for session in sessions:
            session.finish()
            if written:
                session.snapshot()
        drain(batcher)
        said = [
            text + session.read().committed
            for text, session in zip(said, sessions, strict=True)
        ]
        assert said == [session.text for session in sessions]
        texts.append(said)
    assert texts[0] == texts[1] and texts[0][0] == texts[0][1] != ""


@pytest.mark.parametrize("precision", [torch.float64, torch.bfloat16])
def test_other_precisions(precision):
    model, signal = make_model().to(precision), make_signal(20000)
    batcher = SessionBatcher(model, DECODER, 2)
    batched = batcher.session()
    batched.push(signal[:9000])
    session = Session(model, DECODER, batched.snapshot())
    again = batcher.session(snapshot=session.snapshot())
    for stream in (batched, again):
        stream.push(signal[9000:])
        stream.finish()
    session.push(signal[9000:])
    session.finish()
    drain(batcher)
    if precision is torch.float64:
        assert batched.text == again.text == session.text
    assert batched.text and again.text and session.text


def test_snapshots_of_streams_that_begin_and_end(model):
    """Before the first push, after the last, and of one that has left."""
    batcher = SessionBatcher(model, DECODER, 2)
    early = batcher.session()
    assert early.snapshot() == Session(model, DECODER).snapshot()
    for end in ("finish", "close"):
        again = batcher.session(snapshot=early.snapshot())
        getattr(again, end)()
        assert again.text == ""
    early.push(make_signal(9000))
    early.finish()
    data = early.snapshot()
    assert early.finished and batcher.free_slots == 2
    assert Session(model, DECODER, data).text == early.text
    with pytest.raises(ValueError, match="snapshot must be of a stream that"):
        batcher.session(snapshot=data)
    with pytest.raises(ValueError, match="snapshot must be bytes that"):
        batcher.session(snapshot=data[:-3])
    with pytest.raises(TypeError, match="snapshot must be bytes, got str"):
        batcher.session(snapshot="text")
    closed = batcher.session()
    closed.close()
    with pytest.raises(ValueError, match="got a call after close"):
        closed.snapshot()
    assert batcher.free_slots == 2


def test_another_geometry_is_refused():
    """All streams of a batch have one."""
    model = make_model(hop=[2, 5], look_ahead=[4, 7])
    session = Session(model, DECODER, hop=5, look_ahead=4)
    session.push(make_signal(9000))
    data = session.snapshot()
    batcher = SessionBatcher(model, DECODER, 1, hop=5)
    moved = batcher.session(snapshot=data)
    assert moved.snapshot() == data
    with pytest.raises(ValueError, match=r"^hop must be 5, with which the"):
        SessionBatcher(model, DECODER, 1).session(snapshot=data)


def entered(model):
    """A batch with a stream that came from a session, and another one."""
    session = Session(model, DECODER)
    session.push(make_signal(9000))
    batcher = SessionBatcher(model, DECODER, 3)
    moved = batcher.session(snapshot=session.snapshot())
    other = batcher.session()
    other.push(make_signal(20000, 1))
    return batcher, moved, other, session


@pytest.mark.parametrize("harm", ["context", "text", "close"])
def test_a_stream_that_came_ends_alone(in_steps, harm):
    """Before its first step in the batch; its slot is free again."""
    batcher, moved, other, _ = entered(in_steps)
    moved.push(make_signal(3000, 2))
    if harm == "context":
        poison(batcher, moved)
    elif harm == "text":
        moved._state.pieces = None
    else:
        moved.close()
    other.finish()
    drain(batcher)
    assert other.finished and other.text
    assert batcher.free_slots == 3
    if harm != "close":
        with pytest.raises(StreamError):
            moved.read()
    taken = [batcher.session() for _ in range(3)]
    for session in taken:
        session.push(make_signal(20000, 1))
        session.finish()
    drain(batcher)
    assert {session.text for session in taken} == {other.text}


def poison(batcher, session):
    context = batcher._alone_for_now[session._slot].context
    for layer in context.encoder.layers:
        layer.value[:] = float("nan")


def test_a_snapshot_of_what_is_not_finite(in_steps):
    """Frames that are committed for it end the stream, as in a step."""
    batcher, moved, _, _ = entered(in_steps)
    poison(batcher, moved)
    moved.push(make_signal(700, 2))
    with pytest.raises(FloatingPointError, match="must be finite"):
        moved.snapshot()
    with pytest.raises(StreamError, match="must be finite"):
        moved.snapshot()
    assert batcher.free_slots == 2


def test_an_error_of_the_model_changes_nothing(in_steps, monkeypatch):
    """Neither for the batch, nor for a stream that came."""
    batcher, moved, other, session = entered(in_steps)
    for stream in (moved, session):
        stream.push(make_signal(9000, 2))

    def fail(embeddings):
        raise RuntimeError("out of memory")

    for _ in range(3):
        with monkeypatch.context() as patch:
            patch.setattr(in_steps, "classify", fail)
            with pytest.raises(RuntimeError, match="out of memory"):
                batcher.step()
            with pytest.raises(RuntimeError, match="out of memory"):
                moved.snapshot()
        batcher.step()
    moved.finish()
    session.finish()
    drain(batcher)
    assert moved.text == session.text != ""
    assert other.text
