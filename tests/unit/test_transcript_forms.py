"""Transcripts become what a model writes, however they were typed."""

import unicodedata

import pytest

from speechbrain_llsa.evaluation.error_rates import ErrorRates
from speechbrain_llsa.utils.normalization import (
    APOSTROPHES,
    case_of_units,
    check_transcript_case,
    fold_transcript,
    normalise_transcript,
)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_accents_are_composed(form):
    """As Unicode's form NFC has them; ligatures and wide letters stay."""
    text = unicodedata.normalize(form, "ÉÅ ŸỆ ﬁ Ａ")
    assert normalise_transcript(text) == "ÉÅ ŸỆ ﬁ Ａ"


@pytest.mark.parametrize("curly", APOSTROPHES)
@pytest.mark.parametrize(
    ("units", "straight"),
    [("AB'", True), ("AB", False), ("AB’‘‛ʼ＇", False), ("AB'’‘‛ʼ＇", False)],
)
def test_apostrophes(curly, units, straight):
    """Straight where that is a unit, and the curly one is none."""
    folded = fold_transcript(f"A{curly}B", units=units)
    assert folded == ("A'B" if straight else f"A{curly}B")


def test_letters_are_composed_after_their_case_is_folded():
    """Some become several: ŉ is ʼN in capitals, whose apostrophe is one."""
    assert fold_transcript("straße ŉ e\u0301", "upper") == "STRASSE 'N É"
    assert fold_transcript("E\u0301TE\u0301", "lower") == "été"
    assert fold_transcript(" a\tB ", "as_is") == "a B"


def test_the_case_of_units():
    """Only where all letters are of one; what is no letter says nothing."""
    assert case_of_units(" 'ABCÉ") == "upper"
    assert case_of_units("été") == "lower"
    for units in ("aB", "日本", "12 '", ""):
        assert case_of_units(units) == "as_is"


def test_other_cases_are_refused():
    with pytest.raises(
        ValueError, match="must be as_is, upper, lower, got 'Ti"
    ):
        check_transcript_case("Title")


def test_error_rates_compare_characters_of_one_form():
    """A reference with decomposed accents is no error, nor a longer one."""
    rates = ErrorRates()
    rates.append("a", "É", "E\u0301")
    assert rates.word_error_rate == rates.character_error_rate == 0
    assert rates.characters_with_interval().total == 1
