"""Words, times and segments of sessions: those of offline, for any split, in
batches, across snapshots, and in exported graphs."""

import itertools

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speechbrain_llsa.decoders.tokenizers import TextDecoder
from speechbrain_llsa.inference.asr import StreamingASR
from speechbrain_llsa.model_folder.write import write_streaming_folder
from speechbrain_llsa_runtime.decoders.tokens import Token
from speechbrain_llsa_runtime.inference.session import Session
from speechbrain_llsa_runtime.transcripts.endpointer import (
    Endpointer,
    EndpointRule,
)
from speechbrain_llsa_runtime.transcripts.words import (
    WordAssembler,
    WordOffsets,
    WordState,
)
from tiny_model import make_model, make_signal, make_tokenizer, split
from tiny_transducer import make_transducer
from transcripts import (
    committed,
    final_words,
    push_all,
    rounded,
)

MODELS = ["llsa", "sa", "maa", "transducer llsa", "transducer sa"]
DECODER = TextDecoder(make_tokenizer())
ENDPOINTER = Endpointer(
    without_speech=None,
    after_speech=EndpointRule(speech=True, silence_seconds=0.06),
    maximum_length=EndpointRule(length_seconds=0.3),
)
OFFSETS = WordOffsets(-0.03, 0.11)
RATE = 44100


def make_wordy_model(name):
    """A tiny model that says spaces and blanks more often than letters."""
    *transducer, attention = name.split()
    if transducer:
        return make_wordy_transducer(attention)
    model = make_model(attention)
    with torch.no_grad():
        model.head.bias[[0, DECODER.pieces.index(" ")]] += 1.5
    return model


def make_wordy_transducer(attention):
    model = make_transducer(attention)
    with torch.no_grad():
        model.decoder.output.bias[[0, DECODER.pieces.index(" ")]] += 1.0
    return model


@pytest.fixture(scope="module", params=MODELS)
def asr(request, tmp_path_factory):
    """A written model with endpoints and offsets of its own."""
    folder = write_streaming_folder(
        tmp_path_factory.mktemp(request.param) / "streaming",
        make_wordy_model(request.param),
        make_tokenizer(),
        ENDPOINTER,
        OFFSETS,
    )
    return StreamingASR.from_hparams(folder)


@pytest.fixture
def path(tmp_path):
    signal = make_signal(70000).numpy()
    soundfile.write(tmp_path / "a.wav", signal, RATE, subtype="FLOAT")
    return tmp_path / "a.wav"


def offline(asr, signal, tmp_path, sample_rate=16000):
    path = tmp_path / "signal.wav"
    soundfile.write(path, signal.numpy(), sample_rate, subtype="FLOAT")
    return asr.transcript_offline(path)


def test_the_model_says_where_segments_close(asr):
    """Its folder has the rules and the offsets."""
    assert asr.endpointer.to_dict() == ENDPOINTER.to_dict()
    assert asr.word_offsets == OFFSETS


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    samples=st.integers(0, 30000),
    lengths=st.lists(
        st.one_of(st.integers(0, 700), st.integers(0, 12000)), max_size=8
    ),
)
def test_any_split_says_what_offline_says(asr, tmp_path, samples, lengths):
    """Words, times, confidences and segments."""
    signal = make_signal(samples, seed=samples)
    expected = offline(asr, signal, tmp_path)
    said = push_all(asr.session(), split(signal, lengths))
    assert final_words(said) == rounded(expected.words)
    assert committed(said) == expected.committed
    assert said[-1].segment == expected.segment
    assert all(word.final for word in said[-1].words)


def test_no_word_ends_after_the_next_begins(asr):
    words = final_words(push_all(asr.session(), make_signal(60000).split(3000)))
    for word, following in itertools.pairwise(words):
        assert word.end <= following.start


def test_words_that_meet_within_a_frame():
    """Several tokens of a transducer may lie in one: a space there is not
    behind the text of its own token."""
    assembler, state = WordAssembler(WordOffsets()), WordState()
    tokens = [Token(label, 2, 3, 1.0) for label in (1, 2, 3)]
    words = []
    for piece, text, token in zip("A B", ("", "A", "A "), tokens, strict=True):
        words += assembler.add(piece, text, token, state, segment=0)
    words += assembler.end("A B", 0.06, state, segment=0)
    assert [(word.text, word.start, word.end) for word in words] == [
        ("A", 0.04, 0.04),
        ("B", 0.04, 0.06),
    ]


def test_there_is_something_to_say(asr, tmp_path):
    """The tests above and below see words in several segments, and words that
    are not final yet."""
    said = push_all(asr.session(), make_signal(60000).split(3000))
    words = final_words(said)
    assert len(words) > 8
    assert len({word.segment for word in words}) > 3
    assert sum(not w.final for each in said for w in each.words) > 5
    assert 3.0 < words[-1].end <= 60000 / 16000


def test_other_rates(asr, path):
    """Times are seconds, at any rate."""
    expected = asr.transcript_offline(path)
    signal, _ = soundfile.read(path, dtype="float32")
    said = push_all(asr.session(), np.array_split(signal, 9), RATE)
    assert final_words(said) == rounded(expected.words)
    assert expected.words[-1].end <= len(signal) / RATE


