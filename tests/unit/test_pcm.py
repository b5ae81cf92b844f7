"""Bytes from a pipe become the same samples in any pieces."""

import io
import struct

import numpy as np
import pytest
import soundfile

from speechbrain_llsa_runtime.dataio.pcm import PCMDecoder
from speechbrain_llsa_runtime.dataio.samples import SCALES


def wav(samples, subtype, sample_rate=22050, format="WAV"):
    """A file, as libsndfile writes it."""
    content = io.BytesIO()
    soundfile.write(content, samples, sample_rate, subtype, format=format)
    return content.getvalue()


def decode(data, sizes, decoder=None):
    """The samples of bytes in pieces, and the decoder."""
    decoder = decoder or PCMDecoder()
    pieces, place = [], 0
    for size in sizes:
        pieces.append(data[place : place + size])
        place += size
    pieces.append(data[place:])
    samples = [decoder.push(piece) for piece in pieces]
    samples = [part for part in samples if len(part)]
    tail = decoder.finish()
    samples = [*samples, tail] if len(tail) else samples
    return np.concatenate(samples or [tail]), decoder


SIZES = ([], [1] * 200, [3, 7, 11, 44, 1, 1, 1], [4, 8], [45], [20])


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("encoding", ["s16", "f32"])
def test_raw(encoding, channels, sizes):
    """Without a header; bytes that are no whole sample are left over."""
    kind = {"s16": np.int16, "f32": np.float32}[encoding]
    samples = np.arange(-150, 150).reshape(-1, channels).astype(kind)
    decoder = PCMDecoder(8000, channels, encoding)
    given, _ = decode(samples.tobytes() + b"x", sizes, decoder)
    assert given.dtype == kind and np.array_equal(given, samples)
    assert decoder.left_over == 1 and decoder.sample_rate == 8000


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("format", ["WAV", "WAVEX", "RF64"])
@pytest.mark.parametrize(
    "subtype",
    [
        "PCM_U8",
        "PCM_16",
        "PCM_24",
        "PCM_32",
        "FLOAT",
        "DOUBLE",
        "ULAW",
        "ALAW",
    ],
)
def test_wav(subtype, format, sizes):
    """The header wins over what was said; what follows the samples is none.
    They are those of libsndfile."""
    samples = np.arange(-150, 150).reshape(-1, 2) / 151
    content = wav(samples, subtype, format=format)
    expected, _ = soundfile.read(io.BytesIO(content))
    given, decoder = decode(content + b"LIST\4\0\0\0abcd", sizes)
    assert decoder.sample_rate == 22050 and decoder.channels == 2
    assert np.array_equal(given / SCALES[str(given.dtype)], expected)
    assert decoder.left_over == decoder.missing == 0


@pytest.mark.parametrize("subtype", ["ULAW", "ALAW", "PCM_U8"])
def test_every_byte(subtype):
    """Each of the 256 means what it means to libsndfile."""
    content = wav(np.zeros(256), subtype).replace(
        wav(np.zeros(256), subtype)[-256:], bytes(range(256))
    )
    expected, _ = soundfile.read(io.BytesIO(content), dtype="int16")
    assert np.array_equal(decode(content, [])[0][:, 0], expected)


def test_truncated():
    """What is missing is counted; a part of a sample is left over."""
    content = wav(np.zeros(1000), "PCM_16")
    given, decoder = decode(content[:-301], [99])
    assert (len(given), decoder.left_over, decoder.missing) == (849, 1, 301)


@pytest.mark.parametrize("sizes", SIZES)
def test_no_samples(sizes):
    """A chunk behind none is no audio; nothing behind none is no error."""
    content = wav(np.zeros(0), "PCM_16")
    assert len(decode(content, sizes)[0]) == 0
    content += b"LIST\4\0\0\0abcd"
    size = struct.pack("<I", len(content) - 8)
    content = content[:4] + size + content[8:]
    assert len(decode(content, sizes)[0]) == 0


@pytest.mark.parametrize("size", [0, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFF0024])
def test_wav_without_an_end(size):
    """A header that was written before the end was known."""
    content = bytearray(wav(np.zeros(100), "PCM_16"))
    place = content.index(b"data") + 4
    content[place : place + 4] = struct.pack("<I", size)
    given, _ = decode(bytes(content) + bytes(400), [100])
    assert given.shape == (300, 1)


@pytest.mark.parametrize("data", [b"", b"R", b"RI", b"RIFx", b"RIFF1234WAVx"])
def test_what_only_looks_like_a_header(data):
    """Is samples."""
    given, decoder = decode(data + b"ab" * 10, [1] * 12)
    assert given.tobytes() == (data + b"ab" * 10)[: given.nbytes]
    assert given.nbytes + decoder.left_over == len(data) + 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:30], "ends too soon"),
        (lambda data: data.replace(b"data", b"xxxx"), "ends too soon|too long"),
        (lambda data: data.replace(b"fmt ", b"xxxx"), "says no format"),
        (lambda data: data[:20] + b"\7" + data[21:], "got format 7 of 16 bits"),
        (lambda data: data[:12] + b"LIST\0\0\0\1" + data[12:], "too long"),
        (
            lambda data: data[:22] + b"\x63" + data[23:],
            r"channels must .*got 99",
        ),
        (
            lambda data: data[:24] + bytes(4) + data[28:],
            r"sample_rate must .*got 0",
        ),
    ],
)
def test_damaged_headers(change, message):
    """Get an error with a name, and take no memory."""
    content = change(wav(np.zeros(100000), "PCM_16"))
    with pytest.raises(ValueError, match=message):
        decode(content, [1000] * 150)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), r"sample_rate must .*got 0"),
        ((8000, 0), r"channels must .*got 0"),
        ((8000, 9), r"channels must .*got 9"),
        ((8000, 1, "mp3"), r"encoding must be one of s16.*got 'mp3'"),
    ],
)
def test_bad_arguments(arguments, message):
    """Errors name the argument."""
    with pytest.raises(ValueError, match=message):
        PCMDecoder(*arguments)
