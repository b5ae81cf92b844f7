"""A server in operation: tokens, origins, health, metrics, other people's
mistakes, and the command itself."""

import argparse
import asyncio
import json
import logging
import random
import signal
import subprocess
import sys
import time

import pytest

from live_server import (
    RATE,
    export_tiny,
    leave_abruptly,
    live_server,
    messages_of,
    read_all,
    samples_of,
    send,
    send_until_closed,
    text_alone,
    transcript_of,
)
from speechbrain_llsa_runtime.__main__ import main
from speechbrain_llsa_runtime.commands import serve

pytest.importorskip("onnxscript")
pytest.importorskip("uvicorn")
httpx = pytest.importorskip("httpx")
connect = pytest.importorskip("websockets.sync.client").connect
exceptions = pytest.importorskip("websockets.exceptions")
ConnectionClosed = exceptions.ConnectionClosed
InvalidStatus = exceptions.InvalidStatus

CLOSE = json.dumps({"type": "CloseStream"})
SIGNAL = samples_of(4 * RATE, seed=5)
TOKEN = "correct-horse-battery"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return export_tiny(tmp_path_factory.mktemp("exported") / "tiny")


@pytest.fixture(scope="module")
def guarded(folder, tmp_path_factory):
    """A server with tokens."""
    path = tmp_path_factory.mktemp("tokens") / "tokens"
    path.write_text(f"# of the staff\n{TOKEN}\n\nanother-token\n")
    options = "--tokens", path, "--sessions_per_token", 2
    with live_server(
        folder, *options, "--origin", "https://friend.example"
    ) as server:
        yield server


@pytest.mark.parametrize(
    "options",
    [
        {"additional_headers": {"Authorization": f"Token {TOKEN}"}},
        {"additional_headers": {"Authorization": f"Bearer {TOKEN}"}},
        {"additional_headers": {"Authorization": f"bearer  {TOKEN}"}},
        {"subprotocols": ["token", TOKEN]},
    ],
)
def test_tokens(guarded, options):
    for url in (guarded.listen_url(), guarded.url(scheme="ws")):
        with connect(url, **options) as connection:
            assert connection.subprotocol in (None, "token")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"additional_headers": {"Authorization": "Token wrong-token"}},
        {"additional_headers": {"Authorization": f"Basic {TOKEN}"}},
        {"additional_headers": {"Authorization": TOKEN}},
        {"subprotocols": ["token", "wrong-token"]},
    ],
)
def test_other_tokens(guarded, options):
    for url in (guarded.listen_url(), guarded.url(scheme="ws")):
        with pytest.raises(InvalidStatus) as refused:
            connect(url, **options)
        assert refused.value.response.status_code == 401
    headers = options.get("additional_headers", {})
    for path in ("/metrics", "/v1/audio/transcriptions"):
        method = "GET" if path == "/metrics" else "POST"
        response = httpx.request(method, guarded.url(path), headers=headers)
        assert response.status_code == 401


def test_sessions_of_a_token(guarded):
    options = {"additional_headers": {"Authorization": f"Token {TOKEN}"}}
    url = guarded.listen_url()
    with connect(url, **options), connect(url, **options):
        with pytest.raises(InvalidStatus) as refused:
            connect(url, **options)
        assert refused.value.response.status_code == 429
        other = {"additional_headers": {"Authorization": "Token another-token"}}
        with connect(url, **other):
            pass


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://friend.example", True),
        ("https://enemy.example", False),
        ("null", False),
        ("http://[", False),
        (None, True),
        ("own", True),
    ],
)
def test_origins(guarded, origin, allowed):
    """Pages of other hosts may not use the tokens of a browser."""
    if origin == "own":
        origin = guarded.url()
    options = {
        "origin": origin,
        "additional_headers": {"Authorization": f"Token {TOKEN}"},
    }
    if allowed:
        with connect(guarded.listen_url(), **options):
            return
    with pytest.raises(InvalidStatus) as refused:
        connect(guarded.listen_url(), **options)
    assert refused.value.response.status_code == 403


