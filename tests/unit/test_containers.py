"""Formats are recognised by their first bytes, and samples are none."""

import numpy as np
import pytest
import soundfile

from headers import encoded
from speechbrain_llsa_runtime.dataio.containers import MP3, recognise, tag_bytes

TONE = (np.sin(np.arange(8000) / 9) * 0.3).astype(np.float32)
NAMES = {"WAVEX": "WAV", "RF64": "WAV", "OGG": "Ogg"}
WITHOUT_SIGNATURE = ("RAW", "SD2")
"""Their samples begin with the first byte."""

WRITABLE = [
    (format, subtype, endian)
    for format in soundfile.available_formats()
    if format not in WITHOUT_SIGNATURE
    for subtype in soundfile.available_subtypes(format)
    for endian in ("LITTLE", "BIG")
    if soundfile.check_format(format, subtype, endian)
]


@pytest.mark.parametrize(("format", "subtype", "endian"), WRITABLE)
def test_all_that_soundfile_writes(format, subtype, endian):
    """Each format has its name, whatever is in it."""
    rate = 8000 if format == "WVE" else 16000
    try:
        content = encoded(TONE, format, subtype, rate, endian=endian)
    except soundfile.LibsndfileError:
        pytest.skip("this libsndfile does not write it")
    container, decided = recognise(content)
    assert decided and container.known_to_soundfile
    assert container.name == NAMES.get(format, format)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 32000, 48000])
@pytest.mark.parametrize("channels", [1, 2])
def test_mp3(rate, channels):
    """Of every version, as soon as a few frames are there."""
    samples = np.repeat(TONE[:, None], channels, axis=1)
    content = encoded(samples, "MP3", sample_rate=rate)
    for size in range(40, len(content), 97):
        container, decided = recognise(content[:size])
        assert container is (MP3 if decided else None)
    assert recognise(content) == recognise(content, ended=True) == (MP3, True)


@pytest.mark.parametrize(
    ("header", "length"),
    [
        ("fffdc4c0", 768),  # layer II, 256 kbit/s, 48 kHz
        ("fffb90c0", 417),  # layer III, 128 kbit/s, 44.1 kHz
        ("fffb92c0", 418),  # with padding
        ("ffffc4c0", 384),  # layer I, 384 kbit/s, 48 kHz
        ("fff380c0", 208),  # version 2, layer III, 64 kbit/s, 22.05 kHz
        ("fff580c0", 417),  # version 2, layer II
        ("fff784c0", 256),  # version 2, layer I, 128 kbit/s, 24 kHz
        ("ffe344c0", 192),  # version 2.5, layer III, 32 kbit/s, 12 kHz
    ],
)
def test_frames_of_mpeg(header, length):
    """Each is as long as its header says; others are no frames."""
    frame = bytes.fromhex(header)
    stream = frame.ljust(length, b"\1") * 3
    assert recognise(stream, ended=True) == (MP3, True)
    assert recognise(frame.ljust(length + 1, b"\1") * 3) == (None, True)


def test_other_formats():
    """Those that soundfile does not know have names too."""
    adts = b"\xff\xf1\x50\x80\x02\x1f\xfc" + bytes(9)
    for content, name in (
        (b"\0\0\0\x20ftypM4A ", "MP4"),
        (b"\x1a\x45\xdf\xa3", "Matroska or WebM"),
        (b"#!AMR\n", "AMR"),
        (bytes.fromhex("3026b2758e66cf11"), "WMA"),
        (adts * 3, "AAC"),
    ):
        container, decided = recognise(content.ljust(48, b"\0"))
        assert decided and container.name == name
        assert not container.known_to_soundfile


def test_samples():
    """Are taken for no format: silence, noise of any level, tones, and what
    begins as a frame of MP3 does."""
    generator = np.random.default_rng(0)
    rows = [np.zeros(4000), np.full(4000, -1), np.full(4000, -1025)]
    rows += [np.arange(4000) % 7 - 3, TONE * 32767]
    for level in (1, 2, 30, 1000, 32767):
        rows += list(generator.uniform(-level, level, (400, 4000)).round())
    beginnings = [b"", b"\xff\xfb\x90\x64", b"\xff\xf3\x40\xc0"]
    for row in rows:
        for kind in ("<i2", "<f4"):
            content = row.astype(kind).tobytes()
            for beginning in beginnings:
                assert recognise(beginning + content) == (None, True)


def test_few_bytes():
    """Are not decided upon before the end."""
    assert recognise(b"fLaC") == (None, False)
    assert recognise(b"fLaC", ended=True)[0].name == "FLAC"
    assert recognise(b"", ended=True) == (None, True)


def test_tags():
    """ID3 says how long it is."""
    assert tag_bytes(TONE.tobytes()) == 0
    head = b"ID3\x04\0\0\0\0\x01\x7f"
    assert tag_bytes(head + b"x") == 10 + 255
    assert tag_bytes(head[:5] + b"\x10" + head[6:]) == 20 + 255
    assert tag_bytes(b"ID3\x04\0\0\0\0\x80\0") == 0
