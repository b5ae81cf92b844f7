"""Streams with a beam search go on from a snapshot as if nothing had been: the
same tokens and the same score, to the last bit."""

import itertools
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechbrain_llsa.decoders.beam_search import (
    LONGEST_WORD,
    SETTLE_FRAMES,
    BeamSearch,
)
from speechbrain_llsa.decoders.hotwords import WordScorer
from speechbrain_llsa.decoders.language_model import LanguageModel
from speechbrain_llsa.decoders.tokenizers import TextDecoder
from speechbrain_llsa.inference.onnx_export import export_model
from speechbrain_llsa_runtime.decoders.greedy import PieceDecoder
from speechbrain_llsa_runtime.inference.onnx import OnnxStreamingASR
from speechbrain_llsa_runtime.inference.session import Session
from speechbrain_llsa_runtime.snapshot import (
    flatten,
    read_snapshot,
    write_snapshot,
)
from speechbrain_llsa_runtime.transcripts.endpointer import (
    Endpointer,
    EndpointRule,
)
from tiny_model import make_model, make_signal, make_tokenizer
from word_ngrams import make_arpa

DECODERS = {
    "characters": PieceDecoder(["", " ", "A", "B", "C"]),
    "sentencepiece": PieceDecoder(
        ["", " A", "B", " ", " CA", "C", " BC"],
        ["", "A", "B", "", "CA", "C", "BC"],
    ),
    "no space": PieceDecoder(["", "A", "B", "C"]),
}
SCORERS = ["none", "hotwords", "model", "model and hotwords"]
HOTWORDS = ("CAB", "A BC", "BC A CC A B")

DECODER = TextDecoder(make_tokenizer())
SIGNAL = make_signal(45000, 3)
SPOKEN = ("AB", "BAG", "EGG", "FED", "CAGE", "A", "D")
ENDPOINTER = Endpointer(
    after_speech=EndpointRule(True, 0.04),
    maximum_length=EndpointRule(length_seconds=0.7),
)


def make_options(name, place, **options):
    """Arguments of a search that scores words in one of these ways."""
    if "model" in name:
        pytest.importorskip("kenlm")
        pytest.importorskip("pygtrie")
        options["language_model"] = make_arpa(place / "words.arpa", 4)
    if "hotwords" in name:
        options |= {"hotwords": HOTWORDS, "hotword_weight": 4.0}
    return options


@pytest.fixture(scope="module", params=SCORERS)
def scoring(request, tmp_path_factory):
    return make_options(request.param, tmp_path_factory.mktemp("arpa"))


