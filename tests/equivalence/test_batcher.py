"""Many streams in one batch: each gives what it gives alone.

Streams join, push, finish and leave at any time. What is poisoned ends alone.
"""

import pickle
import random
import threading
from copy import copy, deepcopy

import numpy as np
import pytest
import torch

from speechbrain_llsa.decoders.tokenizers import TextDecoder
from speechbrain_llsa.inference.asr import StreamingASR
from speechbrain_llsa.inference.batcher import SessionBatcher
from speechbrain_llsa.model_folder.write import write_streaming_folder
from speechbrain_llsa_runtime.inference.batcher import StreamError
from speechbrain_llsa_runtime.inference.session import Session
from speechbrain_llsa_runtime.transcripts.endpointer import (
    Endpointer,
    EndpointRule,
)
from speechbrain_llsa_runtime.transcripts.transcript import Transcript
from speechbrain_llsa_runtime.transcripts.words import WordOffsets
from tiny_model import make_model, make_signal, make_tokenizer
from transcripts import assert_same, final_words, push_all

DECODER = TextDecoder(make_tokenizer())

GEOMETRIES = [
    ("llsa", hop, look_ahead) for hop in (1, 3, 8) for look_ahead in (0, 4, 9)
]
GEOMETRIES += [("sa", hop, 4) for hop in (1, 3, 8)]
GEOMETRIES += [("sa", 3, 0), ("sa", 8, 9), ("maa", 3, 4)]


class Recorder:
    """Runs a batcher, and keeps the log-probabilities of each stream."""

    def __init__(self, model, slots, step_frames=None):
        self.batcher = SessionBatcher(model, DECODER, slots, step_frames)
        self.frames = {}
        self._step, self.batcher._step = self.batcher._step, self._record

    def _record(self, samples, position, end, *state):
        log_probs, *others = self._step(samples, position, end, *state)
        self._last = log_probs, position, end
        return log_probs, *others

    def step(self):
        ready = self.batcher.step()
        for row, session in enumerate(ready):
            log_probs, position, end = (part[row] for part in self._last)
            first = int(position) - self._step.clock.delay_frames
            real = log_probs[max(0, -first) : max(0, int(end) - first)]
            self.frames.setdefault(session, []).append(real)
        return ready

    def log_probs(self, session, labels=9):
        return torch.cat(
            [torch.zeros(0, labels), *self.frames.get(session, [])]
        )


def rates(seed):
    return (None, 8000, 16000, 44100)[seed % 4]


def alone(model, signal, sample_rate):
    """What a session says in all, and its log-probabilities, push by push."""
    session = Session(model, DECODER)
    taken, forward, flush = [], model.forward_streaming, model.flush
    with pytest.MonkeyPatch.context() as patch:
        for name, call in (("forward_streaming", forward), ("flush", flush)):

            def record(*arguments, call=call):
                taken.append(call(*arguments))
                return taken[-1]

            patch.setattr(model, name, record)
        said = push_all(session, signal.split(3333), sample_rate)
    whole = Transcript(session.text, "", tuple(final_words(said)))
    return whole, torch.cat(taken, dim=1)[0]


def offline_text(model, signal):
    with torch.no_grad():
        log_probs, _ = model(signal[None])
    best = log_probs[0].argmax(dim=1).unique_consecutive().tolist()
    return DECODER.decode(label for label in best if label)


@pytest.mark.parametrize(("attention", "hop", "look_ahead"), GEOMETRIES)
def test_any_schedule(attention, hop, look_ahead):
    """Streams of all lengths and rates, in pushes of any sizes, join as slots
    become free: text and log-probabilities are those of each one alone."""
    model = make_model(attention, hop=hop, look_ahead=look_ahead)
    schedule = random.Random(hop * 10 + look_ahead)
    recorder = Recorder(model, slots=4)
    lengths = [30000, 0, 1, 641, 16001, 640, 9999, 1000, 22222, 5]
    waiting = [make_signal(n, seed) for seed, n in enumerate(lengths)]
    streams, live = [], {}
    while waiting or live:
        while waiting and recorder.batcher.free_slots:
            session, seed = recorder.batcher.session(), len(streams)
            streams.append((session, waiting[0], rates(seed)))
            live[session] = [waiting.pop(0), rates(seed)]
        for session, (signal, rate) in list(live.items()):
            if schedule.random() < 0.4:
                continue
            size = schedule.choice([0, 1, 7, 319, 1500, 6001])
            session.push(signal[:size], rate)
            live[session][0] = signal[size:]
            if size >= signal.shape[0]:
                session.finish()
                del live[session]
        while schedule.random() < 0.8 and recorder.step():
            pass
    while recorder.step():
        pass
    assert recorder.batcher.free_slots == 4
    spoken = 0
    for session, signal, rate in streams:
        whole, log_probs = alone(model, signal, rate)
        assert session.finished
        assert session.text == whole.committed
        assert_same(session.read(), whole)
        spoken += len(whole.committed)
        if rate in (None, 16000):
            assert session.text == offline_text(model, signal)
        torch.testing.assert_close(
            recorder.log_probs(session), log_probs, rtol=0, atol=1e-4
        )
    assert spoken > 40