def test_health_and_metrics(folder):
    with live_server(folder, "--slots", 1) as server:
        assert httpx.get(server.url("/healthz")).text == "ok\n"
        assert httpx.get(server.url("/readyz")).status_code == 200
        with server.listen() as connection:
            assert httpx.get(server.url("/readyz")).status_code == 503
            with pytest.raises(InvalidStatus):
                server.listen()
            send(connection, SIGNAL)
            connection.send(CLOSE)
            read_all(connection)
        text = httpx.get(server.url("/metrics")).text
        values = dict(
            line.rsplit(" ", 1)
            for line in text.splitlines()
            if line and line[0] != "#"
        )
        for name, expected in (
            ('llsa_sessions_opened_total{protocol="listen"}', 1),
            ('llsa_sessions_refused_total{reason="full"}', 1),
            ('llsa_closes_total{code="1000"}', 1),
            ("llsa_sessions_most", 1),
            ("llsa_audio_seconds_total", 4),
            ("llsa_queued_seconds", 0),
        ):
            assert float(values[name]) == pytest.approx(expected), name
        assert float(values["llsa_step_seconds_count"]) > 10
        assert float(values["llsa_commit_delay_seconds_count"]) > 0


def test_the_page(folder):
    """Is there, with a policy that allows nothing of other hosts."""
    with live_server(folder) as server:
        response = httpx.get(server.url("/"))
        if response.status_code == 200:
            policy = response.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
        assert httpx.get(server.url("/nowhere")).status_code == 404


def random_program(choice):
    """A sequence of what a client may do, sensible or not."""
    program = []
    for _ in range(choice.randrange(1, 8)):
        program.append(
            choice.choice(
                [
                    lambda: choice.randbytes(choice.randrange(5000)),
                    lambda: SIGNAL[: choice.randrange(9000)].tobytes(),
                    lambda: b"RIFF" + choice.randbytes(60),
                    lambda: CLOSE,
                    lambda: json.dumps({"type": "Finalize"}),
                    lambda: json.dumps({"type": "KeepAlive"}),
                    lambda: json.dumps({"type": choice.random()}),
                    lambda: '{"eof" : 1}',
                    lambda: '{"reset" : 1}',
                    lambda: '{"config": {"sample_rate": 8000}}',
                    lambda: "nonsense",
                    lambda: None,
                ]
            )()
        )
    return program


def play(server, choice):
    """Plays a random program to one of the two protocols."""
    url = server.url(scheme="ws")
    if choice.random() < 0.7:
        url = server.listen_url(
            encoding=choice.choice(["linear16", "linear32", "mulaw", None]),
            interim_results=choice.choice(["true", "false"]),
            resume=choice.choice([None, None, "new"]),
        )
    try:
        connection = connect(url, open_timeout=20)
    except InvalidStatus:
        return
    try:
        for message in random_program(choice):
            if message is None:
                leave_abruptly(connection)
                return
            connection.send(message)
        if choice.random() < 0.5:
            connection.send(CLOSE)
    except ConnectionClosed:
        pass
    finally:
        leave = choice.choice([leave_abruptly, type(connection).close])
        leave(connection)


@pytest.mark.slow
def test_random_programs(folder):
    """Whatever 2,000 clients do, the server lives, and the text of others is
    bit by bit their own."""
    choice = random.Random(11)
    expected = text_alone(folder, SIGNAL)
    with live_server(folder, "--slots", 16) as server:
        for round_number in range(20):
            with server.listen() as steady:
                for number in range(100):
                    if number % 10 == 0:
                        first = number * 640
                        send(steady, SIGNAL[first : first + 6400])
                    play(server, choice)
                steady.send(CLOSE)
                messages, code = read_all(steady)
            assert code == 1000, round_number
            assert transcript_of(messages) == expected, round_number
        deadline = time.monotonic() + 20
        while server.engine.free_slots < 16 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert server.engine.free_slots == 16
        assert httpx.get(server.url("/healthz")).text == "ok\n"


@pytest.mark.parametrize(
    ("arguments", "about"),
    [
        (["--host", "0.0.0.0"], "--host must be"),
        (["--port", "99999"], "--port must be"),
        (["--slots", "0"], "--slots must be"),
        (["--idle", "0"], "--idle must be"),
        (["--tokens", "nowhere"], "--tokens must be"),
        (["--certificate", "nowhere"], "--certificate must be"),
        (["--store", "sessions"], "--resume_key must be"),
        (["--store", "ftp://host"], "--store must be"),
        (["--model", "nowhere"], "--model must be"),
    ],
)
def test_bad_arguments(folder, arguments, about, capsys, tmp_path, monkeypatch):
    """Are refused in one line."""
    monkeypatch.chdir(tmp_path)
    model = ["--model", str(folder)]
    status = main(["serve", *model, "--port", "0", *arguments])
    assert status == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert about in error


