"""Beam search in a model: its folder, sessions, batches, ONNX, the command."""

import re
import shutil
from dataclasses import replace

import pytest
import soundfile
import torch
from speechbrain.inference.ASR import StreamingASR as SpeechBrainStreamingASR

from model_data import change_description
from speechbrain_llsa.__main__ import main
from speechbrain_llsa.decoders.beam_search import BeamSearch
from speechbrain_llsa.decoders.options import BeamSearchOptions
from speechbrain_llsa.decoders.tokenizers import GreedySearch
from speechbrain_llsa.inference.asr import StreamingASR
from speechbrain_llsa.model_folder.write import write_streaming_folder
from speechbrain_llsa_runtime.transcripts.endpointer import (
    Endpointer,
    EndpointRule,
)
from tiny_model import make_model, make_signal, make_tokenizer, split
from word_ngrams import make_arpa

SIGNAL = make_signal(40000)

ENDPOINTER = Endpointer(
    after_speech=EndpointRule(True, silence_seconds=0.04),
    maximum_length=EndpointRule(length_seconds=0.7),
)


@pytest.fixture(scope="module")
def greedy_folder(tmp_path_factory):
    """A model without a word about its search. Not to be written to."""
    path = tmp_path_factory.mktemp("model") / "streaming"
    return write_streaming_folder(path, make_model(), make_tokenizer())


@pytest.fixture(scope="module")
def beam_folder(greedy_folder, tmp_path_factory):
    """One that is searched with beams. Not to be written to."""
    return with_entry(greedy_folder, tmp_path_factory.mktemp("beam") / "a")


@pytest.fixture(scope="module")
def greedy(greedy_folder):
    return StreamingASR.from_hparams(greedy_folder)


@pytest.fixture(scope="module")
def beam(beam_folder):
    return StreamingASR.from_hparams(beam_folder)


def with_entry(folder, place, **entries):
    """A copy of a folder with a section for the search."""
    shutil.copytree(folder, place)
    change_description(place, search={"beam_size": 4, **entries})
    return place


def stream(session, signal=SIGNAL, lengths=(1, 5000, 9000, 3)):
    """The text of a session, which is what its pushes commit."""
    texts = [session.push(part).committed for part in split(signal, lengths)]
    texts.append(session.finish().committed)
    assert "".join(texts) == session.text
    return session.text


def offline(asr, search):
    """The text of the whole at once, by a search."""
    with torch.no_grad():
        log_probs, _ = asr.model(SIGNAL[None])
    tokens = search.decode(log_probs[0])
    return asr.text_decoder.decode(token.label for token in tokens)


def test_greedy_is_the_default(greedy):
    """Without an entry nothing changes; a session may ask for beams."""
    assert isinstance(greedy.search, GreedySearch)
    text = stream(greedy.session())
    assert text == stream(greedy.session(search="greedy"))
    assert text == greedy.transcribe_batch(SIGNAL[None])[0]
    given = stream(greedy.session(search="beam"))
    assert given == offline(greedy, BeamSearch(greedy.text_decoder)) != text


def test_a_folder_says_how(beam):
    """Sessions, files and batches of a folder with an entry use its search;
    the whole at once gives their text."""
    search = BeamSearch(beam.text_decoder, beam_size=4)
    expected = offline(beam, search)
    assert stream(beam.session()) == expected
    assert beam.transcribe_batch(SIGNAL[None]) == [expected]
    batcher = beam.batcher(slots=2)
    sessions = [batcher.session(), batcher.session(search=GreedySearch())]
    for session in sessions:
        session.push(SIGNAL)
        session.finish()
    while batcher.step():
        pass
    assert [session.text for session in sessions] == [
        expected,
        stream(beam.session(search="greedy")),
    ]


@pytest.mark.parametrize("endpointer", [None, ENDPOINTER])
def test_words_are_those_of_the_whole(beam, tmp_path, endpointer):
    """Their text, times, confidences and segments, in a session and in a
    batch, with endpoints and without."""
    path = tmp_path / "a.wav"
    soundfile.write(path, SIGNAL.numpy(), 16000, subtype="FLOAT")
    expected = beam.transcript_offline(path, endpointer=endpointer)
    assert len(expected.words) > 1
    session = beam.session(endpointer=endpointer)
    words = []
    for part in split(SIGNAL, (1, 5000, 9000, 3)):
        words += session.push(part).final_words
    words += session.finish().final_words
    assert_same_words(words, expected.words)
    batcher = beam.batcher(slots=1, endpointer=endpointer)
    session = batcher.session()
    session.push(SIGNAL)
    session.finish()
    while batcher.step():
        pass
    assert_same_words(session.read().words, expected.words)


def assert_same_words(words, expected):
    assert len(words) == len(expected)
    for word, other in zip(words, expected, strict=True):
        assert replace(word, confidence=0.5) == replace(other, confidence=0.5)
        assert word.confidence == pytest.approx(other.confidence, abs=1e-4)


