"""Block-wise reading of audio files, even truncated or unfinished ones."""

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
"""Maximum number of samples per read, whatever a header declares."""

MISSING_SECONDS = 0.1
"""Tolerance before audio that is shorter than declared counts as truncated;
some decoders only estimate the duration."""

FLAC_TOTAL = slice(21, 26)
"""Position of the number of samples in a FLAC file: its lower 36 bits."""

FLAC_TOTAL_LIMIT = 1 << 36
"""Number of samples that this field cannot express; 0 means unknown."""

OGG_PAGE_BYTES = 27 + 255 + 255 * 255
"""Maximum size of an Ogg page."""

ALAC = b"alac"
"""Marks compressed samples in the description of a CAF file."""


class TruncatedAudio(UserWarning):
    """Warns that an audio file holds less than its header declares."""


@dataclass(frozen=True)
class AudioInfo:
    """Sample rate and duration of an audio file."""

    sample_rate: int
    """Samples per second."""

    duration_seconds: float
    """Duration of the audio."""


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
    """Opens an audio file. If its header was written before the amount of audio
    was known, everything after the header is audio.

    Arguments
    ---------
    path : str, pathlib.Path or binary file
        The file.

    Yields
    ------
    file : soundfile.SoundFile
        The audio that is present.
    shortfall : str
        Describes what is missing of the declared audio, as far as that shows
        without reading all of it; "" if nothing is.

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
            source, shortfall = _complete_header(raw)
            raw.seek(0)
            file = stack.enter_context(
                _SequentialFile(source or _file_name(path))
            )
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
    """Reads an audio file block by block. If it is truncated, a warning at the
    end says so.

    Arguments
    ---------
    path : str, pathlib.Path or binary file
        The file.
    block_seconds : float
        Duration of a block. The last one may be shorter, and none has more
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
        present = 0
        while True:
            try:
                block = file.read(
                    block_samples, dtype="float32", always_2d=True
                )
            except soundfile.SoundFileError as error:
                raise _unreadable(path, error) from error
            if not len(block):
                break
            present += len(block)
            yield block
        missing_samples = file.frames - present
        if (
            missing_samples > MISSING_SECONDS * file.samplerate
            and not shortfall
        ):
            shortfall = _shortfall("samples", file.frames, present)
        if shortfall:
            message = f"{_name(path)} is truncated: {shortfall}"
            warnings.warn(message, TruncatedAudio, stacklevel=2)


def read_signal(path, channel=None):
    """Reads a whole audio file at the sample rate of the model.

    Arguments
    ---------
    path : str or pathlib.Path
        The file, of any sample rate, with up to 8 channels.
    channel : int, optional
        The channel to use, counted from 0. By default the mean of all, with one
        warning if they cancel out.

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
    """Encodes a path as bytes: soundfile rejects names that are not UTF-8."""
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


def _shortfall(what, declared, present):
    return f"{declared} {what} are declared, {present} are there"


class _PatchedFile:
    """A file that reads as if some of its bytes were replaced."""

    def __init__(self, file, offset, patch):
        self._file, self._offset, self._patch = file, offset, patch
        self.seek, self.tell = file.seek, file.tell

    def read(self, size):
        start = self.tell()
        data = bytearray(self._file.read(size))
        first = max(start, self._offset)
        last = min(start + len(data), self._offset + len(self._patch))
        if first < last:
            data[first - start : last - start] = self._patch[
                first - self._offset : last - self._offset
            ]
        return bytes(data)


class _SequentialFile(soundfile.SoundFile):
    """A file read strictly in order. Otherwise soundfile seeks after each read,
    which is not sample-accurate for MP3."""

    def seekable(self):
        return False


def _complete_header(raw):
    """Returns a file whose header declares the audio that is present, ``None``
    if the original does, and a description of what is missing."""
    total_bytes = raw.seek(0, 2)
    chunk = find_data(raw)
    if chunk is not None:
        present = max(total_bytes - chunk.offset, 0)
        if chunk.declared is not None and chunk.declared <= present:
            return None, ""
        shortfall = ""
        if chunk.declared is not None:
            shortfall = _shortfall("bytes of samples", chunk.declared, present)
        if ALAC in (chunk.description or b""):
            return None, shortfall  # its header also counts packets
        field = chunk.size_field(present)
        return _PatchedFile(raw, chunk.size_offset, field), shortfall
    raw.seek(0)
    head = raw.read(FLAC_TOTAL.stop)
    if head[:4] == b"OggS":
        return None, _ogg_shortfall(raw, total_bytes)
    field = int.from_bytes(head[FLAC_TOTAL], "big")
    if head[:4] == b"fLaC" and field % FLAC_TOTAL_LIMIT == 0:
        field = (field + _count_samples(raw)).to_bytes(5, "big")
        return _PatchedFile(raw, FLAC_TOTAL.start, field), ""
    return None, ""


def _count_samples(raw):
    """Counts the samples of a file by decoding it."""
    raw.seek(0)
    with _SequentialFile(raw) as file:
        samples = 0
        while present := len(file.read(BLOCK_SAMPLES, "int16", True)):
            samples += present
    return samples % FLAC_TOTAL_LIMIT


def _ogg_shortfall(raw, total_bytes):
    """Describes what is missing if an Ogg file does not end with a page marked
    as its last."""
    raw.seek(max(0, total_bytes - OGG_PAGE_BYTES))
    tail = raw.read()
    page = tail[tail.rfind(b"OggS") :]
    segments = page[27 : 27 + page[26]] if len(page) > 26 else b""
    is_last = len(page) > 5 and page[5] & 4
    if is_last and len(page) >= 27 + len(segments) + sum(segments):
        return ""
    return "its end is missing"
