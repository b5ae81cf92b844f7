"""The integers of a streaming attention, and the latency they stand for.

Nothing here needs more than the standard library, so that a runtime without
PyTorch can use it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real

ATTENTIONS = ("aa", "maa", "sa", "llsa")
"""Acausal, masked acausal, streaming and low-latency streaming attention."""

SAMPLE_RATE = 16000
"""Samples per second of the waveforms that the front end takes."""

FRAME_SECONDS = 0.02
"""Seconds from one encoder frame to the next: 320 samples at 16 kHz."""


def check_attention(attention):
    """Raises an error unless ``attention`` names one of the four kinds.

    Arguments
    ---------
    attention : str
        The name to check.

    Returns
    -------
    str
        The name.

    Raises
    ------
    ValueError
        If there is no such attention.

    Example
    -------
    >>> check_attention("sa")
    'sa'
    """
    if attention not in ATTENTIONS:
        raise ValueError(
            f"attention: got {attention!r}, allowed is one of "
            f"{', '.join(ATTENTIONS)}"
        )
    return attention


def check_integer(name, value, minimum):
    """Raises an error unless a value is an integer that is large enough.

    Arguments
    ---------
    name : str
        What the value is for.
    value : int
        The value.
    minimum : int
        The least that is allowed.

    Raises
    ------
    TypeError
        If it is not an integer.
    ValueError
        If it is too small.

    Example
    -------
    >>> check_integer("hop", 4, 1)
    """
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(
            f"{name}: got {value!r} ({type(value).__name__}), allowed is an "
            f"integer of at least {minimum}"
        )
    if value < minimum:
        raise ValueError(
            f"{name}: got {value}, allowed is an integer of at least {minimum}"
        )


def check_number(name, value, minimum, maximum=math.inf):
    """Raises an error unless a value is a number of a range.

    Arguments
    ---------
    name : str
        What the value is for.
    value : float
        The value.
    minimum : float
        The least that is allowed.
    maximum : float
        The most that is allowed.

    Raises
    ------
    TypeError
        If it is not a number.
    ValueError
        If it is out of range, or NaN.

    Example
    -------
    >>> check_number("dropout", 0.1, 0, 1)
    """
    allowed = f"a number of at least {minimum}"
    if maximum < math.inf:
        allowed = f"a number from {minimum} to {maximum}"
    if not isinstance(value, Real) or isinstance(value, bool):
        raise TypeError(
            f"{name}: got {value!r} ({type(value).__name__}), allowed is "
            f"{allowed}"
        )
    if not minimum <= value <= maximum:
        raise ValueError(f"{name}: got {value}, allowed is {allowed}")


def check_type(name, value, kind):
    """Raises an error unless a value is of a type.

    Arguments
    ---------
    name : str
        What the value is for.
    value : object
        The value.
    kind : type or tuple of type
        The type, or several.

    Raises
    ------
    TypeError
        If it is of another type.

    Example
    -------
    >>> check_type("attention", "sa", str)
    """
    if not isinstance(value, kind):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        names = " or ".join(each.__name__ for each in kinds)
        raise TypeError(
            f"{name}: got {type(value).__name__}, allowed is {names}"
        )


@dataclass(frozen=True)
class StreamGeometry:
    """How far an attention layer sees, and how many frames it commits at once.

    Arguments
    ---------
    look_back : int
        Frames that a query sees behind it (llsa: behind its hop).
    look_ahead : int
        Frames that a query sees ahead of it (llsa: ahead of its hop).
    hop : int
        Frames that are committed together. Only llsa uses it; a hop larger
        than 1 trades at most ``hop - 1`` frames of latency for less work.

    Raises
    ------
    TypeError
        If one of them is not an integer.
    ValueError
        If one of them is out of range.

    Example
    -------
    >>> geometry = StreamGeometry(look_back=64, look_ahead=8)
    >>> geometry.hop
    1
    >>> geometry.stack_look_ahead("llsa", 12), geometry.stack_look_ahead(
    ...     "sa", 12
    ... )
    (8, 96)
    """

    look_back: int
    look_ahead: int
    hop: int = 1

    def __post_init__(self):
        check_integer("look_back", self.look_back, 0)
        check_integer("look_ahead", self.look_ahead, 0)
        check_integer("hop", self.hop, 1)

    def stack_look_ahead(self, attention, num_layers):
        """Frames that a stack of layers sees ahead of a frame that it commits,
        not counting the wait for the hop to fill.

        Arguments
        ---------
        attention : str
            One of aa, maa, sa and llsa.
        num_layers : int
            Layers of the stack.

        Returns
        -------
        int or None
            Frames; ``None`` where it is the rest of the utterance (aa).

        Example
        -------
        >>> StreamGeometry(64, 8).stack_look_ahead("maa", 12)
        96
        """
        check_attention(attention)
        if attention == "aa":
            return None
        if attention == "llsa":
            return self.look_ahead if num_layers > 0 else 0
        return num_layers * self.look_ahead

    def hop_wait(self, attention):
        """Frames that a frame waits, at most, for its hop to fill.

        Arguments
        ---------
        attention : str
            One of aa, maa, sa and llsa.

        Returns
        -------
        int
            Frames; 0 for all attentions but llsa.

        Example
        -------
        >>> StreamGeometry(64, 8, hop=4).hop_wait("llsa")
        3
        """
        return self.hop - 1 if check_attention(attention) == "llsa" else 0


@dataclass(frozen=True)
class Latency:
    """The declared latency of one attention in one model.

    Arguments
    ---------
    attention : str
        One of aa, maa, sa and llsa.
    look_ahead : int or None
        Frames of look-ahead of the whole stack; ``None`` for the utterance.
    hop_wait : int
        Frames that a frame waits, at most, for its hop to fill.
    receptive_field_samples : int
        Samples that the front end needs for its first frame; 0 without one.
    frame_seconds : float
        Seconds from one encoder frame to the next.

    Example
    -------
    >>> latency = Latency("llsa", 8, 0, 641)
    >>> latency.look_ahead_seconds
    0.16
    >>> round(latency.total_seconds, 3)
    0.2
    """

    attention: str
    look_ahead: int | None
    hop_wait: int
    receptive_field_samples: int = 0
    frame_seconds: float = FRAME_SECONDS

    def _seconds(self, frames):
        if frames is None:
            return None
        return round(frames * self.frame_seconds, 9)

    @property
    def look_ahead_seconds(self):
        """Look-ahead in seconds; ``None`` for the utterance."""
        return self._seconds(self.look_ahead)

    @property
    def hop_wait_seconds(self):
        """Longest wait for the hop to fill, in seconds."""
        return self._seconds(self.hop_wait)

    @property
    def receptive_field_seconds(self):
        """Length of the front end's receptive field in seconds."""
        return self.receptive_field_samples / SAMPLE_RATE

    @property
    def receptive_field_frames(self):
        """Length of the front end's receptive field in encoder frames."""
        return self.receptive_field_seconds / self.frame_seconds

    @property
    def total_seconds(self):
        """From the first sample of a frame to the sample that commits it, at
        most, in seconds; ``None`` for the utterance."""
        if self.look_ahead is None:
            return None
        return (
            self._seconds(self.look_ahead + self.hop_wait)
            + self.receptive_field_seconds
        )

    @property
    def total_frames(self):
        """The same in encoder frames; ``None`` for the utterance."""
        if self.look_ahead is None:
            return None
        return self.total_seconds / self.frame_seconds


