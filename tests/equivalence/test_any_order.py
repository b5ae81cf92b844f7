"""Sessions in any order of calls give what offline gives.

Hypothesis drives several sessions of one model at once, each at one of the
geometries that the model is trained for: it pushes any number of samples,
takes and restores snapshots (on a second, equal model), forks, resets and
finishes. Whatever the order, the text, the log-probabilities of all frames and
the frames where words begin and end are those of the whole signal offline.
"""

from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from speechbrain.decoders.ctc import ctc_greedy_decode

from speechbrain_llsa.decoders.tokenizers import TextDecoder
from speechbrain_llsa_runtime.dataio.resampling import StreamingResampler
from speechbrain_llsa_runtime.inference.session import Session
from tiny_model import CONFORMER, make_model, make_signal, make_tokenizer

TOLERANCE = 1e-4
"""Largest error of a log-probability."""

EXACT = 1e-10
"""In float64: streaming is the same arithmetic, but for rounding."""

LONGEST_SECONDS = 20
MOST_STREAMS = 3
RATES = (16000, 8000, 11025, 44100, 48000)
PRECISIONS = {"float32": torch.float32, "float64": torch.float64}
ATTENTIONS = ["llsa", "sa", "maa"]

DECODER = TextDecoder(make_tokenizer())
SPACE = DECODER.pieces.index(" ")

SMALL = (
    st.sampled_from([0, 1]),
    st.integers(1, 500).map(lambda n: 2 * n + 1),
    st.integers(0, 6000),
    st.integers(0, 20000),
)
HUGE = st.integers(20000, LONGEST_SECONDS * max(RATES))
PUSHES = st.one_of(*SMALL, *SMALL, *SMALL, HUGE)
"""Samples of a push: none, one, odd, any, now and then huge."""


@cache
def recorded_model(copy, precision, attention, geometry):
    """A model whose list ``committed`` takes all that it commits. Copies are
    equal, and made anew.

    The logits are a quarter of those of the tiny model, with the same text:
    those are so large that float32 alone is off by 1e-4 here and there, also
    offline.
    """
    model = make_model(attention, **dict(geometry)).to(PRECISIONS[precision])
    with torch.no_grad():
        model.head.weight *= 0.25
        model.head.bias *= 0.25
    model.committed = []
    for name in ("forward_streaming", "flush"):
        setattr(model, name, recording(model, getattr(model, name)))
    return model


def recording(model, method):
    def call(*arguments):
        log_probs = method(*arguments)
        model.committed.append(log_probs)
        return log_probs

    return call


@cache
def noise(sample_rate):
    return make_signal(LONGEST_SECONDS * sample_rate, seed=sample_rate)


@dataclass
class Stream:
    """A session, what it was given and what it has said."""

    session: Session
    sample_rate: int
    pushes: list = field(default_factory=list)
    text: str = ""
    words: list = field(default_factory=list)
    log_probs: list = field(default_factory=list)

    def copy(self, session):
        return replace(
            self,
            session=session,
            pushes=[*self.pushes],
            words=[*self.words],
            log_probs=[*self.log_probs],
        )

    @property
    def samples(self):
        return sum(len(push) for push in self.pushes)

    def signal(self):
        """All that was pushed, resampled in one piece, which
        ``test_resampling`` compares with torchaudio's."""
        resampler = StreamingResampler(self.sample_rate, 16000)
        context = resampler.make_streaming_context()
        signal = torch.cat([torch.zeros(0), *self.pushes]).numpy()
        signal = [resampler.push(signal, context), resampler.finish(context)]
        return torch.from_numpy(np.concatenate(signal))


@torch.no_grad()
def offline(model, signal, geometry):
    """Log-probabilities of the whole signal, (frames, labels)."""
    return model(signal[None], geometry=geometry)[0][0]


def text_of(log_probs):
    """The text, by SpeechBrain's greedy decoder."""
    (labels,) = ctc_greedy_decode(log_probs[None], torch.ones(1), blank_id=0)
    return "".join(DECODER.pieces[label] for label in labels)


def words_of(best):
    """First and last frame of each word, as greedy CTC says: from the first
    frame of its first letter to the last frame of its last one."""
    words, inside = [], False
    for frame, label in enumerate(best.tolist()):
        if label == SPACE:
            inside = False
        elif label != 0:
            if not inside:
                words.append([frame, frame])
            words[-1][1] = frame
            inside = True
    return words