@pytest.mark.parametrize("step_frames", [1, 5, 40])
def test_steps_of_any_length(step_frames):
    """A step of sa may have any number of frames."""
    model, signal = make_model("sa"), make_signal(20000)
    batcher = SessionBatcher(model, DECODER, 1, step_frames)
    session = batcher.session()
    session.push(signal)
    session.finish()
    while batcher.step():
        pass
    assert session.text == offline_text(model, signal) != ""


@pytest.mark.parametrize("endpoints", [False, True])
def test_transcripts_are_those_of_a_session(endpoints):
    """Pushed a hop at a time, reading says what a session's push says: text,
    provisional text, words and segments."""
    model, signal = make_model(), make_signal(20000)
    options = {"word_offsets": WordOffsets(-0.05, 0.1)}
    if endpoints:
        options["endpointer"] = Endpointer(
            after_speech=EndpointRule(True, 0.02),
            maximum_length=EndpointRule(length_seconds=0.2),
        )
    batcher = SessionBatcher(model, DECODER, **options)
    session = Session(model, DECODER, **options)
    batched, shown = batcher.session(), 0
    for part in signal.split(640):
        expected = session.push(part)
        batched.push(part)
        while batcher.step():
            pass
        assert_same(batched.read(), expected)
        shown += bool(expected.provisional)
    batched.finish()
    assert not batched.finished
    while batcher.step():
        pass
    assert_same(batched.read(), session.finish())
    assert batched.finished
    assert shown > 10
    assert (batched.read().segment > 3) == endpoints


def test_rows_without_work_do_not_change():
    """A step writes to the rows of the streams that it runs, alone."""
    batcher = SessionBatcher(make_model(), DECODER, slots=3)
    waiting, running, _ = (batcher.session() for _ in range(3))
    for session in (waiting, running):
        session.push(make_signal(7000))
    while batcher.step():
        pass
    before = deepcopy(batcher._state)
    waiting.push(make_signal(10))
    running.push(make_signal(8000, 1))
    assert batcher.step() == [running]
    for old, new in zip(before, batcher._state, strict=True):
        assert (old[[0, 2]] == new[[0, 2]]).all()
    assert any(
        not torch.equal(old[1], new[1])
        for old, new in zip(before, batcher._state, strict=True)
    )


def run_three(model, harm=None, leaves_after=4):
    """Three streams, of which the second is harmed after three steps, or else
    leaves. Gives the log-probabilities of the others, and all three."""
    recorder = Recorder(model, slots=3)
    sessions = [recorder.batcher.session() for _ in range(3)]
    for seed, session in enumerate(sessions):
        session.push(make_signal(20000 + seed, seed))
    for _ in range(3):
        assert recorder.step() == sessions
    if harm is not None:
        harm(recorder.batcher, sessions[1])
    elif leaves_after == 3:
        sessions[1].close()
    recorder.step()
    if harm is None:
        sessions[1].close()
    first, _, third = sessions
    first.finish()
    third.finish()
    while recorder.step():
        pass
    assert first.finished
    assert third.finished
    return [recorder.log_probs(each) for each in (first, third)], sessions


def assert_failed_alone(model, harm, message, leaves_after=4):
    """Only the second stream ends, and the others keep their bits."""
    expected, undisturbed = run_three(model, None, leaves_after)
    log_probs, (first, second, third) = run_three(model, harm)
    for ours, theirs in zip(log_probs, expected, strict=True):
        assert torch.equal(ours, theirs)
    assert first.text == undisturbed[0].text != ""
    assert third.text == undisturbed[2].text != ""
    assert first.error is None
    assert not second.finished
    for touch in (second.read, second.finish, lambda: second.push(np.zeros(1))):
        with pytest.raises(StreamError, match=message) as caught:
            touch()
        assert caught.value.__cause__ is second.error
    second.close()
    assert undisturbed[1].text.startswith(second.text)


