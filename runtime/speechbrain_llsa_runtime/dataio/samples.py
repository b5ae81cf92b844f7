"""Validates samples from callers and mixes them to mono. Needs only NumPy."""

from dataclasses import dataclass

import numpy as np

from speechbrain_llsa_runtime.dataio.channels import ChannelMixer
from speechbrain_llsa_runtime.geometry import SAMPLE_RATE
from speechbrain_llsa_runtime.utils.errors import must_be

MAX_CHANNELS = 8
"""More columns than this are taken for a transposed array."""

SCALES = {"float32": 1, "float64": 1, "int16": 1 << 15, "int32": 1 << 31}
"""Supported sample types with their full scale, which maps to 1.0."""


DECIDING_SECONDS = 0.5
"""Duration of audio that decides whether a stream is scaled correctly."""

LOUDEST = 16.0
"""Float samples above this are unscaled integers, not just loud audio."""

QUIETEST = 1 << 15
"""Largest magnitude of 16-bit samples: -96 dB of the 32-bit range."""

STEP_OF_24_BITS = 1 << 8
"""Step of 24-bit samples within 32 bits. The noise floor of a converter of at
most 24 bits consists of multiples of it; 16-bit integers do not."""


@dataclass(frozen=True)
class ScaleCheck:
    """Detects 16-bit integers that were cast to another type without scaling.
    The first half second of a stream that is not silence decides, sample by
    sample, so that the result does not depend on the pushes.

    Floats are rejected above 16 times full scale, and if all are integers other
    than -1, 0 and 1. 32-bit integers are rejected if all fit into 16 bits,
    unless they are multiples of the least significant bit of 24.

    Immutable: each push returns a new one.

    Example
    -------
    >>> check = ScaleCheck().push(np.array([0.0, 0.5]), 16000)
    >>> check.heard
    1
    >>> check.push(np.array([12345.0]), 16000)
    Traceback (most recent call last):
    ...
    ValueError: samples must be scaled to -1 to 1, got values up to 12345, \
which look like int16 samples cast to float64: divide them by 32768, or pass \
them as int16
    """

    kind: str | None = None
    """Type of the samples so far."""

    heard: int = 0
    """Number of samples so far that are not silence."""

    peak: float = 0.0
    """Largest magnitude of these."""

    whole: bool = True
    """Whether all of these are multiples of the step, which is 1 for floats."""

    def push(self, samples, sample_rate):
        """Checks the next samples.

        Arguments
        ---------
        samples : torch.Tensor or numpy.ndarray
            Samples that :func:`mono_samples` has accepted.
        sample_rate : int
            Samples per second.

        Returns
        -------
        ScaleCheck

        Raises
        ------
        ValueError
            If they look like 16-bit integers.
        """
        kind = str(samples.dtype).removeprefix("torch.")
        if kind == "int16":
            return self
        check = self if kind == self.kind else ScaleCheck(kind)
        wanted = round(DECIDING_SECONDS * sample_rate)
        for start in range(0, len(samples), wanted):
            if check.heard >= wanted:
                break
            block = samples[start : start + wanted]
            if hasattr(block, "detach"):
                block = block.detach().cpu().numpy()
            check = check._hear(block, wanted)
        return check

    def _hear(self, samples, wanted):
        levels = np.abs(samples.astype(np.float64))
        if levels.ndim == 2:
            levels = levels.max(axis=1)
        floats = self.kind != "int32"
        # the 16-bit noise floor, as floats, may also be clipped audio
        silence = (levels == 0) | ((levels == 1) & floats)
        levels = levels[~silence][: wanted - self.heard]
        step = 1 if floats else STEP_OF_24_BITS
        check = ScaleCheck(
            self.kind,
            self.heard + len(levels),
            max(self.peak, levels.max(initial=0.0)),
            self.whole and not (levels % step).any(),
        )
        decided = check.heard >= wanted
        if floats and (check.peak > LOUDEST or (decided and check.whole)):
            raise ValueError(
                "samples must be scaled to -1 to 1, got values up to "
                f"{check.peak:.6g}, which look like {check._integers()}"
            )
        quiet = decided and check.peak <= QUIETEST
        if not floats and quiet and not check.whole:
            raise ValueError(
                "samples must use the whole range of int32, got values up to "
                f"{check.peak:.6g}, which look like int16 samples held in "
                "int32: pass them as int16, or multiply them by 65536"
            )
        return check

    def _integers(self):
        """Describes the integers that such floats come from, with a remedy."""
        if self.peak <= 2 * SCALES["int16"]:  # resampling may overshoot
            return (
                f"int16 samples cast to {self.kind}: divide them by "
                f"{SCALES['int16']}, or pass them as int16"
            )
        return (
            f"integers cast to {self.kind}: divide them by their full scale, "
            f"which is {SCALES['int32']} for int32"
        )


def check_scale(wavs):
    """Rejects waveforms that are integers, or look like integers cast to
    floats.

    Arguments
    ---------
    wavs : torch.Tensor
        Waveforms at 16 kHz, (batch, samples).

    Raises
    ------
    TypeError
        If they are integers.
    ValueError
        If one of them looks like integers.
    """
    if not wavs.is_floating_point():
        raise TypeError(
            f"wavs must be floating point, scaled to -1 to 1, got {wavs.dtype}"
        )
    for wav in wavs:
        ScaleCheck().push(wav.float(), SAMPLE_RATE)


def mono_samples(samples, mixer=None):
    """Validates samples and mixes their channels to mono.

    Arguments
    ---------
    samples : torch.Tensor or numpy.ndarray
        float32, float64, int16 or int32; (samples,), or (samples, channels)
        with at most 8 channels. Integers are divided by their full scale.
    mixer : ChannelMixer, optional
        Mixes the channels; by default to their mean.

    Returns
    -------
    numpy.ndarray
        float32 (samples,).

    Raises
    ------
    TypeError
        If the type of the array or of its samples is not supported.
    ValueError
        If the shape is not supported, or samples are not finite.

    Example
    -------
    >>> mono_samples(np.array([[16384, 0], [0, 0]], dtype=np.int16))
    array([0.25, 0.  ], dtype=float32)
    """
    name = str(getattr(samples, "dtype", type(samples).__name__))
    kind = name.removeprefix("torch.")
    # a tensor, recognised without importing PyTorch
    if kind in SCALES and hasattr(samples, "detach"):
        samples = samples.detach().cpu().numpy()
    if kind not in SCALES or not isinstance(samples, np.ndarray):
        if isinstance(samples, np.ndarray):
            name = f"an array of {name}"
        raise TypeError(
            must_be(
                "samples",
                (
                    "a torch.Tensor or numpy.ndarray of float32, "
                    "float64, int16 or int32"
                ),
                name,
            )
        )
    if samples.ndim not in (1, 2) or (
        samples.ndim == 2 and not 1 <= samples.shape[1] <= MAX_CHANNELS
    ):
        raise ValueError(
            must_be(
                "samples",
                "of shape (samples,), or (samples, channels) with 1 to "
                f"{MAX_CHANNELS} channels",
                tuple(samples.shape),
            )
        )
    with np.errstate(over="ignore", invalid="ignore"):
        samples = (samples / SCALES[kind]).astype(np.float32)
    if not np.isfinite(samples).all():
        raise ValueError(
            must_be("samples", "finite", "NaN or infinite numbers")
        )
    mixer = mixer or ChannelMixer()
    return mixer.mix(samples if samples.ndim == 2 else samples[:, None])
