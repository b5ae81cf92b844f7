"""Samples from the outside, checked and made mono. Needs NumPy alone."""

from dataclasses import dataclass

import numpy as np

from speechbrain_llsa_runtime.dataio.channels import ChannelMixer
from speechbrain_llsa_runtime.geometry import SAMPLE_RATE
from speechbrain_llsa_runtime.utils.errors import must_be

MAX_CHANNELS = 8
"""More than this many columns are taken for samples in the wrong place."""

SCALES = {"float32": 1, "float64": 1, "int16": 1 << 15, "int32": 1 << 31}
"""The formats that samples may have, and their full scale, which becomes
1.0."""


DECIDING_SECONDS = 0.5
"""Audio that says whether a stream is scaled."""

LOUDEST = 16.0
"""Floats above are no audio that somebody has made too loud."""

QUIETEST = 1 << 15
"""What 16 bits hold at most: -96 dB in 32."""

STEP_OF_24_BITS = 1 << 8
"""In 32 bits. Integers of 16 bits are not all multiples of it, while those of
the noise floor of a converter of 24 bits or fewer are."""


@dataclass(frozen=True)
class ScaleCheck:
    """Whether samples are scaled as their type says, or are integers of 16
    bits in another type. It is decided on the first half second of a stream
    that is not silence, sample by sample, so that the pushes have no say in
    it.

    Floats are refused above 16 times full scale, and if they are all integers
    without being -1, 0 and 1 alone. Integers of 32 bits are refused if none
    is above what 16 bits hold, unless they are multiples of what the last of
    24 bits is worth.

    A value: each push gives a new one.

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
    """Type of the samples heard."""

    heard: int = 0
    """How many of them say something."""

    peak: float = 0.0
    """The largest of these."""

    whole: bool = True
    """Whether these are multiples of the step: 1 for floats."""

    def push(self, samples, sample_rate):
        """Looks at the next samples.

        Arguments
        ---------
        samples : torch.Tensor or numpy.ndarray
            As for :func:`mono_samples`, which has checked them.
        sample_rate : int
            Samples per second.

        Returns
        -------
        ScaleCheck

        Raises
        ------
        ValueError
            If they look like integers of 16 bits.
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
        # the noise floor of 16 bits, in floats, may be clipped audio as well
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
        """What floats beyond their scale were before, and what to do."""
        if self.peak <= 2 * SCALES["int16"]:  # by resampling somewhat louder
            return (
                f"int16 samples cast to {self.kind}: divide them by "
                f"{SCALES['int16']}, or pass them as int16"
            )
        return (
            f"integers cast to {self.kind}: divide them by their full scale, "
            f"which is {SCALES['int32']} for int32"
        )


def check_scale(wavs):
    """Refuses waveforms that are integers, or look like integers cast to
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
        If one of them looks like it.
    """
    if not wavs.is_floating_point():
        raise TypeError(
            f"wavs must be floating point, scaled to -1 to 1, got {wavs.dtype}"
        )
    for wav in wavs:
        ScaleCheck().push(wav.float(), SAMPLE_RATE)


def mono_samples(samples, mixer=None):
    """Checks samples and mixes their channels.

    Arguments
    ---------
    samples : torch.Tensor or numpy.ndarray
        float32, float64, int16 or int32; (samples,), or (samples, channels)
        with at most 8 channels. Integers are divided by their full scale.
    mixer : ChannelMixer, optional
        Makes one channel of them. Their mean by default.

    Returns
    -------
    numpy.ndarray
        float32 (samples,).

    Raises
    ------
    TypeError
        If it is something else, or of another type.
    ValueError
        If it has another shape, or samples are not finite.

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