@pytest.mark.parametrize("attention", ["llsa", "sa"])
@pytest.mark.parametrize("hop", [1, 3])
@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_poisoned_state_ends_its_stream_alone(attention, number, hop):
    """Any number of a state that is not finite: a named error, and the others
    have the same bits as if the stream had left by itself."""

    def poison(batcher, session):
        for kept in batcher._state:
            kept[session._slot].view(-1)[-1] = number

    assert_failed_alone(
        make_model(attention, hop=hop),
        poison,
        r"outputs of the model must .*got NaN",
    )


BAD_PUSHES = {
    "nan": (torch.tensor([0.0, float("nan")]), None, ValueError, "NaN"),
    "infinity": (np.full(3, np.inf), None, ValueError, "NaN or infinite"),
    "shape": (
        torch.zeros(1, 2, 3),
        None,
        ValueError,
        r"samples must be of shape",
    ),
    "list": ([0.0, 0.1], None, TypeError, r"samples must .*got list"),
    "rate": (torch.zeros(9), 8000, ValueError, "must be 16000"),
}


@pytest.mark.parametrize(
    ("samples", "sample_rate", "error", "message"),
    BAD_PUSHES.values(),
    ids=BAD_PUSHES,
)
def test_a_bad_push_ends_its_stream_alone(samples, sample_rate, error, message):
    """The push raises its error, and each call after it names that one."""

    def push(batcher, session):
        with pytest.raises(error, match=message):
            session.push(samples, sample_rate)

    assert_failed_alone(make_model(), push, message, leaves_after=3)


def test_extreme_samples_stay_with_their_stream():
    """The largest finite samples overflow within the model and end their
    stream, when their turn comes."""

    def push(batcher, session):
        session._queue.push(np.full(5000, 3e38, np.float32))

    expected, undisturbed = run_three(make_model())
    log_probs, sessions = run_three(make_model(), push)
    for ours, theirs in zip(log_probs, expected, strict=True):
        assert (ours - theirs).abs().max() < 1e-4
    assert sessions[0].text == undisturbed[0].text
    assert isinstance(sessions[1].error, FloatingPointError)


def test_labels_without_text_end_their_stream_alone(monkeypatch):
    """An error of one stream outside the model is that stream's."""
    decode = TextDecoder.decode_streaming

    def harm(batcher, session):
        def fail(decoder, labels, state):
            if state.started is None:
                raise KeyError("piece")
            return decode(decoder, labels, state)

        monkeypatch.setattr(TextDecoder, "decode_streaming", fail)
        session._state.pieces.started = None

    assert_failed_alone(make_model(), harm, "KeyError: 'piece'")


def test_an_error_of_the_whole_batch_changes_nothing(monkeypatch):
    """Where the model fails as such, the step raises, and can be repeated."""
    model, signal = make_model(), make_signal(20000)
    batcher = SessionBatcher(model, DECODER)
    session = batcher.session()
    session.push(signal)
    session.finish()

    def fail(embeddings):
        raise RuntimeError("out of memory")

    for _ in range(3):
        with monkeypatch.context() as patch:
            patch.setattr(model, "classify", fail)
            with pytest.raises(RuntimeError, match="out of memory"):
                batcher.step()
        batcher.step()
    while batcher.step():
        pass
    assert session.text == offline_text(model, signal) != ""


def test_full_slots():
    """One more is refused by name, until one finishes, fails or closes."""
    batcher = SessionBatcher(make_model(), DECODER, slots=2)
    first, second = batcher.session(), batcher.session()
    message = r"sessions must be at most 2.*got 3"
    with pytest.raises(RuntimeError, match=message):
        batcher.session()
    first.finish()
    third = batcher.session()
    with pytest.raises(RuntimeError, match=message):
        batcher.session()
    with pytest.raises(ValueError, match="NaN"):
        second.push(torch.tensor([float("nan")]))
    batcher.session()
    third.close()
    assert batcher.free_slots == 1
    batcher.session()
    assert batcher.free_slots == 0


def test_leaving_early():
    """A closed stream takes nothing more, keeps its text, and whoever takes
    its slot begins anew."""
    model, signal = make_model(), make_signal(20000)
    batcher = SessionBatcher(model, DECODER, slots=1)
    early = batcher.session()
    early.push(make_signal(30000, 1))
    for _ in range(20):
        assert batcher.step() == [early]
    text = early.text
    early.close()
    early.close()
    assert batcher.step() == []
    assert early.text == early.read().committed == text != ""
    assert not early.finished
    for call in (early.finish, lambda: early.push(signal)):
        with pytest.raises(
            ValueError, match=r"session must .*got a call after close"
        ):
            call()
    late = batcher.session()
    late.push(signal)
    late.finish()
    with pytest.raises(
        ValueError, match=r"session must .*got a call after finish"
    ):
        late.push(signal)
    early.close()
    while batcher.step():
        pass
    assert late.text == offline_text(model, signal)