def test_padding_does_not_matter(beam):
    """A row of a batch gives what it gives alone."""
    wavs = torch.stack([SIGNAL, SIGNAL])
    short = SIGNAL[:20000]
    given = beam.transcribe_batch(wavs, torch.tensor([1.0, 0.5]))
    alone = [beam.transcribe_batch(row[None])[0] for row in (SIGNAL, short)]
    assert given == alone


def test_overrides(beam_folder):
    """Arguments of the entry can be changed when it is loaded."""
    asr = StreamingASR.from_hparams(
        beam_folder, overrides={"search": {"beam_size": 1}}
    )
    expected = offline(asr, BeamSearch(asr.text_decoder, beam_size=1))
    assert stream(asr.session()) == expected


def test_the_host_loads_it(beam_folder, greedy_folder):
    """Its own class ignores the entry, and stays greedy."""
    texts = []
    for folder in (beam_folder, greedy_folder):
        speechbrain_asr = SpeechBrainStreamingASR.from_hparams(
            source=str(folder)
        )
        greedy = speechbrain_asr.hparams.make_decoder_streaming_context()
        texts.append(type(greedy).__name__)
    assert texts == ["CTCGreedyState"] * 2


def test_fork_and_reset(greedy):
    """A session with hotwords is a value, and goes on from its snapshot with
    the same ones alone."""
    options = {"hotwords": ["ABBA", "DEAF"], "hotword_weight": 3.0}
    session = greedy.session(**options)
    expected = stream(session)
    session.reset()
    session.push(SIGNAL[:15000])
    data = session.snapshot()
    fork, moved = session.fork(), greedy.session(data, **options)
    for each in (session, fork, moved):
        each.push(SIGNAL[15000:])
        each.finish()
        assert each.text == expected
    session.reset()
    assert session.snapshot() == greedy.session(**options).snapshot()
    for others in ({}, {"search": "beam"}, {**options, "hotword_weight": 2.0}):
        with pytest.raises(ValueError, match=r"snapshot must .*got one of"):
            greedy.session(data, **others)


def test_hotwords_of_one_session(greedy):
    """They change what a session says, and no other session."""
    plain = stream(greedy.session(search="beam"))
    word = next(
        word
        for first in "ABCDEFG"
        for word in (first + "AB", first + "FE", first + "GA")
        if word not in plain.split()
    )
    given = stream(greedy.session(hotwords=[word], hotword_weight=100.0))
    assert word in given.split()
    assert stream(greedy.session(search="beam")) == plain
    assert stream(greedy.session(hotwords=[word], hotword_weight=0)) == plain


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"search": "best"}, ValueError, r"search must be gre.*got 'best'"),
        ({"search": 3}, TypeError, r"search must be an object.*got int"),
        (
            {"search": "greedy", "hotwords": ["A"]},
            ValueError,
            r"search must be a beam search.*got GreedySearch",
        ),
        ({"hotwords": "AB"}, TypeError, r"hotwords must .*got 'AB'"),
        ({"hotwords": ["XY"]}, ValueError, r"hotwords must .*got 'XY'"),
        (
            {"hotwords": ["A"], "hotword_weight": -1},
            ValueError,
            r"hotword_weight must .*got -1",
        ),
    ],
)
def test_bad_sessions(greedy, options, error, message):
    """Each gets an error that names the argument."""
    with pytest.raises(error) as caught:
        greedy.session(**options)
    assert re.match(message, str(caught.value))


def test_unknown_arguments(greedy):
    """Of the entry, and of changes to it."""
    with pytest.raises(TypeError, match=r"search .* got 'beams'"):
        BeamSearchOptions(beams=3)
    with pytest.raises(TypeError, match=r"search .* got 'beams'"):
        greedy.beam_search(beams=3)


@pytest.fixture(scope="module")
def arpa(tmp_path_factory):
    """A language model for the tiny model's letters."""
    pytest.importorskip("kenlm")
    pytest.importorskip("pygtrie")
    path = tmp_path_factory.mktemp("arpa") / "words.arpa"
    return make_arpa(path, words=("A", "BED", "CAB", "DEAF"))


def test_language_model_in_the_folder(greedy_folder, arpa, tmp_path):
    """Its name is that of a file in the folder, wherever that is moved."""
    place = with_entry(
        greedy_folder, tmp_path / "a", language_model="words.arpa"
    )
    with pytest.raises(FileNotFoundError, match=r"which holds no words\.arpa"):
        StreamingASR.from_hparams(place)
    shutil.copy(arpa, place)
    moved = place.rename(tmp_path / "moved")
    asr = StreamingASR.from_hparams(moved)
    search = BeamSearch(asr.text_decoder, beam_size=4, language_model=arpa)
    text = stream(asr.session())
    assert text == offline(asr, search)
    without = asr.beam_search(language_model=None)
    assert text != stream(asr.session(search=without))
    (moved / "words.arpa").write_text("hello")
    with pytest.raises(ValueError, match=r"got a damaged words\.arpa"):
        StreamingASR.from_hparams(moved)