@pytest.fixture
def _logging():
    """Puts the handlers of the process back."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = before


@pytest.mark.usefixtures("_logging")
def test_a_taken_port(folder, capsys):
    with live_server(folder) as server:
        model = "--model", str(folder)
        status = main(["serve", *model, "--port", str(server.port)])
    assert status == 2
    assert "--port must be free" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "# nothing\n", "short\n", "a b c d e"])
def test_bad_token_files(folder, content, tmp_path):
    path = tmp_path / "tokens"
    path.write_text(content)
    with pytest.raises(ValueError, match="--tokens must be"):
        live_server(folder, "--tokens", path).__enter__()


def start(folder, port, *options):
    """The command in a process of its own."""
    command = [
        *(sys.executable, "-m", "speechbrain_llsa_runtime", "serve"),
        *("--model", str(folder), "--port", str(port), *map(str, options)),
    ]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            httpx.get(f"http://127.0.0.1:{port}/readyz")
            return process
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(process.stderr.read())


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_server(folder, tmp_path, number):
    """A server is killed in the middle, and started again: the client goes
    on, and nothing is lost. Its log is JSON, without any text."""
    key = tmp_path / "key"
    key.write_bytes(b"0123456789abcdef")
    options = "--store", tmp_path / "sessions", "--resume_key", key
    port = 8391
    url = f"ws://127.0.0.1:{port}/v1/listen?encoding=linear16&sample_rate=16000"
    process = start(folder, port, *options)
    got = []
    try:
        with connect(f"{url}&resume=new") as connection:
            name = json.loads(connection.recv())["id"]
            send(connection, SIGNAL[: 2 * RATE])
            while not got or got[-1]["samples"] < 1.5 * RATE:
                got.append(json.loads(connection.recv()))
            time.sleep(0.3)
            process.send_signal(number)
            rest, code = read_all(connection)
            got += rest
        assert code == (1012 if number == signal.SIGTERM else 1006)
        log = process.communicate(timeout=30)[1]
        last = max(message["number"] for message in got)
        process = start(folder, port, *options)
        with connect(f"{url}&resume={name}") as connection:
            session = json.loads(connection.recv())
            assert session["samples"] >= RATE
            send(connection, SIGNAL[session["samples"] :])
            connection.send(CLOSE)
            rest, code = read_all(connection)
        assert code == 1000
        got += [
            message
            for message in rest
            if message["type"] == "Results" and message["number"] > last
        ]
        assert transcript_of(got) == text_alone(folder, SIGNAL)
    finally:
        process.kill()
        process.communicate()
    lines = log.splitlines()[1:]
    assert lines
    assert all(json.loads(line)["event"] for line in lines)
    assert name not in log


def test_the_engine_survives_a_failing_step(folder):
    """A step that fails ends the streams that were in it, with 1011 or 1007,
    and no others."""
    with live_server(folder) as server:
        batcher = server.engine.batcher
        run, failures = batcher._run, [MemoryError("no memory")]

        def failing(*arguments):
            if failures:
                raise failures.pop()
            return run(*arguments)

        with server.listen() as waiting, server.listen() as unlucky:
            batcher._run = failing
            send_until_closed(unlucky, *messages_of(SIGNAL))
            _, code = read_all(unlucky)
            assert code in (1007, 1011)
            send(waiting, SIGNAL)
            waiting.send(CLOSE)
            messages, code = read_all(waiting)
        assert code == 1000
        assert transcript_of(messages) == text_alone(folder, SIGNAL)


def test_loopback():
    """What is loopback, and what is not."""
    for host in ("localhost", "127.0.0.1", "127.3.2.1", "::1"):
        assert serve._is_loopback(host)
    for host in ("0.0.0.0", "::", "example.org", "10.0.0.1"):
        assert not serve._is_loopback(host)


def test_a_parser_of_its_own():
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    assert parser.parse_args([]).model == "english"


def test_no_reader():
    """A client that reads nothing is closed with 1013."""
    from speechbrain_llsa_runtime.server.conversation import Conversation
    from speechbrain_llsa_runtime.server.metrics import Metrics
    from speechbrain_llsa_runtime.server.service import Limits

    closed = []

    class Socket:
        async def send_text(self, text):
            await asyncio.sleep(99)

        async def close(self, code, reason):
            closed.append((code, reason))
            await asyncio.sleep(99)

    class Service:
        limits = Limits(unread_seconds=0.05)
        metrics = Metrics()

        def __init__(self):
            self.closing = asyncio.Event()

    async def talk():
        conversation = Conversation(Socket(), Service())

        async def part():
            await conversation.send({"type": "Results"})

        await conversation.run(part)

    asyncio.run(talk())
    assert [code for code, _ in closed] == [1013]
