"""Beam search while streaming gives what SpeechBrain's gives for the whole: the
same text, and the same score to the last bit."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from speechbrain.decoders.ctc import CTCBeamSearcher

from speechbrain_llsa.decoders.beam_search import (
    LONGEST_PLAIN_WORD,
    SETTLE_FRAMES,
    BeamSearch,
    HotwordBeamSearcher,
)
from speechbrain_llsa.decoders.hotwords import WordScorer
from speechbrain_llsa.decoders.language_model import LanguageModel
from speechbrain_llsa_runtime.decoders.greedy import PieceDecoder
from word_ngrams import make_arpa

SPEECHBRAIN_LABELS = {
    "characters": ["<blank>", " ", "A", "B", "C"],
    "sentencepiece": ["<blank>", "▁A", "B", "▁", "▁CA", "C", "▁BC"],
    "no space": ["<blank>", "A", "B", "C"],
}
"""As one gives them to SpeechBrain's searchers."""

DECODERS = {
    "characters": PieceDecoder(["", " ", "A", "B", "C"]),
    "sentencepiece": PieceDecoder(
        ["", " A", "B", " ", " CA", "C", " BC"],
        ["", "A", "B", "", "CA", "C", "BC"],
    ),
    "no space": PieceDecoder(["", "A", "B", "C"]),
}

SCORERS = ["none", "hotwords", "model", "model and hotwords"]
HOTWORDS = ("CAB", "A BC", "BC A CC")


@pytest.fixture(scope="module")
def arpa(tmp_path_factory):
    """A language model of a few words."""
    pytest.importorskip("kenlm")
    pytest.importorskip("pygtrie")
    return make_arpa(tmp_path_factory.mktemp("arpa") / "words.arpa")


@pytest.fixture(scope="module", params=SCORERS)
def scoring(request):
    """Arguments of the search, and how to make SpeechBrain's."""
    arguments = {}
    if "model" in request.param:
        arpa = request.getfixturevalue("arpa")
        model = LanguageModel(arpa)
        arguments["language_model"] = model.scaled(0.5, 1.5, -10.0)
    if "hotwords" in request.param:
        arguments |= {"hotwords": HOTWORDS, "hotword_weight": 4.0}

    def make_reference(**options):
        if "hotwords" in request.param:
            # SpeechBrain has no hotwords: the whole at once through its loop
            model = arguments.get("language_model")
            scorer = WordScorer(model, HOTWORDS, 4.0)
            return HotwordBeamSearcher(scorer, **options)
        if "model" in request.param:
            options["kenlm_model_path"] = str(arpa)
        return CTCBeamSearcher(**options)

    return arguments, make_reference


