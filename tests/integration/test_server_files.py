"""POST /v1/audio/transcriptions, by OpenAI's client, unmodified."""

import io
import time

import numpy as np
import pytest

from live_server import (
    RATE,
    export_tiny,
    live_server,
    samples_of,
    text_alone,
)
from speechbrain_llsa_runtime.inference.onnx import OnnxStreamingASR
from speechbrain_llsa_runtime.transcripts.endpointer import Endpointer
from speechbrain_llsa_runtime.transcripts.subtitles import to_srt, to_vtt

pytest.importorskip("onnxscript")
pytest.importorskip("uvicorn")
openai = pytest.importorskip("openai")
httpx = pytest.importorskip("httpx")
soundfile = pytest.importorskip("soundfile")

SIGNAL = samples_of(5 * RATE, seed=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return export_tiny(tmp_path_factory.mktemp("exported") / "tiny")


@pytest.fixture(scope="module")
def server(folder):
    options = "--slots", 2, "--language", "en", "--file_bytes", 1 << 20
    with live_server(folder, *options) as server:
        yield server


@pytest.fixture(scope="module")
def client(server):
    return openai.OpenAI(
        api_key="any", base_url=server.url("/v1"), max_retries=0
    )


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    path = tmp_path_factory.mktemp("audio") / "speech.flac"
    soundfile.write(path, SIGNAL, RATE)
    return path


def create(client, recording, **options):
    with recording.open("rb") as file:
        return client.audio.transcriptions.create(
            file=file, model="tiny", **options
        )


def expected_words(folder):
    session = OnnxStreamingASR.from_folder(folder).session(
        endpointer=Endpointer()
    )
    first = session.push(SIGNAL, RATE).final_words
    return [*first, *session.finish().final_words]


def test_json(client, recording, folder):
    text = create(client, recording).text
    assert " ".join(text.split()) == text_alone(
        folder, SIGNAL, endpointer=Endpointer()
    )


def test_text_and_subtitles(client, recording, folder):
    words = expected_words(folder)
    assert create(client, recording, response_format="srt") == to_srt(words)
    assert create(client, recording, response_format="vtt") == to_vtt(words)
    text = create(client, recording, response_format="text")
    assert text.split() == [word.text for word in words]


def test_verbose(client, recording, folder):
    words = expected_words(folder)
    got = create(
        client,
        recording,
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )
    assert got.duration == 5.0 and got.language == "en"
    assert [(word.word, word.start, word.end) for word in got.words] == [
        (word.text, word.start, word.end) for word in words
    ]
    text = " ".join(segment.text for segment in got.segments)
    assert text == " ".join(word.text for word in words)


@pytest.mark.parametrize("kind", ["WAV", "OGG", "MP3"])
def test_formats(client, kind, folder, tmp_path):
    """All that soundfile or PyAV can decode."""
    pytest.importorskip("av")
    path = tmp_path / f"speech.{kind.lower()}"
    soundfile.write(path, SIGNAL, RATE, format=kind)
    text = create(client, path).text
    if kind == "WAV":
        alone = text_alone(folder, SIGNAL, endpointer=Endpointer())
        assert " ".join(text.split()) == alone
    assert text


@pytest.mark.parametrize(
    ("options", "about"),
    [
        ({"response_format": "xml"}, "response_format must be"),
        ({"model": "whisper-1"}, "model must be 'tiny'"),
        ({"language": "de"}, "language must be en"),
        ({"extra_body": {"dance": "yes"}}, "form must be"),
        ({"stream": True}, "stream must be"),
    ],
)
def test_bad_options(client, recording, options, about):
    """Get 400 and one sentence, in the form of OpenAI's errors."""
    options = {"model": "tiny", **options}
    with (
        recording.open("rb") as file,
        pytest.raises(openai.BadRequestError) as refused,
    ):
        client.audio.transcriptions.create(file=file, **options)
    assert about in refused.value.body["message"]


@pytest.mark.parametrize(
    "data", [b"", b"x", b"nonsense" * 999, b"RIFF" + bytes(99), b"fLaC" * 99]
)
def test_bad_files(client, data):
    with pytest.raises(openai.BadRequestError) as refused:
        client.audio.transcriptions.create(
            file=("speech.wav", io.BytesIO(data)), model="tiny"
        )
    assert "must be" in refused.value.body["message"]


def test_no_form(server):
    url = server.url("/v1/audio/transcriptions")
    for response in (
        httpx.post(url),
        httpx.post(url, content=b"nonsense"),
        httpx.post(url, data={"model": "tiny"}),
        httpx.post(url, files={"other": b"bytes"}),
        httpx.post(
            url,
            content=b"--a",
            headers={"content-type": "multipart/form-data; boundary=b"},
        ),
    ):
        assert response.status_code == 400
        assert "must be" in response.json()["error"]["message"]


def test_too_large(client):
    with pytest.raises(openai.APIStatusError) as refused:
        client.audio.transcriptions.create(
            file=("speech.wav", io.BytesIO(bytes(1 << 21))), model="tiny"
        )
    assert refused.value.status_code == 413


def test_a_client_that_goes(server, client, tmp_path):
    """Its file is not transcribed to the end."""
    path = tmp_path / "long.flac"
    soundfile.write(path, np.tile(SIGNAL, 30)[: 60 * RATE], RATE)
    if path.stat().st_size >= 1 << 20:
        soundfile.write(path, np.zeros(1800 * RATE, np.int16), RATE)
    with pytest.raises(openai.APITimeoutError):
        create(client.with_options(timeout=0.2), path)
    deadline = time.monotonic() + 5
    while server.engine.free_slots < 2:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_full(server, client, recording):
    """Slots are shared with live streams."""
    with server.listen(), server.listen():
        with pytest.raises(openai.APIStatusError) as refused:
            create(client, recording)
        assert refused.value.status_code == 503
