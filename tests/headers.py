"""Audio files whose headers say something else than what they hold."""

import io
import struct

import soundfile


def encoded(samples, format, subtype=None, sample_rate=16000, **options):
    """A file, as libsndfile writes it.

    Arguments
    ---------
    samples : numpy.ndarray
        What it holds.
    format : str
        As soundfile names it.
    subtype : str, optional
        As soundfile names it. The one of the format by default.
    sample_rate : int
        Samples per second.
    **options : dict
        For ``soundfile.write``.

    Returns
    -------
    bytes
    """
    content = io.BytesIO()
    soundfile.write(
        content, samples, sample_rate, subtype, format=format, **options
    )
    return content.getvalue()


def with_number(content, mark, offset, kind, *numbers):
    """A file with other numbers behind a mark.

    Arguments
    ---------
    content : bytes
        The file.
    mark : bytes
        What stands before the numbers.
    offset : int
        Bytes between the end of the mark and the numbers.
    kind : str
        What they are, for ``struct``.
    *numbers : int
        The numbers.

    Returns
    -------
    bytes
    """
    place = content.index(mark) + len(mark) + offset
    changed = bytearray(content)
    struct.pack_into(kind, changed, place, *numbers)
    return bytes(changed)


W64_DATA = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"
LARGEST = (1 << 64) - 1

UNKNOWN_LENGTHS = [
    ("WAV", b"data", 0, "<I", 0),
    ("WAV", b"data", 0, "<I", 0xFFFFFFFF),
    ("WAV", b"data", 0, "<I", 0x7FFFFFFF),
    ("WAVEX", b"data", 0, "<I", 0),
    ("RF64", b"ds64", 4, "<QQQ", 0, 0, 0),
    ("RF64", b"ds64", 4, "<QQQ", LARGEST, LARGEST, LARGEST),
    ("W64", W64_DATA, 0, "<Q", 24),
    ("W64", W64_DATA, 0, "<Q", LARGEST),
    ("AIFF", b"SSND", 0, ">I", 8),
    ("AIFF", b"SSND", 0, ">I", 0),
    ("AU", b".snd", 4, ">I", 0),
    ("AU", b".snd", 4, ">I", 0xFFFFFFFF),
    ("CAF", b"data", 0, ">q", -1),
    ("CAF", b"data", 0, ">q", 4),
    ("FLAC", b"fLaC", 18, ">I", 0),
]
"""Formats, and what stands in headers that were written before the end was
known, as :func:`with_number` takes it."""
