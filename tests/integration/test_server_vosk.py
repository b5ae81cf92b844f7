"""The protocol of vosk-server, by a client that is written to it."""

import json

import pytest

from live_server import (
    RATE,
    export_tiny,
    live_server,
    read_all,
    samples_of,
    send_until_closed,
    text_alone,
)
from speechbrain_llsa_runtime.transcripts.endpointer import Endpointer

pytest.importorskip("onnxscript")
pytest.importorskip("uvicorn")
connect = pytest.importorskip("websockets.sync.client").connect

SIGNAL = samples_of(5 * RATE, seed=3)
END = '{"eof" : 1}'


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return export_tiny(tmp_path_factory.mktemp("exported") / "tiny")


@pytest.fixture(scope="module")
def server(folder):
    with live_server(folder, "--slots", 2) as server:
        yield server


def talk(server, messages, **config):
    """Sends messages, and waits for the reply of each, as test.py of
    vosk-server does."""
    replies = []
    with connect(server.url(scheme="ws")) as connection:
        if config:
            connection.send(json.dumps({"config": config}))
        for message in messages:
            connection.send(message)
            replies.append(json.loads(connection.recv()))
        _, code = read_all(connection)
    return replies, code


def blocks(samples, size=3200):
    return [
        samples[first : first + size].tobytes()
        for first in range(0, len(samples), size)
    ]


def text_of(replies):
    return " ".join(each["text"] for each in replies if each.get("text"))


@pytest.mark.parametrize("end", [END, END.encode(), '{"eof": 1}'])
def test_a_stream(server, folder, end):
    """One reply for each message; the results hold what a session alone
    says, and their words."""
    replies, code = talk(server, [*blocks(SIGNAL), end], sample_rate=RATE)
    assert code == 1000
    assert len(replies) == len(blocks(SIGNAL)) + 1
    assert all("partial" in each or "text" in each for each in replies)
    expected = text_alone(folder, SIGNAL, endpointer=Endpointer())
    assert text_of(replies) == expected
    words = [word for each in replies for word in each.get("result", [])]
    assert " ".join(word["word"] for word in words) == expected
    assert {"conf", "start", "end", "word"} == set(words[0])
    starts = [word["start"] for word in words]
    assert starts == sorted(starts)


@pytest.mark.parametrize("size", [333, 20000])
def test_any_split(server, folder, size):
    replies, _ = talk(server, [*blocks(SIGNAL, size), END])
    expected = text_alone(folder, SIGNAL, endpointer=Endpointer())
    assert text_of(replies) == expected


def test_without_words(server):
    replies, _ = talk(server, [*blocks(SIGNAL), END], words=False)
    assert not any("result" in each for each in replies)


def test_reset(server, folder):
    """What comes after it is a stream of its own."""
    reset = '{"reset" : 1}'
    messages = [*blocks(SIGNAL), reset, *blocks(SIGNAL), END]
    replies, code = talk(server, messages)
    once = text_alone(folder, SIGNAL, endpointer=Endpointer())
    assert code == 1000
    assert text_of(replies) == f"{once} {once}"


def test_other_rates(server):
    replies, code = talk(server, [*blocks(SIGNAL), END], sample_rate=8000.0)
    assert code == 1000
    words = [word for each in replies for word in each.get("result", [])]
    assert 8 < words[-1]["end"] <= 10.02


def test_no_audio(server):
    assert talk(server, [END]) == ([{"text": ""}], 1000)


@pytest.mark.parametrize(
    ("messages", "about"),
    [
        (["nonsense"], "message must be"),
        (['{"dance": 1}'], "message must be"),
        (['{"config": 1}'], "config must be"),
        (['{"config": {"sample_rate": -1}}'], "sample_rate must be"),
        (['{"config": {"sample_rate": "fast"}}'], "sample_rate must be"),
        (['{"config": {"phrase_list": "one"}}'], "phrase_list must be"),
    ],
)
def test_bad_messages(server, messages, about):
    with connect(server.url(scheme="ws")) as connection:
        send_until_closed(connection, *messages)
        _, code = read_all(connection)
        assert code == 1008
        assert about in connection.close_reason


def test_one_long_message(folder):
    """Thirty seconds at once: one reply, and the slot comes back."""
    with live_server(folder, "--slots", 1) as server:
        replies, code = talk(server, [bytes(1 << 20), END])
        assert code == 1000
        assert len(replies) == 2
        replies, code = talk(server, [SIGNAL.tobytes() * 6, END])
        assert code == 1000