def random_log_probs(seed, frames, labels, sharpness):
    """Frames at random, (frames, labels)."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(frames, labels)) * sharpness
    return torch.from_numpy(logits).log_softmax(1)


def written(search, state):
    return write_snapshot(search.export_context(state), "search")


def restored(search, state):
    """The state after a snapshot, which is the same when taken again."""
    data, frames = written(search, state), state.frames
    labels = len(search._vocabulary.tokens)
    form = read_snapshot(
        data,
        "search",
        lambda values: search.context_form(values, frames, labels),
    )
    state = search.import_context(form)
    assert written(search, state) == data
    return state


@pytest.mark.parametrize("units", ["characters", "sentencepiece"])
@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 1 << 30),
    frames=st.integers(0, 4 * SETTLE_FRAMES),
    sharpness=st.sampled_from([0.5, 2.0, 6.0]),
    beam_size=st.sampled_from([1, 3, 8]),
    lengths=st.lists(st.integers(0, 70), max_size=6),
    closed=st.booleans(),
)
def test_a_search_goes_on(
    scoring, units, seed, frames, sharpness, beam_size, lengths, closed
):
    """Written and read between all pushes, with endpoints and without: what is
    committed, what is shown and the score are those of a state that stays."""
    search = BeamSearch(DECODERS[units], beam_size=beam_size, **scoring)
    labels = len(DECODERS[units].pieces)
    log_probs = random_log_probs(seed, frames, labels, sharpness)
    stays, moves = (search.make_streaming_context() for _ in range(2))
    start = 0
    for number, length in enumerate([*lengths, frames]):
        moves = restored(search, moves)
        push = log_probs[start : start + length]
        start += length
        assert search.look_ahead(push, moves) == search.look_ahead(push, stays)
        assert search.advance(push, moves) == search.advance(push, stays)
        if closed and number % 2:
            moves = restored(search, moves)
            assert search.close(moves) == search.close(stays)
        assert written(search, moves) == written(search, stays)
    moves = restored(search, moves)
    ends = [
        search.advance(log_probs[:0], state, final=True)
        for state in (moves, stays)
    ]
    assert ends[0] == ends[1]
    assert moves.score == stays.score


@pytest.mark.parametrize("units", ["characters", "no space"])
def test_words_without_end_go_on(tmp_path, units):
    """Of a word that is kept as a digest, with a language model and without."""
    names = ["none"] if units == "no space" else ["none", "model and hotwords"]
    log_probs = random_log_probs(5, 3 * LONGEST_WORD, 4, 12.0)
    if units == "characters":
        spaces = torch.full((len(log_probs), 1), -30.0)
        spaces[-9::4] = -0.01
        log_probs = torch.cat([log_probs[:, :1], spaces, log_probs[:, 1:]], 1)
    for name in names:
        search = BeamSearch(
            DECODERS[units], beam_size=3, **make_options(name, tmp_path)
        )
        stays = search.make_streaming_context()
        search.advance(log_probs[: -2 * SETTLE_FRAMES], stays)
        assert any("\0" in beam.partial_word for beam in stays.beams)
        moves = restored(search, stays)
        for part in log_probs[-2 * SETTLE_FRAMES :].split(7):
            moves = restored(search, moves)
            assert search.advance(part, moves) == search.advance(part, stays)
        for state in (moves, stays):
            search.advance(log_probs[:0], state, final=True)
        assert moves.score == stays.score


def test_states_are_computed_again(scoring):
    """From all words, and from as few as a beam keeps: further words score the
    same to the last bit."""
    search = BeamSearch(DECODERS["characters"], **scoring)
    scorer = search._searcher.lm
    if scorer is None:
        return
    generator = random.Random(1)
    words = ["A", "BC", "CAB", "B", "CC", "XX", "\0digest", "A", "BC"]
    for _ in range(300):
        said = generator.choices(words, k=generator.randrange(12))
        state = scorer.get_start_state()
        for word in said:
            _, state = scorer.score(state, word)
        kept = said[max(0, len(said) - scorer.order + 1) :]
        for begin in (said, kept):
            again = scorer.state_after(begin)
            assert again[1:] == state[1:]
            for word, last in itertools.product(words, (False, True)):
                score, _ = scorer.score(state, word, last)
                assert scorer.score(again, word, last)[0] == score
                assert scorer.bonus(again, word) == scorer.bonus(state, word)


def test_no_words_are_known():
    """Without a word of history the state is that of a phrase not begun."""
    scorer = WordScorer(None, ["A B"], 2.0)
    assert scorer.state_after(["C"]) == scorer.get_start_state()
    assert scorer.state_after(["A"]).progress == ((0, 1),)


# -- sessions


@pytest.fixture(scope="module")
def searches(tmp_path_factory):
    """Searches of the tiny model's labels, by what they have."""
    place = tmp_path_factory.mktemp("spoken")
    made = {
        "none": BeamSearch(DECODER, beam_size=4),
        "hotwords": BeamSearch(
            DECODER, hotwords=["AB EGG", "FED"], hotword_weight=3.0
        ),
    }
    if kenlm_is_there():
        arpa = make_arpa(place / "words.arpa", order=3, words=SPOKEN)
        made["model"] = BeamSearch(DECODER, language_model=arpa)
        made["both"] = made["model"].with_hotwords(["AB EGG", "FED"], 3.0)
    return made


def kenlm_is_there():
    try:
        import kenlm  # noqa: F401
        import pygtrie  # noqa: F401
    except ImportError:
        return False
    return True


def all_of(transcripts):
    return "".join(each.committed for each in transcripts)


@pytest.mark.parametrize("name", ["none", "hotwords", "model", "both"])
@pytest.mark.parametrize("endpointer", [None, ENDPOINTER])
def test_a_session_goes_on(searches, name, endpointer):
    """A session that is written after every push says what one says that is
    not: each transcript, with its words, and its last bytes."""
    if name not in searches:
        pytest.skip("KenLM is not installed")
    model = make_model()
    options = {"search": searches[name], "endpointer": endpointer}
    whole = Session(model, DECODER, **options)
    moved = Session(model, DECODER, **options)
    generator, start, said = random.Random(len(name)), 0, []
    while start < len(SIGNAL):
        size = generator.choice([0, 1, 500, 3000, 9000])
        moved = Session(model, DECODER, moved.snapshot(), **options)
        said.append(moved.push(SIGNAL[start : start + size], 22050))
        assert said[-1] == whole.push(SIGNAL[start : start + size], 22050)
        assert moved.snapshot() == whole.snapshot()
        start += size
    moved = Session(model, DECODER, moved.snapshot(), **options)
    said.append(moved.finish())
    assert said[-1] == whole.finish()
    assert moved.text == whole.text
    assert len(all_of(said)) > 20
    ended = Session(model, DECODER, moved.snapshot(), **options)
    assert ended.finished and ended.text == moved.text


