"""Audio of any format, as bytes in any pieces."""

import io
import re
import sys
import warnings

import numpy as np
import pytest
import soundfile

from headers import UNKNOWN_LENGTHS, encoded, with_number
from speechbrain_llsa_runtime.dataio import audio_stream
from speechbrain_llsa_runtime.dataio.audio_stream import AudioStream
from speechbrain_llsa_runtime.dataio.pcm import PCMDecoder
from speechbrain_llsa_runtime.dataio.samples import SCALES

RATE = 22050
TONE = (np.sin(np.arange(RATE) / 9) * 0.3).astype(np.float32)
STEREO = np.stack([TONE, TONE[::-1] / 3], axis=1)
TAG = b"ID3\x04\0\0\0\0\x01\x7f" + bytes(255)

LOSSLESS = [
    ("FLAC", "PCM_16"),
    ("FLAC", "PCM_24"),
    ("AIFF", "PCM_24"),
    ("AU", "PCM_16"),
    ("W64", "FLOAT"),
    ("CAF", "ALAC_16"),
    ("CAF", "PCM_16"),
    ("VOC", "PCM_16"),
    ("WAV", "IMA_ADPCM"),
    ("NIST", "PCM_16"),
]
LOSSY = [("MP3", "MPEG_LAYER_III"), ("OGG", "VORBIS"), ("OGG", "OPUS")]


@pytest.fixture(params=["PyAV", "soundfile"])
def av(request, monkeypatch):
    """Whether PyAV is there."""
    if request.param == "PyAV":
        pytest.importorskip("av")
    else:
        monkeypatch.setitem(sys.modules, "av", None)
    return request.param == "PyAV"


def stream_of(content, sizes=(), told=None):
    """A stream of bytes in pieces, of which the last has all that is left."""
    pieces = []
    for size in sizes:
        pieces.append(content[:size])
        content = content[size:]
    pieces = iter([piece for piece in [*pieces, content] if piece])
    told = [] if told is None else told
    return AudioStream(lambda: next(pieces, b""), PCMDecoder(), told.append)


def decode(content, sizes=()):
    """Samples between -1 and 1, their rate, and what was told."""
    told = []
    stream = stream_of(content, sizes, told)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        blocks = [each / SCALES[str(each.dtype)] for each in stream]
    told += [str(each.message) for each in caught]
    return np.concatenate(blocks), stream.sample_rate, told


