"""Beam search and language models: bad input, one error each."""

import math
import re

import numpy as np
import pytest

from speechbrain_llsa.decoders.beam_search import BeamSearch
from speechbrain_llsa.decoders.language_model import (
    BINARY_MARK,
    LanguageModel,
)
from speechbrain_llsa_runtime.decoders.greedy import PieceDecoder
from word_ngrams import make_arpa

DECODER = PieceDecoder(["", " ", "A", "B", "C"])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"beam_size": 0}, ValueError, r"beam_size must .*got 0"),
        ({"beam_size": 2.0}, TypeError, r"beam_size must .*got 2.0"),
        (
            {"beam_prune_logp": 0},
            ValueError,
            r"beam_prune_logp must .*got 0",
        ),
        (
            {"beam_prune_logp": "a"},
            TypeError,
            r"beam_prune_logp must .*got 'a'",
        ),
        (
            {"token_prune_min_logp": 1.0},
            ValueError,
            "token_prune_min_logp must",
        ),
        ({"most_provisional_frames": 0}, ValueError, "most_provisional_frames"),
        ({"alpha": math.nan}, ValueError, r"alpha must .*got nan"),
        ({"beta": None}, TypeError, r"beta must .*got None"),
        (
            {"unk_score_offset": math.inf},
            ValueError,
            r"unk_score_offset must .*got i",
        ),
        ({"blank_index": 5}, ValueError, r"blank_index must be a la.*got 5"),
        ({"blank_index": -1}, ValueError, r"blank_index must .*got -1"),
        ({"language_model": 3}, TypeError, r"language_model must .*got int"),
        (
            {"language_model": "no.arpa"},
            FileNotFoundError,
            "language_model must",
        ),
        ({"hotwords": "AB"}, TypeError, r"hotwords must .*got 'AB'"),
    ],
)
def test_bad_options(options, error, message):
    """Each names the argument, and what came."""
    with pytest.raises(error) as caught:
        BeamSearch(DECODER, **options)
    assert re.match(message, str(caught.value))


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        (["", "A", "A"], r"text_decoder must .*got 'A' for two labels"),
        (["", " A", "A B"], r"text_decoder must .*got 'A B' for label 2"),
        (["", "A "], r"text_decoder must .*got 'A ' for label 1"),
    ],
)
def test_labels_that_cannot_be_searched(pieces, message):
    """SpeechBrain tells beams apart by text, and words by their beginning."""
    with pytest.raises(ValueError) as caught:
        BeamSearch(PieceDecoder(pieces))
    assert re.match(message, str(caught.value))


@pytest.mark.parametrize(
    ("log_probs", "message"),
    [
        (np.zeros((2, 4)), r"log_probs must .*got \(2, 4\)"),
        (np.zeros(5), r"log_probs must .*got \(5,\)"),
        (np.zeros((1, 2, 5)), r"log_probs must .*got \(1, 2, 5\)"),
        (np.full((2, 5), np.nan), r"log_probs must .*got a frame with NaN"),
        (
            np.array([[0, np.nan, 0, 0, 0]]),
            r"log_probs must .*got a frame with NaN",
        ),
        (np.full((1, 5), -np.inf), r"log_probs must .*got a frame with NaN"),
        (np.full((1, 5), np.inf), r"log_probs must .*got a frame with NaN"),
    ],
)
def test_bad_frames_change_nothing(log_probs, message):
    """A call that fails leaves the state as it was."""
    search = BeamSearch(DECODER)
    state = search.make_streaming_context()
    search.advance(np.zeros((7, 5)) - 1.6, state)
    before = state.fork()
    for call in (search.advance, search.look_ahead):
        with pytest.raises(ValueError, match=message):
            call(log_probs, state)
        assert state == before


def test_ended():
    """A stream that has ended takes no frames, and shows none."""
    search = BeamSearch(DECODER)
    state = search.make_streaming_context()
    search.advance(np.zeros((7, 5)) - 1.6, state, final=True)
    assert search.look_ahead(np.zeros((0, 5)), state) == []
    for call in (search.advance, search.look_ahead):
        with pytest.raises(
            ValueError, match=r"state must .*got one whose stream has"
        ):
            call(np.zeros((1, 5)), state)


