"""Files whose headers say too little or too much audio."""

import os
import warnings

import numpy as np
import pytest
import soundfile

from headers import UNKNOWN_LENGTHS, encoded, with_number
from speechbrain_llsa_runtime.dataio.audio_files import (
    TruncatedAudio,
    audio_info,
    read_blocks,
    read_signal,
)

RATE = 16000
TONE = (np.sin(np.arange(RATE) / 9) * 0.3).astype(np.float32)
PCM = ["WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF"]


def read(path):
    """Seconds, samples, and what was warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        seconds = audio_info(path).duration_seconds
        blocks = list(read_blocks(path, 0.1))
    samples = np.concatenate(blocks) if blocks else np.zeros((0, 1))
    return seconds, samples, [str(each.message) for each in caught]


@pytest.mark.parametrize("row", UNKNOWN_LENGTHS, ids=str)
def test_a_length_that_was_not_known(tmp_path, row):
    """All samples to the end of the file, with no warning."""
    format, *change = row
    content = encoded(TONE, format, "PCM_16")
    path = tmp_path / "a"
    path.write_bytes(content)
    _, expected, _ = read(path)
    assert len(expected) == RATE
    path.write_bytes(with_number(content, *change))
    seconds, samples, warned = read(path)
    assert (seconds, warned) == (1.0, [])
    assert np.array_equal(samples, expected)
    assert len(read_signal(path)) == RATE


@pytest.mark.parametrize(
    "subtype",
    ["PCM_U8", "PCM_24", "FLOAT", "ULAW", "ALAW", "IMA_ADPCM", "GSM610"],
)
@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_a_wav_length_that_was_not_known(tmp_path, subtype, size):
    """Whatever the encoding; the size of the file is none either."""
    content = encoded(TONE, "WAV", subtype)
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    _, expected, _ = read(path)
    content = with_number(content, b"data", 0, "<I", size)
    path.write_bytes(with_number(content, b"RIFF", 0, "<I", size))
    assert np.array_equal(read(path)[1], expected)


@pytest.mark.parametrize(
    ("format", "endian"),
    [("WAV", "LITTLE"), ("WAV", "BIG"), ("AIFF", "BIG"), ("CAF", "BIG")],
)
def test_empty_files(tmp_path, format, endian):
    """Hold nothing; chunks behind no samples are no samples."""
    if (format, endian) == ("AIFF", "LITTLE"):
        pytest.skip("there is none")
    path = tmp_path / "a"
    path.write_bytes(encoded(TONE[:0], format, endian=endian))
    assert len(read(path)[1]) == 0
    content = encoded(TONE[:0], "WAV") + b"LIST\4\0\0\0abcd"
    size = len(content) - 8
    path.write_bytes(with_number(content, b"RIFF", 0, "<I", size))
    assert len(read(path)[1]) == 0


@pytest.mark.parametrize("keep", [0.31, 0.3101])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
@pytest.mark.parametrize("format", PCM)
def test_truncated_files(tmp_path, format, subtype, keep):
    """What is there, and a warning that names the file; also with a part of a
    sample at the end."""
    content = encoded(TONE, format, subtype)
    path = tmp_path / "cut"
    path.write_bytes(content)
    _, expected, warned = read(path)
    assert warned == []
    path.write_bytes(content[: int(len(content) * keep)])
    seconds, samples, warned = read(path)
    assert 0.2 < seconds < 0.31
    assert len(samples) == round(seconds * RATE)
    assert np.array_equal(samples, expected[: len(samples)])
    (message,) = warned
    width = {
        "PCM_16": 2,
        "PCM_24": 3,
        "FLOAT": 4,
    }[subtype]
    declared = f"is truncated: {RATE * width} bytes of samples are declared"
    assert str(path) in message and declared in message


@pytest.mark.parametrize(
    ("format", "subtype"),
    [
        ("MP3", "MPEG_LAYER_III"),
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
        ("WAV", "IMA_ADPCM"),
    ],
)
def test_truncated_compressed_files(tmp_path, format, subtype):
    """The same."""
    content = encoded(np.tile(TONE, 10), format, subtype)
    path = tmp_path / "cut"
    path.write_bytes(content)
    assert read(path)[2] == []
    os.truncate(path, len(content) * 2 // 3)
    _, samples, (message,) = read(path)
    assert len(samples) < 9 * RATE
    assert message.startswith(f"{path} is truncated: ")


@pytest.mark.parametrize(
    ("format", "subtype"), [("FLAC", "PCM_16"), ("CAF", "ALAC_16")]
)
def test_truncated_files_that_libsndfile_refuses(tmp_path, format, subtype):
    """Its decoder fails: an error that names the file."""
    content = encoded(np.tile(TONE, 10), format, subtype)
    path = tmp_path / "cut"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"path must .*got .*cut"):
        read(path)


@pytest.mark.parametrize("format", ["MP3", "OGG", "FLAC"])
def test_pieces_are_the_whole(tmp_path, format):
    """However long they are."""
    path = tmp_path / "a"
    path.write_bytes(encoded(TONE, format))
    expected, _ = soundfile.read(path, dtype="float32", always_2d=True)
    for seconds in (0.03, 0.1, 9.0):
        samples = np.concatenate(list(read_blocks(path, seconds)))
        assert np.abs(samples - expected).max() < 1e-6


@pytest.mark.parametrize("format", ["WAV", "AIFF", "CAF", "W64"])
def test_chunks_of_any_size(tmp_path, format):
    """One that is larger than every file is an error of a file."""
    content = encoded(TONE, format)
    first = {"WAV": 16, "AIFF": 16, "CAF": 12, "W64": 56}[format]
    content = content[:first] + b"\xff" * 8 + content[first + 8 :]
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(ValueError, match=r"path must .*got"):
        read(tmp_path / "a")


def test_every_truncated_file_is_told_once(tmp_path):
    """With Python's own rule for warnings."""
    path = tmp_path / "a.wav"
    content = encoded(TONE, "WAV")
    path.write_bytes(content[:999])
    other = tmp_path / "b.wav"
    other.write_bytes(content[:999])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default", TruncatedAudio)
        for each in (path, path, other):
            read_signal(each)
    names = [str(warning.message).split(" is ")[0] for warning in caught]
    assert names == [str(path), str(other)]
