"""Bad input to sessions: a named error, and the session as it was."""

from functools import partial

import numpy as np
import pytest
import torch

from speechbrain_llsa.decoders.beam_search import BeamSearch
from speechbrain_llsa.decoders.tokenizers import TextDecoder
from speechbrain_llsa.inference.batcher import SessionBatcher
from speechbrain_llsa_runtime.dataio.samples import mono_samples
from speechbrain_llsa_runtime.decoders.greedy import GreedySearch
from speechbrain_llsa_runtime.inference.session import Session
from tiny_model import make_model, make_signal, make_tokenizer
from tiny_transducer import make_transducer


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture
def session(model):
    return Session(model, TextDecoder(make_tokenizer()))


NOT_FINITE = torch.tensor([0.0, float("nan")])

BAD_PUSHES = {
    "nan": (NOT_FINITE, None, ValueError, "NaN or infinite"),
    "infinity": (1 / torch.zeros(3), None, ValueError, "NaN or infinite"),
    "float64 beyond float32": (
        torch.tensor([1e300], dtype=torch.float64),
        None,
        ValueError,
        "NaN or infinite",
    ),
    "no dimension": (torch.tensor(0.5), None, ValueError, r"got \(\)"),
    "three dimensions": (
        torch.zeros(1, 2, 3),
        None,
        ValueError,
        r"samples must .*got \(1, 2, 3\)",
    ),
    "channels first": (
        torch.zeros(2, 500),
        None,
        ValueError,
        r"1 to 8 channels, got \(2, 500\)",
    ),
    "no channel": (torch.zeros(5, 0), None, ValueError, r"got \(5, 0\)"),
    "uint8": (np.zeros(4, np.uint8), None, TypeError, "an array of uint8"),
    "float16": (torch.zeros(4).half(), None, TypeError, "torch.float16"),
    "complex": (np.zeros(4, complex), None, TypeError, "array of complex128"),
    "strings": (np.array(["a"]), None, TypeError, "an array of <U1"),
    "list": ([0.0, 0.1], None, TypeError, r"samples must .*got list"),
    "bytes": (b"\0\0", None, TypeError, r"samples must .*got bytes"),
    "rate 0": (torch.zeros(4), 0, ValueError, r"sample_rate must .*got 0"),
    "rate below 0": (
        torch.zeros(4),
        -1,
        ValueError,
        r"sample_rate must .*got -1",
    ),
    "rate in parts": (
        torch.zeros(4),
        0.5,
        TypeError,
        r"sample_rate must .*got 0.5",
    ),
    "rate as text": (
        torch.zeros(4),
        "8k",
        TypeError,
        r"sample_rate must .*got '8k'",
    ),
    "another rate": (
        torch.zeros(4),
        8000,
        ValueError,
        r"sample_rate must be 44100.*got 8000",
    ),
}


@pytest.mark.parametrize(
    ("samples", "sample_rate", "error", "message"),
    BAD_PUSHES.values(),
    ids=BAD_PUSHES,
)
def test_bad_push_leaves_the_session(
    session, samples, sample_rate, error, message
):
    """A refused push changes nothing: the text is as if it had not been."""
    signal = make_signal(44100)
    undisturbed = Session(session._model, session._transcriber.text_decoder)
    for part in signal.split(11025):
        undisturbed.push(part, 44100)
        session.push(part, 44100)
        with pytest.raises(error, match=message):
            session.push(samples, sample_rate)
    undisturbed.finish()
    session.finish()
    assert session.text == undisturbed.text != ""


def test_bad_first_push_sets_no_rate(session):
    """A push that is refused does not set the rate of the session."""
    with pytest.raises(ValueError, match="NaN or infinite"):
        session.push(NOT_FINITE, 8000)
    session.push(torch.zeros(10), 44100)
    session.push(torch.zeros(10))
    with pytest.raises(ValueError, match="must be 44100"):
        session.push(torch.zeros(10), 16000)