def test_batched_streams_go_on(searches, tmp_path):
    """In and out of batches of an exported model, byte for byte."""
    pytest.importorskip("onnxscript")
    folder = export_model(
        tmp_path / "model", make_model(), DECODER, precisions=("fp32",)
    )
    asr = OnnxStreamingASR.from_folder(folder)
    for search in searches.values():
        whole = Session(asr.model, DECODER, search=search)
        session = Session(asr.model, DECODER, search=search)
        batcher = asr.batcher(slots=2)
        for start in range(0, len(SIGNAL), 9000):
            data = session.snapshot()
            batched = batcher.session(search=search, snapshot=data)
            assert batched.snapshot() == data
            batched.push(SIGNAL[start : start + 4000].numpy())
            data = batched.snapshot()
            batched.close()
            session = Session(asr.model, DECODER, data, search=search)
            session.push(SIGNAL[start + 4000 : start + 9000])
            whole.push(SIGNAL[start : start + 9000])
            assert session.snapshot() == whole.snapshot()
        assert session.finish() == whole.finish()
        assert session.text == whole.text != ""


def test_snapshots_belong_to_their_search(searches, tmp_path):
    """Another option, other hotwords or another language model: refused."""
    model = make_model()
    others = [
        None,
        BeamSearch(DECODER),
        BeamSearch(DECODER, beam_size=5),
        BeamSearch(DECODER, beam_prune_logp=-9),
        BeamSearch(DECODER, token_prune_min_logp=-4.0),
        BeamSearch(DECODER, most_provisional_frames=9),
        *(BeamSearch(DECODER, hotwords=[word]) for word in ("AB", "AG")),
        BeamSearch(DECODER, hotwords=["AB"], hotword_weight=3.0),
    ]
    if kenlm_is_there():
        arpas = [
            make_arpa(tmp_path / f"{seed}.arpa", words=SPOKEN, seed=seed)
            for seed in range(2)
        ]
        others += [
            BeamSearch(DECODER, language_model=arpas[0], **weights)
            for weights in (
                {},
                {"alpha": 0.4},
                {"beta": 1},
                {"unk_score_offset": -9.0},
            )
        ]
        others.append(BeamSearch(DECODER, language_model=arpas[1]))
    snapshots = []
    for search in others:
        session = Session(model, DECODER, search=search)
        session.push(SIGNAL[:9000])
        snapshots.append(session.snapshot())
    for one, search in enumerate(others):
        for other, data in enumerate(snapshots):
            if one == other:
                Session(model, DECODER, data, search=search)
                continue
            with pytest.raises(ValueError, match=r"snapshot must .*got one of"):
                Session(model, DECODER, data, search=search)


def test_snapshots_of_equal_searches_go_on(tmp_path):
    """Options in another order or spelling, and a copy of the file."""
    model = make_model()
    pairs = [
        ({"hotwords": ["AB", "AG"]}, {"hotwords": ["AG", "AB", "AB"]}),
        ({"beam_prune_logp": -10}, {}),
        ({"hotwords": ["AB"], "hotword_weight": 0}, {}),
        ({"alpha": 0.1}, {}),
    ]
    if kenlm_is_there():
        arpa = make_arpa(tmp_path / "a.arpa", words=SPOKEN)
        copied = tmp_path / "b.arpa"
        copied.write_bytes(arpa.read_bytes())
        pairs.append(
            (
                {"language_model": arpa},
                {"language_model": LanguageModel(copied)},
            )
        )
    for one, other in pairs:
        session = Session(model, DECODER, search=BeamSearch(DECODER, **one))
        session.push(SIGNAL[:9000])
        search = BeamSearch(DECODER, **other)
        moved = Session(model, DECODER, session.snapshot(), search=search)
        assert moved.finish() == session.finish()


def test_a_snapshot_does_not_grow(searches):
    """But for its text."""
    search, sizes = searches["hotwords"], []
    log_probs = random_log_probs(2, 6000, 9, 3.0)
    state = search.make_streaming_context()
    for part in log_probs.split(500):
        search.advance(part, state)
        sizes.append(len(written(search, state)))
    assert max(sizes[6:]) < 2 * max(sizes[:6])
    assert flatten(search.export_context(state))["frames"] == 6000
