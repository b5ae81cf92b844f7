"""Beam search of a transducer: the sum over alignments, any split, language
models, hotwords and snapshots."""

import itertools
import math
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechbrain_llsa.decoders.options import BeamSearchOptions
from speechbrain_llsa.decoders.tokenizers import TextDecoder
from speechbrain_llsa.decoders.transducer_beam_search import (
    TransducerBeamSearch,
)
from speechbrain_llsa.decoders.written_hypotheses import WrittenHypothesis
from speechbrain_llsa.lobes.transducer_loss import transducer_loss
from speechbrain_llsa_runtime.decoders.greedy import PieceDecoder
from speechbrain_llsa_runtime.decoders.tokens import Token
from speechbrain_llsa_runtime.decoders.transducer import (
    TransducerGreedySearch,
)
from speechbrain_llsa_runtime.snapshot import below, flatten
from tiny_model import make_tokenizer
from tiny_transducer import FEATURES, make_decoder

DECODER = TextDecoder(make_tokenizer())
PIECES = DECODER.pieces
EXHAUSTIVE = {
    "beam_size": 10**6,
    "beam_prune_logp": -1e9,
    "token_prune_min_logp": -1e9,
}


def make_search(decoder=None, **options):
    decoder = make_decoder() if decoder is None else decoder
    greedy = TransducerGreedySearch(decoder.weights(), decoder.max_symbols)
    return TransducerBeamSearch(DECODER, greedy, **options)


def make_unsure():
    """A decoder that finds most labels about as likely."""
    decoder = make_decoder(blank_bias=2.0)
    with torch.no_grad():
        decoder.output.weight.mul_(0.4)
        decoder.output.bias[PIECES.index(" ")] += 1
    return decoder