def frames_of(words):
    """First and last frame of each word of a session."""
    return [
        [round(word.start / 0.02), round(word.end / 0.02) - 1] for word in words
    ]


class Figures:
    """What all machines of a run have seen."""

    def __init__(self):
        self.examples = self.calls = self.streams = self.frames = 0
        self.longest = self.ties = 0
        self.error = self.exact_error = 0.0

    def __str__(self):
        return (
            f"{self.examples} examples, {self.calls} calls, {self.streams} "
            f"streams of up to {self.longest} frames, {self.frames} frames, "
            f"{self.ties} ties; maximum error {self.error:.3g}, in float64 "
            f"{self.exact_error:.3g}"
        )


class Sessions(RuleBasedStateMachine):
    """Sessions of one model."""

    attention = None
    options = None
    figures = None

    @initialize(
        precision=st.sampled_from(list(PRECISIONS)),
        look_back=st.sampled_from([12, 3, 0]),
        look_ahead=st.sampled_from([(4,), (0, 9), (7, 1, 5)]),
        hop=st.sampled_from([(1,), (3, 8), (8, 1)]),
        sample_rate=st.sampled_from(RATES),
        samples=st.one_of(st.integers(5000, 60000), HUGE, PUSHES),
    )
    def begin(
        self, precision, look_back, look_ahead, hop, sample_rate, samples
    ):
        geometry = {"look_back": look_back, "look_ahead": look_ahead}
        if self.attention == "llsa":
            geometry["hop"] = hop
        geometry |= self.options
        self.models = [
            recorded_model(
                copy, precision, self.attention, tuple(geometry.items())
            )
            for copy in range(2)
        ]
        self.precision = precision
        self.calls = 0
        self.snapshots = []
        self.streams = []
        self.add(Stream(Session(self.models[0], DECODER), sample_rate))
        self.figures.examples += 1
        self.push_to(self.streams[0], samples)

    def add(self, stream):
        self.streams = [*self.streams, stream][-MOST_STREAMS:]

    def stream(self, pick):
        return self.streams[pick % len(self.streams)]

    def call(self, stream, method, *arguments):
        """Calls a method of a session, and notes what it commits."""
        self.calls += 1
        self.figures.calls += 1
        for model in self.models:
            model.committed.clear()
        transcript = method(*arguments)
        for model in self.models:
            stream.log_probs += model.committed
        stream.text += transcript.committed
        stream.words += transcript.final_words
        return transcript

    @rule(pick=st.integers(0, 5), samples=PUSHES)
    def push(self, pick, samples):
        self.push_to(self.stream(pick), samples)

    @rule(samples=st.lists(PUSHES, max_size=5))
    def push_to_the_newest(self, samples):
        for each in samples:
            self.push_to(self.streams[-1], each)

    def push_to(self, stream, samples):
        """Each push is another piece of noise, so that sessions differ."""
        if stream.session.finished:
            before = stream.session.snapshot()
            with pytest.raises(ValueError, match="a call after finish"):
                stream.session.push(torch.zeros(samples))
            assert stream.session.snapshot() == before
            return
        source = noise(stream.sample_rate)
        samples = min(samples, len(source) - stream.samples)
        start = 7919 * self.calls % (len(source) - samples + 1)
        piece = source[start : start + samples]
        stream.pushes.append(piece)
        self.call(stream, stream.session.push, piece, stream.sample_rate)

    @rule(
        pick=st.integers(0, 1),
        sample_rate=st.sampled_from(RATES),
        choice=st.integers(0, 5),
    )
    def begin_another(self, pick, sample_rate, choice):
        choices = self.models[pick].geometries.all(self.attention)
        session = self.session_like(choices[choice % len(choices)], pick)
        self.add(Stream(session, sample_rate))

    def session_like(self, geometry, pick=0):
        return Session(
            self.models[pick],
            DECODER,
            hop=geometry.hop,
            look_ahead=geometry.look_ahead,
        )

    @rule(pick=st.integers(0, 5))
    def fork(self, pick):
        stream = self.stream(pick)
        forked = stream.session.fork()
        assert forked.snapshot() == stream.session.snapshot()
        self.add(stream.copy(forked))

    @rule(pick=st.integers(0, 5))
    def snapshot(self, pick):
        stream = self.stream(pick)
        taken = stream.session.snapshot(), stream.copy(None)
        self.snapshots = [*self.snapshots, taken][-MOST_STREAMS:]

    @precondition(lambda self: self.snapshots)
    @rule(pick=st.integers(0, 5), copy=st.integers(0, 1))
    def restore(self, pick, copy):
        data, stream = self.snapshots[pick % len(self.snapshots)]
        session = Session(self.models[copy], DECODER, data)
        assert session.snapshot() == data
        self.add(stream.copy(session))

    @rule(pick=st.integers(0, 5), sample_rate=st.sampled_from(RATES))
    def reset(self, pick, sample_rate):
        place = pick % len(self.streams)
        session = self.streams[place].session
        session.reset()
        new = self.session_like(session.geometry)
        assert session.snapshot() == new.snapshot()
        self.streams[place] = Stream(session, sample_rate)

    @rule(pick=st.integers(0, 5))
    def finish(self, pick):
        stream = self.stream(pick)
        if not stream.session.finished:
            transcript = self.call(stream, stream.session.finish)
            assert transcript.provisional == ""
            self.check(stream)

    @invariant()
    def texts_are_those_of_their_sessions(self):
        for stream in getattr(self, "streams", []):
            assert stream.session.text == stream.text

    def teardown(self):
        for stream in getattr(self, "streams", []):
            if not stream.session.finished:
                self.call(stream, stream.session.finish)
                self.check(stream)

    def check(self, stream):
        """Everything is as offline."""
        expected = offline(
            self.models[0], stream.signal(), stream.session.geometry
        )
        streamed = torch.cat(stream.log_probs, dim=1)[0]
        assert streamed.shape == expected.shape
        exact = self.precision == "float64"
        error = 0.0
        if len(expected):
            error = (streamed - expected).abs().max().item()
        assert error < (EXACT if exact else TOLERANCE)
        assert stream.text == text_of(streamed)
        assert frames_of(stream.words) == words_of(streamed.argmax(dim=1))
        assert [word.text for word in stream.words] == stream.text.split()
        best = streamed.argmax(dim=1)
        tied = best != expected.argmax(dim=1)
        if tied.any():
            # Two labels are equally likely, to within the error of both.
            margin = expected[tied].topk(2, dim=1).values
            assert (margin[:, 0] - margin[:, 1]).max() <= 2 * error
        else:
            assert stream.text == text_of(expected)
            assert words_of(best) == words_of(expected.argmax(dim=1))
        figures = self.figures
        figures.streams += 1
        figures.frames += len(expected)
        figures.longest = max(figures.longest, len(expected))
        figures.ties += int(tied.sum())
        name = "exact_error" if exact else "error"
        setattr(figures, name, max(getattr(figures, name), error))