def test_failure_inside_the_model_leaves_the_session(session, monkeypatch):
    """An error in the middle of a push does not tear the state apart."""
    signal = make_signal(20000)
    session.push(signal[:9000])

    def fail(embeddings):
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(session._model, "classify", fail)
        with pytest.raises(RuntimeError, match="out of memory"):
            session.push(signal[9000:])
        with pytest.raises(RuntimeError, match="out of memory"):
            session.finish()
    session.push(signal[9000:])
    session.finish()
    whole = Session(session._model, session._transcriber.text_decoder)
    whole.push(signal)
    whole.finish()
    assert session.text == whole.text != ""


def test_nothing_follows_finish(session):
    """A session that has been finished takes no more, and says so."""
    session.push(make_signal(9000))
    session.finish()
    text = session.text
    assert session.finished
    with pytest.raises(
        ValueError, match=r"session must .*got a call after finish"
    ):
        session.push(make_signal(100))
    with pytest.raises(
        ValueError, match=r"session must .*got a call after finish"
    ):
        session.finish()
    assert session.text == text


def test_empty_sessions(session, model):
    """No audio, or pushes of no samples, give no text."""
    assert session.finish().committed == ""
    session = Session(model, TextDecoder(make_tokenizer()))
    for samples in (torch.zeros(0), np.zeros((0, 2), np.int16)):
        assert session.push(samples, 44100).committed == ""
    assert session.finish().committed == session.text == ""


def test_the_caller_may_reuse_the_buffer(session):
    """Samples are read during the push, and not kept."""
    signal = make_signal(16000)
    buffer = torch.zeros(1000)
    for part in signal.split(1000):
        buffer.copy_(part)
        session.push(buffer)
        buffer.fill_(9.0)
    session.finish()
    whole = Session(session._model, session._transcriber.text_decoder)
    whole.push(signal)
    whole.finish()
    assert session.text == whole.text


def test_state_of_another_model_is_refused(model):
    """Contexts of another geometry or batch size do not fit."""
    other = make_model(look_ahead=7)
    with pytest.raises(ValueError, match=r"context must .*got that of one"):
        model.forward_streaming(
            torch.zeros(1, 700), other.make_streaming_context()
        )
    context = model.make_streaming_context()
    model.forward_streaming(torch.zeros(2, 700), context)
    with pytest.raises(ValueError, match=r"must be of 2 rows, .*got 1"):
        model.forward_streaming(torch.zeros(1, 700), context)
    assert context.front_end.samples == 700


@pytest.mark.parametrize(
    ("wav_lens", "message"),
    [
        (torch.ones(3), r"wav_lens must .*got \(3,\)"),
        (torch.tensor([1.0, 1.5]), "wav_lens must .*got"),
        (torch.tensor([1.0, float("nan")]), "wav_lens must .*got"),
    ],
)
def test_bad_lengths_are_refused(model, wav_lens, message):
    """Relative lengths are one number of 0 to 1 for each row."""
    with pytest.raises(ValueError, match=message):
        model(torch.zeros(2, 1000), wav_lens)


def test_channels_are_mixed():
    """Stereo becomes the mean of its channels, at full scale."""
    stereo = np.array([[32767, -32768], [16384, 0]], dtype=np.int16)
    mono = mono_samples(stereo)
    assert np.allclose(mono, [-0.5 / 32768, 0.25])
    assert mono_samples(np.full((3, 1), 0.5)).tolist() == [0.5] * 3
    assert mono_samples(stereo[::-1, 1]).tolist() == [0.0, -1.0]


def test_a_search_of_another_kind_is_refused(model):
    """One for transducers to a CTC model, and the other way round, by
    whatever takes a search."""
    decoder, transducer = TextDecoder(make_tokenizer()), make_transducer()
    batcher = partial(SessionBatcher, slots=2)
    for build in (Session, batcher):
        with pytest.raises(
            ValueError,
            match="search must be for models like this one, as GreedySearch is,"
            " got TransducerGreedySearch",
        ):
            build(model, decoder, search=transducer.greedy_search())
        for search in (GreedySearch(), BeamSearch(decoder)):
            with pytest.raises(ValueError, match="as TransducerGreedySearch"):
                build(transducer, decoder, search=search)
