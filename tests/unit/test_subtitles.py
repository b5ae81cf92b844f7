"""Subtitles and CTM: literal files, and what fits into a cue."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechbrain_llsa_runtime.transcripts.subtitles import (
    LINE_CHARACTERS,
    LINES,
    LONGEST_CUE_SECONDS,
    cues,
    to_ctm,
    to_srt,
    to_vtt,
)
from speechbrain_llsa_runtime.transcripts.transcript import Word

WORDS = [
    Word("ONE", 0.5, 0.82, 0.99),
    Word("<TWO>", 0.82, 1.4, 0.5),
    Word("THREE", 3661.25, 3662.0, 1.0),
    Word("FOUR", 3662.0, 3662.5, 0.123456, segment=1),
]


def test_srt():
    assert to_srt(WORDS) == (
        "1\n00:00:00,500 --> 00:00:01,400\nONE <TWO>\n\n"
        "2\n01:01:01,250 --> 01:01:02,000\nTHREE\n\n"
        "3\n01:01:02,000 --> 01:01:02,500\nFOUR\n"
    )


def test_vtt():
    """With the characters escaped that have a meaning there."""
    assert to_vtt(WORDS) == (
        "WEBVTT\n\n00:00:00.500 --> 00:00:01.400\nONE &lt;TWO&gt;\n\n"
        "01:01:01.250 --> 01:01:02.000\nTHREE\n\n"
        "01:01:02.000 --> 01:01:02.500\nFOUR\n"
    )


def test_ctm():
    """Names and words with blanks keep their columns."""
    assert to_ctm(WORDS, "my file") == (
        "my_file 1 0.500 0.320 ONE 0.9900\n"
        "my_file 1 0.820 0.580 <TWO> 0.5000\n"
        "my_file 1 3661.250 0.750 THREE 1.0000\n"
        "my_file 1 3662.000 0.500 FOUR 0.1235\n"
    )


@pytest.mark.parametrize("character", "\u2028\u2029\x85\x0b\x0c\x1c\n\r\xa0")
def test_words_with_line_separators(character):
    """Players that end lines there would cut the cue: it becomes a blank."""
    words = [Word(f"ONE{character}TWO", 0.5, 0.82, 0.99)]
    assert to_srt(words) == "1\n00:00:00,500 --> 00:00:00,820\nONE TWO\n"
    assert to_vtt(words).endswith("\nONE TWO\n")
    assert to_ctm(words, f"a{character}b") == (
        "a_b 1 0.500 0.320 ONE_TWO 0.9900\n"
    )


@pytest.mark.parametrize(
    ("write", "expected"), [(to_srt, ""), (to_vtt, "WEBVTT\n"), (to_ctm, "")]
)
def test_without_words(write, expected):
    assert write([], "a") == expected


@settings(max_examples=100, deadline=None)
@given(
    words=st.lists(
        st.tuples(
            st.text("AB", min_size=1, max_size=20),
            st.floats(0, 3),
            st.floats(0, 3),
            st.booleans(),
        ),
        max_size=30,
    )
)
def test_cues(words):
    """All words, in order, in two lines of 42 characters and 6 seconds; no
    cue begins before the one before has ended."""
    spoken, time, segment = [], 0.0, 0
    for text, gap, duration, closes in words:
        spoken.append(
            Word(text, time + gap, time + gap + duration, 1.0, True, segment)
        )
        time, segment = time + gap + duration, segment + closes
    shown = cues(spoken)
    assert [w for *_, text in shown for w in text.split()] == [
        word.text for word in spoken
    ]
    for start, end, text in shown:
        assert end - start <= LONGEST_CUE_SECONDS
        lines = text.split("\n")
        assert len(lines) <= LINES
        assert max(map(len, lines)) <= LINE_CHARACTERS
    for (_, end, _), (start, _, _) in itertools.pairwise(shown):
        assert end <= start