@pytest.fixture(scope="module")
def arpa(tmp_path_factory):
    """A language model. Not to be written to."""
    pytest.importorskip("kenlm")
    pytest.importorskip("pygtrie")
    return make_arpa(tmp_path_factory.mktemp("arpa") / "words.arpa")


DAMAGED = {
    "empty": lambda text: "",
    "another format": lambda text: "hello",
    "no counts": lambda text: text.replace("ngram ", "n-gram "),
    "counts out of order": lambda text: text.replace("ngram 2", "ngram 4"),
    "seven orders": lambda text: text.replace(
        "ngram 1=7\n", "".join(f"ngram {n}=1\n" for n in range(1, 8)), 1
    ).replace("ngram 2=", "x").replace("ngram 3=", "x"),
    "more than it holds": lambda text: text.replace("ngram 1=", "ngram 1=999"),
    "a thousand million": lambda text: text.replace("1=7", "1=999999999999"),
    "one more": lambda text: text.replace("ngram 1=7", "ngram 1=8"),
    "no end": lambda text: text.replace("\\end\\", ""),
    "a probability above 1": lambda text: text.replace("-0.", "0.", 1),
    "no number": lambda text: text.replace("-0.", "-x.", 1),
    "a section twice": lambda text: text.replace("\\2-g", "\\1-g"),
    "bytes": lambda text: text.replace("BC", "\udcff\udcfe"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_models(arpa, tmp_path, damage):
    """A named error, whatever KenLM says."""
    text = arpa.read_text(encoding="utf-8")
    damaged = DAMAGED[damage](text)
    assert damaged != text
    path = tmp_path / "damaged.arpa"
    path.write_text(damaged, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(ValueError) as caught:
        LanguageModel(path)
    message = r"language_model must be a file.*got a damaged damaged.arpa"
    assert re.match(message, str(caught.value))


def test_truncated_models(arpa, tmp_path):
    """Cut off anywhere before its end."""
    content = arpa.read_bytes()
    path = tmp_path / "cut.arpa"
    for part in range(20):
        path.write_bytes(content[: len(content) * part // 20])
        with pytest.raises(ValueError, match=r"got a damaged cut\.arpa"):
            LanguageModel(path)


def test_binaries_need_trust(arpa, tmp_path):
    """They are mapped into memory; even then a cut one is named."""
    path = tmp_path / "words.binary"
    path.write_bytes(BINARY_MARK + b" version 5\n\0")
    with pytest.raises(ValueError, match=r"got words\.binary, a binary of Ken"):
        LanguageModel(path)
    with pytest.raises(ValueError, match=r"got a damaged words\.binary"):
        LanguageModel(path, trust=True)


def test_models_of_another_spelling(arpa, tmp_path):
    """Small letters for a model of capitals, or no words at all."""
    small = make_arpa(tmp_path / "small.arpa", words=("a", "bc"))
    with pytest.raises(
        ValueError, match=r"language_model must .*got one with no word"
    ):
        BeamSearch(DECODER, language_model=small)
    with pytest.raises(
        ValueError, match=r"language_model must be None for a mod"
    ):
        BeamSearch(PieceDecoder(["", "A"]), language_model=arpa)


def test_words_of_a_model_without_back_off(arpa, tmp_path):
    """Those that no longer n-gram begins with are words all the same."""
    text = arpa.read_text(encoding="utf-8")
    path = tmp_path / "words.arpa"
    path.write_text(text.replace("\t0.0000000\n", "\n"), encoding="utf-8")
    expected = {"A", "B", "BC", "CAB", "<s>", "</s>", "<unk>"}
    assert LanguageModel(path).words == expected == LanguageModel(arpa).words


def test_models_of_other_editors(arpa, tmp_path):
    """A byte order mark and carriage returns change nothing; UTF-16 is
    named."""
    content = arpa.read_bytes()
    path = tmp_path / "words.arpa"
    path.write_bytes(b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n"))
    given, expected = LanguageModel(path), LanguageModel(arpa)
    assert given.words == expected.words
    scores = [
        model.score(model.start_state(), "BC")[0] for model in (given, expected)
    ]
    assert scores[0] == scores[1]
    path.write_bytes(content.decode().encode("utf-16"))
    with pytest.raises(ValueError, match=r"words\.arpa must be UTF-8, got UTF"):
        LanguageModel(path)
