"""Transcripts compared: everything exactly, confidences to within 1e-4."""

from dataclasses import replace

import pytest


def rounded(words):
    """Words with confidences that are equal where they are close."""
    return [
        replace(word, confidence=pytest.approx(word.confidence, abs=1e-4))
        for word in words
    ]


def assert_same(ours, theirs):
    """Two transcripts say the same."""
    assert replace(ours, words=()) == replace(theirs, words=())
    assert list(ours.words) == rounded(theirs.words)


def push_all(session, pushes, sample_rate=None):
    """Pushes and finishes; gives what the session says each time."""
    said = [session.push(push, sample_rate) for push in pushes]
    return [*said, session.finish()]


def final_words(said):
    """The words of a stream, from its transcripts."""
    return [word for transcript in said for word in transcript.final_words]


def committed(said):
    """The text of a stream, from its transcripts."""
    return "".join(transcript.committed for transcript in said)
