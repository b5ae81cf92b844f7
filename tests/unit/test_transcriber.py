"""Words, times, confidences and segments from made-up log-probabilities."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from speechbrain_llsa_runtime.decoders.greedy import PieceDecoder
from speechbrain_llsa_runtime.decoders.tokens import Token
from speechbrain_llsa_runtime.transcripts.endpointer import (
    Endpointer,
    EndpointRule,
)
from speechbrain_llsa_runtime.transcripts.transcriber import (
    Transcriber,
    TranscriberState,
)
from speechbrain_llsa_runtime.transcripts.transcript import (
    Segment,
    SegmentCollector,
    Transcript,
    Word,
)
from speechbrain_llsa_runtime.transcripts.words import WordOffsets
from transcripts import committed, final_words, rounded

CHARACTERS = PieceDecoder(["", "A", "B", " "])
PIECES = PieceDecoder(
    ["", " A", "B", " ? ", " C D"], ["", "A", "B", " ? ", "C D"]
)
DECODERS = {"characters": CHARACTERS, "pieces": PIECES}

A, B, SPACE = 1, 2, 3


def log_probs_of(labels, count=5, seed=0):
    """Log-probabilities, (frames, labels), with these best labels."""
    generator = np.random.default_rng(seed)
    scores = generator.random((len(labels), count))
    scores[np.arange(len(labels)), labels] += 1.5
    scores -= np.log(np.exp(scores).sum(axis=1, keepdims=True))
    return scores.astype(np.float32)


def run(transcriber, log_probs, cuts=(), ahead=3):
    """Transcripts of all pushes, the last one at the end."""
    state, said = transcriber.make_streaming_context(), []
    edges = [0, *sorted(min(cut, len(log_probs)) for cut in cuts)]
    edges.append(len(log_probs))
    for start, stop in itertools.pairwise(edges):
        said.append(
            transcriber.advance(
                log_probs[start:stop], log_probs[stop : stop + ahead], state
            )
        )
    nothing = log_probs[:0]
    return [*said, transcriber.advance(nothing, nothing, state, final=True)]


def words_of(transcriber, labels, **options):
    return final_words(run(transcriber, log_probs_of(labels, **options)))


# -- words


def test_words_by_hand():
    """``AB_ _A``: each word from the first frame of its first character to the
    last frame of its last one, and confidence of the least certain one."""
    labels = [0, A, A, 0, B, 0, SPACE, 0, A, 0, 0, 0]
    log_probs = log_probs_of(labels, count=4)
    words = final_words(run(Transcriber(CHARACTERS), log_probs))
    best = np.exp(log_probs.max(axis=1))
    first = min(max(best[1], best[2]), best[4])
    assert words == [
        Word("AB", 0.02, 0.1, pytest.approx(first)),
        Word("A", 0.16, 0.18, pytest.approx(best[8])),
    ]


def test_offsets_by_hand():
    """A word begins and ends by its offsets, but not behind the beginning of
    the next one, not before the stream and not behind its end."""
    transcriber = Transcriber(PIECES, word_offsets=WordOffsets(-0.05, 0.3))
    labels = [0, 1, 0, 0, 0, 1, *[0] * 30, 1, 0, 0]
    words = words_of(transcriber, labels)
    assert [(word.start, word.end) for word in words] == [
        (0.0, 0.05),
        (0.05, 0.42),
        (0.67, 0.8),
    ]


def test_pieces_with_spaces_anywhere():
    """A space ends a word, wherever in a piece it stands."""
    words = words_of(Transcriber(PIECES), [1, 0, 2, 3, 2, 4])
    assert [word.text for word in words] == ["AB", "?", "B", "C", "D"]
    assert [word.start for word in words] == [0.0, 0.06, 0.08, 0.1, 0.1]
    assert [word.end for word in words] == [0.06, 0.08, 0.1, 0.1, 0.12]


def test_a_word_is_final_when_the_next_one_begins():
    """Until then it may go on, and is said again with each push."""
    transcriber = Transcriber(CHARACTERS)
    log_probs = log_probs_of([A, 0, 0, SPACE, 0], count=4)
    said = run(transcriber, log_probs, cuts=range(6), ahead=0)
    states = [[(w.text, w.final) for w in each.words] for each in said]
    going_on, over = ("A", False), ("A", True)
    assert states == [[], *[[going_on]] * 3, [going_on], [over], [], []]


CASES = st.fixed_dictionaries(
    {
        "labels": st.lists(st.sampled_from([0, 0, 0, 1, 2, 3, 3]), max_size=40),
        "cuts": st.lists(st.integers(0, 40), max_size=6),
        "kind": st.sampled_from(list(DECODERS)),
        "seed": st.integers(0, 50),
        "offsets": st.sampled_from([(0.0, 0.0), (-0.07, 0.11), (0.05, 0.3)]),
        "rules": st.sampled_from(
            [
                None,
                (None, None, EndpointRule(length_seconds=0.1)),
                (None, EndpointRule(True, 0.06), None),
                (EndpointRule(silence_seconds=0.08), None, None),
                (
                    EndpointRule(silence_seconds=0.1, length_seconds=0.12),
                    EndpointRule(True, 0.04, 0.1),
                    EndpointRule(length_seconds=0.2),
                ),
            ]
        ),
    }
)


def make(case):
    endpointer = None
    if case["rules"] is not None:
        endpointer = Endpointer(*case["rules"])
    return Transcriber(
        DECODERS[case["kind"]],
        endpointer=endpointer,
        word_offsets=WordOffsets(*case["offsets"]),
    )


def case_log_probs(case):
    count = len(DECODERS[case["kind"]].pieces)
    return log_probs_of(case["labels"], count, case["seed"])


@settings(max_examples=120, deadline=None)
@given(case=CASES)
def test_any_split_gives_the_same(case):
    """Words, times, confidences, text and segments do not depend on where the
    pushes are cut."""
    transcriber, log_probs = make(case), case_log_probs(case)
    whole = run(transcriber, log_probs)
    parts = run(transcriber, log_probs, case["cuts"])
    assert final_words(parts) == rounded(final_words(whole))
    assert committed(parts) == committed(whole)
    assert parts[-1].segment == whole[-1].segment
    assert parts[-1].provisional == whole[-1].provisional == ""
    assert all(word.final for word in parts[-1].words)


@settings(max_examples=120, deadline=None)
@given(case=CASES)
def test_properties_of_words(case):
    """The words of a segment are its text; times go on; confidences are
    probabilities; segments count up; what is not final comes last and is the
    end of the text with its provisional continuation."""
    log_probs = case_log_probs(case)
    said = run(make(case), log_probs, case["cuts"])
    words = final_words(said)
    if case["rules"] is None:
        joined = " ".join(word.text for word in words)
        assert joined == " ".join(committed(said).split())
    edges = [time for word in words for time in (word.start, word.end)]
    assert edges == sorted(edges)
    assert all(0.0 < word.confidence <= 1.0 for word in words)
    segments = [transcript.segment for transcript in said]
    numbers = [word.segment for word in words]
    assert segments == sorted(segments)
    assert numbers == sorted(numbers)
    assert set(numbers) <= set(range(segments[-1] + 1))
    text = ""
    for transcript in said:
        text += transcript.committed
        finals = [word.final for word in transcript.words]
        assert finals == sorted(finals, reverse=True)
        going_on = [word for word in transcript.words if not word.final]
        assert {word.segment for word in going_on} <= {transcript.segment}
        spoken = (text + transcript.provisional).split()
        if case["rules"] is None:
            count = len(going_on)
            assert [word.text for word in going_on] == spoken[-count:][:count]


@settings(max_examples=120, deadline=None)
@given(case=CASES)
def test_endpoints_do_not_change_the_text(case):
    """The text over all segments is the text without endpoints; endpoints at
    word boundaries do not change a word or its times either."""
    log_probs = case_log_probs(case)
    said = run(make(case), log_probs, case["cuts"])
    plain = run(make({**case, "rules": None}), log_probs)
    assert committed(said) == committed(plain)
    rules = case["rules"]
    if rules is not None and rules[0] is rules[1] is None:
        words = [replace(word, segment=0) for word in final_words(said)]
        assert words == rounded(final_words(plain))


@settings(max_examples=100, deadline=None)
@given(case=CASES)
def test_segments_are_collected(case):
    """Each word is in one segment, each segment has words of its own alone,
    and comes as soon as it is closed."""
    said = run(make(case), case_log_probs(case), case["cuts"])
    collector, segments = SegmentCollector(), []
    for transcript in said:
        closed = collector.take(transcript)
        assert all(s.number < transcript.segment for s in closed)
        segments += closed
    segments += collector.finish()
    words = final_words(said)
    assert [word for each in segments for word in each.words] == words
    for each in segments:
        assert {word.segment for word in each.words} == {each.number}
        assert each.start == each.words[0].start
        assert each.end == each.words[-1].end
    numbers = [each.number for each in segments]
    assert numbers == sorted(set(numbers))


def test_the_state_does_not_grow():
    """A transcriber with endpoints keeps one segment, however long the stream
    is; one without keeps its text."""
    labels = [1, 0, 2, 0, 3, 0, 0, 0] * 500
    log_probs = log_probs_of(labels, count=4)
    nothing = log_probs[:0]
    lengths = {}
    for endpointer in (None, Endpointer(after_speech=EndpointRule(True, 0.06))):
        transcriber = Transcriber(CHARACTERS, endpointer=endpointer)
        state = transcriber.make_streaming_context()
        transcriber.advance(log_probs, nothing, state)
        lengths[endpointer] = len(state.text)
    assert list(lengths.values()) == [1500, 0]


def test_a_failed_push_changes_nothing():
    """The state is as before the call."""
    transcriber = Transcriber(CHARACTERS)
    state = transcriber.make_streaming_context()
    log_probs = log_probs_of([A, 0, B], count=4)
    transcriber.advance(log_probs, log_probs[:0], state)
    before = state.fork()
    with pytest.raises(ValueError, match=r"labels must .*got 5"):
        transcriber.advance(log_probs_of([5, 0], count=6), log_probs[:0], state)
    assert state == before
    assert isinstance(state, TranscriberState)


# -- endpoints


def endpoints_of(labels, rules, begins_word=None):
    """Frames where segments begin, and whether that is before the frame."""
    transcriber = Transcriber(
        begins_word or CHARACTERS, endpointer=Endpointer(**rules)
    )
    said = run(transcriber, log_probs_of(labels, count=4), range(len(labels)))
    numbers = [transcript.segment for transcript in said[1:-1]]
    return [
        frame
        for frame, (old, new) in enumerate(itertools.pairwise([0, *numbers]))
        if new > old
    ]


NONE = {"without_speech": None, "after_speech": None, "maximum_length": None}


def only(name, *fields):
    return {**NONE, name: EndpointRule(*fields)}


def test_silence_without_speech():
    """Fires in every so long silence, as nothing has been said; after speech
    a rule that needs none fires as well."""
    rules = only("without_speech", False, 0.06)
    assert endpoints_of([0] * 10, rules) == [2, 5, 8]
    assert endpoints_of([A, 0, 0, A, 0, 0, 0, 0], rules) == [6]


def test_silence_after_speech():
    """Waits for speech, then for so much silence in one piece."""
    rules = only("after_speech", True, 0.06)
    assert endpoints_of([0] * 10, rules) == []
    labels = [0, 0, 0, 0, A, 0, 0, A, 0, 0, 0, 0, 0, 0]
    assert endpoints_of(labels, rules) == [10]


def test_a_silence_rule_with_a_length():
    """The segment must be long enough as well, from its own beginning."""
    rules = only("after_speech", True, 0.04, 0.16)
    labels = [A, 0, 0, 0, 0, A, 0, 0, 0, 0]
    assert endpoints_of(labels, rules) == [7]
    labels = [A, 0, 0, 0, 0, 0, 0, 0, A, 0, 0, 0, 0, 0, 0, 0]
    assert endpoints_of(labels, rules) == [7, 15]


def test_maximum_length_waits_for_a_word_boundary():
    """So the last word of a segment and the first of the next are whole; with
    nothing said it does not wait."""
    rules = only("maximum_length", False, 0.0, 0.08)
    labels = [A, B, A, 0, B, A, B, SPACE, A, 0, 0, 0, 0, 0, SPACE, B]
    assert endpoints_of(labels, rules) == [7, 14]
    assert endpoints_of([0] * 9, rules) == [3, 7]


def test_maximum_length_does_not_wait_for_ever():
    """Without a word boundary for 5 s the segment closes at the next blank;
    the text is the same, letter by letter."""
    rules = only("maximum_length", False, 0.0, 0.08)
    labels = [A, B, 0] * 84 + [A, B, A, A, 0, B, A, 0, B]
    assert endpoints_of(labels, rules) == [256]
    for begins_word in (CHARACTERS, PIECES):
        transcriber = Transcriber(begins_word, endpointer=Endpointer(**rules))
        log_probs = log_probs_of(labels)
        whole = committed(run(Transcriber(begins_word), log_probs))
        assert committed(run(transcriber, log_probs, range(261))) == whole


SPEECH_FRAMES, NOISE_FRAMES = 100, 1000


def noise_labels(kind):
    """What a model may take 20 s of noise for."""
    generator = np.random.default_rng(7)
    if kind == "silence":
        return [0] * NOISE_FRAMES
    if kind == "words now and then":
        labels = [0] * NOISE_FRAMES
        labels[25::60] = [SPACE] * len(labels[25::60])
        labels[26::60] = [A] * len(labels[26::60])
        return labels
    if kind == "words all the time":
        return generator.choice([0, A, B, SPACE], NOISE_FRAMES).tolist()
    return generator.choice([0, A, B], NOISE_FRAMES).tolist()


@pytest.mark.parametrize(
    ("kind", "latest"),
    [
        ("silence", 0.8),
        ("words now and then", 2.8),
        ("words all the time", 18.5),
        ("letters without end", 13.0),
    ],
)
def test_a_segment_closes_in_noise(kind, latest):
    """2 s of speech, then 20 s of what a model takes noise for: the segment
    closes after silence, or else as the longest one, however the frames are
    pushed; and the text is that of the stream without endpoints."""
    speech = [SPACE, A, B, 0, SPACE, B, B, 0, A, 0] * (SPEECH_FRAMES // 10)
    endpointer = Endpointer()
    if kind == "letters without end":
        # no word begins: it closes 5 s after its maximum length
        endpointer = Endpointer(maximum_length=EndpointRule(length_seconds=10))
    labels = speech + noise_labels(kind)
    log_probs = log_probs_of(labels, count=4)
    transcriber = Transcriber(CHARACTERS, endpointer=endpointer)
    at_once = run(transcriber, log_probs)
    said = run(transcriber, log_probs, range(0, len(labels), 16))
    closed = next(
        16 * number * 0.02
        for number, transcript in enumerate(said)
        if transcript.segment
    )
    assert 2.0 < closed <= 2.0 + latest + 16 * 0.02
    assert committed(said) == committed(at_once)
    assert committed(said) == committed(run(Transcriber(CHARACTERS), log_probs))
    words = [word for word in final_words(said) if word.end <= 2.0]
    assert {word.segment for word in words} == {0}


def test_labels_without_spaces_are_boundaries_themselves():
    """Where no label has a space, a segment need not wait for one."""
    rules = only("maximum_length", False, 0.0, 0.08)
    letters = PieceDecoder(["", "A", "B", "C"])
    assert endpoints_of([A, A, A, A, A, A, B], rules, letters) == [6]


def test_the_word_at_an_endpoint_is_whole():
    """It is final at once, in the old segment, and so is its text."""
    transcriber = Transcriber(
        CHARACTERS,
        endpointer=Endpointer(**only("maximum_length", False, 0.0, 0.06)),
        word_offsets=WordOffsets(-0.01, 0.1),
    )
    labels = [A, B, B, A, SPACE, B, A, 0]
    said = run(transcriber, log_probs_of(labels, count=4), range(9), ahead=0)
    words = final_words(said)
    assert [(w.text, w.segment) for w in words] == [("ABA", 0), ("BA", 1)]
    assert (words[0].end, words[1].start) == (0.07, 0.09)
    closing = next(each for each in said if each.segment == 1)
    assert closing.final_words == (words[0],)
    assert closing.committed == "A"
    assert committed(said) == "ABA BA"


def test_rules_as_plain_values():
    """Dicts, as a YAML file or JSON gives them, make the same rules."""
    endpointer = Endpointer(
        without_speech=None,
        after_speech={"speech": True, "silence_seconds": 1},
        maximum_length={"length_seconds": 30.0},
    )
    assert Endpointer(**endpointer.to_dict()).to_dict() == endpointer.to_dict()
    assert endpointer.rules["after_speech"] == EndpointRule(True, 1)
    assert endpointer.rules["without_speech"] is None


@pytest.mark.parametrize(
    ("rules", "error", "message"),
    [
        ({"after_speech": 1.0}, TypeError, r"after_speech must .*got float"),
        ({"after_speech": {"pause": 1}}, ValueError, "the field 'pause'"),
        ({"after_speech": {}}, ValueError, "after_speech: silence_seconds"),
        (
            {"maximum_length": {"length_seconds": -1}},
            ValueError,
            r"maximum_length: length_seconds must .*got -1",
        ),
        (
            {"maximum_length": {"length_seconds": float("nan")}},
            ValueError,
            r"length_seconds must .*got nan",
        ),
        (
            {"without_speech": {"silence_seconds": "5"}},
            TypeError,
            r"silence_seconds must .*got '5'",
        ),
        (
            {"without_speech": {"silence_seconds": True}},
            TypeError,
            r"silence_seconds must .*got True",
        ),
        (
            {"without_speech": {"speech": 1, "silence_seconds": 1}},
            TypeError,
            r"speech must .*got 1",
        ),
        ({"without_speech": {"silence_seconds": 0.004}}, ValueError, "got 0"),
    ],
)
def test_bad_rules_are_refused(rules, error, message):
    """Rule and field are named."""
    with pytest.raises(error, match=message):
        Endpointer(**rules)


@pytest.mark.parametrize(
    ("offsets", "error", "message"),
    [
        (("0", 0.0), TypeError, r"start_seconds must .*got '0'"),
        ((0.0, float("nan")), ValueError, r"end_seconds must .*got nan"),
        ((0.0, 11), ValueError, r"end_seconds must .*got 11"),
        ((0.2, 0.1), ValueError, r"start_seconds must .*got 0.2"),
    ],
)
def test_bad_offsets_are_refused(offsets, error, message):
    """By name."""
    with pytest.raises(error, match=message):
        WordOffsets(*offsets)


def test_wrong_parts_are_refused():
    """By name."""
    for options, message in (
        ({"endpointer": {}}, r"endpointer must .*got dict"),
        ({"word_offsets": 0.1}, r"word_offsets must .*got float"),
        ({"search": "beam"}, r"search must .*got str"),
    ):
        with pytest.raises(TypeError, match=message):
            Transcriber(CHARACTERS, **options)
    with pytest.raises(TypeError, match=r"text_decoder must .*got list"):
        Transcriber([])


# -- a search that commits late, as beam searches do


class LateSearch:
    """A greedy search that commits tokens ``late`` frames after their end."""

    class State:
        def __init__(self, frames=(), given=0):
            self.frames, self.given = list(frames), given

        def fork(self):
            return LateSearch.State(self.frames, self.given)

    def __init__(self, late):
        self.late = late

    def make_streaming_context(self):
        return self.State()

    def _tokens(self, labels):
        tokens, first = [], 0
        for label, run in itertools.groupby(labels):
            last = first + len(list(run))
            if label:
                tokens.append(Token(label, first, last, 0.5))
            first = last
        return tokens

    def _give(self, state, limit):
        tokens = self._tokens(state.frames)[state.given :]
        tokens = [token for token in tokens if token.end <= limit]
        state.given += len(tokens)
        return tokens

    def advance(self, log_probs, state, final=False):
        tokens = []
        for label in log_probs.argmax(1).tolist():
            state.frames.append(label)
            tokens += self._give(state, len(state.frames) - self.late)
        return tokens + self.close(state) if final else tokens

    def look_ahead(self, log_probs, state):
        return self.advance(log_probs, state.fork(), final=True)

    def close(self, state):
        return self._give(state, len(state.frames))


@settings(max_examples=100, deadline=None)
@given(case=CASES, late=st.integers(1, 9))
def test_a_search_may_commit_late(case, late):
    """Words and segments are those of greedy search: an endpoint makes the
    search commit what belongs to the segment."""
    expected = run(make(case), case_log_probs(case))
    transcriber = make(case)
    transcriber.search = LateSearch(late)
    said = run(transcriber, case_log_probs(case), case["cuts"])
    plain = [replace(word, confidence=0.5) for word in final_words(expected)]
    assert final_words(said) == plain
    assert committed(said) == committed(expected)


# -- as JSON


def test_json():
    """One line that says everything."""
    word = Word("ONE", 0.1, 0.3, 0.98765, segment=2)
    transcript = Transcript("ONE", " TWO", (word,), segment=2)
    assert transcript.to_json() == (
        '{"committed": "ONE", "provisional": " TWO", "segment": 2, "words": '
        '[{"word": "ONE", "start": 0.1, "end": 0.3, "confidence": 0.9877, '
        '"final": true, "segment": 2}]}'
    )
    assert Segment(2, (word, word)).text == "ONE ONE"
