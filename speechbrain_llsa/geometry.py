"""The integers of a streaming attention, and the latency they stand for.

Nothing here needs more than the standard library, so that a runtime without
PyTorch can use it.
"""

from __future__ import annotations

import math
import random
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
class TrainedGeometries:
    """The geometries that a model is trained for, of which each call and each
    stream takes one: every look-ahead goes with every hop.

    The first of each is the default.

    Arguments
    ---------
    look_back : int
        Frames that a query sees behind it (llsa: behind its hop).
    look_ahead : int or list of int
        Frames that a query sees ahead of it (llsa: ahead of its hop).
    hop : int or list of int
        Frames that llsa commits together.

    Raises
    ------
    TypeError
        If one of them is not an integer.
    ValueError
        If one of them is out of range or comes twice, or a list is empty.

    Example
    -------
    >>> geometries = TrainedGeometries(64, look_ahead=[8, 0], hop=[8, 1, 4])
    >>> geometries.default
    StreamGeometry(look_back=64, look_ahead=8, hop=8)
    >>> geometries.choose(hop=1, look_ahead=0) in geometries
    True
    >>> geometries.choose(hop=2)
    Traceback (most recent call last):
    ...
    ValueError: hop: got 2, allowed is one of 8, 1, 4, which the model is \
trained for
    """

    look_back: int
    look_ahead: tuple[int, ...]
    hop: tuple[int, ...] = (1,)

    def __post_init__(self):
        check_integer("look_back", self.look_back, 0)
        for name, minimum in (("look_ahead", 0), ("hop", 1)):
            values = _choices(name, getattr(self, name), minimum)
            object.__setattr__(self, name, values)

    @property
    def default(self):
        """The geometry of a call or a stream that asks for none."""
        return self.choose()

    def choose(self, hop=None, look_ahead=None):
        """Takes one of them.

        Arguments
        ---------
        hop : int, optional
            Frames that llsa commits together; the first by default.
        look_ahead : int, optional
            Frames that a query sees ahead; the first by default.

        Returns
        -------
        StreamGeometry

        Raises
        ------
        TypeError
            If a number is not an integer.
        ValueError
            If the model is not trained for it.
        """
        return StreamGeometry(
            self.look_back,
            self._chosen("look_ahead", look_ahead),
            self._chosen("hop", hop),
        )

    def check(self, geometry=None):
        """Refuses a geometry that the model is not trained for.

        Arguments
        ---------
        geometry : StreamGeometry, optional
            The geometry; the default where there is none.

        Returns
        -------
        StreamGeometry

        Raises
        ------
        TypeError
            If it is something else.
        ValueError
            If the model is not trained for it.

        Example
        -------
        >>> TrainedGeometries(64, 8).check(StreamGeometry(64, 8, hop=4))
        Traceback (most recent call last):
        ...
        ValueError: hop: got 4, allowed is 1, which the model is trained for
        """
        if geometry is None:
            return self.default
        check_type("geometry", geometry, StreamGeometry)
        if geometry.look_back != self.look_back:
            raise ValueError(
                f"look_back: got {geometry.look_back}, allowed is "
                f"{self.look_back}, which the model is trained for"
            )
        return self.choose(geometry.hop, geometry.look_ahead)

    def of_chunk(self, attention, chunk_size):
        """The geometry that the host's ``chunk_size`` stands for: where llsa
        is trained for several hops, the hop is the chunk. Elsewhere there is
        nothing to choose, and a chunk is no more than what is pushed at once.

        Arguments
        ---------
        attention : str
            One of aa, maa, sa and llsa.
        chunk_size : int
            Frames of a chunk.

        Returns
        -------
        StreamGeometry

        Raises
        ------
        TypeError
            If it is not an integer.
        ValueError
            If it is none of several hops.

        Example
        -------
        >>> TrainedGeometries(64, 8, hop=[8, 1]).of_chunk("llsa", 1).hop
        1
        >>> TrainedGeometries(64, 8, hop=8).of_chunk("llsa", 50).hop
        8
        """
        if check_attention(attention) != "llsa" or len(self.hop) == 1:
            return self.default
        return self.choose(self._chosen("hop", chunk_size, "chunk_size"))

    def all(self, attention):
        """Those of them that differ, for one attention.

        Arguments
        ---------
        attention : str
            One of aa, maa, sa and llsa.

        Returns
        -------
        list of StreamGeometry
            The default first.

        Example
        -------
        >>> geometries = TrainedGeometries(64, look_ahead=[8, 0], hop=[8, 1])
        >>> len(geometries.all("llsa")), len(geometries.all("sa"))
        (4, 2)
        """
        uses_look_ahead = check_attention(attention) != "aa"
        uses_hop = attention == "llsa"
        return [
            self.choose(hop, look_ahead)
            for hop in (self.hop if uses_hop else self.hop[:1])
            for look_ahead in (
                self.look_ahead if uses_look_ahead else self.look_ahead[:1]
            )
        ]

    def draw(self, attention, step, *seed):
        """The geometry of a step of training, by chance, but so that steps in
        a row take all of them before they take one again.

        Arguments
        ---------
        attention : str
            One of aa, maa, sa and llsa.
        step : int
            The step, from 0 on.
        *seed : int
            What else the choice may depend on.

        Returns
        -------
        StreamGeometry
            The same for the same arguments.

        Example
        -------
        >>> geometries = TrainedGeometries(64, look_ahead=8, hop=[8, 1, 4])
        >>> drawn = [geometries.draw("llsa", step, 1986) for step in range(6)]
        >>> [geometry.hop for geometry in drawn]
        [4, 1, 8, 4, 8, 1]
        """
        choices = self.all(attention)
        turn, place = divmod(step, len(choices))
        # seeded by a text, which Python hashes in the same way everywhere
        random.Random(repr((*seed, turn))).shuffle(choices)
        return choices[place]

    def __contains__(self, geometry):
        return (
            geometry.look_back == self.look_back
            and geometry.look_ahead in self.look_ahead
            and geometry.hop in self.hop
        )

    def _chosen(self, name, value, called=None):
        """One of the values of a name; ``called`` is what the caller calls
        it."""
        trained = getattr(self, name)
        if value is None:
            return trained[0]
        allowed = ", ".join(map(str, trained))
        if len(trained) > 1:
            allowed = f"one of {allowed}"
        if called is None:
            reason = "which the model is trained for"
        else:
            reason = f"the {name}s that the model is trained for"
        if not isinstance(value, Integral) or isinstance(value, bool):
            raise TypeError(
                f"{called or name}: got {value!r} ({type(value).__name__}), "
                f"allowed is {allowed}, {reason}"
            )
        if value not in trained:
            raise ValueError(
                f"{called or name}: got {value}, allowed is {allowed}, {reason}"
            )
        return int(value)


def _choices(name, values, minimum):
    """One integer, or several in a list, as a tuple."""
    if not isinstance(values, (list, tuple)):
        values = (values,)
    for value in values:
        check_integer(name, value, minimum)
    if not values or len(set(values)) < len(values):
        raise ValueError(
            f"{name}: got {list(values)}, allowed is an integer of at least "
            f"{minimum}, or a list of different ones"
        )
    return tuple(map(int, values))


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