@dataclass(frozen=True)
class LatencyReport:
    """The declared latency of a model, next to that of the other attentions
    at the same geometry and depth.

    Arguments
    ---------
    attention : str
        The attention that the model has.
    geometry : StreamGeometry
        Its geometry.
    num_layers : int
        Its encoder layers.
    receptive_field_samples : int
        Samples that the front end needs for its first frame; 0 without one.
    frame_seconds : float
        Seconds from one encoder frame to the next.

    Example
    -------
    >>> report = LatencyReport("llsa", StreamGeometry(64, 8), 12)
    >>> report["llsa"].look_ahead_seconds, report["sa"].look_ahead_seconds
    (0.16, 1.92)
    >>> print(report)
    12 layers, look_back 64, look_ahead 8, hop 1 (frames of 0.02 s)
    attention     look-ahead       hop wait  receptive field          total
    aa             utterance     0  0.000 s      0.0  0.000 s      utterance
    maa          96  1.920 s     0  0.000 s      0.0  0.000 s   96.0  1.920 s
    sa           96  1.920 s     0  0.000 s      0.0  0.000 s   96.0  1.920 s
    llsa *        8  0.160 s     0  0.000 s      0.0  0.000 s    8.0  0.160 s
    """

    attention: str
    geometry: StreamGeometry
    num_layers: int
    receptive_field_samples: int = 0
    frame_seconds: float = FRAME_SECONDS

    def __post_init__(self):
        check_attention(self.attention)
        check_type("geometry", self.geometry, StreamGeometry)
        check_integer("num_layers", self.num_layers, 0)

    def __getitem__(self, attention):
        return Latency(
            attention=check_attention(attention),
            look_ahead=self.geometry.stack_look_ahead(
                attention, self.num_layers
            ),
            hop_wait=self.geometry.hop_wait(attention),
            receptive_field_samples=self.receptive_field_samples,
            frame_seconds=self.frame_seconds,
        )

    @property
    def declared_latency(self):
        """The row of the model's own attention."""
        return self[self.attention]

    def __str__(self):
        geometry = self.geometry
        lines = [
            f"{self.num_layers} layers, look_back {geometry.look_back}, "
            f"look_ahead {geometry.look_ahead}, hop {geometry.hop} "
            f"(frames of {self.frame_seconds} s)",
            f"{'attention':<10}{'look-ahead':>14}{'hop wait':>15}"
            f"{'receptive field':>17}{'total':>15}",
        ]
        for attention in ATTENTIONS:
            row = self[attention]
            mark = " *" if attention == self.attention else ""
            if row.look_ahead is None:
                look_ahead, total = f"{'utterance':>14}", f"{'utterance':>15}"
            else:
                look_ahead = (
                    f"{row.look_ahead:>5}{row.look_ahead_seconds:>7.3f} s"
                )
                total = f"{row.total_frames:>7.1f}{row.total_seconds:>7.3f} s"
            lines.append(
                f"{attention + mark:<10}{look_ahead:>14}"
                f"{row.hop_wait:>6}{row.hop_wait_seconds:>7.3f} s"
                f"{row.receptive_field_frames:>9.1f}"
                f"{row.receptive_field_seconds:>7.3f} s{total:>15}"
            )
        return "\n".join(lines)