def sizes_of(content):
    """One byte, a few, many."""
    return [1, 2, 3, 30, 1, 700, *[997] * (len(content) // 997)]


@pytest.mark.parametrize("tag", [b"", TAG])
@pytest.mark.parametrize(("format", "subtype"), LOSSLESS)
def test_lossless(av, format, subtype, tag):
    """The samples are those of soundfile."""
    samples = TONE[:, None] if format == "VOC" else STEREO
    content = encoded(samples, format, subtype, RATE)
    expected, rate = soundfile.read(io.BytesIO(content), always_2d=True)
    found, found_rate, told = decode(tag + content, sizes_of(content))
    assert found_rate == rate
    assert np.array_equal(found, expected)
    assert len(told) <= 1 and "truncated" not in "".join(told)


@pytest.mark.parametrize("tag", [b"", TAG])
@pytest.mark.parametrize(("format", "subtype"), LOSSY)
def test_lossy(av, format, subtype, tag):
    """Nearly so, at a rate that the decoder chooses."""
    rate = 24000
    content = encoded(STEREO, format, subtype, rate)
    expected, _ = soundfile.read(io.BytesIO(content), always_2d=True)
    found, found_rate, told = decode(tag + content, sizes_of(content))
    step = found_rate // rate
    found = found[::step]
    count = min(len(found), len(expected))
    assert abs(len(found) - len(expected)) < 0.1 * rate
    assert np.abs(found[:count] - expected[:count]).max() < 0.05
    assert [text for text in told if "truncated" in text] == []


def test_without_pyav_it_is_told(monkeypatch):
    """That nothing comes before the end, once; nothing is told of what can be
    decoded as it comes."""
    monkeypatch.setitem(sys.modules, "av", None)
    (text,) = decode(encoded(TONE, "FLAC"))[2]
    assert text.startswith("FLAC cannot be decoded here as it comes")
    assert "1 GiB" in text
    for subtype in ("PCM_U8", "PCM_24", "ULAW", "ALAW", "FLOAT"):
        assert decode(encoded(TONE, "WAV", subtype))[2] == []


def test_the_temporary_file_has_a_limit(monkeypatch):
    """More is refused by name."""
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setattr(audio_stream, "SPOOL_GIB", 0)
    words = "input must be at most 0 GiB of FLAC"
    with pytest.raises(ValueError, match=words):
        decode(encoded(TONE, "FLAC"))


@pytest.mark.parametrize(
    ("content", "name"),
    [(b"\0\0\0\x20ftypM4A ", "MP4"), (b"\x1a\x45\xdf\xa3", "Matroska")],
)
def test_formats_that_nothing_decodes(monkeypatch, content, name):
    """Are named, at once."""
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ValueError, match=f"input must .*, got {name}"):
        decode(content + bytes(99))


@pytest.mark.parametrize("format", ["FLAC", "OGG"])
def test_damaged_input_is_named(av, format):
    """Nothing is lost in silence, whatever decodes."""
    content = encoded(TONE, format)[:50].ljust(60000, b"\x55")
    told = []
    try:
        assert list(stream_of(content, told=told)) == []
        assert "truncated" in told[-1]
    except ValueError as error:
        assert re.match("input must|path must .*got 'input'", str(error))


@pytest.mark.parametrize(
    ("format", "subtype"),
    [("WAV", "PCM_24"), ("RF64", "ULAW"), ("AIFF", "PCM_16"), ("AU", "PCM_16")],
)
def test_truncated_input_is_told(av, format, subtype):
    """What has come is given."""
    content = encoded(STEREO, format, subtype, RATE)
    expected, _ = soundfile.read(io.BytesIO(content), always_2d=True)
    content = content[: len(content) // 2 + 1]
    found, _, told = decode(content, sizes_of(content))
    assert len(expected) * 0.4 < len(found) < len(expected) * 0.51
    assert np.array_equal(found, expected[: len(found)])
    assert len([text for text in told if "truncated" in text]) == 1


@pytest.mark.parametrize("row", UNKNOWN_LENGTHS, ids=str)
def test_a_length_that_was_not_known(av, row):
    """All samples."""
    format, *change = row
    content = encoded(TONE, format, "PCM_16", RATE)
    expected = soundfile.read(io.BytesIO(content))[0]
    content = with_number(content, *change)
    found, _, told = decode(content, sizes_of(content))
    assert np.array_equal(found[:, 0], expected)
    assert "truncated" not in "".join(told)


@pytest.mark.parametrize(
    ("format", "subtype", "most_seconds"),
    [
        ("WAV", "PCM_24", 0.01),
        ("WAV", "ALAW", 0.01),
        ("MP3", "MPEG_LAYER_III", 2),
        ("OGG", "OPUS", 2),
        ("FLAC", "PCM_16", 3),
    ],
)
def test_samples_come_while_bytes_do(format, subtype, most_seconds):
    """They are so far behind, at most; WAV needs NumPy alone."""
    if format != "WAV":
        pytest.importorskip("av")
    seconds = 8
    samples = np.tile(TONE, seconds + 1)[: seconds * 16000]
    content = encoded(samples, format, subtype)
    sent = 0

    def read():
        nonlocal sent
        data = content[sent : sent + 100]
        sent += len(data)
        return data

    stream = AudioStream(read, PCMDecoder(), print)
    given, lag = 0, 0
    for block in stream:
        lag = max(lag, seconds * sent / len(content) - given)
        given += len(block) / stream.sample_rate
    assert given > seconds - 0.1
    assert lag < most_seconds
