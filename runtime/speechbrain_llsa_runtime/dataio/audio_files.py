"""Audio files, read piece by piece."""

import contextlib
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from speechbrain_llsa_runtime.dataio.channels import ChannelMixer
from speechbrain_llsa_runtime.dataio.data_chunk import find_data
from speechbrain_llsa_runtime.dataio.resampling import (
    StreamingResampler,
    check_rate,
)
from speechbrain_llsa_runtime.dataio.samples import MAX_CHANNELS, mono_samples
from speechbrain_llsa_runtime.geometry import SAMPLE_RATE
from speechbrain_llsa_runtime.utils.errors import must_be

BLOCK_SAMPLES = 1 << 20
"""Samples that are read at once, at most, whatever a header declares."""

MISSING_SECONDS = 0.1
"""Audio that is shorter than declared by more than this is truncated, where a
decoder says how much there should be; some estimate it."""

FLAC_TOTAL = slice(21, 26)
"""Where a FLAC file says how many samples it has, in the lower 36 bits."""

FLAC_TOTAL_LIMIT = 1 << 36
"""It can say so of less; 0 stands for a number that was not known."""

OGG_PAGE_BYTES = 27 + 255 + 255 * 255
"""A page of an Ogg file has no more."""

ALAC = b"alac"
"""Stands in the description of compressed samples in a CAF file."""


class TruncatedAudio(UserWarning):
    """An audio file holds less than its header declares."""


@dataclass(frozen=True)
class AudioInfo:
    """What an audio file holds."""

    sample_rate: int
    """Samples per second."""

    duration_seconds: float
    """Length of the audio."""


def audio_info(path):
    """Reads the header of an audio file.

    Arguments
    ---------
    path : str, pathlib.Path or binary file
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
    with open_audio(path) as (file, _):
        return AudioInfo(file.samplerate, file.frames / file.samplerate)


@contextlib.contextmanager
def open_audio(path):
    """Opens an audio file. Where its header does not say how much audio there
    is, since it was written before that was known, all that follows counts.

    Arguments
    ---------
    path : str, pathlib.Path or binary file
        The file.

    Yields
    ------
    file : soundfile.SoundFile
        The audio that is there.
    shortfall : str
        What is missing of that which the header declares, as far as one can
        say without reading it all; "" for nothing.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not audio that libsndfile can read.

    Example
    -------
    >>> path = getfixture("tmp_path") / "tone.wav"
    >>> soundfile.write(path, np.zeros(1000), 8000)
    >>> _ = path.write_bytes(path.read_bytes()[:244])
    >>> with open_audio(path) as (file, shortfall):
    ...     file.frames, shortfall
    (100, '2000 bytes of samples are declared, 200 are there')
    """
    with contextlib.ExitStack() as stack:
        if hasattr(path, "read"):
            raw = path
        elif Path(path).is_file():
            raw = stack.enter_context(open(path, "rb"))
        else:
            raise FileNotFoundError(
                must_be("path", "an existing audio file", repr(str(path)))
            )
        try:
            source, shortfall = _completed(raw)
            raw.seek(0)
            file = stack.enter_context(_Sequential(source or _file_name(path)))
        except (soundfile.SoundFileError, TypeError, ValueError) as error:
            raise _unreadable(path, error) from error
        try:
            if file.channels > MAX_CHANNELS:
                raise ValueError(
                    must_be("channels", f"1 to {MAX_CHANNELS}", file.channels)
                )
            check_rate("sample_rate", file.samplerate)
        except ValueError as error:
            raise ValueError(
                f"path must be audio that can be read, got {_name(path)!r}, "
                f"whose {error}"
            ) from error
        yield file, shortfall


def read_blocks(path, block_seconds):
    """Reads an audio file piece by piece. If it is truncated, a warning names
    it at the end.

    Arguments
    ---------
    path : str, pathlib.Path or binary file
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
    with open_audio(path) as (file, shortfall):
        block_samples = round(block_seconds * file.samplerate)
        block_samples = min(max(1, block_samples), BLOCK_SAMPLES)
        held = 0
        while True:
            try:
                block = file.read(
                    block_samples, dtype="float32", always_2d=True
                )
            except soundfile.SoundFileError as error:
                raise _unreadable(path, error) from error
            if not len(block):
                break
            held += len(block)
            yield block
        missing_samples = file.frames - held
        if (
            missing_samples > MISSING_SECONDS * file.samplerate
            and not shortfall
        ):
            shortfall = _shortfall("samples", file.frames, held)
        if shortfall:
            message = f"{_name(path)} is truncated: {shortfall}"
            warnings.warn(message, TruncatedAudio, stacklevel=2)