def test_finished_means_that_all_text_is_there():
    """Not so for a stream that is closed, or fails, after its finish."""
    batcher = SessionBatcher(make_model(), DECODER, slots=2)
    closed, failed = batcher.session(), batcher.session()
    for session in (closed, failed):
        session.push(make_signal(9000))
        session.finish()
        assert not session.finished
    closed.close()
    batcher._state[0][failed._slot] = float("nan")
    assert batcher.step() == [failed]
    assert batcher.step() == []
    assert batcher.free_slots == 2
    assert not closed.finished
    assert not failed.finished
    with pytest.raises(StreamError, match=r"outputs .*got NaN"):
        failed.read()


@pytest.mark.parametrize("samples", [0, 1, 640])
def test_no_frame(samples):
    """Streams without a frame are finished at once, and have no text."""
    batcher = SessionBatcher(make_model(), DECODER, slots=1)
    session = batcher.session()
    if samples:
        session.push(make_signal(samples))
    session.finish()
    assert session.finished
    assert batcher.step() == []
    assert session.text == ""


def test_the_caller_may_reuse_the_buffer():
    """Queued samples are a copy."""
    model, signal, buffer = make_model(), make_signal(16000), torch.zeros(1000)
    batcher = SessionBatcher(model, DECODER)
    session = batcher.session()
    for part in signal.split(1000):
        session.push(buffer.copy_(part))
    buffer.fill_(9.0)
    session.finish()
    while batcher.step():
        pass
    assert session.text == offline_text(model, signal)


def test_threads():
    """Streams pushed by threads of their own, while another one steps."""
    model = make_model()
    batcher = SessionBatcher(model, DECODER, slots=4)
    signals = [make_signal(16000, seed) for seed in range(8)]
    sessions = {}

    def stream(seeds):
        for seed in seeds:
            sessions[seed] = batcher.session()
            for part in signals[seed].split(900):
                sessions[seed].push(part)
            sessions[seed].finish()
            while not sessions[seed].finished:
                sessions[seed].read()
                stepping.wait(0.001)

    stepping = threading.Event()
    threads = [
        threading.Thread(target=stream, args=(range(first, 8, 4),))
        for first in range(4)
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        batcher.step()
    for thread in threads:
        thread.join()
    for seed, session in sessions.items():
        assert session.text == offline_text(model, signals[seed])


def test_bad_arguments():
    """Each is named."""
    model = make_model()
    for arguments, error, message in (
        (("x", DECODER), TypeError, r"model must .*got str"),
        ((model, None), TypeError, r"text_decoder must .*got NoneType"),
        ((model, DECODER, 0), ValueError, r"slots must .*got 0"),
        ((model, DECODER, 1.5), TypeError, r"slots must .*got 1.5"),
        ((model, DECODER, 4, 3), ValueError, r"step_frames must .*got 3"),
        ((make_model("aa"), DECODER), ValueError, "got 'aa'"),
    ):
        with pytest.raises(error, match=message):
            SessionBatcher(*arguments)


def test_from_a_folder(tmp_path):
    """A written model makes a batcher of its own."""
    folder = write_streaming_folder(tmp_path, make_model(), make_tokenizer())
    asr = StreamingASR.from_hparams(folder)
    batcher, signal = asr.batcher(slots=2), make_signal(9000)
    assert batcher.slots == 2
    assert batcher.step_seconds == 0.04
    session = batcher.session()
    session.push(signal)
    session.finish()
    while batcher.step():
        pass
    assert session.text == asr.transcribe_batch(signal[None])[0] != ""


@pytest.mark.parametrize("copied", [copy, deepcopy, pickle.dumps])
def test_a_batcher_stays_in_its_process(copied):
    """It and its sessions are refused, and go on as before."""
    batcher = SessionBatcher(make_model(), DECODER, slots=1)
    session = batcher.session()
    with pytest.raises(TypeError, match="batcher must be made in the process"):
        copied(batcher)
    with pytest.raises(TypeError, match="session must stay with its batcher"):
        copied(session)
    session.push(make_signal(16000))
    assert batcher.step() == [session]
