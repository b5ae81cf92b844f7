"""One session in the hands of several threads: calls are done one after the
other, and nothing is lost."""

import copy
import pickle
import threading

import numpy as np
import pytest
import torch
from speechbrain.utils.dynamic_chunk_training import DynChunkTrainConfig

from speechbrain_llsa.decoders.tokenizers import TextDecoder
from speechbrain_llsa.inference.asr import StreamingASR
from speechbrain_llsa.inference.batcher import SessionBatcher
from speechbrain_llsa.inference.streaming_encoder import StreamingEncoder
from speechbrain_llsa.model_folder.write import write_streaming_folder
from speechbrain_llsa_runtime.inference.session import Session
from tiny_model import make_model, make_signal, make_tokenizer

DECODER = TextDecoder(make_tokenizer())
THREADS, PUSHES, SAMPLES = 4, 10, 800
SIGNAL = make_signal(SAMPLES)


def at_once(*calls):
    """Calls each in a thread of its own, all beginning together; what each
    gives, or the error that it raises."""
    barrier, given = threading.Barrier(len(calls)), [None] * len(calls)

    def work(number, call):
        barrier.wait()
        try:
            given[number] = call()
        except Exception as error:
            given[number] = error

    threads = [
        threading.Thread(target=work, args=pair) for pair in enumerate(calls)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return given


def make_session():
    return Session(make_model(), DECODER)


def make_encoder_session():
    model = make_model()
    return StreamingEncoder(model.extractor, model.encoder_wrapper).session()


KINDS = {"text": make_session, "features": make_encoder_session}


@pytest.fixture(params=KINDS)
def session(request):
    return KINDS[request.param]()


def received(session):
    return session._state.signal.received


def everything(session):
    """What is left to come of a session, as a value to compare."""
    rest = session.fork().finish()
    return rest.tolist() if isinstance(rest, torch.Tensor) else rest


def test_every_sample_is_kept(session):
    """The same samples from all threads, so that their order says nothing:
    the session is as after as many pushes of one."""

    def push():
        return [session.push(SIGNAL) for _ in range(PUSHES)]

    given = at_once(*[push] * THREADS)
    assert all(isinstance(each, list) for each in given), given
    assert received(session) == THREADS * PUSHES * SAMPLES
    alone = KINDS["text" if hasattr(session, "text") else "features"]()
    for _ in range(THREADS * PUSHES):
        alone.push(SIGNAL)
    assert everything(session) == everything(alone)


def test_one_of_many_ends_it(session):
    """Calls of finish at once: one gives the rest, the others say that it has
    been finished."""
    session.push(make_signal(9000))
    given = at_once(*[session.finish] * THREADS)
    errors = [each for each in given if isinstance(each, ValueError)]
    assert len(errors) == THREADS - 1
    assert session.finished


def test_reset_waits(session):
    """A push that is under way does not bring back what was forgotten."""
    for _ in range(5):
        session.push(make_signal(3000), 44100)
        started, model_may = threading.Event(), threading.Event()
        inner = session._advance

        def slow(*arguments, inner=inner, go=model_may, on=started, **options):
            on.set()
            go.wait(10)
            return inner(*arguments, **options)

        session._advance = slow
        pushing = threading.Thread(target=session.push, args=(SIGNAL,))
        pushing.start()
        assert started.wait(10)
        resetting = threading.Thread(target=session.reset)
        resetting.start()
        resetting.join(0.05)
        model_may.set()
        pushing.join()
        resetting.join()
        del session._advance
        assert session._state.sample_rate is None


def test_forks_and_snapshots_wait_for_nobody():
    """They are of the session before a push or behind it, never between."""
    session, whole = make_session(), []
    alone = make_session()
    for part in make_signal(32000).split(SAMPLES):
        whole.append(alone.snapshot())
        alone.push(part)
    whole.append(alone.snapshot())
    taken = []

    def push():
        for part in make_signal(32000).split(SAMPLES):
            session.push(part)

    def take():
        while received_so_far() < 32000:
            taken.append(session.snapshot())
            taken.append(session.fork().snapshot())

    def received_so_far():
        signal = session._state.signal
        return 0 if signal is None else signal.received

    assert at_once(push, take, take) == [None] * 3
    assert set(taken) <= set(whole)


def test_sessions_are_still_values(session):
    """To be forked, copied and pickled, each with a lock of its own; a push
    that fails leaves it free."""
    session.push(make_signal(9000))
    with pytest.raises(ValueError, match="NaN"):
        session.push(torch.full((4,), torch.nan))
    expected = everything(session)
    twins = [
        session.fork(),
        copy.copy(session),
        copy.deepcopy(session),
        pickle.loads(pickle.dumps(session)),
    ]
    with session._lock:
        for twin in twins:
            if twin._lock is not session._lock:
                assert everything(twin) == expected
    assert twins[0]._lock is not session._lock
    for twin in twins:
        twin.push(SIGNAL)
        twin.finish()
    assert everything(session) == expected


def test_two_threads_read_a_batched_session():
    """Between them they get all of the text, once."""
    batcher = SessionBatcher(make_model(), DECODER, slots=1)
    session, said = batcher.session(), [[], []]

    def read(texts):
        while not session.finished:
            texts.append(session.read().committed)
        texts.append(session.read().committed)

    def push():
        for part in make_signal(16000).split(1000):
            session.push(part)
        session.finish()
        while batcher.step():
            pass

    assert at_once(push, *(lambda t=t: read(t) for t in said)) == [None] * 3
    letters = sorted("".join(map("".join, said)))
    assert letters == sorted(session.text) != []


@pytest.fixture(scope="module")
def asr(tmp_path_factory):
    folder = write_streaming_folder(
        tmp_path_factory.mktemp("model") / "streaming",
        make_model(),
        make_tokenizer(),
    )
    return StreamingASR.from_hparams(folder)


def test_contexts_of_speechbrain(asr):
    """Chunks of one context from several threads are all heard."""
    config = DynChunkTrainConfig(50)
    signal = torch.cat([SIGNAL] * THREADS * PUSHES)

    def transcribe(context, chunks):
        return [
            asr.transcribe_chunk(context, chunk[None])[0] for chunk in chunks
        ]

    end = torch.zeros(1)
    alone, context = (asr.make_streaming_context(config) for _ in range(2))
    expected = transcribe(alone, signal.split(SAMPLES))
    expected += asr.transcribe_chunk(alone, signal[None, :1], end)
    given = at_once(*[lambda: transcribe(context, [SIGNAL] * PUSHES)] * THREADS)
    rest = asr.transcribe_chunk(context, signal[None, :1], end)
    assert context.fea_extractor_context.end_samples == len(signal)
    assert context.encoder_context.given == alone.encoder_context.given
    heard = "".join(np.concatenate([*given, rest]).tolist())
    assert sorted(heard) == sorted("".join(expected)) != []