def drive(attention, examples, steps, **options):
    """Runs so many examples; gives what they saw."""
    entries = {"attention": attention, "options": options}
    machine = type("Machine", (Sessions,), entries)
    machine.figures = Figures()
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    print(f"{attention}: {machine.figures}")
    return machine.figures


@pytest.mark.slow
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_any_order(attention):
    """300 examples in all: every session gives what offline gives."""
    figures = drive(attention, examples=100, steps=25)
    assert figures.examples >= 100
    assert figures.streams > figures.examples
    assert figures.frames > 2000


@pytest.mark.slow
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_any_order_of_conformers(attention):
    """30 examples of each."""
    figures = drive(attention, examples=30, steps=20, **CONFORMER)
    assert figures.streams > figures.examples >= 30


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_any_order_long(attention):
    """3,000 examples in all, with more calls each."""
    figures = drive(attention, examples=1000, steps=30)
    assert figures.examples >= 1000
    assert figures.longest > 900


def test_word_boundaries_by_hand():
    """Of ``AA_B_ _CC`` the first word spans frames 0 to 3, blanks between
    its letters included, the second 7 to 8."""
    a, b, c = (DECODER.pieces.index(letter) for letter in "ABC")
    best = torch.tensor([a, a, 0, b, 0, SPACE, 0, c, c, 0])
    assert words_of(best) == [[0, 3], [7, 8]]