def make_frames(count, seed=0):
    random = np.random.default_rng(seed)
    slow = random.normal(size=(count // 3 + 1, FEATURES)).repeat(3, axis=0)
    return (slow[:count] * 1.5).astype(np.float32)


def test_scores_are_those_of_the_loss():
    """Without pruning the score of the best labels is the sum over all
    alignments, and no other labels have a higher one."""
    decoder = make_decoder(labels=3, features=4, max_symbols=9).double()
    text_decoder = PieceDecoder(["", "A", "B"])
    greedy = TransducerGreedySearch(decoder.weights(), 3)
    frames = torch.randn(3, 4, dtype=torch.float64)

    def loss(labels):
        targets = torch.tensor([labels], dtype=torch.int64).reshape(1, -1)
        padded = targets if labels else torch.ones(1, 1, dtype=torch.int64)
        with torch.no_grad():
            logits = decoder(frames[None], padded)
        counts = torch.tensor([len(labels)])
        return float(transducer_loss(logits, padded, torch.tensor([3]), counts))

    scores = {
        labels: -loss(list(labels))
        for count in range(4)
        for labels in itertools.product((1, 2), repeat=count)
    }
    search = TransducerBeamSearch(text_decoder, greedy, **EXHAUSTIVE)
    state = search.make_streaming_context()
    search.advance(frames, state)
    # with up to 3 labels a frame, texts of 3 labels have all their alignments
    found = {
        each.labels: each.score
        for each in state.hypotheses
        if len(each.labels) <= 3
    }
    assert found.keys() == scores.keys()
    for labels, score in found.items():
        assert score == pytest.approx(scores[labels], abs=1e-5)
    best = max(state.hypotheses, key=lambda each: each.score)
    final = search.make_streaming_context()
    tokens = search.advance(frames, final, final=True)
    assert tuple(token.label for token in tokens) == best.labels
    assert final.score == best.score


def test_a_beam_finds_more_than_greedy():
    """Its text is at least as likely, and once in a while likelier."""
    search, better = make_search(), 0
    for seed in range(12):
        frames = make_frames(40, seed)
        greedy = search._greedy
        one = greedy.advance(frames, greedy.make_streaming_context())
        many = search.decode(frames)
        one, many = ([each.label for each in said] for said in (one, many))
        better += one != many
    assert better > 2


SPLITS = st.lists(st.integers(0, 30), max_size=8)


@settings(max_examples=20, deadline=None)
@given(
    cuts=SPLITS,
    seed=st.integers(0, 9),
    options=st.sampled_from(
        [
            {},
            {"beam_size": 2},
            {"hotwords": ["BAD", "FED CAB"]},
            {"most_provisional_frames": 7},
        ]
    ),
)
def test_any_split_gives_the_tokens_of_all_at_once(cuts, seed, options):
    """Labels, frames and confidences."""
    search, frames = make_search(**options), make_frames(120, seed)
    expected = search.decode(frames)
    state, said, first = search.make_streaming_context(), [], 0
    for cut in cuts:
        said += search.advance(frames[first : first + cut], state)
        first += cut
    said += search.advance(frames[first:], state, final=True)
    assert said == expected
    assert not state.hypotheses and math.isfinite(state.score)


def test_tokens_are_committed_before_the_end():
    """As soon as all hypotheses share them; look_ahead gives the rest."""
    search, frames = make_search(), make_frames(150)
    state, said = search.make_streaming_context(), []
    for part in np.array_split(frames, 30):
        ahead = search.look_ahead(part, state)
        new = search.advance(part, state)
        assert ahead[: len(new)] == new
        said += new
    tail = search.advance(frames[:0], state, final=True)
    assert len(said) > 8 and len(tail) < len(said)
    assert said + tail == search.decode(frames)


def test_old_differences_are_pruned():
    """The state of a stream is bounded."""
    search = make_search(most_provisional_frames=20, beam_prune_logp=-1e3)
    state = search.make_streaming_context()
    for seed in range(5):
        search.advance(make_frames(100, seed), state)
        longest = max(len(each.tokens) for each in state.hypotheses)
        starts = [t.start for each in state.hypotheses for t in each.tokens]
        assert longest <= 60 and min(starts, default=10**9) >= (
            state.frames - 20
        )


def test_an_endpoint_commits_the_best():
    search, frames = make_search(), make_frames(60)
    state = search.make_streaming_context()
    said = search.advance(frames, state)
    fork = state.fork()
    said_by_fork = search.advance(frames[:0], fork, final=True)
    assert search.close(state) == said_by_fork
    assert len(state.hypotheses) == 1 and not state.hypotheses[0].tokens
    assert search.close(state) == []
    search.advance(frames, state)
    assert state.frames == 120 and said is not None


def test_hotwords_are_found():
    """A hotword in text that would not hold it, and nothing else changes where
    none fits."""
    plain, found = make_search(make_unsure()), 0
    for seed in range(8):
        frames = make_frames(60, seed)
        text = DECODER.decode(t.label for t in plain.decode(frames))
        search = plain.with_hotwords(["FACE"])
        with_word = DECODER.decode(t.label for t in search.decode(frames))
        found += "FACE" in with_word.split() and "FACE" not in text.split()
        assert plain.with_hotwords([]).decode(frames) == plain.decode(frames)
    assert found > 1


ARPA = """\\data\\
ngram 1=5
ngram 2=2

\\1-grams:
-9\t<unk>\t0
-1\t<s>\t-0.3
-1\t</s>\t0
-0.3\tFA\t-0.2
-2\tAD\t-0.2

\\2-grams:
-0.1\t<s> FA
-0.1\tFA FA

\\end\\
"""


def test_a_language_model_is_heard(tmp_path):
    """Known words instead of unknown ones; in any split."""
    pytest.importorskip("kenlm")
    path = tmp_path / "words.arpa"
    path.write_text(ARPA)
    decoder, known = make_unsure(), [0, 0]
    plain = make_search(decoder)
    search = make_search(decoder, language_model=path, beta=4.0)
    for seed in range(8):
        frames = make_frames(60, seed)
        for index, each in enumerate((plain, search)):
            text = DECODER.decode(t.label for t in each.decode(frames))
            known[index] += sum(w in ("FA", "AD") for w in text.split())
        state, said = search.make_streaming_context(), []
        for part in np.array_split(frames, 7):
            said += search.advance(part, state)
        said += search.advance(frames[:0], state, final=True)
        assert said == search.decode(frames)
    assert known[1] > known[0] + 3


@pytest.mark.parametrize("scored", [False, True])
def test_a_state_is_written_and_read(scored):
    """And goes on exactly; what cannot be is refused."""
    options = {"hotwords": ["BAD", "FED CAB"]} if scored else {}
    search, frames = make_search(**options), make_frames(130)
    for count in (0, 1, 50, 77):
        state = search.make_streaming_context()
        search.advance(frames[:count], state)
        written = search.export_context(state)
        form = search.context_form(flatten(written), count, len(PIECES))
        assert form == written
        read = search.import_context(written)
        assert search.export_context(read) == written
        rest = frames[count:]
        assert search.advance(rest, read, True) == search.advance(
            rest, state, True
        )
    state = search.make_streaming_context()
    search.advance(frames[:77], state)
    values = flatten(search.export_context(state))
    wrong = {
        "hypotheses.0.tokens.0.label": [0, 99, -1, "A"],
        "hypotheses.0.tokens.0.start": [-1, 77, 1.0],
        "hypotheses.0.tokens.0.end": [0, 99],
        "hypotheses.0.tokens.0.confidence": [2.0, float("nan"), 1],
        "hypotheses.0.history.1": [0, 99, True],
        "hypotheses.0.score": [float("inf"), 1, None],
        "hypotheses.0.word_score": [float("nan"), "A"],
        "hypotheses.0.text": [3, " A", "A  B"],
        "hypotheses.0.partial_word": [None, "A B"],
        "history.0": [99, -1],
    }
    for name, changes in wrong.items():
        assert name in values
        for value in changes:
            changed = {**values, name: value}
            with pytest.raises((ValueError, TypeError)):
                search.context_form(changed, 77, len(PIECES))
    same = {
        name.replace("hypotheses.0", "hypotheses.1"): value
        for name, value in values.items()
        if name.startswith("hypotheses.0.")
    }
    others = {n: v for n, v in values.items() if "hypotheses.1." not in n}
    with pytest.raises(ValueError, match="no search has"):
        search.context_form({**others, **same}, 77, len(PIECES))


@pytest.mark.parametrize(
    ("starts", "is_possible"),
    [
        ([4, 4, 4, 5, 5, 5], True),
        ([4, 4, 4, 4], False),
        ([3, 4, 4, 4, 4, 5], False),
        (range(20_000), True),
    ],
)
def test_tokens_of_a_frame_are_counted(starts, is_possible):
    """At most 3, in time that grows with their number alone: a snapshot may be
    of anyone."""
    tokens = tuple(Token(1, start, start + 1, 0.5) for start in starts)
    written = WrittenHypothesis((1, 1), tokens, -1.0)
    frames, labels = len(starts) + 9, len(PIECES)
    began = time.process_time()

    def check():
        written.check(frames, {1}, labels, max_symbols=3, scored=False)

    if is_possible:
        check()
    else:
        with pytest.raises(ValueError, match="no hypothesis is like that"):
            check()
    assert time.process_time() - began < 3


def test_too_many_hypotheses_are_refused_in_time():
    """In time that grows with their number alone."""
    search = make_search()
    first = search.make_streaming_context()
    values = flatten(search.export_context(first))
    of_first = below("hypotheses.0", values)
    for place in range(20_000):
        for name, value in of_first.items():
            values[f"hypotheses.{place}.{name}"] = value
    began = time.process_time()
    with pytest.raises(ValueError, match="no search has"):
        search.context_form(values, 9, len(PIECES))
    assert time.process_time() - began < 3


def test_bad_arguments_are_named():
    greedy = make_search()._greedy
    for options, words in (
        ({"beam_size": 0}, "beam_size must be"),
        ({"beam_prune_logp": 1}, "beam_prune_logp must be"),
        ({"hotwords": ["QUX"]}, "hotwords must be"),
    ):
        with pytest.raises(ValueError, match=words):
            TransducerBeamSearch(DECODER, greedy, **options)
    with pytest.raises(ValueError, match="text_decoder must be of 9 labels"):
        TransducerBeamSearch(PieceDecoder(["", "A"]), greedy)
    with pytest.raises(TypeError, match="greedy must be"):
        TransducerBeamSearch(DECODER, None)
    search = make_search()
    state = search.make_streaming_context()
    search.advance(make_frames(3), state, final=True)
    with pytest.raises(ValueError, match="state must be"):
        search.advance(make_frames(3), state)
    assert search.look_ahead(make_frames(0), state) == []
    assert search.close(state) == []


def test_options_of_a_folder_make_it():
    """The same options as for CTC."""
    greedy = make_search()._greedy
    search = BeamSearchOptions(beam_size=3).make_search(DECODER, greedy)
    assert isinstance(search, TransducerBeamSearch)
    about = search.to_dict()
    assert about["beam_size"] == 3 and about["max_symbols"] == 3
