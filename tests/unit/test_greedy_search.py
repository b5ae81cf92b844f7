"""Greedy search: tokens with their frames and confidences, push by push."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from speechbrain.decoders.ctc import ctc_greedy_decode

from speechbrain_llsa_runtime.decoders.greedy import GreedySearch
from speechbrain_llsa_runtime.decoders.tokens import Token

SEARCH = GreedySearch()


def log_probs_of(labels, count=4, best=0.7):
    """Log-probabilities, (frames, labels): all but the best share the rest."""
    probabilities = np.full((len(labels), count), (1 - best) / (count - 1))
    probabilities[np.arange(len(labels)), labels] = best
    return np.log(probabilities)


def tokens_of(log_probs, cuts=(), search=SEARCH):
    state, tokens = search.make_streaming_context(), []
    edges = [0, *sorted(cuts), len(log_probs)]
    for start, stop in itertools.pairwise(edges):
        tokens += search.advance(log_probs[start:stop], state)
    return tokens + search.advance(log_probs[:0], state, final=True)


def test_tokens_by_hand():
    """Runs are tokens, also of one label twice with a blank between."""
    log_probs = log_probs_of([0, 2, 2, 0, 2, 3, 0])
    log_probs[2] = np.log([0.05, 0.05, 0.85, 0.05])
    tokens = tokens_of(log_probs)
    assert [(t.label, t.start, t.end) for t in tokens] == [
        (2, 1, 3),
        (2, 4, 5),
        (3, 5, 6),
    ]
    assert [t.confidence for t in tokens] == pytest.approx([0.85, 0.7, 0.7])


@settings(max_examples=100, deadline=None)
@given(
    labels=st.lists(st.integers(0, 3), max_size=14),
    cuts=st.lists(st.integers(0, 14), max_size=4),
    seed=st.integers(0, 100),
)
def test_any_split_equals_speechbrain(labels, cuts, seed):
    """Any split gives the same tokens; their labels are SpeechBrain's; their
    frames do not overlap; each spans the frames where its label is best."""
    noise = np.random.default_rng(seed).random((len(labels), 4)) * 0.1
    log_probs = log_probs_of(labels) + noise
    tokens = tokens_of(log_probs)
    assert tokens_of(log_probs, [min(c, len(labels)) for c in cuts]) == tokens
    if labels:
        (expected,) = ctc_greedy_decode(
            torch.from_numpy(log_probs)[None], torch.ones(1), blank_id=0
        )
        assert [token.label for token in tokens] == expected
        assert tokens_of(torch.from_numpy(log_probs), cuts[:0]) == tokens
    spoken = [label for label in labels if label]
    assert spoken == [t.label for t in tokens for _ in range(t.start, t.end)]
    for before, after in itertools.pairwise(tokens):
        assert before.end <= after.start
    for token in tokens:
        best = log_probs[token.start : token.end, token.label].max()
        assert token.confidence == pytest.approx(min(1, np.exp(best)))


def test_a_token_is_committed_when_its_end_is_known():
    """Until then it is what look_ahead gives first, and it does not change
    the state."""
    state = SEARCH.make_streaming_context()
    assert SEARCH.advance(log_probs_of([0, 1]), state) == []
    kept = state.fork()
    ahead = SEARCH.look_ahead(log_probs_of([1, 2]), state)
    assert [(t.label, t.start, t.end) for t in ahead] == [(1, 1, 3), (2, 3, 4)]
    assert SEARCH.look_ahead(log_probs_of([]), state)[0].end == 2
    assert state == kept
    (token,) = SEARCH.advance(log_probs_of([0]), state)
    assert token == Token(1, 1, 2, pytest.approx(0.7))
    assert SEARCH.look_ahead(log_probs_of([]), state) == []


@pytest.mark.parametrize("cut", [1, 2, 3, 4, 5])
def test_an_endpoint_cuts_tokens_and_loses_none(cut):
    """Wherever it lies, the labels are the same: a run that goes on behind it
    is no second token."""
    log_probs = log_probs_of([1, 0, 2, 2, 1, 1])
    state = SEARCH.make_streaming_context()
    tokens = SEARCH.advance(log_probs[:cut], state)
    closing = SEARCH.close(state)
    assert all(token.end == cut for token in closing)
    assert SEARCH.close(state) == []
    tokens += closing + SEARCH.advance(log_probs[cut:], state, final=True)
    assert [token.label for token in tokens] == [1, 2, 1]
    assert all(token.confidence == pytest.approx(0.7) for token in tokens)


def test_nothing_is_left_after_the_end():
    """The end commits what goes on, once."""
    state = SEARCH.make_streaming_context()
    (token,) = SEARCH.advance(log_probs_of([3, 3]), state, final=True)
    assert (token.start, token.end) == (0, 2)
    assert SEARCH.advance(log_probs_of([]), state, final=True) == []


def test_another_blank():
    """Any label may be the blank."""
    tokens = tokens_of(log_probs_of([0, 3, 3, 1]), search=GreedySearch(3))
    assert [token.label for token in tokens] == [0, 1]


def test_bad_shapes_are_refused():
    """A batch is not one stream."""
    state = SEARCH.make_streaming_context()
    with pytest.raises(ValueError, match=r"log_probs must .*got \(1, 2, 3\)"):
        SEARCH.advance(np.zeros((1, 2, 3)), state)
