"""Endpointing: where one segment of a stream closes and the next begins.

Needs only NumPy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache
from typing import Any, Literal

from speechbrain_llsa_runtime.geometry import FRAME_SECONDS
from speechbrain_llsa_runtime.utils.errors import must_be

LONGEST_SECONDS = 1e6

LONGEST_WORD_SECONDS = 5.0
"""Maximum time that a segment of sufficient length waits for the end of a
word."""


@dataclass(frozen=True)
class EndpointRule:
    """Condition for closing a segment: all three fields must be met.

    A rule that requires no silence, such as one of maximum length, waits for a
    word boundary once there has been speech: the first frame of the next word,
    if labels have leading spaces. If none comes within
    ``LONGEST_WORD_SECONDS``, as in noise taken for letters, the segment closes
    at the next frame without speech.

    Raises
    ------
    TypeError
        If a field has the wrong type.
    ValueError
        If a number is out of range, or the rule would always hold.

    Example
    -------
    >>> EndpointRule(speech=True, silence_seconds=0.8)
    EndpointRule(speech=True, silence_seconds=0.8, length_seconds=0.0)
    """

    speech: bool = False
    """Whether the segment must contain speech: a frame whose best label is not
    blank."""

    silence_seconds: float = 0.0
    """Minimum silence at its end: frames whose best label is blank."""

    length_seconds: float = 0.0
    """Minimum length of the segment, including silence."""

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
        if not _usual_frames(max(self.silence_seconds, self.length_seconds)):
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


def _usual_frames(seconds: float) -> int:
    return round(seconds / FRAME_SECONDS)


def _frames(seconds: float, frame_seconds: float) -> int:
    """Converts a minimum in seconds to frames: what is a usual frame is at
    least one of any duration."""
    return max(min(1, _usual_frames(seconds)), round(seconds / frame_seconds))


@dataclass(frozen=True)
class _Minima:
    """The minima of a rule in frames."""

    speech: bool
    silence: int
    length: int
    overdue: int
    """Length at which no end of a word is waited for."""

    def met(self, length: int, silence: int | None, speech: bool) -> bool:
        """Whether the rule applies: at the start of a word if ``silence`` is
        ``None``, otherwise after a frame without speech."""
        if length < self.length or (self.speech and not speech):
            return False
        if self.silence:
            return silence is not None and silence >= self.silence
        return silence is None or not speech or length >= self.overdue


@cache
def _minima(rule: EndpointRule, frame_seconds: float) -> _Minima:
    length = _frames(rule.length_seconds, frame_seconds)
    return _Minima(
        rule.speech,
        _frames(rule.silence_seconds, frame_seconds),
        length,
        length + _frames(LONGEST_WORD_SECONDS, frame_seconds),
    )


def resolve_endpointer(
    endpointer: Endpointer | Literal[False] | None,
    model_endpointer: Endpointer | None,
) -> Endpointer | None:
    """Chooses the endpointer of a stream.

    Arguments
    ---------
    endpointer : Endpointer or bool, optional
        The caller's choice: ``False`` for none, ``None`` for that of the model.
    model_endpointer : Endpointer or None
        The endpointer of the model.

    Returns
    -------
    Endpointer or None

    Raises
    ------
    TypeError
        If it has the wrong type.

    Example
    -------
    >>> resolve_endpointer(False, Endpointer()) is None
    True
    """
    if endpointer is None:
        return model_endpointer
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
    """State of the open segment."""

    number: int = 0
    """Serial number of the segment, from 0."""

    start: int = 0
    """First frame of the segment, counted from the start of the stream."""

    silence: int = 0
    """Number of frames without speech at its end."""

    speech: bool = False
    """Whether any of its frames has speech."""

    label: int = -1
    """Best label of the newest frame, -1 if unknown."""

    def fork(self) -> SegmentState:
        """Makes an independent copy.

        Returns
        -------
        SegmentState
        """
        return SegmentState(**vars(self))


class Endpointer:
    """Closes a segment when one of the three usual rules of streaming
    recognisers applies: silence without speech, silence after speech, and
    maximum length.

    It uses the best label of each committed frame, so that endpoints do not
    depend on how audio is pushed. The model continues across endpoints, so that
    the text does not depend on them.

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
        If a rule or one of its fields has the wrong type.
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
        self._given = [rule for rule in self.rules.values() if rule is not None]

    def to_dict(self) -> dict[str, dict[str, Any] | None]:
        """Converts the rules to plain values, from which an equal endpointer
        can be made.

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
        frame_seconds: float = FRAME_SECONDS,
    ) -> int | None:
        """Finds the first endpoint within frames.

        Arguments
        ---------
        best : list of int
            The best label of each frame.
        frame : int
            Index of the first of them, counted from the start of the stream.
        state : SegmentState
            The open segment; updated in place up to the endpoint or, without
            one, up to the last frame.
        begins_word : list of bool, optional
            Whether each label begins with a space. If none does, which is the
            default, each label is a word boundary.
        blank_index : int
            Index of the blank label.
        frame_seconds : float
            Seconds from one frame to the next.

        Returns
        -------
        int or None
            The frame where the next segment begins: the newest frame that the
            decision depends on, or the one after it.
        """
        rules = [_minima(rule, frame_seconds) for rule in self._given]
        for index, label in enumerate(best, start=frame):
            spoken = label != blank_index
            if (
                spoken
                and label != state.label
                and (begins_word is None or begins_word[label])
                and any(
                    rule.met(index - state.start, None, state.speech)
                    for rule in rules
                )
            ):
                return self._close(state, index)
            state.label = label
            state.silence = 0 if spoken else state.silence + 1
            state.speech = state.speech or spoken
            if not spoken and any(
                rule.met(index + 1 - state.start, state.silence, state.speech)
                for rule in rules
            ):
                return self._close(state, index + 1)
        return None

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
