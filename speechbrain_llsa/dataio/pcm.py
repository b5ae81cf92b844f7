"""Raw samples as bytes, as they come from a pipe. Needs NumPy alone."""

import struct

import numpy as np

from speechbrain_llsa.dataio.resampling import check_rate
from speechbrain_llsa.dataio.samples import MAX_CHANNELS
from speechbrain_llsa.geometry import SAMPLE_RATE
from speechbrain_llsa.utils.checks import check_integer

ENCODINGS = {"s16": "<i2", "s32": "<i4", "f32": "<f4", "f64": "<f8"}
"""Types of samples, little-endian."""

WAV_ENCODINGS = {(1, 16): "s16", (1, 32): "s32", (3, 32): "f32", (3, 64): "f64"}
"""By format and bits in the header of a WAV file."""

EXTENSIBLE = 0xFFFE
"""The format that says in an extension what it is."""

HEADER_BYTES = 1 << 16
"""Longest header of a WAV file, before its samples."""

LARGEST_SIZE = 0x7FFF_0000
"""What a header says of samples without a known end is above, or 0."""


class PCMDecoder:
    """Turns bytes in pieces of any length into samples. A WAV header at the
    beginning is recognised, and then says how the samples are encoded.

    Arguments
    ---------
    sample_rate : int
        Samples per second, without a header.
    channels : int
        Channels, without a header.
    encoding : str
        s16, s32, f32 or f64, without a header.

    Raises
    ------
    TypeError
        If a number is not an integer.
    ValueError
        If a number or the encoding is not allowed.

    Example
    -------
    >>> decoder = PCMDecoder(8000)
    >>> decoder.push(bytes([0, 0, 0])), decoder.push(bytes([64, 0]))
    (array([[0]], dtype=int16), array([[16384]], dtype=int16))
    >>> decoder.left_over
    1
    """

    def __init__(self, sample_rate=SAMPLE_RATE, channels=1, encoding="s16"):
        if encoding not in ENCODINGS:
            raise ValueError(
                f"encoding: got {encoding!r}, allowed is one of "
                f"{', '.join(ENCODINGS)}"
            )
        self._describe(sample_rate, channels, encoding)
        self._bytes = b""
        self._begun = False
        self._remaining = None

    @property
    def left_over(self):
        """Bytes that are no whole sample, or not enough for a header."""
        return len(self._bytes)

    def push(self, data):
        """Takes the next bytes.

        Arguments
        ---------
        data : bytes
            Any number of them.

        Returns
        -------
        numpy.ndarray
            The samples that are whole now, (samples, channels).

        Raises
        ------
        ValueError
            If a WAV header is damaged, or of another encoding.
        """
        self._bytes += data
        if not self._begun:
            self._begin()
        if not self._begun:
            return np.zeros((0, self.channels), self._type)
        data = self._bytes[: self._remaining]
        whole = len(data) // self._frame_bytes * self._frame_bytes
        self._bytes = self._bytes[whole:]
        if self._remaining is not None:
            self._remaining -= whole
            if self._remaining < self._frame_bytes:
                self._remaining, self._bytes = 0, b""
        samples = np.frombuffer(data[:whole], self._type)
        return samples.reshape(-1, self.channels)

    def finish(self):
        """Ends the stream.

        Returns
        -------
        numpy.ndarray
            Samples so few that they could have been a header, (samples,
            channels).

        Raises
        ------
        ValueError
            If the stream ends within a WAV header.
        """
        if not self._begun and self._bytes[:4] == b"RIFF":
            raise _damaged("it ends too soon")
        self._begun = True
        return self.push(b"")

    def _describe(self, sample_rate, channels, encoding):
        self.sample_rate = check_rate("sample_rate", sample_rate)
        check_integer("channels", channels, 1)
        if channels > MAX_CHANNELS:
            raise ValueError(
                f"channels: got {channels}, allowed is 1 to {MAX_CHANNELS}"
            )
        self.channels = channels
        self._type = np.dtype(ENCODINGS[encoding])
        self._frame_bytes = channels * self._type.itemsize

    def _begin(self):
        """Reads the header as soon as it is there, if there is one."""
        data = self._bytes
        if not b"RIFF".startswith(data[:4]) or (
            len(data) >= 12 and data[8:12] != b"WAVE"
        ):
            self._begun = True
            return
        place, format_chunk = 12, None
        while len(data) >= place + 8:
            name, size = struct.unpack_from("<4sI", data, place)
            place += 8
            if name == b"data":
                self._begin_wav(format_chunk)
                if 0 < size < LARGEST_SIZE:
                    self._remaining = size
                self._bytes = data[place:]
                self._begun = True
                return
            if size > HEADER_BYTES:
                break
            if name == b"fmt ":
                format_chunk = data[place : place + size]
            place += size + size % 2
        if place > HEADER_BYTES or len(data) > HEADER_BYTES:
            raise _damaged("it is too long")

    def _begin_wav(self, content):
        if content is None or len(content) < 16:
            raise _damaged("it says no format")
        kind, channels, sample_rate, _, _, bits = struct.unpack_from(
            "<HHIIHH", content
        )
        if kind == EXTENSIBLE and len(content) >= 26:
            (kind,) = struct.unpack_from("<H", content, 24)
        if (kind, bits) not in WAV_ENCODINGS:
            raise _damaged(f"got format {kind} of {bits} bits")
        self._describe(sample_rate, channels, WAV_ENCODINGS[kind, bits])


def _damaged(why):
    return ValueError(
        "input: got a WAV header that is damaged, or of another encoding, "
        f"allowed is one of {', '.join(ENCODINGS)}: {why}"
    )
