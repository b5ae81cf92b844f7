"""Beams as a snapshot holds them: plain values, which may be untrusted.

What can be computed from the rest is left out: the states of language model and
hotwords, which follow from the last words of a beam, and what SpeechBrain's
beams hold without using it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from speechbrain.decoders.ctc import CTCBeam

from speechbrain_llsa.decoders.trace import (
    BLANK,
    INSIDE,
    SPACE,
    WORD_START,
    Run,
    Trace,
    shared_length,
)
from speechbrain_llsa_runtime.decoders.tokens import Token
from speechbrain_llsa_runtime.snapshot import each_below


@dataclass
class WrittenBeam:
    """A beam between two frames. Each field is one of its trace, or of
    SpeechBrain's beam.

    Example
    -------
    >>> trace = Trace().step(3, INSIDE, -0.5)
    >>> beam = WrittenBeam.of(make_beam("A", "B", trace, "B"), 0.25)
    >>> beam.run, beam.score, beam.word_score
    (Token(label=3, start=0, end=1, confidence=0.606531), -0.5, 0.25)
    >>> beam.trace(1) == trace
    True
    """

    text: str
    """Its last words, separated by spaces."""

    partial_word: str
    """The word that goes on."""

    tokens: tuple[Token, ...]
    """Tokens that have ended and are not committed."""

    run: Token | None
    """The current run of one label."""

    space: Token | None
    """The space that is held back."""

    last: int | None
    """Label of the last frame."""

    started: bool
    """Whether there has been any word."""

    score: float
    """Log-probability, without that of words."""

    word_score: float
    """Score of its complete words, 0 if words are not scored."""

    @classmethod
    def of(cls, beam: CTCBeam, word_score: float) -> WrittenBeam:
        """Makes one of a beam.

        Arguments
        ---------
        beam : CTCBeam
            A beam with a trace.
        word_score : float
            Score of its complete words.

        Returns
        -------
        WrittenBeam
        """
        trace = beam.text_frames
        return cls(
            beam.text,
            beam.partial_word,
            trace.tokens,
            trace.run and trace.run.token(),
            trace.space and trace.space.token(),
            trace.last,
            trace.started,
            float(beam.score),
            float(word_score),
        )

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> WrittenBeam:
        """Makes one of values by path, the inverse of
        :func:`~speechbrain_llsa_runtime.snapshot.flatten`. Their types are not
        checked.

        Arguments
        ---------
        values : dict
            The values.

        Returns
        -------
        WrittenBeam
        """
        tokens: list[Token] = []
        while f"tokens.{len(tokens)}.label" in values:
            tokens.append(_token(values, f"tokens.{len(tokens)}"))
        run, space = (
            _token(values, name) if f"{name}.label" in values else None
            for name in ("run", "space")
        )
        names = "last", "started", "score", "word_score"
        return cls(
            values["text"],
            values["partial_word"],
            tuple(tokens),
            run,
            space,
            *(values[name] for name in names),
        )

    def trace(self, frames: int) -> Trace:
        """The trace of the beam.

        Arguments
        ---------
        frames : int
            Frames so far.

        Returns
        -------
        Trace
        """
        return Trace(
            self.tokens,
            _run(self.run),
            _run(self.space),
            self.last,
            frames,
            self.score,
            self.started,
        )

    def is_possible(
        self, frames: int, kinds: Sequence[int], scored: bool
    ) -> bool:
        """Whether a beam can be like that.

        Arguments
        ---------
        frames : int
            Frames so far, at least 1.
        kinds : list of int
            The kind of each label (:mod:`speechbrain_llsa.decoders.trace`).
        scored : bool
            Whether words are scored.

        Returns
        -------
        bool
        """
        return (
            self._has_words()
            and _is_finite(self.score)
            and _is_finite(self.word_score)
            and (scored or not self.word_score)
            and type(self.last) is int
            and 0 <= self.last < len(kinds)
            and self._has_trace(frames, kinds)
        )

    def _has_words(self) -> bool:
        text, partial_word = self.text, self.partial_word
        if type(text) is not str or type(partial_word) is not str:
            return False
        (text + partial_word).encode()  # half a character cannot be scored
        return text == " ".join(text.split()) and not any(
            map(str.isspace, partial_word)
        )

    def _has_trace(self, frames: int, kinds: Sequence[int]) -> bool:
        run, space = self.run, self.space
        held = *self.tokens, *(part for part in (space, run) if part)
        words = WORD_START, INSIDE
        return (
            _are_runs(held, frames, len(kinds))
            and all(kinds[token.label] != BLANK for token in self.tokens)
            and (space is None or (kinds[space.label] == SPACE and not run))
            and (run is None or kinds[run.label] in words)
            and (run is None or (run.label, run.end) == (self.last, frames))
            and type(self.started) is bool
            and (self.started or not held)
            and (not self.started or bool(self.text or self.partial_word))
        )


@dataclass
class WrittenSearch:
    """The state of a beam search.

    Example
    -------
    >>> from speechbrain_llsa_runtime.snapshot import flatten
    >>> trace = Trace().step(3, INSIDE, -0.5)
    >>> beam = WrittenBeam.of(make_beam("", "B", trace, "B"), 0.0)
    >>> written = WrittenSearch([beam], 1)
    >>> values = flatten(written)
    >>> values["beams.0.run.end"]
    1
    >>> WrittenSearch.from_values(values, 1) == written
    True
    """

    beams: list[WrittenBeam]
    """Live beams, best first."""

    frames: int
    """Frames so far."""

    @classmethod
    def from_values(
        cls, values: Mapping[str, Any], frames: int
    ) -> WrittenSearch:
        """Makes one of values by path. Their types are not checked.

        Arguments
        ---------
        values : dict
            The values.
        frames : int
            Frames so far.

        Returns
        -------
        WrittenSearch
        """
        beams = [
            WrittenBeam.from_values(each)
            for each in each_below("beams", values)
        ]
        return cls(beams, frames)

    def is_possible(
        self, kinds: Sequence[int], scored: bool, beam_size: int
    ) -> bool:
        """Whether a search can have this state after its first frame.

        Arguments
        ---------
        kinds : list of int
            The kind of each label (:mod:`speechbrain_llsa.decoders.trace`).
        scored : bool
            Whether words are scored.
        beam_size : int
            Most beams that there may be.

        Returns
        -------
        bool
        """
        beams = self.beams
        if not 1 <= len(beams) <= beam_size or not all(
            beam.is_possible(self.frames, kinds, scored) for beam in beams
        ):
            return False
        ends = {(beam.text, beam.partial_word, beam.last) for beam in beams}
        scores = {(beam.text, beam.word_score) for beam in beams}
        return (
            len(ends) == len(beams)
            and len(scores) == len({text for text, _ in scores})
            and shared_length(beam.tokens for beam in beams) == 0
        )


def make_beam(
    text: str, partial_word: str, trace: Trace, last_token: str | None
) -> CTCBeam:
    """Makes a beam between two frames.

    Arguments
    ---------
    text : str
        Its words.
    partial_word : str
        The word that goes on.
    trace : Trace
        Its labels.
    last_token : str or None
        SpeechBrain's text of the label of the last frame.

    Returns
    -------
    CTCBeam

    Example
    -------
    >>> make_beam("", "", Trace(), None).score
    0.0
    """
    return CTCBeam(
        text=text,
        full_text="",
        next_word="",
        partial_word=partial_word,
        last_token=last_token,
        last_token_index=trace.last,
        text_frames=trace,
        partial_frames=(-1, -1),  # a trace has them
        score=trace.score,
    )


def _token(values: Mapping[str, Any], name: str) -> Token:
    parts = "label", "start", "end", "confidence"
    return Token(*(values[f"{name}.{part}"] for part in parts))


def _run(token: Token | None) -> Run | None:
    """Inverse of ``Run.token``."""
    if token is None:
        return None
    return Run(token.label, token.start, token.end, token.confidence)


def _is_finite(number: object) -> bool:
    return type(number) is float and math.isfinite(number)


def _are_runs(runs: Iterable[Token], frames: int, labels: int) -> bool:
    """Whether runs of labels follow each other within the frames."""
    free = 0
    for run in runs:
        numbers = run.label, run.start, run.end
        if not (
            all(type(number) is int for number in numbers)
            and 0 <= run.label < labels
            and free <= run.start < run.end <= frames
            and type(run.confidence) is float
            and 0.0 <= run.confidence <= 1.0
        ):
            return False
        free = run.end
    return True
