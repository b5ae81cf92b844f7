"""Audio files, read piece by piece."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from speechbrain_llsa.dataio.resampling import (
    StreamingResampler,
    check_rate,
)
from speechbrain_llsa.dataio.samples import MAX_CHANNELS, mono_samples
from speechbrain_llsa.geometry import SAMPLE_RATE

BLOCK_SAMPLES = 1 << 20
"""Samples that are read at once, at most, whatever a header declares."""


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
    numpy.ndarray
        The next samples, float32 (samples, channels).

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not audio that libsndfile can read.

    Example
    -------
    >>> import numpy as np
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
            yield block


def read_signal(path):
    """Reads a whole audio file at the rate of the model.

    Arguments
    ---------
    path : str or pathlib.Path
        The file, of any rate, with up to 8 channels.

    Returns
    -------
    numpy.ndarray
        Samples at 16 kHz, float32 (samples,).

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
    >>> read_signal(path).shape
    (2000,)
    """
    resampler = StreamingResampler(audio_info(path).sample_rate, SAMPLE_RATE)
    state = resampler.make_streaming_context()
    signal = [
        resampler.push(mono_samples(block), state)
        for block in read_blocks(path, 60.0)
    ]
    return np.concatenate([*signal, resampler.finish(state)])


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
