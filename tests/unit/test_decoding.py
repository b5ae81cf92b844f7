"""Greedy CTC decoding and text, push by push."""

import io
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer
from speechbrain.dataio.encoder import CTCTextEncoder
from speechbrain.decoders.ctc import ctc_greedy_decode

from speechbrain_llsa.decoders.tokenizers import (
    CTCGreedyState,
    TextDecoder,
    TextState,
    ctc_greedy_decode_streaming,
    pieces,
)

WORDS = "one two three four five six seven eight nine zero"


def train_sentencepiece(**options):
    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter([WORDS, WORDS[::-1]] * 20),
        model_writer=model,
        pad_id=0,
        unk_id=1,
        bos_id=-1,
        eos_id=-1,
        minloglevel=2,
        **options,
    )
    tokenizer = SentencePieceProcessor()
    tokenizer.load_from_serialized_proto(model.getvalue())
    return tokenizer


@pytest.fixture(scope="module")
def sentencepiece():
    return train_sentencepiece(vocab_size=30)


def characters():
    tokenizer = CTCTextEncoder()
    tokenizer.update_from_iterable("ABC ")
    tokenizer.insert_blank(index=0)
    return tokenizer


def log_probs_of(labels, count=4):
    """Log-probabilities, (batch, frames, labels), with these best labels."""
    torch.manual_seed(0)
    labels = torch.as_tensor(labels)
    noise = torch.rand(*labels.shape, count)
    return noise + 2 * torch.nn.functional.one_hot(labels, count)


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(
        st.lists(st.integers(0, 3), min_size=12, max_size=12),
        min_size=1,
        max_size=3,
    ),
    lengths=st.lists(st.integers(0, 12), min_size=3, max_size=3),
    cuts=st.lists(st.integers(0, 12), max_size=4),
)
def test_any_split_equals_speechbrain(rows, lengths, cuts):
    """Labels of all pushes are those of SpeechBrain's decoder at once."""
    log_probs = log_probs_of(rows)
    lengths = torch.tensor(lengths[: len(rows)])
    expected = ctc_greedy_decode(log_probs, lengths / 12, blank_id=0)
    state, decoded = CTCGreedyState(), [[] for _ in rows]
    edges = [0, *sorted(cuts), 12]
    for start, stop in itertools.pairwise(edges):
        new = ctc_greedy_decode_streaming(
            log_probs[:, start:stop],
            state,
            (lengths - start).clamp(0, stop - start),
        )
        for row, labels in zip(decoded, new, strict=True):
            row += labels
    assert decoded == expected


def test_repeats_collapse_across_pushes():
    """A label that goes on from one push to the next is one label."""
    state = CTCGreedyState()
    decode = ctc_greedy_decode_streaming
    assert decode(log_probs_of([[1, 1]]), state) == [[1]]
    assert decode(log_probs_of([[1, 2]]), state) == [[2]]
    assert decode(log_probs_of([[0]]), state) == [[]]
    assert decode(log_probs_of([[2]]), state) == [[2]]


def test_fork_of_the_labels():
    """Decoding with a fork does not change the state it comes from."""
    state = CTCGreedyState()
    ctc_greedy_decode_streaming(log_probs_of([[1]]), state)
    ctc_greedy_decode_streaming(log_probs_of([[2]]), state.fork())
    assert ctc_greedy_decode_streaming(log_probs_of([[1]]), state) == [[]]


@pytest.mark.parametrize(
    ("log_probs", "lengths", "message"),
    [
        (torch.zeros(3, 4), None, r"log_probs must .*got \(3, 4\)"),
        (torch.zeros(3, 2, 4), None, r"state must .*got \(2,\)"),
        (
            torch.zeros(2, 2, 4),
            torch.ones(3, dtype=torch.int64),
            r"lengths must .*got \(3,\)",
        ),
    ],
)
def test_bad_shapes_are_refused(log_probs, lengths, message):
    """Shapes that do not fit are named."""
    state = CTCGreedyState(torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match=message):
        ctc_greedy_decode_streaming(log_probs, state, lengths)


def test_pieces_of_characters():
    """Each character stands for itself, the blank for nothing."""
    tokenizer = characters()
    assert pieces(tokenizer)[0] == ""
    assert sorted(pieces(tokenizer)[1:]) == [" ", "A", "B", "C"]


def test_text_of_characters_is_the_plain_sequence():
    """Spaces stay where they are, at the start as well."""
    tokenizer = characters()
    labels = tokenizer.encode_sequence(list(" AB  C "))
    decoder, state = TextDecoder(tokenizer), TextState()
    assert decoder.decode(labels) == " AB  C "
    parts = [decoder.decode_streaming([label], state) for label in labels]
    assert parts == list(" AB  C ")


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_text_of_pieces_equals_sentencepiece(data, sentencepiece):
    """Any split gives SentencePiece's own text, spaces and all."""
    count = sentencepiece.get_piece_size()
    labels = data.draw(st.lists(st.integers(0, count - 1), max_size=8))
    cut = data.draw(st.integers(0, 8))
    decoder, state = TextDecoder(sentencepiece), TextState()
    streamed = decoder.decode_streaming(labels[:cut], state)
    streamed += decoder.decode_streaming(labels[cut:], state)
    assert streamed == sentencepiece.decode(labels)


def test_text_round_trip(sentencepiece):
    """A sentence comes back, the space before its first word dropped once."""
    labels = sentencepiece.encode("three four seven")
    assert TextDecoder(sentencepiece).decode(labels) == "three four seven"
    assert "".join(pieces(sentencepiece)[i] for i in labels).startswith(" ")


def test_other_tokenizers_are_refused():
    """Another kind of tokenizer is named."""
    with pytest.raises(TypeError, match=r"tokenizer must .*got dict"):
        pieces({})


def test_bytes_are_refused():
    """Pieces that are bytes have no text of their own."""
    tokenizer = train_sentencepiece(vocab_size=280, byte_fallback=True)
    with pytest.raises(ValueError, match="byte_fallback"):
        pieces(tokenizer)
