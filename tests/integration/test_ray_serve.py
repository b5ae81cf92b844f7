"""The server as a deployment of Ray Serve, with two replicas."""

import asyncio
import json
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pytest
import soundfile

from source_files import PYTHON_PATH

pytest.importorskip("ray.serve")
pytest.importorskip("starlette")
pytest.importorskip("psutil")

import psutil
import ray
from ray import serve
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from deploy.ray_serve import build

pytestmark = pytest.mark.slow

RATE = 16000
BLOCK = RATE // 10
TOKEN = "correct-horse-battery"
STREAMS = 4
KILLED_AFTER_SECONDS = 4
CLOSE = json.dumps({"type": "CloseStream"})


@pytest.fixture(scope="module")
def speech(digits_corpus, tmp_path_factory):
    """Synthetic utterances, one after the other: a file, and its samples."""
    paths = sorted(Path(digits_corpus).glob("test/*/*/*.flac"))
    samples = np.concatenate(
        [soundfile.read(path, dtype="int16")[0] for path in paths]
    )
    samples = np.resize(samples, max(len(samples), 10 * RATE))
    path = tmp_path_factory.mktemp("speech") / "speech.wav"
    soundfile.write(path, samples, RATE)
    return path, samples


@pytest.fixture(scope="module")
def text(speech):
    """What the command ``transcribe`` says, as words."""
    path, _ = speech
    done = subprocess.run(
        [sys.executable, "-m", "speechbrain_llsa_runtime", "transcribe", path],
        capture_output=True,
        check=True,
        text=True,
        env={"PYTHONPATH": PYTHON_PATH},
    )
    words = done.stdout.split()
    assert len(words) > 5
    return words


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


@pytest.fixture(scope="module")
def port():
    """That of the proxy of a Ray of one machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", PYTHON_PATH)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(
            address="local",
            num_cpus=4,
            include_dashboard=False,
            object_store_memory=100 << 20,
        )
        number = free_port()
        serve.start(http_options={"host": "127.0.0.1", "port": number})
        yield number
        serve.shutdown()
        ray.shutdown()


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory):
    """That of a Redis of its own."""
    if shutil.which("redis-server") is None:
        pytest.skip("needs redis-server")
    pytest.importorskip("redis")
    path = tmp_path_factory.mktemp("redis") / "socket"
    process = subprocess.Popen(
        [
            *("redis-server", "--port", "0", "--unixsocket", path),
            *("--save", "", "--dir", path.parent),
        ],
        stdout=subprocess.DEVNULL,
    )
    yield f"unix://{path}"
    process.terminate()
    process.wait()


@pytest.fixture(scope="module", params=["folder", "redis"])
def deployed(request, port, tmp_path_factory):
    """Two replicas with a store in common; the port."""
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "key").write_bytes(bytes(range(65, 97)))
    (folder / "tokens").write_text(f"{TOKEN}\n")
    if request.param == "redis":
        store = request.getfixturevalue("redis_url")
    else:
        store = str(folder / "sessions")
    application = build(
        {
            "tokens": folder / "tokens",
            "resume_key": folder / "key",
            "store": store,
            "slots": 8,
            "drain": 1,
            "fewest_replicas": 2,
            "most_replicas": 2,
        }
    )
    serve.run(application)
    yield port
    serve.delete("default")


class Listener:
    """A client that goes on with its stream where it was lost."""

    def __init__(self, port, samples):
        self.words = []
        self.resumed_at = []
        self.name = "new"
        self._port, self._samples = port, samples
        self._seen = 0

    async def run(self, opened=lambda: None):
        while not await self._try(opened):
            await asyncio.sleep(0.5)

    async def _try(self, opened):
        """Whether the stream has come to its end."""
        query = urlencode(
            {
                "encoding": "linear16",
                "sample_rate": RATE,
                "resume": self.name,
            }
        )
        try:
            async with connect(
                f"ws://127.0.0.1:{self._port}/v1/listen?{query}",
                additional_headers={"Authorization": f"Token {TOKEN}"},
            ) as connection:
                first = json.loads(await connection.recv())
                assert first["type"] == "Session"
                if self.name != "new":
                    assert first["id"] == self.name
                    self.resumed_at.append(first["samples"])
                self.name = first["id"]
                opened()
                sending = asyncio.ensure_future(
                    self._send(connection, first["samples"])
                )
                try:
                    return await self._read(connection)
                finally:
                    sending.cancel()
        except (ConnectionClosed, OSError):
            return False
        except InvalidStatus as refused:
            assert refused.response.status_code == 503
            return False

    async def _send(self, connection, start):
        for first in range(start, len(self._samples), BLOCK):
            block = self._samples[first : first + BLOCK]
            await connection.send(block.tobytes())
            await asyncio.sleep(len(block) / RATE)
        await connection.send(CLOSE)

    async def _read(self, connection):
        async for text in connection:
            message = json.loads(text)
            if message["type"] == "Metadata":
                return True
            if message["type"] != "Results" or not message["is_final"]:
                continue
            if message["number"] > self._seen:
                self._seen = message["number"]
                (best,) = message["channel"]["alternatives"]
                self.words += best["transcript"].split()
        raise OSError("closed before its end")


async def listen_at_once(listeners, between=None):
    """Runs clients, which connect one after the other."""
    running = []
    for listener in listeners:
        opened = asyncio.Event()
        running.append(asyncio.ensure_future(listener.run(opened.set)))
        await opened.wait()
    if between is not None:
        await asyncio.sleep(KILLED_AFTER_SECONDS)
        between()
    await asyncio.wait_for(asyncio.gather(*running), 120)


def replicas():
    """The processes of replicas, of this test's Ray alone."""
    return [
        process
        for process in psutil.Process().children(recursive=True)
        if "ServeReplica:default" in " ".join(process.cmdline())
    ]


def test_streams_at_once(deployed, speech, text):
    """Each has the text of ``transcribe``, on its first connection."""
    listeners = [Listener(deployed, speech[1]) for _ in range(STREAMS)]
    asyncio.run(listen_at_once(listeners))
    for listener in listeners:
        assert listener.words == text
        assert not listener.resumed_at


def test_a_killed_replica(deployed, speech, text):
    """Its streams go on elsewhere, and the text is the same."""
    listeners = [Listener(deployed, speech[1]) for _ in range(STREAMS)]
    processes = replicas()
    assert len(processes) == 2
    asyncio.run(listen_at_once(listeners, processes[0].kill))
    assert 0 < sum(bool(each.resumed_at) for each in listeners) < STREAMS
    for listener in listeners:
        assert listener.words == text
        assert all(start > 0 for start in listener.resumed_at)
