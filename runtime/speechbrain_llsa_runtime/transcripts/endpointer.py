"""Endpoints: where one segment of a stream closes and the next one begins.

Needs NumPy alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from speechbrain_llsa_runtime.geometry import FRAME_SECONDS
from speechbrain_llsa_runtime.utils.errors import must_be

LONGEST_SECONDS = 1e6

LONGEST_WORD_SECONDS = 5.0
"""How long a segment that is long enough waits for the end of a word."""


@dataclass(frozen=True)
class EndpointRule:
    """When a segment closes: as soon as all three conditions hold.

    Without any silence, as for a segment that is long enough, it waits for a
    word boundary: for the first frame of the next word, where labels have a
    space at their beginning, unless nothing has been said. Where none comes
    within ``LONGEST_WORD_SECONDS``, as in noise that is taken for letters, it
    closes at the next frame without speech.

    Raises
    ------
    TypeError
        If a field is of another type.
    ValueError
        If a number is out of range, or the rule would always hold.

    Example
    -------
    >>> EndpointRule(speech=True, silence_seconds=0.8)
    EndpointRule(speech=True, silence_seconds=0.8, length_seconds=0.0)
    """

    speech: bool = False
    """Whether the segment must have speech: a frame whose best label is not
    the blank."""

    silence_seconds: float = 0.0
    """Silence at its end, at least: frames whose best label is the blank."""

    length_seconds: float = 0.0
    """Length of the segment, its silence included, at least."""

    def __post_init__(self) -> None:
        if not isinstance(self.speech, bool):
            raise TypeError(
                must_be("speech", "True or False", repr(self.speech))
            )
        for name in ("silence_seconds", "length_seconds"):
            value = getattr(self, name)
            if type(value) not in (int, float):
                raise TypeError(must_be(name, "a number", repr(value)))
            if not 0 <= value <= LONGEST_SECONDS:
                raise ValueError(
                    must_be(name, f"0 to {LONGEST_SECONDS:g}", value)
                )
        if not max(self.silence_frames, self.length_frames):
            raise ValueError(
                must_be(
                    "silence_seconds",
                    (
                        "above 0 where length_seconds is 0, or the rule "
                        "would always "
                        "hold"
                    ),
                    0,
                )
            )

    @property
    def silence_frames(self) -> int:
        """The silence in frames."""
        return _frames(self.silence_seconds)

    @property
    def length_frames(self) -> int:
        """The length in frames."""
        return _frames(self.length_seconds)


def _frames(seconds: float) -> int:
    return round(seconds / FRAME_SECONDS)


LONGEST_WORD_FRAMES = _frames(LONGEST_WORD_SECONDS)


def resolve_endpointer(
    endpointer: Endpointer | Literal[False] | None, own: Endpointer | None
) -> Endpointer | None:
    """Says where the segments of a stream close.

    Arguments
    ---------
    endpointer : Endpointer or bool, optional
        What the caller asks for: ``False`` for nowhere, ``None`` for where
        the model says.
    own : Endpointer or None
        That of the model.

    Returns
    -------
    Endpointer or None

    Raises
    ------
    TypeError
        If it is something else.

    Example
    -------
    >>> resolve_endpointer(False, Endpointer()) is None
    True
    """
    if endpointer is None:
        return own
    if endpointer is False:
        return None
    if not isinstance(endpointer, Endpointer):
        raise TypeError(
            "endpointer must be an Endpointer, False for none or None for "
            f"that of the model, got {endpointer!r}"
        )
    return endpointer


WITHOUT_SPEECH = EndpointRule(silence_seconds=5.0)
AFTER_SPEECH = EndpointRule(speech=True, silence_seconds=0.8)
MAXIMUM_LENGTH = EndpointRule(length_seconds=20.0)


@dataclass
class SegmentState:
    """What is known of the segment that goes on."""

    number: int = 0
    """Its serial number, from 0."""

    start: int = 0
    """Its first frame, counted from the start of the stream."""

    silence: int = 0
    """Frames at its end without speech."""

    speech: bool = False
    """Whether it has any frame with speech."""

    label: int = -1
    """Best label of the newest frame, -1 where that is not known."""

    def fork(self) -> SegmentState:
        """An independent copy.

        Returns
        -------
        SegmentState
        """
        return SegmentState(**vars(self))


class Endpointer:
    """Closes a segment when one of three rules says so, as streaming
    recognisers have them: silence before anything has been said, silence
    behind what has been said, and a length that is enough.

    It looks at the best label of each committed frame: an endpoint lies at
    the same frame however the audio is pushed. The model goes on as if there
    were none, so that the text is the same.

    Arguments
    ---------
    without_speech : EndpointRule or dict or None
        The first rule; ``None`` for none.
    after_speech : EndpointRule or dict or None
        The second rule; ``None`` for none.
    maximum_length : EndpointRule or dict or None
        The third rule; ``None`` for none.

    Raises
    ------
    TypeError
        If a rule is something else, or a field of it is.
    ValueError
        If a field of a rule is unknown or out of range.

    Example
    -------
    >>> endpointer = Endpointer(
    ...     after_speech={"speech": True, "silence_seconds": 0.06}
    ... )
    >>> state = SegmentState()
    >>> best = [0, 0, 0, 0, 5, 5, 0, 0, 0, 7]
    >>> endpointer.find(best, 0, state)
    9
    >>> state.number, state.start
    (1, 9)
    >>> endpointer.find(best[9:], 9, state) is None
    True
    """

    def __init__(
        self,
        without_speech: EndpointRule | dict[str, Any] | None = WITHOUT_SPEECH,
        after_speech: EndpointRule | dict[str, Any] | None = AFTER_SPEECH,
        maximum_length: EndpointRule | dict[str, Any] | None = MAXIMUM_LENGTH,
    ) -> None:
        self.rules = {
            "without_speech": _rule("without_speech", without_speech),
            "after_speech": _rule("after_speech", after_speech),
            "maximum_length": _rule("maximum_length", maximum_length),
        }
        given = [rule for rule in self.rules.values() if rule is not None]
        self._rules = [
            (rule.speech, rule.silence_frames, rule.length_frames)
            for rule in given
        ]

    def to_dict(self) -> dict[str, dict[str, Any] | None]:
        """The rules as plain values, from which the same one is made.

        Returns
        -------
        dict

        Example
        -------
        >>> rules = Endpointer(maximum_length=None).to_dict()
        >>> Endpointer(**rules).to_dict() == rules
        True
        """
        return {
            name: None if rule is None else asdict(rule)
            for name, rule in self.rules.items()
        }

    def find(
        self,
        best: Sequence[int],
        frame: int,
        state: SegmentState,
        begins_word: Sequence[bool] | None = None,
        blank_index: int = 0,
    ) -> int | None:
        """Finds the first endpoint within frames.

        Arguments
        ---------
        best : list of int
            The best label of each frame.
        frame : int
            The first of them, counted from the start of the stream.
        state : SegmentState
            The segment that goes on. It is brought up to date: up to the
            endpoint, or else up to the last frame.
        begins_word : list of bool, optional
            For each label, whether it begins with a space. Where no label
            does, each label is a boundary, and so by default.
        blank_index : int
            The label that stands for blank.

        Returns
        -------
        int or None
            The frame where the next segment begins. It is the one after the
            newest of the frames that the decision needs, or that one itself.
        """
        for index, label in enumerate(best, start=frame):
            spoken = label != blank_index
            if (
                spoken
                and label != state.label
                and (begins_word is None or begins_word[label])
                and self._holds(index - state.start, None, state.speech)
            ):
                return self._close(state, index)
            state.label = label
            state.silence = 0 if spoken else state.silence + 1
            state.speech = state.speech or spoken
            if not spoken and self._holds(
                index + 1 - state.start, state.silence, state.speech
            ):
                return self._close(state, index + 1)
        return None

    def _holds(self, length: int, silence: int | None, speech: bool) -> bool:
        """Whether a rule holds: at the start of a word where ``silence`` is
        ``None``, or else behind a frame without speech."""
        for needs_speech, needed_silence, needed_length in self._rules:
            if length < needed_length or (needs_speech and not speech):
                continue
            if not needed_silence:
                overdue = length >= needed_length + LONGEST_WORD_FRAMES
                if silence is None or not speech or overdue:
                    return True
            elif silence is not None and silence >= needed_silence:
                return True
        return False

    @staticmethod
    def _close(state: SegmentState, frame: int) -> int:
        state.number += 1
        state.start, state.silence, state.speech = frame, 0, False
        return frame


def _rule(
    name: str, rule: EndpointRule | dict[str, Any] | None
) -> EndpointRule | None:
    if rule is None or isinstance(rule, EndpointRule):
        return rule
    if not isinstance(rule, dict):
        raise TypeError(
            must_be(
                name,
                "an EndpointRule, a dict of its fields, or None",
                type(rule).__name__,
            )
        )
    allowed = [item.name for item in fields(EndpointRule)]
    for field in rule:
        if field not in allowed:
            raise ValueError(
                must_be(
                    name,
                    f"made of {', '.join(allowed)}",
                    f"the field {field!r}",
                )
            )
    try:
        return EndpointRule(**rule)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from error
