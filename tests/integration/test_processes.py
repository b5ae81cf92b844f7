"""Models and sessions in other processes: forked ones, after several threads
were at work, and those that they are sent to."""

import copy
import multiprocessing
import os
import pickle
from concurrent.futures import ProcessPoolExecutor

import pytest
import torch

from forking import run_forking
from speechbrain_llsa.inference.asr import StreamingASR
from speechbrain_llsa.inference.streaming_encoder import StreamingEncoder
from speechbrain_llsa.model_folder.write import write_streaming_folder
from tiny_model import make_model, make_signal, make_tokenizer

SCENARIOS = (
    "os.fork",
    "begun",
    "beam",
    "features",
    "threads",
    "batcher",
    "batcher at work",
    "session at work",
    "fingerprint",
    "DataLoader",
    "ProcessPoolExecutor",
    "precision",
    "precision inside",
    "precision after",
)


@pytest.fixture(scope="module")
def given():
    return run_forking()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.parametrize("name", SCENARIOS)
def test_pytorch(given, name):
    """A child gives what its parent gives, also where it is forked while
    another thread is in a step or a push."""
    assert given[name] == "right"


@pytest.fixture(scope="module")
def asr(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "streaming"
    write_streaming_folder(folder, make_model(), make_tokenizer())
    return StreamingASR.from_hparams(folder)


def pickled(value):
    return pickle.loads(pickle.dumps(value))


@pytest.mark.parametrize("copied", [copy.deepcopy, pickled])
@pytest.mark.parametrize("search", ["greedy", "beam"])
def test_a_model_and_its_session_can_be_sent(asr, copied, search):
    """Both give the text; a session carries its model along."""
    session, new = (
        asr.session(search=search),
        copied(asr).session(search=search),
    )
    first = session.push(make_signal(40000))
    assert new.push(make_signal(40000)) == first
    sent = copied(session)
    tail = session.finish()
    assert session.text
    assert sent.finish() == new.finish() == tail


@pytest.mark.parametrize("copied", [copy.deepcopy, pickled])
def test_an_encoder_and_its_session_can_be_sent(asr, copied):
    """Both give the frames."""
    encoder = StreamingEncoder(asr.model.extractor, asr.model.encoder_wrapper)
    session = encoder.session()
    first = session.push(make_signal(40000))
    sent, new = copied(session), copied(encoder).session()
    assert torch.equal(new.push(make_signal(40000)), first)
    tail = session.finish()
    assert torch.equal(sent.finish(), tail)
    assert torch.equal(new.finish(), tail)


def text_of(asr, signal):
    session = asr.session()
    session.push(signal)
    session.finish()
    return session.text


def test_a_spawned_process_gives_the_text(asr):
    """Of a model that it was sent; a batcher is refused at once."""
    signal = make_signal(20000).numpy()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as pool:
        text = pool.submit(text_of, asr, signal).result(120)
    assert text == text_of(asr, signal) != ""
    process = context.Process(target=text_of, args=(asr.batcher(1), signal))
    with pytest.raises(TypeError, match="batcher must be made in the process"):
        process.start()
