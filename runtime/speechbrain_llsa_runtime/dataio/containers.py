"""Recognises audio formats by their first bytes. Needs only the standard
library."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Container:
    """A format of audio files."""

    name: str
    """Name for messages."""

    pyav_name: str | None = None
    """Name of the format in PyAV, if it can be decoded as it arrives."""

    known_to_soundfile: bool = True
    """Whether soundfile decodes it."""


WAV = Container("WAV", "wav")
MP3 = Container("MP3", "mp3")
AAC = Container("AAC", "aac", known_to_soundfile=False)

_SIGNATURES = (
    (rb"(RIFF|RIFX|RF64)....WAVE", WAV),
    (rb"riff\x2e\x91\xcf\x11", Container("W64")),
    (rb"FORM....AIF[FC]", Container("AIFF")),
    (rb"FORM....(8SVX|16SV)", Container("SVX")),
    (rb"\.snd", Container("AU", "au")),
    (rb"dns\.", Container("AU")),
    (rb"caff\0\x01", Container("CAF")),
    (rb"fLaC", Container("FLAC", "flac")),
    (rb"OggS\0", Container("Ogg", "ogg")),
    (rb"NIST_1A\n", Container("NIST")),
    (rb"Creative Voice File\x1a", Container("VOC")),
    (
        rb"\x64\xa3[\x01-\x04]\0|\0[\x01-\x04]\xa3\x64",
        Container("IRCAM"),
    ),
    (rb" paf\0{4}|fap \0{4}", Container("PAF")),
    (rb"PVF1\n", Container("PVF")),
    (rb"2BIT", Container("AVR")),
    (rb"Extended Instrument: ", Container("XI")),
    (rb"ALawSoundFile\*\*\0", Container("WVE")),
    (rb"MATLAB 5\.0 MAT-file", Container("MAT5")),
    (rb"(\0{4}|\0\0\x03\xe8).{16}samplerate\0", Container("MAT4")),
    (rb"\x01\x04[ -~]{17}", Container("MPC2K")),
    (rb"\xf0\x7e.\x01.{16}\xf7", Container("SDS")),
    (rb".{4}\0\0.{2}\0\x02\0\0", Container("HTK")),
    (rb".{4}ftyp", Container("MP4", "mp4", known_to_soundfile=False)),
    (
        rb"\x1a\x45\xdf\xa3",
        Container("Matroska or WebM", "matroska", known_to_soundfile=False),
    ),
    (rb"#!AMR", Container("AMR", "amr", known_to_soundfile=False)),
    (
        rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
        Container("WMA", "asf", known_to_soundfile=False),
    ),
)
_PATTERNS = [
    (re.compile(pattern, re.DOTALL), container)
    for pattern, container in _SIGNATURES
]

SIGNATURE_BYTES = 32
"""Length of the longest signature."""

CONSECUTIVE_FRAMES = 3
"""Number of consecutive MPEG audio frames that are no coincidence."""

_V2_KILOBITS = (*range(8, 65, 8), *range(80, 161, 16))
_KILOBITS = {
    (True, 3): tuple(range(32, 449, 32)),
    (True, 2): (
        32,
        48,
        56,
        *range(64, 129, 16),
        *range(160, 257, 32),
        320,
        384,
    ),
    (True, 1): (
        *range(32, 65, 8),
        *range(80, 129, 16),
        160,
        192,
        224,
        256,
        320,
    ),
    (False, 3): (32, 48, 56, *range(64, 193, 16), 224, 256),
    (False, 2): _V2_KILOBITS,
    (False, 1): _V2_KILOBITS,
}
"""Bit rates of MPEG audio, by whether it is version 1, and by layer code."""

_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000)}
_RATES[0] = (11025, 12000, 8000)
"""Samples per second, by version code."""


def recognise(head, ended=False):
    """Recognises the format of audio.

    Arguments
    ---------
    head : bytes
        The first bytes of the audio.
    ended : bool
        Whether the audio ends with them.

    Returns
    -------
    container : Container or None
        ``None`` for samples without a header.
    decided : bool
        Whether the result is final: more bytes would not change it.

    Example
    -------
    >>> container, decided = recognise(b"fLaC" + bytes(40))
    >>> container.name, decided
    ('FLAC', True)
    >>> recognise(b"fL")
    (None, False)
    """
    if len(head) < SIGNATURE_BYTES and not ended:
        return None, False
    for pattern, container in _PATTERNS:
        if pattern.match(head):
            return container, True
    return _recognise_frames(head, ended)


def tag_bytes(head):
    """Length of an ID3 tag, which may precede any format.

    Arguments
    ---------
    head : bytes
        The first bytes of the audio, 10 at least.

    Returns
    -------
    int
        0 if there is none.

    Example
    -------
    >>> tag_bytes(b"ID3\\4\\0\\0\\0\\0\\1\\0")
    138
    """
    if not re.match(rb"ID3[\x02-\x04].[\0-\xff][\0-\x7f]{4}", head, re.DOTALL):
        return 0
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte
    return 10 + size + 10 * bool(head[5] & 16)


def _recognise_frames(head, ended):
    """Recognises MP3 and AAC, which have no header, by consecutive frames."""
    offset, first = 0, None
    for _ in range(CONSECUTIVE_FRAMES):
        header = head[offset : offset + 6]
        if len(header) < 6:
            all_complete = ended and offset == len(head) and first is not None
            return first[0] if all_complete else None, ended
        frame = _frame(header)
        if frame is None or (first and frame[:2] != first[:2]):
            return None, True
        first = first or frame
        offset += frame[2]
    return first[0], True


def _frame(header):
    """Format of a frame, the values that all frames of a stream share, and its
    number of bytes; ``None`` if it is not a frame."""
    if header[0] != 0xFF or header[1] < 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, header[1] >> 1 & 3
    if header[1] & 0xF6 == 0xF0:
        length = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
        invariants = header[1], header[2], header[3] >> 6
        return (AAC, invariants, length) if length > 7 else None
    kilobits, rate, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1
    if version == 1 or layer == 0 or kilobits in (0, 15) or rate == 3:
        return None
    bits = 1000 * _KILOBITS[version == 3, layer][kilobits - 1]
    hertz = _RATES[version][rate]
    if layer == 3:
        length = (12 * bits // hertz + (padding & 1)) * 4
    else:
        slots = 72 if layer == 1 and version != 3 else 144
        length = slots * bits // hertz + (padding & 1)
    return MP3, (version, layer, rate), length