@dataclass(frozen=True)
class StepClock:
    """Where the steps of a stream of fixed shapes lie in samples and frames.

    Each step takes ``step_frames`` frames' worth of samples and gives as many
    frames, so that nothing about its shapes depends on where the stream is. A
    stream begins with silence and with frames before the utterance, at
    negative positions, which do not exist; it ends with steps of silence that
    bring out what still waits, up to the end of the utterance.

    Arguments
    ---------
    attention : str
        One of maa, sa and llsa.
    geometry : StreamGeometry
        Look-back, look-ahead and hop, in frames.
    num_layers : int
        Layers of the encoder.
    step_frames : int
        Frames of a step; for llsa its hop.
    receptive_field_samples : int
        Samples that the front end needs for its first frame.
    stride_samples : int
        Samples from one frame to the next.

    Raises
    ------
    ValueError
        If the attention cannot stream, or the step of llsa is not its hop.

    Example
    -------
    >>> clock = StepClock("llsa", StreamGeometry(64, 8, 4), 12, 4, 641, 320)
    >>> clock.first_frame, clock.leading_samples, clock.step_samples
    (-4, 959, 1280)
    >>> clock.frames_of(641), clock.steps_to_end(641)
    (1, 4)
    """

    attention: str
    geometry: StreamGeometry
    num_layers: int
    step_frames: int
    receptive_field_samples: int
    stride_samples: int

    def __post_init__(self):
        if check_attention(self.attention) == "aa":
            raise ValueError(
                "attention: got 'aa', which sees the whole utterance; allowed "
                "for streaming is one of maa, sa, llsa"
            )
        check_integer("step_frames", self.step_frames, 1)
        if self.attention == "llsa" and self.step_frames != self.geometry.hop:
            raise ValueError(
                f"step_frames: got {self.step_frames}, allowed for llsa is its "
                f"hop, {self.geometry.hop}"
            )

    @property
    def step_samples(self):
        """Samples that a step takes."""
        return self.step_frames * self.stride_samples

    @property
    def overlap_samples(self):
        """Samples that neighbouring frames share, and that lie before the
        first step."""
        return self.receptive_field_samples - self.stride_samples

    @property
    def delay_frames(self):
        """Frames that committed ones lag behind those that a step takes in."""
        return self.geometry.stack_look_ahead(self.attention, self.num_layers)

    @property
    def first_frame(self):
        """Position of the first frame that the first step takes in: before
        the utterance, and so that hops begin where they do offline."""
        first = -(-self.overlap_samples // self.stride_samples)
        if self.attention == "llsa":
            first += (-first - self.geometry.look_ahead) % self.geometry.hop
        return -first

    @property
    def leading_samples(self):
        """Samples of silence to push before the utterance."""
        return -self.first_frame * self.stride_samples - self.overlap_samples

    def frames_of(self, samples):
        """Frames of an utterance.

        Arguments
        ---------
        samples : int
            Its samples.

        Returns
        -------
        int
        """
        beyond = samples - self.receptive_field_samples
        return max(0, beyond // self.stride_samples + 1)

    def steps_to_end(self, samples):
        """Steps after which all frames of an utterance are committed.

        Arguments
        ---------
        samples : int
            Samples of the utterance.

        Returns
        -------
        int
            0 if it has no frame.
        """
        frames = self.frames_of(samples)
        if frames == 0:
            return 0
        needed = frames + self.delay_frames - self.first_frame
        return -(-needed // self.step_frames)
