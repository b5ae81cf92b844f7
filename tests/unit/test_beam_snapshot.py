"""Untrusted snapshots of a beam search: refused, or they go on."""

import pytest

from snapshot_files import WRONG, close_up, open_up
from speechbrain_llsa.decoders.beam_search import BeamSearch
from speechbrain_llsa.decoders.tokenizers import TextDecoder
from speechbrain_llsa_runtime.inference.session import Session
from tiny_model import make_model, make_signal, make_tokenizer
from word_ngrams import make_arpa

DECODER = TextDecoder(make_tokenizer())
SAMPLES = (700, 5000, 20000)
PLACE = "transcriber.search."


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture(scope="module", params=["plain", "hotwords", "model"])
def search(request, tmp_path_factory):
    """Words that are not scored, and those that are."""
    if request.param == "plain":
        return BeamSearch(DECODER, beam_size=3)
    options = {"hotwords": ["AB EGG", "FED"]}
    if request.param == "model":
        pytest.importorskip("kenlm")
        pytest.importorskip("pygtrie")
        options["language_model"] = make_arpa(
            tmp_path_factory.mktemp("arpa") / "words.arpa",
            words=("AB", "BAG", "FED"),
        )
    return BeamSearch(DECODER, beam_size=3, **options)


def taken(model, search, samples):
    """A snapshot, opened."""
    session = Session(model, DECODER, search=search)
    session.push(make_signal(samples))
    return open_up(session.snapshot())


def change(about, changes):
    """With other values of the search; those that are dropped are ``...``."""
    values = {
        **about["values"],
        **{PLACE + name: value for name, value in changes.items()},
    }
    values = {name: value for name, value in values.items() if value != ...}
    return {**about, "values": values}


def goes_on(model, search, about, arrays):
    """Whether a snapshot is taken; it must not fail later."""
    try:
        data = close_up(about, arrays, ensure_ascii=True)
        session = Session(model, DECODER, data, search=search)
    except ValueError as error:
        assert "snapshot must be bytes that snapshot() gave" in str(error)
        return False
    again = Session(model, DECODER, session.snapshot(), search=search)
    assert again.snapshot() == session.snapshot()
    session.push(make_signal(20000, 7))
    session.snapshot()
    session.finish()
    return True


MAY_DIFFER = {
    "text": str,
    "partial_word": str,
    "label": int,
    "last": int,
    "start": int,
    "end": int,
    "confidence": float,
    "score": float,
    "word_score": float,
}
"""What the audio may as well have given, if it fits the rest."""


@pytest.mark.parametrize("samples", SAMPLES)
def test_every_value_is_checked(model, search, samples):
    """Each value of the search, replaced by something else: refused, or of the
    same type, and then the stream goes on to its end."""
    about, arrays = taken(model, search, samples)
    names = [name for name in about["values"] if name.startswith(PLACE)]
    refused = 0
    for name in names:
        value, name = about["values"][name], name.removeprefix(PLACE)
        for wrong in WRONG:
            if repr(wrong) == repr(value):
                continue
            changed = change(about, {name: wrong})
            if goes_on(model, search, changed, arrays):
                kind = MAY_DIFFER[name.rpartition(".")[2]]
                assert type(wrong) is kind, (name, wrong)
            else:
                refused += 1
    assert refused > 15 * len(names)


def test_values_may_not_be_missing_or_more(model, search):
    about, arrays = taken(model, search, 5000)
    for name in about["values"]:
        if name.startswith(PLACE):
            changed = change(about, {name.removeprefix(PLACE): ...})
            assert not goes_on(model, search, changed, arrays)
    for name in ("more", "beams.0.more", "beams.0.run.more", "beams.9.text"):
        changed = change(about, {name: 1})
        assert not goes_on(model, search, changed, arrays)


def token(name, label, start, end, confidence=0.5):
    parts = "label", "start", "end", "confidence"
    given = label, start, end, confidence
    return {
        f"{name}.{part}": value
        for part, value in zip(parts, given, strict=True)
    }


