"""/v1/listen: Deepgram's client, unmodified, and the words of ours."""

import contextlib
import itertools
import json
import threading
import time

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from live_server import (
    RATE,
    export_tiny,
    leave_abruptly,
    live_server,
    read_all,
    samples_of,
    send,
    send_until_closed,
    text_alone,
    transcript_of,
)

pytest.importorskip("onnxscript")
pytest.importorskip("uvicorn")

CLOSE = json.dumps({"type": "CloseStream"})
SIGNAL = samples_of(5 * RATE, seed=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return export_tiny(tmp_path_factory.mktemp("exported") / "tiny")


@pytest.fixture(scope="module")
def server(folder):
    with live_server(folder, "--slots", 4, "--language", "en") as server:
        yield server


def transcribe(server, samples, size=3200, **query):
    with server.listen(**query) as connection:
        send(connection, samples, size)
        connection.send(CLOSE)
        return read_all(connection)


def test_deepgrams_client(server, folder):
    """The unmodified SDK: its transcripts are those of a session alone."""
    deepgram = pytest.importorskip("deepgram")
    client = deepgram.DeepgramClient(
        api_key="any",
        environment=deepgram.environment.DeepgramClientEnvironment(
            base=server.url(),
            production=server.url(scheme="ws"),
            agent=server.url(scheme="ws"),
            agent_rest=server.url(),
        ),
    )
    results = []
    with client.listen.v1.connect(
        model="tiny",
        encoding="linear16",
        sample_rate=str(RATE),
        interim_results="true",
        punctuate="true",
    ) as connection:
        connection.on(deepgram.core.events.EventType.MESSAGE, results.append)
        listening = threading.Thread(target=connection.start_listening)
        listening.start()
        for first in range(0, len(SIGNAL), 3200):
            connection.send_media(SIGNAL[first : first + 3200].tobytes())
        connection.send_keep_alive()
        connection.send_close_stream()
        listening.join(30)
    assert not listening.is_alive()
    final = [
        message.channel.alternatives[0].transcript
        for message in results
        if message.type == "Results" and message.is_final
    ]
    assert " ".join(filter(None, final)) == text_alone(folder, SIGNAL)
    assert any(
        message.type == "Results" and not message.is_final
        for message in results
    )
    assert results[-1].type == "Metadata"
    assert results[-1].duration == 5.0


@pytest.mark.parametrize("size", [1, 333, 3200, 80000])
def test_any_split(server, folder, size):
    """However the audio is sent, messages of final text are the same."""
    signal = SIGNAL[:4000] if size == 1 else SIGNAL
    messages, code = transcribe(server, signal, size)
    assert code == 1000
    assert transcript_of(messages) == text_alone(folder, signal)
    whole, _ = transcribe(server, signal, len(signal))
    assert _final(messages) == _final(whole)


def _final(messages):
    return [
        {**message, "metadata": None}
        for message in messages
        if message["type"] == "Results" and message["is_final"]
    ]


def test_bytes_within_samples(server, folder):
    """Messages may end within a sample."""
    with server.listen() as connection:
        data = SIGNAL.tobytes()
        for first in range(0, len(data), 1001):
            connection.send(data[first : first + 1001])
        connection.send(CLOSE)
        messages, _ = read_all(connection)
    assert transcript_of(messages) == text_alone(folder, SIGNAL)


def test_results(server):
    """Numbers count, spans join and hold their words, and the ignored
    parameters are named."""
    messages, _ = transcribe(server, SIGNAL, tag="a", model="tiny")
    final = _final(messages)
    assert [each["number"] for each in final] == list(range(len(final)))
    for each in final:
        for word in each["channel"]["alternatives"][0]["words"]:
            assert each["start"] - 0.001 <= word["start"]
            assert word["end"] <= each["start"] + each["duration"] + 0.001
    for before, after in itertools.pairwise(final):
        assert before["samples"] < after["samples"]
        assert after["start"] >= before["start"] + before["duration"] - 0.01
    starts = [
        word["start"]
        for each in final
        for word in each["channel"]["alternatives"][0]["words"]
    ]
    assert starts == sorted(starts)
    assert messages[-1]["ignored"] == ["tag"]


def test_interim_results(server):
    """Are sent on request alone."""
    without, _ = transcribe(server, SIGNAL)
    assert all(each.get("is_final", True) for each in without)
    with_them, _ = transcribe(server, SIGNAL, interim_results="true")
    assert not all(each.get("is_final", True) for each in with_them)


def test_finalize(server, folder):
    """Finalize commits all that was sent: the text is that of two streams."""
    half = len(SIGNAL) // 2
    with server.listen() as connection:
        send(connection, SIGNAL[:half])
        connection.send(json.dumps({"type": "Finalize"}))
        before = []
        while not before or not before[-1]["from_finalize"]:
            before.append(json.loads(connection.recv()))
        send(connection, SIGNAL[half:])
        connection.send(CLOSE)
        after, _ = read_all(connection)
    parts = SIGNAL[:half], SIGNAL[half:]
    assert transcript_of(before) == text_alone(folder, parts[0])
    assert transcript_of(after) == text_alone(folder, parts[1])
    words = after[0]["channel"]["alternatives"][0]["words"]
    assert words[0]["start"] >= half / RATE


def test_finalize_at_once(server):
    """Without any audio there is nothing to say, and it is said."""
    with server.listen() as connection:
        for _ in range(3):
            connection.send(json.dumps({"type": "Finalize"}))
            assert json.loads(connection.recv())["from_finalize"]
        connection.send(CLOSE)
        messages, code = read_all(connection)
    assert code == 1000 and messages[-1]["duration"] == 0


@pytest.mark.parametrize("length", [0, 1, 100])
def test_hardly_any_audio(server, length):
    messages, code = transcribe(server, SIGNAL[:length])
    assert code == 1000
    assert messages[-1]["duration"] == round(length / RATE, 3)


def test_containers(server, folder, tmp_path):
    """A header says what the audio is: WAV, FLAC and Ogg are decoded."""
    soundfile = pytest.importorskip("soundfile")
    pytest.importorskip("av")
    expected = text_alone(folder, SIGNAL)
    for kind in ("WAV", "FLAC"):
        path = tmp_path / f"speech.{kind.lower()}"
        soundfile.write(path, SIGNAL, RATE)
        with server.listen(encoding=None, sample_rate=None) as connection:
            data = path.read_bytes()
            for first in range(0, len(data), 5000):
                connection.send(data[first : first + 5000])
            connection.send(CLOSE)
            messages, code = read_all(connection)
        assert code == 1000, messages
        assert transcript_of(messages) == expected


def test_encodings(server, folder):
    """Samples of 32 bits, and those of telephones."""
    wide = (SIGNAL.astype(np.int32) << 16).tobytes()
    with server.listen(encoding="linear32") as connection:
        connection.send(wide)
        connection.send(CLOSE)
        messages, _ = read_all(connection)
    assert transcript_of(messages) == text_alone(folder, SIGNAL)
    for encoding in ("mulaw", "alaw"):
        with server.listen(encoding=encoding) as connection:
            connection.send(bytes(range(256)) * 50)
            connection.send(CLOSE)
            messages, code = read_all(connection)
        assert code == 1000
        assert messages[-1]["duration"] == 0.8


@pytest.mark.parametrize(
    ("query", "status", "about"),
    [
        ({"encoding": "wax"}, 400, "encoding must be"),
        ({"sample_rate": None}, 400, "sample_rate must be"),
        ({"sample_rate": "fast"}, 400, "sample_rate must be"),
        ({"sample_rate": 1}, 400, "sample_rate must be"),
        ({"channels": 0}, 400, "channels must be"),
        ({"channels": 99}, 400, "channels must be"),
        ({"unknown": 1}, 400, "query must be"),
        ({"interim_results": "maybe"}, 400, "interim_results must be"),
        ({"endpointing": "-3"}, 400, "endpointing must be"),
        ({"utterance_end_ms": "x"}, 400, "utterance_end_ms must be"),
        ({"model": "nova-3"}, 400, "model must be 'tiny'"),
        ({"language": "de"}, 400, "language must be en"),
        ({"keyterm": "Z"}, 400, "hotword"),
        ({"resume": "abc.def"}, 404, "resume must be"),
        ({"encoding": None, "sample_rate": None, "resume": "new"}, 400, "enc"),
    ],
)
def test_bad_parameters(server, query, status, about):
    """Get a status and one sentence, and no slot."""
    with pytest.raises(InvalidStatus) as refused:
        server.listen(**query)
    assert refused.value.response.status_code == status
    body = json.loads(refused.value.response.body)
    assert about in body["err_msg"] and "\n" not in body["err_msg"]
    assert _all_free(server)


@pytest.mark.parametrize(
    ("message", "code", "about"),
    [
        ("nonsense", 1008, "message must be"),
        ("[1]", 1008, "message must be"),
        ("[" * 9999, 1008, "message must be"),
        ('{"type": "Dance"}', 1008, "message must be"),
    ],
)
def test_bad_messages(server, message, code, about):
    """Get a close code and one sentence."""
    with server.listen() as connection:
        connection.send(message)
        _, closed = read_all(connection)
        assert closed == code
        assert about in connection.close_reason


@pytest.mark.parametrize(
    "data", [b"x" * 4000, b"RIFF" + bytes(9000), b"OggS\0" + bytes(4000)]
)
def test_bad_containers(server, data):
    with server.listen(encoding=None, sample_rate=None) as connection:
        send_until_closed(connection, data, CLOSE)
        _, code = read_all(connection)
        assert code == 1007
        assert "must be" in connection.close_reason


def test_a_message_too_long(server):
    with server.listen() as connection:
        send_until_closed(connection, bytes((1 << 20) + 1))
        _, code = read_all(connection)
    assert code == 1009
    assert _all_free(server)


def _all_free(server):
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if server.engine.free_slots == server.engine.slots:
            return True
        time.sleep(0.01)
    return False


def test_abrupt_leaves(server, folder):
    """Two hundred clients go without a word; every slot comes back, and the
    text of another one is its own."""
    with server.listen() as steady:
        for number in range(200):
            connection = server.listen()
            connection.send(samples_of(1600, number).tobytes())
            leave_abruptly(connection)
            if number % 20 == 0:
                send(steady, SIGNAL[number * 400 : (number + 20) * 400])
            while server.engine.free_slots < 2:
                time.sleep(0.001)
        steady.send(CLOSE)
        messages, _ = read_all(steady)
    assert transcript_of(messages) == text_alone(folder, SIGNAL)
    assert _all_free(server)


def test_full(server):
    """A client that finds no slot is told when to come again."""
    connections = [server.listen() for _ in range(4)]
    try:
        with pytest.raises(InvalidStatus) as refused:
            server.listen()
        response = refused.value.response
        assert response.status_code == 503
        assert int(response.headers["Retry-After"]) > 0
        assert "at most 4" in json.loads(response.body)["err_msg"]
    finally:
        for connection in connections:
            connection.close()
    assert _all_free(server)


def resume(server, name, samples, last_number):
    """Goes on with a stream from where the server says."""
    with server.listen(resume=name) as connection:
        first = json.loads(connection.recv())
        send(connection, samples[first["samples"] :])
        connection.send(CLOSE)
        messages, code = read_all(connection)
    assert code == 1000
    return [
        message
        for message in messages
        if message["type"] != "Results" or message["number"] > last_number
    ]


@pytest.mark.parametrize("sent", [0, 1600, 31000, 80000])
def test_resume(server, sent):
    """A connection is lost; the client goes on, and has all messages of an
    uninterrupted stream, bit by bit."""
    whole, _ = transcribe(server, SIGNAL)
    connection = server.listen(resume="new")
    session = json.loads(connection.recv())
    assert session["samples"] == 0
    send(connection, SIGNAL[:sent])
    got, number = [], -1
    while sent > 16000 and len(got) < 3:
        got.append(json.loads(connection.recv()))
        number = got[-1]["number"]
    leave_abruptly(connection)
    rest = resume(server, session["id"], SIGNAL, number)
    assert _final([*got, *rest]) == _final(whole)
    # the last messages may have been lost on their way: they come again
    rest = resume(server, session["id"], SIGNAL, number)
    assert _final([*got, *rest]) == _final(whole)


def test_resume_after_the_end_was_asked_for(server):
    """The connection is lost between CloseStream and the last text."""
    whole, _ = transcribe(server, SIGNAL)
    connection = server.listen(resume="new")
    session = json.loads(connection.recv())
    send(connection, SIGNAL)
    connection.send(CLOSE)
    leave_abruptly(connection)
    rest = resume(server, session["id"], SIGNAL, -1)
    assert _final(rest) == _final(whole)


def test_resume_after_finalize(server):
    """Times, segments and numbers go on where they were."""
    half = len(SIGNAL) // 2

    def talk(connection, first, last):
        send(connection, SIGNAL[first:half])
        if first < half:
            connection.send(json.dumps({"type": "Finalize"}))
        send(connection, SIGNAL[max(first, half) : last])

    with server.listen() as connection:
        talk(connection, 0, len(SIGNAL))
        connection.send(CLOSE)
        whole, _ = read_all(connection)
    connection = server.listen(resume="new")
    session = json.loads(connection.recv())
    talk(connection, 0, half + 8000)
    got = [json.loads(connection.recv())]
    while not got[-1]["from_finalize"]:
        got.append(json.loads(connection.recv()))
    leave_abruptly(connection)
    rest = resume(server, session["id"], SIGNAL, got[-1]["number"])
    assert _final([*got, *rest]) == _final(whole)


def test_take_over(server):
    """A client may come back before the server knows that it has gone."""
    whole, _ = transcribe(server, SIGNAL)
    old = server.listen(resume="new")
    session = json.loads(old.recv())
    send(old, SIGNAL[:20000])
    rest = resume(server, session["id"], SIGNAL, -1)
    assert _final(rest) == _final(whole)
    _, code = read_all(old)
    assert code == 1008


def test_a_forged_name(server):
    """The signature of a name is checked."""
    with server.listen(resume="new") as connection:
        name = json.loads(connection.recv())["id"]
        forged = name[:-1] + ("0" if name[-1] != "0" else "1")
        with pytest.raises(InvalidStatus) as refused:
            server.listen(resume=forged)
        assert refused.value.response.status_code == 404


def test_draining(folder):
    """At SIGTERM streams may finish; those that can go on elsewhere are
    closed with 1012, and no new ones begin."""
    with live_server(folder, "--drain", 20) as server:
        with (
            server.listen() as connection,
            server.listen(resume="new") as other,
        ):
            json.loads(other.recv())
            send(connection, SIGNAL)
            server.drain()
            _, code = read_all(other)
            assert code == 1012
            with pytest.raises(InvalidStatus) as refused:
                server.listen()
            assert refused.value.response.status_code == 503
            connection.send(CLOSE)
            messages, code = read_all(connection)
        assert code == 1000
        assert transcript_of(messages) == text_alone(folder, SIGNAL)


def test_the_end_of_draining(folder):
    """Streams that do not finish are closed with 1012."""
    with live_server(folder, "--drain", 0.2) as server:
        with server.listen() as connection:
            server.drain()
            _, code = read_all(connection)
        assert code == 1012


def test_limits(folder):
    """Clients that say nothing, or stay too long, are closed."""
    with live_server(folder, "--idle", 0.3, "--longest", 1) as server:
        with server.listen() as connection:
            _, code = read_all(connection)
            assert code == 1008
            assert "heard from" in connection.close_reason
        with server.listen() as connection:
            with pytest.raises(ConnectionClosed):
                while True:
                    connection.send(json.dumps({"type": "KeepAlive"}))
                    time.sleep(0.1)
            assert "at most 1 s long" in connection.close_reason


def test_endpointing(server):
    """Segments close at pauses, once each; numbers go up with every final
    message, also those that only close a segment, and after resuming with
    most of the stream forgotten."""
    messages, _ = transcribe(server, SIGNAL, endpointing=20)
    final = _final(messages)
    assert sum(each["speech_final"] for each in final) > 2
    numbers = [each["number"] for each in final]
    assert numbers == list(range(len(numbers)))
    never, _ = transcribe(server, SIGNAL, endpointing="false")
    assert not any(each["speech_final"] for each in _final(never))
    texts = [transcript_of(each).replace(" ", "") for each in (never, messages)]
    assert texts[0] == texts[1]


def test_resume_of_a_long_stream(server, monkeypatch):
    """The server repeats the last part alone; what comes after it is as
    without the loss."""
    from speechbrain_llsa_runtime.server import updates

    monkeypatch.setattr(updates, "REPLAY_SECONDS", 1.0)
    whole, _ = transcribe(server, SIGNAL, endpointing=20)
    connection = server.listen(resume="new", endpointing=20)
    session = json.loads(connection.recv())
    send(connection, SIGNAL[:60000])
    got = []
    while not got or got[-1]["samples"] < 50000:
        got.append(json.loads(connection.recv()))
    leave_abruptly(connection)
    with server.listen(resume=session["id"], endpointing=20) as connection:
        first = json.loads(connection.recv())
        send(connection, SIGNAL[first["samples"] :])
        connection.send(CLOSE)
        rest, _ = read_all(connection)
    assert rest[0]["number"] > 0
    last = got[-1]["number"]
    rest = [each for each in _final(rest) if each["number"] > last]
    assert _final([*got, *rest]) == _final(whole)


def test_many_heirs(server):
    """Of several connections that want one stream, the last one has it, and
    no slot is lost."""
    whole, _ = transcribe(server, SIGNAL)
    connection = server.listen(resume="new")
    name = json.loads(connection.recv())["id"]
    send(connection, SIGNAL[:16000])
    leave_abruptly(connection)
    heirs, threads = [], []

    def inherit():
        with contextlib.suppress(InvalidStatus):
            heirs.append(server.listen(resume=name, open_timeout=20))

    for _ in range(3):
        threads.append(threading.Thread(target=inherit))
        threads[-1].start()
    for thread in threads:
        thread.join()
    deadline = time.monotonic() + 10
    while server.engine.slots - server.engine.free_slots > 1:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    for heir in heirs:
        leave_abruptly(heir)
    rest = resume(server, name, SIGNAL, -1)
    assert _final(rest) == _final(whole)
    assert _all_free(server)


def test_take_over_of_a_full_server(folder):
    """A client replaces its own connection where there is no free slot."""
    with live_server(folder, "--slots", 1) as server:
        whole, _ = transcribe(server, SIGNAL)
        old = server.listen(resume="new")
        name = json.loads(old.recv())["id"]
        send(old, SIGNAL[:20000])
        rest = resume(server, name, SIGNAL, -1)
        assert _final(rest) == _final(whole)


def test_many_requests_to_finalize(server):
    """Each is answered, and a flood of them waits."""
    with server.listen() as connection:
        for _ in range(500):
            connection.send(json.dumps({"type": "Finalize"}))
        connection.send(CLOSE)
        messages, code = read_all(connection)
    assert code == 1000
    assert sum(each.get("from_finalize", False) for each in messages) == 500


def test_a_container_whose_client_goes(server, tmp_path):
    """Its decoder stops, and its slot is free."""
    soundfile = pytest.importorskip("soundfile")
    pytest.importorskip("av")
    path = tmp_path / "silence.flac"
    soundfile.write(path, np.zeros(RATE * 600, np.int16), RATE)
    connection = server.listen(encoding=None, sample_rate=None)
    connection.send(path.read_bytes())
    leave_abruptly(connection)
    assert _all_free(server)
    assert server.engine.queued_seconds == 0
