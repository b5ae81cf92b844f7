"""A server of a tiny model in a thread, and clients of it."""

import argparse
import asyncio
import contextlib
import json
import socket
import threading
from urllib.parse import urlencode

import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from speechbrain_llsa.commands import serve
from speechbrain_llsa.decoders.tokenizers import TextDecoder
from speechbrain_llsa.inference.onnx_export import export_model
from speechbrain_llsa_runtime.commands.serve import make_server_of
from speechbrain_llsa_runtime.commands.sessions import load_sessions
from speechbrain_llsa_runtime.inference.onnx import OnnxStreamingASR
from tiny_model import make_model, make_signal, make_tokenizer

RATE = 16000


def export_tiny(folder):
    """An exported model whose text is not trivial."""
    decoder = TextDecoder(make_tokenizer())
    return export_model(folder, make_model(), decoder, precisions=("fp32",))


def samples_of(length, seed=0):
    """Samples of 16 bits."""
    return (make_signal(length, seed).numpy() * 3000).astype(np.int16)


def text_alone(folder, *parts, **options):
    """What a session alone says of each part, joined by spaces of words."""
    asr = OnnxStreamingASR.from_folder(folder)
    words = []
    for part in parts:
        session = asr.session(**options)
        first = session.push(part, RATE).final_words
        words += [*first, *session.finish().final_words]
    return " ".join(word.text for word in words)


class LiveServer:
    """A server that runs."""

    def __init__(self, folder, *options):
        parser = argparse.ArgumentParser()
        serve.add_arguments(parser)
        arguments = ["--model", str(folder), "--port", "0", *options]
        self._arguments = parser.parse_args([str(each) for each in arguments])
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._failure = None

    def start(self):
        self._thread.start()
        self._started.wait()
        if self._failure:
            raise self._failure
        return self

    def stop(self):
        self.call(self.server.service.closing.set)
        self.server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()

    def call(self, function):
        """Calls a function within the event loop, if that still runs."""
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(function)

    def drain(self):
        """What SIGTERM does."""
        self.server.handle_exit(15, None)

    @property
    def engine(self):
        return self.server.service.engine

    def url(self, path="", scheme="http"):
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    def listen_url(self, **query):
        query = {"encoding": "linear16", "sample_rate": RATE, **query}
        query = {n: v for n, v in query.items() if v is not None}
        return self.url(f"/v1/listen?{urlencode(query, True)}", "ws")

    def listen(self, open_timeout=10, **query):
        """A connection to /v1/listen."""
        return connect(self.listen_url(**query), open_timeout=open_timeout)

    def _run(self):
        try:
            asyncio.run(self._serve())
        except Exception as failure:
            self._failure = failure
        finally:
            self._started.set()

    async def _serve(self):
        self.loop = asyncio.get_running_loop()
        self.server = make_server_of(
            self._arguments, load_sessions(self._arguments)
        )
        listening = socket.create_server(("127.0.0.1", 0))
        self.port = listening.getsockname()[1]
        serving = asyncio.ensure_future(self.server.serve([listening]))
        while not self.server.started and not serving.done():
            await asyncio.sleep(0.01)
        self._started.set()
        await serving


@contextlib.contextmanager
def live_server(folder, *options):
    """A server for the time of a block."""
    server = LiveServer(folder, *options).start()
    try:
        yield server
    finally:
        server.stop()


def messages_of(samples, size=3200):
    """Messages of so many samples."""
    return [
        samples[first : first + size].tobytes()
        for first in range(0, len(samples), size)
    ]


def send(connection, samples, size=3200):
    """Sends samples in messages of so many."""
    for message in messages_of(samples, size):
        connection.send(message)


def send_until_closed(connection, *messages):
    """Sends messages to a server that closes the connection because of one of
    them, maybe before the last is sent."""
    with contextlib.suppress(ConnectionClosed):
        for message in messages:
            connection.send(message)


def read_all(connection):
    """All further messages, as objects, and the code of the close."""
    messages = []
    with contextlib.suppress(ConnectionClosed):
        while True:
            messages.append(json.loads(connection.recv()))
    return messages, connection.close_code


def leave_abruptly(connection):
    """Goes without a close."""
    with contextlib.suppress(OSError):
        connection.socket.shutdown(socket.SHUT_RDWR)
    connection.socket.close()


def transcript_of(messages):
    """The final transcripts of Results, joined by spaces."""
    return " ".join(
        text
        for message in messages
        if message["type"] == "Results" and message["is_final"]
        if (text := message["channel"]["alternatives"][0]["transcript"])
    )