def one_beam(about, **changes):
    """Changes that leave one beam, "AB" and "A", without a trace."""
    values = [n for n in about["values"] if n.startswith(PLACE + "beams.")]
    dropped = {name.removeprefix(PLACE): ... for name in values}
    word_score = about["values"][PLACE + "beams.0.word_score"]
    beam = {
        "text": "AB",
        "partial_word": "A",
        "run": None,
        "space": None,
        "last": 0,
        "started": True,
        "score": -4.0,
        "word_score": word_score,
        **changes,
    }
    return dropped | {f"beams.0.{name}": each for name, each in beam.items()}


def test_what_no_stream_can_have(model, search):
    """States whose values have the right types."""
    about, arrays = taken(model, search, 20000)
    frames = about["values"][PLACE + "frames"]
    space, letter = DECODER.pieces.index(" "), DECODER.pieces.index("A")
    good = one_beam(about)
    assert goes_on(model, search, change(about, good), arrays)
    run = {**token("run", letter, 4, frames), "run": ..., "last": letter}
    assert goes_on(model, search, change(about, one_beam(about, **run)), arrays)
    held = {**token("space", space, 4, 9), "space": ...}
    assert goes_on(
        model, search, change(about, one_beam(about, **held)), arrays
    )
    for wrong in (
        {"text": "AB  AB"},
        {"text": " AB"},
        {"text": "AB\n"},
        {"text": "A\ud800"},
        {"partial_word": "A B"},
        {"partial_word": " "},
        {"partial_word": "\udfff"},
        {"text": "", "partial_word": ""},
        {"started": False, **held},
        {**run, "run.end": frames - 1},
        {**run, "last": 0},
        {**run, "run.label": space, "last": space},
        {**run, "run.label": 0, "last": 0},
        {**run, "run.confidence": 1.5},
        {**run, "run.start": frames},
        {**run, **held},
        {**held, "space.label": letter},
        {**held, "space.end": frames + 1},
        token("tokens.0", letter, 1, 3),
        {"score": float("-inf")},
        {"word_score": float("inf")},
        {"last": len(DECODER.pieces)},
        {"last": None},
    ):
        changed = change(about, one_beam(about, **wrong))
        assert not goes_on(model, search, changed, arrays), wrong


def test_beams_fit_each_other(model, search):
    """Several: each another one, of equal words with equal scores, and not
    more than the search has."""
    about, arrays = taken(model, search, 20000)
    letter = DECODER.pieces.index("A")
    first = one_beam(about)

    def with_others(*others):
        changes = dict(first)
        for number, other in enumerate(others, start=1):
            changes |= {
                name.replace("beams.0", f"beams.{number}"): value
                for name, value in one_beam(about, **other).items()
                if value != ...
            }
        return change(about, changes)

    assert goes_on(model, search, with_others({"last": 1}), arrays)
    words = [{"text": text} for text in ("B", "", "C D")]
    assert goes_on(model, search, with_others(*words[:2]), arrays)
    assert not goes_on(model, search, with_others(*words), arrays)
    assert not goes_on(model, search, with_others({}), arrays)
    assert not goes_on(model, search, with_others({"score": -5.0}), arrays)
    if search.to_dict().keys() & {"hotwords", "language_model"}:
        other = {"last": 1, "word_score": -77.0}
        assert not goes_on(model, search, with_others(other), arrays)
    tokens = token("tokens.0", letter, 1, 3)
    for start, expected in ((1, False), (2, True)):
        changed = with_others({"text": "B", **tokens, "tokens.0.start": start})
        changed = change(changed, {f"beams.0.{n}": tokens[n] for n in tokens})
        assert goes_on(model, search, changed, arrays) == expected


def test_before_the_first_frame(model, search):
    """Nothing has been said then."""
    for samples in (0, 300):
        about, arrays = taken(model, search, samples)
        assert about["values"][PLACE + "frames"] == 0
        assert goes_on(model, search, about, arrays)
        for changes in (
            {"beams.0.text": "A"},
            {"beams.0.score": -1.0},
            {"beams.0.started": True},
            {"beams.0.last": 0},
            token("beams.0.tokens.0", 1, 0, 1),
            {"frames": 1},
        ):
            assert not goes_on(model, search, change(about, changes), arrays)
