"""Where the steps of a stream lie, in samples and in frames.

Standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

from speechbrain_llsa_runtime.geometry import (
    SAMPLE_RATE,
    StreamGeometry,
    check_attention,
)
from speechbrain_llsa_runtime.utils.checks import check_integer
from speechbrain_llsa_runtime.utils.errors import must_be

NEVER = (1 << 63) - 1
"""The end of a stream that goes on, in frames: the largest int64."""


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
    positional_look_ahead : int
        Frames that a positional convolution before the encoder sees ahead.
    conv_look_ahead : int
        Frames that the convolution of each layer of a Conformer sees ahead.
    padding_samples : int
        Zeros that the front end takes before the utterance.

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
    positional_look_ahead: int = 0
    conv_look_ahead: int = 0
    padding_samples: int = 0

    def __post_init__(self) -> None:
        if check_attention(self.attention) == "aa":
            raise ValueError(
                must_be(
                    "attention",
                    "one of maa, sa, llsa for streaming",
                    "'aa', which sees the whole utterance",
                )
            )
        check_integer("step_frames", self.step_frames, 1)
        if self.attention == "llsa" and self.step_frames != self.geometry.hop:
            raise ValueError(
                must_be(
                    "step_frames",
                    f"the hop, {self.geometry.hop}, for llsa",
                    self.step_frames,
                )
            )

    @property
    def step_samples(self) -> int:
        """Samples that a step takes."""
        return self.step_frames * self.stride_samples

    @property
    def frame_seconds(self) -> float:
        """Seconds from one frame to the next."""
        return self.stride_samples / SAMPLE_RATE

    @property
    def overlap_samples(self) -> int:
        """Samples that neighbouring frames share, and that lie before the
        first step."""
        return self.receptive_field_samples - self.stride_samples

    @property
    def delay_frames(self) -> int:
        """Frames that committed ones lag behind those that a step takes in."""
        frames = self.geometry.stack_look_ahead(
            self.attention, self.num_layers, self.conv_look_ahead
        )
        return cast(int, frames) + self.positional_look_ahead

    @property
    def first_frame(self) -> int:
        """Position of the first frame that the first step takes in: before
        the utterance, and so that hops begin where they do offline."""
        first = -(-self.overlap_samples // self.stride_samples)
        if self.attention == "llsa":
            first += (-first - self.delay_frames) % self.geometry.hop
        return -first

    @property
    def leading_samples(self) -> int:
        """Samples of silence to push before the utterance."""
        before = -self.first_frame * self.stride_samples - self.overlap_samples
        return before + self.padding_samples

    def frames_of(self, samples: int) -> int:
        """Frames of an utterance.

        Arguments
        ---------
        samples : int
            Its samples.

        Returns
        -------
        int
        """
        beyond = samples + self.padding_samples - self.receptive_field_samples
        return max(0, beyond // self.stride_samples + 1)

    def steps_to_end(self, samples: int) -> int:
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


@dataclass(frozen=True)
class StepCursor:
    """Where one stream stands among the steps of a clock.

    Arguments
    ---------
    clock : StepClock
        Where the steps lie.
    steps : int
        Steps done.
    received : int
        Samples of the utterance so far.
    ended : bool
        Whether these are all.

    Example
    -------
    >>> clock = StepClock("llsa", StreamGeometry(64, 8, 4), 12, 4, 641, 320)
    >>> cursor = StepCursor(clock, 3, 641, ended=True)
    >>> cursor.position, cursor.end, cursor.done
    (8, 1, False)
    >>> cursor.committed, cursor.provisional, cursor.next().done
    (slice(0, 1, None), slice(0, 0, None), True)
    """

    clock: StepClock
    steps: int
    received: int
    ended: bool

    @property
    def position(self) -> int:
        """The first frame that the next step takes in."""
        return self.clock.first_frame + self.steps * self.clock.step_frames

    @property
    def first_committed(self) -> int:
        """The first frame that the next step commits."""
        return self.position - self.clock.delay_frames

    @property
    def end(self) -> int:
        """Frames of the utterance, or ``NEVER``."""
        if not self.ended:
            return NEVER
        return self.clock.frames_of(self.received)

    @property
    def committed(self) -> slice:
        """Which of the frames that the next step commits exist, as a slice."""
        return self._existing(self.first_committed)

    @property
    def provisional(self) -> slice:
        """Which of the frames ahead of those exist, as a slice; none before
        the first committed one."""
        first = self.first_committed + self.clock.step_frames
        return self._existing(first) if first > 0 else slice(0, 0)

    @property
    def done(self) -> bool:
        """Whether all frames of the utterance are committed."""
        return self.ended and self.steps >= self.clock.steps_to_end(
            self.received
        )

    def next(self) -> StepCursor:
        """Where the stream stands after the next step.

        Returns
        -------
        StepCursor
        """
        return replace(self, steps=self.steps + 1)

    def _existing(self, first: int) -> slice:
        return slice(max(0, -first), max(0, min(self.end - first, NEVER)))