def test_batches_say_what_sessions_say(asr):
    """Read after every step: the same words and segments."""
    signals = [make_signal(n, seed=n) for n in (33000, 20001, 700, 0)]
    batcher = asr.batcher(slots=4)
    sessions = [batcher.session() for _ in signals]
    said = [[] for _ in signals]

    def step():
        while batcher.step():
            for session, heard in zip(sessions, said, strict=True):
                heard.append(session.read())

    for session, signal in zip(sessions, signals, strict=True):
        session.push(signal)
        step()
        session.finish()
    step()
    for session, heard, signal in zip(sessions, said, signals, strict=True):
        heard.append(session.read())
        expected = push_all(asr.session(), [signal])
        assert final_words(heard) == rounded(final_words(expected))
        assert committed(heard) == committed(expected)
        assert heard[-1].segment == expected[-1].segment
        assert session.text == committed_of_last_segment(expected)


def committed_of_last_segment(said):
    """By hand: what follows the words of the segments before."""
    number = said[-1].segment
    last = [word for word in final_words(said) if word.segment == number]
    before = [word for word in final_words(said) if word.segment != number]
    text = committed(said)
    for word in before:
        text = text[text.index(word.text) + len(word.text) :]
    assert "".join(text.split()) == "".join(word.text for word in last)
    return text.lstrip(" ") if number else text


@pytest.mark.parametrize("samples", [9000, 9640, 17777])
def test_snapshots_within_words(asr, samples):
    """A session goes on from a snapshot in the midst of a word and of a
    segment, exactly."""
    signal = make_signal(40000)
    session = asr.session()
    said = session.push(signal[:samples])
    while all(word.final for word in said.words):
        said = session.push(signal[samples : samples + 320])
        samples += 320
    restored = asr.session(session.snapshot())
    rest = signal[samples:].split(3001)
    expected = push_all(session, rest)
    assert push_all(restored, rest) == expected
    assert restored.text == session.text
    assert any(word.start < samples / 16000 for word in final_words(expected))


def test_snapshots_belong_to_their_options(asr):
    """Other rules or offsets would not go on exactly: refused."""
    session = asr.session()
    session.push(make_signal(9000))
    with pytest.raises(ValueError, match=r"snapshot must .*got one of"):
        asr.session(session.snapshot(), endpointer=Endpointer())
    with pytest.raises(ValueError, match=r"snapshot must .*got one of"):
        Session(asr.model, asr.text_decoder, session.snapshot())


def test_without_endpoints_there_is_one_segment(asr, path):
    """``False`` in the place of the model's endpointer: the text is that of
    SpeechBrain's decoder, and all words are in it. The model keeps its own."""
    whole = asr.transcript_offline(path, endpointer=False)
    signal, _ = soundfile.read(path, dtype="float32")
    session = asr.session(endpointer=False)
    said = push_all(session, [signal], RATE)
    batcher = asr.batcher(slots=1, endpointer=False)
    queued = batcher.session()
    queued.push(signal, RATE)
    queued.finish()
    while batcher.step():
        pass
    assert queued.read().segment == 0
    assert queued.text == session.text
    assert asr.endpointer.to_dict() == ENDPOINTER.to_dict()
    assert push_all(asr.session(), [signal], RATE)[-1].segment > 0
    assert asr.transcript_offline(path).words[-1].segment > 0
    text = asr.transcribe_file_offline(path)
    assert session.text == committed(said) == whole.committed == text
    assert whole.segment == 0
    assert " ".join(word.text for word in whole.words) == " ".join(text.split())
    assert asr.transcribe_file(path) == text
    assert committed([asr.transcript_offline(path)]) == text


@pytest.mark.parametrize("wrong", [True, 0, "none", {}])
def test_what_is_no_endpointer_is_refused(asr, path, wrong):
    """By all who take one."""
    for take in (
        asr.session,
        asr.batcher,
        lambda endpointer: asr.transcript_offline(path, endpointer=endpointer),
    ):
        with pytest.raises(
            TypeError,
            match="endpointer must be an Endpointer, False for none or None",
        ):
            take(endpointer=wrong)


def test_a_long_stream_with_endpoints_stays_small(asr):
    """A session keeps one segment: its snapshot is as small after five times
    the audio, and its text is that of the segment."""
    sizes = []
    session = asr.session()
    for seed in range(10):
        session.push(make_signal(40000, seed))
        if seed % 5 == 0:
            sizes.append(len(session.snapshot()))
    assert abs(sizes[1] - sizes[0]) < 1000
    assert len(session.text) < 60


def test_other_options_in_a_folder_are_refused(tmp_path):
    """By name, when it is written and when it is loaded."""
    model, tokenizer = make_model(), make_tokenizer()
    for name in ("endpointer", "word_offsets"):
        with pytest.raises(TypeError, match=f"{name} must .*got dict"):
            write_streaming_folder(
                tmp_path / "a", model, tokenizer, **{name: {}}
            )
    folder = write_streaming_folder(
        tmp_path / "a", model, tokenizer, ENDPOINTER, OFFSETS
    )
    path = folder / "model.json"
    text = path.read_text()
    for old, new, message in (
        ("0.06", "-1", r"silence_seconds must .*got -1"),
        (
            '"start_seconds": -0.03',
            '"start_seconds": 7',
            r"start_seconds must .*got 7",
        ),
        ('"speech"', '"pause"', "the field 'pause'"),
    ):
        assert old in text
        path.write_text(text.replace(old, new))
        with pytest.raises(ValueError, match=message):
            StreamingASR.from_hparams(folder)