def test_written_with_a_search(arpa, tmp_path):
    """The folder holds what its search needs, and loads without trust."""
    options = BeamSearchOptions(
        beam_size=4, language_model=arpa, beta=1.0, hotwords=["ABBA", "A BED"]
    )
    arguments = make_model(), make_tokenizer()
    folder = write_streaming_folder(tmp_path / "a", *arguments, search=options)
    asr = StreamingASR.from_hparams(folder.rename(tmp_path / "moved"))
    search = BeamSearch(asr.text_decoder, **options.arguments)
    assert stream(asr.session()) == offline(asr, search)
    plain = write_streaming_folder(
        tmp_path / "b", *arguments, search=BeamSearchOptions()
    )
    asr = StreamingASR.from_hparams(plain)
    assert stream(asr.session()) == offline(asr, asr.beam_search())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"language_model": "no.arpa"}, FileNotFoundError, "no.arpa"),
        (
            {"hotwords": ["A (B)"]},
            ValueError,
            r"hotwords must .*got '\(B\)' in 'A \(B\)'",
        ),
        ({"beam_size": 0}, ValueError, r"beam_size must .*got 0"),
    ],
)
def test_a_bad_search_is_not_written(tmp_path, options, error, message):
    """Then there is no folder."""
    with pytest.raises(error) as caught:
        write_streaming_folder(
            tmp_path / "a",
            make_model(),
            make_tokenizer(),
            search=BeamSearchOptions(**options),
        )
    assert re.search(message, str(caught.value))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"language_model": "../words.arpa"}, "language_model must be the na"),
        ({"language_model": ".."}, "language_model must be the name of a fil"),
        ({"language_model": "no.arpa"}, "holds no no.arpa"),
        ({"language_model": 3}, "language_model must be text"),
        ({"beam_prune_logp": 1}, r"beam_prune_logp must .*got 1"),
        ({"hotwords": "A"}, "hotwords must be a list"),
        ({"hotwords": ["A (B)"]}, r"hotwords must .*got '\(B\)' in 'A \(B\)'"),
        ({"hotword_weight": [1]}, "hotword_weight must be a number"),
        ({"most_provisional_frames": 9999999}, "most_provisional_frames must"),
        ({"no_argument": 1}, "search has the unknown entry 'no_argument'"),
        ({"alpha": {}}, "search.alpha must be a number"),
    ],
)
def test_untrusted_entries(greedy_folder, tmp_path, entry, message):
    """Only files in the folder, and only numbers that cost little."""
    place = with_entry(greedy_folder, tmp_path / "a", **entry)
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        StreamingASR.from_hparams(place)
    assert re.search(message, str(caught.value))


@pytest.fixture
def run(greedy_folder, tmp_path, capsys):
    """Runs the command on a file; gives its output, or its error."""
    soundfile.write(tmp_path / "a.wav", SIGNAL.numpy(), 16000, subtype="FLOAT")

    def run(*arguments):
        code = main(
            [
                *("transcribe", "--model", str(greedy_folder)),
                *(str(tmp_path / "a.wav"), *arguments),
            ]
        )
        out, err = capsys.readouterr()
        return err if code else out.removesuffix("\n")

    return run


def test_command(run, greedy):
    """Options choose the search, and what it takes implies beams."""
    assert run() == run("--search", "greedy") == stream(greedy.session())
    assert run("--search", "beam") == stream(greedy.session(search="beam"))
    search = greedy.beam_search(beam_size=2)
    assert run("--beam_size", "2") == stream(greedy.session(search=search))
    words = ["ABBA", "DEAF A"]
    session = greedy.session(hotwords=words, hotword_weight=20.0)
    arguments = [part for word in words for part in ("--hotword", word)]
    assert run(*arguments, "--hotword_weight", "20") == stream(session)


def test_command_with_a_language_model(run, greedy, arpa):
    """With its weights."""
    search = greedy.beam_search(language_model=arpa, alpha=0.7, beta=1.0)
    given = run("--language_model", str(arpa), "--alpha", "0.7", "--beta", "1")
    assert given == stream(greedy.session(search=search))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--search", "greedy", "--beam_size", "3"],
            r"--search must be beam with beam_size",
        ),
        (["--beam_size", "0"], r"beam_size must .*got 0"),
        (["--hotword", "xy"], r"hotwords must .*got 'xy'"),
        (
            ["--language_model", "no.arpa"],
            r"language_model must .*got 'no.arpa'",
        ),
        (["--alpha", "nan"], r"alpha must .*got nan"),
    ],
)
def test_bad_commands(run, arguments, message):
    """One line."""
    error = run(*arguments)
    assert re.search(f"error: {message}", error) and error.count("\n") == 1