def read_signal(path, channel=None):
    """Reads a whole audio file at the rate of the model.

    Arguments
    ---------
    path : str or pathlib.Path
        The file, of any rate, with up to 8 channels.
    channel : int, optional
        Which of them is taken, counted from 0. By default the mean of all;
        then channels that cancel out get one warning.

    Returns
    -------
    numpy.ndarray
        Samples at 16 kHz, float32 (samples,).

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not audio that libsndfile can read, or has no such channel.

    Example
    -------
    >>> path = getfixture("tmp_path") / "tone.wav"
    >>> soundfile.write(path, np.zeros((1000, 2)), 8000)
    >>> read_signal(path).shape
    (2000,)
    """
    resampler = StreamingResampler(audio_info(path).sample_rate, SAMPLE_RATE)
    state = resampler.make_streaming_context()
    mixer = ChannelMixer(channel)
    signal = [
        resampler.push(mono_samples(block, mixer), state)
        for block in read_blocks(path, 60.0)
    ]
    return np.concatenate([*signal, resampler.finish(state)])


def _file_name(path):
    """As bytes: soundfile by itself refuses names that are not UTF-8."""
    return path if hasattr(path, "read") else os.fsencode(path)


def _name(path):
    return "input" if hasattr(path, "read") else str(path)


def _unreadable(path, error):
    return ValueError(
        must_be(
            "path",
            "audio that libsndfile reads",
            f"{_name(path)!r}, of which it says: {error}",
        )
    )


def _shortfall(what, declared, held):
    return f"{declared} {what} are declared, {held} are there"


class _Patched:
    """A file that reads as if other bytes stood at one place of it."""

    def __init__(self, file, place, patch):
        self._file, self._place, self._patch = file, place, patch
        self.seek, self.tell = file.seek, file.tell

    def read(self, size):
        start = self.tell()
        data = bytearray(self._file.read(size))
        first = max(start, self._place)
        last = min(start + len(data), self._place + len(self._patch))
        if first < last:
            data[first - start : last - start] = self._patch[
                first - self._place : last - self._place
            ]
        return bytes(data)


class _Sequential(soundfile.SoundFile):
    """Read from its beginning to its end, which need not be known: soundfile
    would seek after each read, which MP3 does not survive sample by sample."""

    def seekable(self):
        return False


def _completed(raw):
    """A file whose header declares the audio that is there, ``None`` if it
    does so by itself; and what is missing, in words."""
    total_bytes = raw.seek(0, 2)
    chunk = find_data(raw)
    if chunk is not None:
        held = max(total_bytes - chunk.place, 0)
        if chunk.declared is not None and chunk.declared <= held:
            return None, ""
        shortfall = ""
        if chunk.declared is not None:
            shortfall = _shortfall("bytes of samples", chunk.declared, held)
        if ALAC in (chunk.description or b""):
            return None, shortfall  # its header counts packets too
        field = chunk.size_field(held)
        return _Patched(raw, chunk.size_place, field), shortfall
    raw.seek(0)
    head = raw.read(FLAC_TOTAL.stop)
    if head[:4] == b"OggS":
        return None, _ogg_shortfall(raw, total_bytes)
    field = int.from_bytes(head[FLAC_TOTAL], "big")
    if head[:4] == b"fLaC" and field % FLAC_TOTAL_LIMIT == 0:
        field = (field + _count(raw)).to_bytes(5, "big")
        return _Patched(raw, FLAC_TOTAL.start, field), ""
    return None, ""


def _count(raw):
    """How many samples a file holds, by decoding it."""
    raw.seek(0)
    with _Sequential(raw) as file:
        samples = 0
        while held := len(file.read(BLOCK_SAMPLES, "int16", True)):
            samples += held
    return samples % FLAC_TOTAL_LIMIT


def _ogg_shortfall(raw, total_bytes):
    """What is missing where an Ogg file does not end with a page that says so,
    in words."""
    raw.seek(max(0, total_bytes - OGG_PAGE_BYTES))
    tail = raw.read()
    page = tail[tail.rfind(b"OggS") :]
    segments = page[27 : 27 + page[26]] if len(page) > 26 else b""
    is_last = len(page) > 5 and page[5] & 4
    if is_last and len(page) >= 27 + len(segments) + sum(segments):
        return ""
    return "its end is missing"