def random_log_probs(seed, frames, labels, sharpness):
    """Frames at random, (frames, labels)."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(frames, labels)) * sharpness
    return torch.from_numpy(logits).log_softmax(1)


def in_pushes(log_probs, lengths):
    """The frames in pushes of these lengths, and then the rest."""
    start = 0
    for length in lengths:
        yield log_probs[start : start + length]
        start += length
    yield log_probs[start:]


def text_of(units, tokens):
    return DECODERS[units].decode(token.label for token in tokens)


@pytest.mark.parametrize("units", ["characters", "sentencepiece"])
@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 1 << 30),
    frames=st.integers(0, 3 * SETTLE_FRAMES),
    sharpness=st.sampled_from([0.5, 2.0, 6.0]),
    beam_size=st.sampled_from([1, 3, 8]),
    lengths=st.lists(st.integers(0, 70), max_size=6),
)
def test_streamed_equals_speechbrain(
    scoring, units, seed, frames, sharpness, beam_size, lengths
):
    """Any split: tokens those of the whole, text and score SpeechBrain's. What
    is committed is part of what look_ahead shows before, which leaves the
    state alone."""
    arguments, make_reference = scoring
    labels = SPEECHBRAIN_LABELS[units]
    log_probs = random_log_probs(seed, frames, len(labels), sharpness)
    reference = make_reference(
        blank_index=0, vocab_list=labels, beam_size=beam_size
    )
    (hypothesis,) = reference.decode_beams(log_probs[None])[0]
    search = BeamSearch(DECODERS[units], beam_size=beam_size, **arguments)

    state, tokens = search.make_streaming_context(), []
    for push in in_pushes(log_probs, lengths):
        before = state.fork()
        ahead = search.look_ahead(push, state)
        assert state == before
        committed = search.advance(push, state)
        assert committed == ahead[: len(committed)]
        tokens += committed
    tokens += search.advance(log_probs[:0], state, final=True)

    assert tokens == search.decode(log_probs)
    assert text_of(units, tokens) == hypothesis.text
    assert state.score == hypothesis.lm_score
    check_tokens(tokens, frames)


def check_tokens(tokens, frames):
    """One after the other, within the frames, without the blank."""
    ends = [0]
    for token in tokens:
        assert ends[-1] <= token.start < token.end <= frames
        assert token.label > 0 and 0 <= token.confidence <= 1
        ends.append(token.end)


@pytest.mark.parametrize("units", list(SPEECHBRAIN_LABELS))
def test_long_stream_is_bounded_and_exact(scoring, units):
    """Nothing in the state grows with the stream, and yet text and score are
    those of SpeechBrain, which keeps everything."""
    arguments, make_reference = scoring
    if units == "no space" and arguments:
        pytest.skip("words need a space")
    labels = SPEECHBRAIN_LABELS[units]
    frames, beam_size = 24 * SETTLE_FRAMES, 3
    log_probs = random_log_probs(1, frames, len(labels), 3.0)
    search = BeamSearch(DECODERS[units], beam_size=beam_size, **arguments)
    # without words SpeechBrain lets beams differ for longer
    most = (10 if units == "no space" else 4) * SETTLE_FRAMES
    state, tokens = search.make_streaming_context(), []
    for push in log_probs.split(13):
        tokens += search.advance(push, state)
        for beam in state.beams:
            size = len(beam.text) + len(beam.partial_word)
            assert size < most + LONGEST_PLAIN_WORD
            assert len(beam.text_frames.tokens) < most
        cached = len(state.word_scores) + len(state.partial_scores)
        assert cached < 2 * SETTLE_FRAMES * beam_size * len(labels)
    tokens += search.advance(log_probs[:0], state, final=True)
    reference = make_reference(
        blank_index=0, vocab_list=labels, beam_size=beam_size
    )
    (hypothesis,) = reference.decode_beams(log_probs[None])[0]
    assert len(tokens) > 500
    assert text_of(units, tokens) == hypothesis.text
    assert state.score == hypothesis.lm_score


def doubtful_start(frames):
    """A or B, nearly as likely, and then silence for good."""
    log_probs = np.full((frames, 5), -12.0)
    log_probs[:, 0] = -0.0001
    log_probs[3] = [-9, -9, -0.7, -0.71, -9]
    return log_probs


@pytest.mark.parametrize("length", [1, 7, 400])
def test_doubt_does_not_last(length):
    """Beams that differ in something old fall, at frames that no push can
    move; before that nothing is committed."""
    search = BeamSearch(
        DECODERS["characters"], most_provisional_frames=3 * SETTLE_FRAMES
    )
    log_probs = doubtful_start(400)
    state = search.make_streaming_context()
    committed = []
    for start in range(0, 400, length):
        new = search.advance(log_probs[start : start + length], state)
        committed += [(token, state.frames) for token in new]
    ((token, frame),) = committed
    assert (token.label, token.start, token.end) == (2, 3, 4)
    assert 4 * SETTLE_FRAMES <= frame < 4 * SETTLE_FRAMES + length
    assert len({beam.partial_word for beam in state.beams}) == 1
    assert search.advance(log_probs[:0], state, final=True) == []


def test_doubt_lasts_by_default():
    """SpeechBrain would keep both for ever: up to 30 s so does this."""
    search = BeamSearch(DECODERS["characters"])
    state = search.make_streaming_context()
    assert search.advance(doubtful_start(1000), state) == []
    assert {beam.partial_word for beam in state.beams} == {"A", "B"}


def test_forks_do_not_know_each_other():
    """Two streams that share a beginning give what each gives whole."""
    search = BeamSearch(DECODERS["characters"], hotwords=["CAB"])
    begin, *rests = (random_log_probs(s, 90, 5, 2.0) for s in range(3))
    state = search.make_streaming_context()
    tokens = search.advance(begin, state)
    for rest in rests:
        fork = state.fork()
        whole = torch.cat([begin, rest])
        given = tokens + search.advance(rest, fork, final=True)
        assert given == search.decode(whole)


def spoken(*labels):
    """Frames that say labels, nearly for sure."""
    log_probs = np.full((len(labels), 5), -9.0)
    log_probs[range(len(labels)), labels] = -0.001
    return log_probs


def test_close_commits_and_goes_on():
    """All that is best is committed; a label that goes on is not said twice,
    and the word may go on."""
    search = BeamSearch(DECODERS["characters"])
    state = search.make_streaming_context()
    tokens = search.advance(spoken(2, 2, 1, 3, 3), state)
    assert text_of("characters", tokens) == "A "
    tokens += search.close(state)
    assert text_of("characters", tokens) == "A B"
    assert search.close(state) == []
    rest = search.advance(spoken(3, 3, 4, 0, 2, 1), state, final=True)
    assert [token.label for token in rest] == [4, 2]
    assert (rest[0].start, rest[0].end) == (7, 8)
    assert search.close(state) == []


def test_close_chooses_as_the_end_would():
    """A close at the end of a stream gives its text."""
    search = BeamSearch(DECODERS["sentencepiece"], hotwords=["CAB"])
    for seed in range(8):
        log_probs = random_log_probs(seed, 60, 7, 1.0)
        state = search.make_streaming_context()
        tokens = search.advance(log_probs, state) + search.close(state)
        expected = text_of("sentencepiece", search.decode(log_probs))
        assert text_of("sentencepiece", tokens) == expected


def test_labels_without_text_count_as_blank():
    """Control labels and the unknown one are never said."""
    search = BeamSearch(PieceDecoder(["", " ⁇ ", "", " A", "B"]))
    log_probs = np.log([[0.0001, 0.4, 0.3, 0.2999, 0.0001]] * 3)
    assert search.decode(log_probs[:1]) == []
    (token,) = search.decode(log_probs)
    assert token.label == 3


def test_a_blank_that_rounding_puts_above_1_is_a_frame():
    """Labels without text count as blank, whose sum may round to above 1: the
    tokens behind such a frame keep their place."""
    search = BeamSearch(PieceDecoder(["", "A", ""]))
    log_probs = np.log([[0.5, 1e-9, 0.5], [1e-9, 1.0, 1e-9]])
    above = 0
    for part in np.linspace(0.01, 0.99, 99):
        log_probs[0, [0, 2]] = np.log(part), np.log1p(-part)
        above += np.logaddexp(*log_probs[0, [0, 2]]) > 0
        (token,) = search.decode(log_probs)
        assert (token.start, token.end) == (1, 2)
    assert above


def test_streams_in_turns(scoring):
    """One search serves streams that are pushed in turns, or in threads."""
    search = BeamSearch(DECODERS["characters"], beam_size=4, **scoring[0])
    rows = [random_log_probs(seed, 60, 5, 2.0) for seed in range(3)]
    expected = [search.decode(row) for row in rows]
    states = [search.make_streaming_context() for _ in rows]
    given = [[] for _ in rows]
    for start in range(0, 60, 5):
        for row, state, tokens in zip(rows, states, given, strict=True):
            tokens += search.advance(row[start : start + 5], state)
    for row, state, tokens in zip(rows, states, given, strict=True):
        tokens += search.advance(row[:0], state, final=True)
    assert given == expected
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(search.decode, rows)) == expected
