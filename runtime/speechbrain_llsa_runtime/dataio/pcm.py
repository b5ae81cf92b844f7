"""Decodes raw and WAV samples from a stream of bytes. Needs only NumPy."""

import io
import struct

import numpy as np

from speechbrain_llsa_runtime.dataio.data_chunk import find_data
from speechbrain_llsa_runtime.dataio.resampling import check_rate
from speechbrain_llsa_runtime.dataio.samples import MAX_CHANNELS
from speechbrain_llsa_runtime.geometry import SAMPLE_RATE
from speechbrain_llsa_runtime.utils.checks import check_integer
from speechbrain_llsa_runtime.utils.errors import must_be


def _centred(data):
    """Converts unsigned 8-bit samples to 16 bits."""
    return (np.frombuffer(data, np.uint8).astype(np.int16) - 128) << 8


def _widened(data):
    """Converts 24-bit samples to 32 bits."""
    wide = np.zeros((len(data) // 3, 4), np.uint8)
    wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
    return wide.view("<i4")[:, 0]


def _u_law():
    code = ~np.arange(256) & 0xFF
    mantissa, exponent = code & 15, code >> 4 & 7
    level = ((mantissa << 3) + 132 << exponent) - 132
    return np.where(code & 128, -level, level).astype(np.int16)


def _a_law():
    code = np.arange(256) ^ 0x55
    mantissa, exponent = code & 15, code >> 4 & 7
    level = (mantissa << 4) + np.where(exponent, 264, 8)
    level <<= np.maximum(exponent - 1, 0)
    return np.where(code & 128, level, -level).astype(np.int16)


def _table(levels):
    return lambda data: levels[np.frombuffer(data, np.uint8)]


def _plain(kind):
    return lambda data: np.frombuffer(data, kind)


ENCODINGS = {
    "s16": (2, _plain("<i2")),
    "s32": (4, _plain("<i4")),
    "f32": (4, _plain("<f4")),
    "f64": (8, _plain("<f8")),
    "u8": (1, _centred),
    "s24": (3, _widened),
    "ulaw": (1, _table(_u_law())),
    "alaw": (1, _table(_a_law())),
}
"""Bytes per sample, little-endian, and decoder of each encoding."""

WAV_ENCODINGS = {
    (1, 8): "u8",
    (1, 16): "s16",
    (1, 24): "s24",
    (1, 32): "s32",
    (3, 32): "f32",
    (3, 64): "f64",
    (6, 8): "alaw",
    (7, 8): "ulaw",
}
"""Encodings by format code and bits in the header of a WAV file."""

EXTENSIBLE = 0xFFFE
"""Format code of files whose actual format is in an extension."""

WAV_SIGNATURES = (b"RIFF", b"RF64")
"""First bytes of WAV and RF64 files."""

HEADER_BYTES = 1 << 16
"""Maximum length of a WAV header, up to the samples."""


class OtherEncoding(ValueError):
    """Raised for a WAV file whose samples need another decoder."""


class PCMDecoder:
    """Decodes bytes into samples, in chunks of any length. A WAV or RF64 header
    at the beginning is recognised, and takes precedence over the arguments.

    Arguments
    ---------
    sample_rate : int
        Samples per second, if there is no header.
    channels : int
        Number of channels, if there is no header.
    encoding : str
        s16, s32, f32, f64, u8, s24, ulaw or alaw, if there is no header.

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
                must_be(
                    "encoding", f"one of {', '.join(ENCODINGS)}", repr(encoding)
                )
            )
        self._describe(sample_rate, channels, encoding)
        self._bytes = b""
        self.started = False
        self._remaining = None

    @property
    def left_over(self):
        """Number of bytes that are not yet a complete sample or header."""
        return len(self._bytes)

    @property
    def missing(self):
        """Number of bytes that the header declares and that have not arrived; 0
        if it declares none."""
        return max((self._remaining or 0) - self.left_over, 0)

    def push(self, data):
        """Decodes the next bytes.

        Arguments
        ---------
        data : bytes
            Any number of bytes.

        Returns
        -------
        numpy.ndarray
            The samples that are now complete, (samples, channels).

        Raises
        ------
        ValueError
            If a WAV header is damaged; ``OtherEncoding`` if its encoding is not
            supported.
        """
        self._bytes += data
        if not self.started:
            self._read_header(ended=False)
        return self._take_complete() if self.started else self._samples(b"")

    def finish(self):
        """Ends the stream.

        Returns
        -------
        numpy.ndarray
            Samples too few to be told from a header before, (samples,
            channels).

        Raises
        ------
        ValueError
            If the stream ends within a WAV header.
        """
        if not self.started:
            self._read_header(ended=True)
        if not self.started and self._bytes[:4] in WAV_SIGNATURES:
            raise _damaged("it ends too soon")
        self.started = True
        return self._take_complete()

    def _take_complete(self):
        """Takes the complete samples out of the buffer."""
        data = self._bytes[: self._remaining]
        complete_bytes = len(data) // self._frame_bytes * self._frame_bytes
        self._bytes = self._bytes[complete_bytes:]
        if self._remaining is not None:
            self._remaining -= complete_bytes
            if self._remaining < self._frame_bytes:
                self._remaining, self._bytes = 0, b""
        return self._samples(data[:complete_bytes])

    def _samples(self, data):
        return self._decode(data).reshape(-1, self.channels)

    def _describe(self, sample_rate, channels, encoding):
        self.sample_rate = check_rate("sample_rate", sample_rate)
        check_integer("channels", channels, 1)
        if channels > MAX_CHANNELS:
            raise ValueError(
                must_be("channels", f"1 to {MAX_CHANNELS}", channels)
            )
        self.channels = channels
        sample_bytes, self._decode = ENCODINGS[encoding]
        self._frame_bytes = channels * sample_bytes

    def _read_header(self, ended):
        """Reads the header, if there is one, once it is complete."""
        data = self._bytes
        if not any(mark.startswith(data[:4]) for mark in WAV_SIGNATURES) or (
            len(data) >= 12 and data[8:12] != b"WAVE"
        ):
            self.started = True
            return
        chunk = find_data(io.BytesIO(data), ended)
        if chunk is not None and chunk.offset <= HEADER_BYTES:
            self._read_wav_format(chunk.description)
            self._remaining = chunk.declared
            self._bytes = data[chunk.offset :]
            self.started = True
        elif len(data) > HEADER_BYTES:
            raise _damaged("it is too long")

    def _read_wav_format(self, content):
        if content is None or len(content) < 16:
            raise _damaged("it says no format")
        kind, channels, sample_rate, _, _, bits = struct.unpack_from(
            "<HHIIHH", content
        )
        if kind == EXTENSIBLE and len(content) >= 26:
            (kind,) = struct.unpack_from("<H", content, 24)
        if (kind, bits) not in WAV_ENCODINGS:
            raise OtherEncoding(
                must_be(
                    "input",
                    f"WAV of {', '.join(ENCODINGS)}",
                    f"format {kind} of {bits} bits",
                )
            )
        self._describe(sample_rate, channels, WAV_ENCODINGS[kind, bits])


def _damaged(why):
    return ValueError(
        must_be(
            "input",
            "audio with a complete header",
            f"a damaged WAV header: {why}",
        )
    )
