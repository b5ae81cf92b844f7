"""The latency that a geometry declares, for each attention.

Standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass

from speechbrain_llsa_runtime.geometry import (
    ATTENTIONS,
    FRAME_SECONDS,
    SAMPLE_RATE,
    StreamGeometry,
    check_attention,
)
from speechbrain_llsa_runtime.utils.checks import check_integer, check_type


@dataclass(frozen=True)
class Latency:
    """The declared latency of one attention in one model.

    Arguments
    ---------
    attention : str
        One of aa, maa, sa and llsa.
    look_ahead : int or None
        Frames of look-ahead of the whole stack, and of the positional
        convolution before it; ``None`` for the utterance.
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

    def _seconds(self, frames: int) -> float:
        return round(frames * self.frame_seconds, 9)

    @property
    def look_ahead_seconds(self) -> float | None:
        """Look-ahead in seconds; ``None`` for the utterance."""
        if self.look_ahead is None:
            return None
        return self._seconds(self.look_ahead)

    @property
    def hop_wait_seconds(self) -> float:
        """Longest wait for the hop to fill, in seconds."""
        return self._seconds(self.hop_wait)

    @property
    def receptive_field_seconds(self) -> float:
        """Length of the front end's receptive field in seconds."""
        return self.receptive_field_samples / SAMPLE_RATE

    @property
    def receptive_field_frames(self) -> float:
        """Length of the front end's receptive field in encoder frames."""
        return self.receptive_field_seconds / self.frame_seconds

    @property
    def total_seconds(self) -> float | None:
        """From the first sample of a frame to the sample that commits it, at
        most, in seconds; ``None`` for the utterance."""
        if self.look_ahead is None:
            return None
        return (
            self._seconds(self.look_ahead + self.hop_wait)
            + self.receptive_field_seconds
        )

    @property
    def total_frames(self) -> float | None:
        """Total latency in encoder frames; ``None`` for the utterance."""
        seconds = self.total_seconds
        return None if seconds is None else seconds / self.frame_seconds


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
    positional_look_ahead : int
        Frames that a positional convolution before the layers sees ahead,
        which adds to the latency once.
    conv_look_ahead : int
        Frames that the convolution of each layer of a Conformer sees ahead,
        which add to the latency with each layer of maa and sa. With llsa they
        lie within the hop.

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
    positional_look_ahead: int = 0
    conv_look_ahead: int = 0

    def __post_init__(self) -> None:
        check_attention(self.attention)
        check_integer("positional_look_ahead", self.positional_look_ahead, 0)
        check_integer("conv_look_ahead", self.conv_look_ahead, 0)
        check_type("geometry", self.geometry, StreamGeometry)
        check_integer("num_layers", self.num_layers, 0)

    def __getitem__(self, attention: str) -> Latency:
        look_ahead = self.geometry.stack_look_ahead(
            attention, self.num_layers, self.conv_look_ahead
        )
        if look_ahead is not None:
            look_ahead += self.positional_look_ahead
        return Latency(
            attention=attention,
            look_ahead=look_ahead,
            hop_wait=self.geometry.hop_wait(attention),
            receptive_field_samples=self.receptive_field_samples,
            frame_seconds=self.frame_seconds,
        )

    @property
    def declared_latency(self) -> Latency:
        """The row of the model's own attention."""
        return self[self.attention]

    def __str__(self) -> str:
        geometry = self.geometry
        others = ""
        if self.positional_look_ahead:
            others = f"positional look_ahead {self.positional_look_ahead}, "
        if self.conv_look_ahead:
            others += f"conv_look_ahead {self.conv_look_ahead}, "
        lines = [
            f"{self.num_layers} layers, look_back {geometry.look_back}, "
            f"look_ahead {geometry.look_ahead}, {others}"
            f"hop {geometry.hop} (frames of {self.frame_seconds} s)",
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
