"""Hotwords: a bonus for what completes, and for nothing else."""

import itertools
import math
import re

import numpy as np
import pytest

from speechbrain_llsa.decoders.beam_search import BeamSearch
from speechbrain_llsa.decoders.hotwords import WordScorer, check_hotwords
from speechbrain_llsa_runtime.decoders.greedy import PieceDecoder

DECODER = PieceDecoder(["", " ", "A", "B", "C", "D"])
SPOKEN = {piece: label for label, piece in enumerate(DECODER.pieces)}


def doubtful(text, instead, generator, doubt=0.5):
    """Frames that say ``text``, or rather ``instead`` where that differs, by
    about as much as ``doubt``, with noise."""
    rows = []
    for likely, other in zip(instead, text, strict=True):
        row = generator.normal(size=len(SPOKEN)) * 0.3
        row[SPOKEN[likely]] += 4.0
        if other != likely:
            row[SPOKEN[other]] += 4.0 - doubt
        blank = np.zeros(len(SPOKEN))
        blank[0] = 6.0
        rows += [row, blank]
    rows = np.array(rows)
    return rows - np.log(np.exp(rows).sum(axis=1, keepdims=True))


def say(log_probs, **options):
    """Text and score of a beam search."""
    search = BeamSearch(DECODER, **options)
    state = search.make_streaming_context()
    tokens = search.advance(log_probs, state, final=True)
    return DECODER.decode(token.label for token in tokens), state.score


@pytest.mark.parametrize("hotwords", [["DAB"], ["A DAB B"], ["DAB B", "C"]])
def test_rare_words_are_found(hotwords):
    """A word that is a little less likely than another one is found if it is
    a hotword, alone or in a phrase, and hardly ever otherwise."""
    generator = np.random.default_rng(0)
    found = dict.fromkeys(["without", "with"], 0)
    for _ in range(20):
        log_probs = doubtful("A DAB B", "A DAC B", generator)
        found["without"] += "DAB" in say(log_probs)[0].split()
        text, _ = say(log_probs, hotwords=hotwords, hotword_weight=3.0)
        found["with"] += "DAB" in text.split()
    assert found["with"] == 20 and found["without"] < 10


def test_other_words_are_not_made_hotwords():
    """Speech that is clear stays as it is, also where it begins as a hotword
    does, or holds one within a word."""
    generator = np.random.default_rng(0)
    for text in ("DAC", "DA", "ADAB", "DABC", "DD AB"):
        log_probs = doubtful(text, text, generator)
        expected = say(log_probs)
        assert expected[0] == text
        given = say(log_probs, hotwords=["DAB"], hotword_weight=3.0)
        assert given[0] == text
        assert given[1] == pytest.approx(expected[1], abs=1e-9)


def test_no_weight_is_none():
    """A weight of 0 gives text and score of none, to the last bit."""
    generator = np.random.default_rng(0)
    for _ in range(5):
        log_probs = doubtful("A DAB B", "A DAC B", generator)
        hotwords = ["DAB", "A DAB B"]
        given = say(log_probs, hotwords=hotwords, hotword_weight=0)
        assert given == say(log_probs)


def test_a_language_model_does_not_refuse_hotwords(tmp_path):
    """A hotword is no unknown word, whole or begun; others are."""
    pytest.importorskip("kenlm")
    pytest.importorskip("pygtrie")
    from word_ngrams import make_arpa

    arpa = make_arpa(tmp_path / "words.arpa", words=("A", "B", "DAC"))
    generator = np.random.default_rng(0)
    log_probs = doubtful("A DAB B", "A DAC B", generator)
    options = {"language_model": arpa, "beta": 0.0}
    assert say(log_probs, **options)[0] == "A DAC B"
    options |= {"hotwords": ["DAB"], "hotword_weight": 8.0}
    assert say(log_probs, **options)[0] == "A DAB B"


PHRASES = ("AB", "AB C", "C AB C", "D D")


def test_bonus_is_that_of_complete_phrases():
    """Over any words, the bonus is the weight for each word that ends a
    phrase, and what is pending for the phrases that have begun."""
    scorer = WordScorer(None, PHRASES, 2.0)
    phrases = [tuple(phrase.split()) for phrase in PHRASES]
    for words in itertools.product(["AB", "C", "D", "X"], repeat=5):
        state, total = scorer.get_start_state(), 0.0
        for word in words:
            score, state = scorer.score(state, word)
            total += score
        complete = sum(
            any(words[:end][-len(phrase) :] == phrase for phrase in phrases)
            for end in range(1, 6)
        )
        begun = [
            len(" ".join(phrase[:count])) / len(" ".join(phrase))
            for phrase in phrases
            for count in range(1, len(phrase))
            if words[-count:] == phrase[:count]
        ]
        expected = 2.0 * (complete + max(begun, default=0.0))
        assert total == pytest.approx(expected, abs=1e-12)


def test_bonus_grows_with_a_word():
    """From nothing to nearly the weight, and back where it goes wrong."""
    scorer = WordScorer(None, ["AB CD"], 5.0)
    state = scorer.get_start_state()
    given = [scorer.bonus(state, part) for part in ("", "A", "AB", "ABC", "C")]
    assert given == [0.0, 1.0, 2.0, 0.0, 0.0]
    bonus, state = scorer.score(state, "AB")
    given = [scorer.bonus(state, part) for part in ("", "C", "CD", "A", "X")]
    assert (bonus, given) == (2.0, [0.0, 2.0, 3.0, -1.0, -2.0])


@pytest.mark.parametrize(
    ("hotwords", "weight", "error", "message"),
    [
        ("DAB", 1.0, TypeError, r"hotwords must be a list.*got 'DAB'"),
        (3, 1.0, TypeError, r"hotwords must be a list.*got 3"),
        (["A", 3], 1.0, TypeError, r"hotwords must be words.*got 3"),
        (["A", " "], 1.0, ValueError, r"hotwords must be words.*got ' '"),
        (["A"], "1", TypeError, r"hotword_weight must be a number.*got '1'"),
        (["A"], True, TypeError, r"hotword_weight must .*got True"),
        (["A"], -1.0, ValueError, r"hotword_weight must be 0.*got -1.0"),
        (["A"], math.nan, ValueError, r"hotword_weight must .*got nan"),
        (["A"], math.inf, ValueError, r"hotword_weight must .*got inf"),
    ],
)
def test_bad_hotwords(hotwords, weight, error, message):
    """Each gets an error that names it."""
    with pytest.raises(error) as caught:
        check_hotwords(hotwords, weight)
    assert re.match(message, str(caught.value))


def test_hotwords_that_cannot_be_spelled():
    """Of other letters, or for labels that tell no words apart."""
    with pytest.raises(
        ValueError, match=r"hotwords must .*got 'dab' in 'A dab'"
    ):
        BeamSearch(DECODER, hotwords=["A dab"])
    with pytest.raises(ValueError, match=r"hotwords must be None for a model"):
        BeamSearch(PieceDecoder(["", "A"]), hotwords=["A"])
