"""Samples from the outside, checked and made mono."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch

from speechbrain_llsa.inference.resampling import check_rate

MAX_CHANNELS = 8
"""More than this many columns are taken for samples in the wrong place."""

INTEGER_SCALES = {torch.int16: 1 << 15, torch.int32: 1 << 31}
"""Full scale of the integer formats, which becomes 1.0."""

BLOCK_SAMPLES = 1 << 20
"""Samples that are read at once, at most, whatever a header declares."""

FORMATS = (torch.float32, torch.float64, *INTEGER_SCALES)


def mono_samples(samples):
    """Checks samples and mixes their channels.

    Arguments
    ---------
    samples : torch.Tensor or numpy.ndarray
        float32, float64, int16 or int32; (samples,), or (samples, channels)
        with at most 8 channels. Integers are divided by their full scale.

    Returns
    -------
    torch.Tensor
        float32 (samples,), on the CPU: the mean of the channels.

    Raises
    ------
    TypeError
        If it is something else, or of another type.
    ValueError
        If it has another shape, or samples are not finite.

    Example
    -------
    >>> mono_samples(np.array([[16384, 0], [0, 0]], dtype=np.int16))
    tensor([0.2500, 0.0000])
    """
    if isinstance(samples, np.ndarray):
        try:
            samples = torch.from_numpy(np.ascontiguousarray(samples))
        except TypeError:
            _refuse_type(f"an array of {samples.dtype}")
    if not isinstance(samples, torch.Tensor):
        _refuse_type(type(samples).__name__)
    if samples.dtype not in FORMATS:
        _refuse_type(samples.dtype)
    if samples.ndim not in (1, 2) or (
        samples.ndim == 2 and not 1 <= samples.shape[1] <= MAX_CHANNELS
    ):
        raise ValueError(
            f"samples: got shape {tuple(samples.shape)}, allowed is "
            f"(samples,), or (samples, channels) with 1 to {MAX_CHANNELS} "
            "channels"
        )
    scale = INTEGER_SCALES.get(samples.dtype, 1)
    samples = (samples.detach().cpu() / scale).to(torch.float32)
    if not torch.isfinite(samples).all():
        raise ValueError(
            "samples: got NaN or infinite numbers, allowed is finite ones"
        )
    return samples.mean(dim=1) if samples.ndim == 2 else samples


def _refuse_type(kind):
    raise TypeError(
        f"samples: got {kind}, allowed is a torch.Tensor or numpy.ndarray of "
        "float32, float64, int16 or int32"
    )


@dataclass(frozen=True)
class AudioInfo:
    """What the header of an audio file says."""

    sample_rate: int
    """Samples per second."""

    duration_seconds: float
    """Length of the audio."""


def audio_info(path):
    """Reads the header of an audio file.

    Arguments
    ---------
    path : str or pathlib.Path
        The file.

    Returns
    -------
    AudioInfo

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not audio that libsndfile can read.
    """
    with _open(path) as file:
        return AudioInfo(file.samplerate, file.frames / file.samplerate)


def read_blocks(path, block_seconds):
    """Reads an audio file piece by piece.

    Arguments
    ---------
    path : str or pathlib.Path
        The file.
    block_seconds : float
        Length of a piece. The last one may be shorter, and none has more
        than 2 ** 20 samples.

    Yields
    ------
    torch.Tensor
        The next samples, float32 (samples, channels).

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not audio that libsndfile can read.

    Example
    -------
    >>> path = getfixture("tmp_path") / "tone.wav"
    >>> soundfile.write(path, np.zeros((1000, 2)), 8000)
    >>> [tuple(block.shape) for block in read_blocks(path, 0.1)]
    [(800, 2), (200, 2)]
    """
    with _open(path) as file:
        block_samples = round(block_seconds * file.samplerate)
        block_samples = min(max(1, block_samples), BLOCK_SAMPLES)
        while True:
            try:
                block = file.read(
                    block_samples, dtype="float32", always_2d=True
                )
            except soundfile.SoundFileError as error:
                raise _unreadable(path, error) from error
            if not len(block):
                return
            yield torch.from_numpy(block)


def _open(path):
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"path: got {str(path)!r}, allowed is an existing audio file"
        )
    try:
        file = soundfile.SoundFile(path)
    except (soundfile.SoundFileError, TypeError, ValueError) as error:
        raise _unreadable(path, error) from error
    try:
        if file.channels > MAX_CHANNELS:
            raise ValueError(
                f"channels: got {file.channels}, allowed is 1 to {MAX_CHANNELS}"
            )
        check_rate("sample_rate", file.samplerate)
    except ValueError as error:
        file.close()
        raise ValueError(f"path: got {str(path)!r} with {error}") from error
    return file


def _unreadable(path, error):
    return ValueError(
        f"path: got {str(path)!r}, allowed is audio that libsndfile reads, "
        f"which says: {error}"
    )
