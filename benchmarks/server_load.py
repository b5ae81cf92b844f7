#!/usr/bin/env python3
"""How many live streams a server holds.

    python benchmarks/server_load.py --out results/server_load.md

starts `serve` with the English model in 8 bits in a process of its own, and
lets clients of /v1/listen send speech in real time, each at a phase of its
own. The delay of a final message is the time from the moment when the last
sample of what it commits was sent to the arrival of the message. A number of
streams holds if the 95th percentile of the delay is at most the declared
latency and one hop. The clients run on the same machine, and take a part of
it. With --store, streams are stored in a folder each second of audio. Sessions
one by one, in one process without server or clients, show what these add.

CPU time and memory are those of the server's process; the memory of a stream
is what the process has grown by, from before the first one, for each.
"""

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from websockets.asyncio.client import connect

import _paths  # noqa: F401
from common import Bar, Report, make_parser, parse
from many_streams import PERCENTS, find_most_streams
from speechbrain_llsa_runtime.dataio.audio_files import read_signal
from speechbrain_llsa_runtime.geometry import SAMPLE_RATE
from speechbrain_llsa_runtime.inference.onnx import OnnxStreamingASR
from synthesize import synthesize_corpus

BLOCK_SECONDS = 0.1
"""Audio in a message of a client."""

TEXT = """
`serve` with the English model in 8 bits, and clients of /v1/listen on the same
machine that send speech in real time {how}: the delay of committed text at the
client, from the moment when its last sample was sent. The bar is the declared
latency and a hop. The peer columns are CPU time and memory of the server. Texts
are not compared.
"""

SESSIONS = 8
"""Plain sessions that are pushed in turn."""

START_SECONDS = 60
"""How long a server may take to start."""


class Server:
    """A server in a process of its own.

    Arguments
    ---------
    slots : int
        How many streams it takes.
    store : str or None
        The folder that it stores streams in.
    *options : str
        Other options of the command.
    """

    def __init__(self, slots, store=None, *options):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        if store is not None:
            key = Path(store) / "key"
            key.write_bytes(b"0123456789abcdef")
            options += "--store", store, "--resume_key", str(key)
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "speechbrain_llsa_runtime", "serve"),
                *("--port", str(self.port), "--slots", str(slots), *options),
            ],
            stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self._watched = psutil.Process(self._process.pid)
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                time.sleep(0.05)
        raise TimeoutError("the server does not start")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._process.kill()
        self._process.wait()

    def used(self):
        """CPU seconds and bytes of memory so far."""
        times = self._watched.cpu_times()
        return times.user + times.system, self._watched.memory_info().rss


async def stream(port, signal, seconds, start, resume):
    """Sends speech in real time, and gives the delay of each final message.

    Arguments
    ---------
    port : int
        Of the server.
    signal : numpy.ndarray
        int16 (samples,); repeated as often as needed.
    seconds : float
        How long.
    start : float
        When to begin, by ``time.monotonic``.
    resume : bool
        Whether the stream can be gone on with, and so is stored.

    Returns
    -------
    list of float
        In seconds.
    """
    size = int(BLOCK_SECONDS * SAMPLE_RATE)
    query = f"encoding=linear16&sample_rate={SAMPLE_RATE}"
    if resume:
        query += "&resume=new"
    delays = []
    await asyncio.sleep(start - time.monotonic())
    async with connect(f"ws://127.0.0.1:{port}/v1/listen?{query}") as client:
        begun = time.monotonic()

        async def receive():
            async for text in client:
                now = time.monotonic() - begun
                message = json.loads(text)
                if message["type"] == "Metadata":
                    return
                if message["type"] == "Results" and message["is_final"]:
                    delays.append(now - message["samples"] / SAMPLE_RATE)

        receiving = asyncio.ensure_future(receive())
        for number in range(int(seconds / BLOCK_SECONDS)):
            spoken = (number + 1) * BLOCK_SECONDS
            await asyncio.sleep(begun + spoken - time.monotonic())
            first = number * size % (len(signal) - size)
            await client.send(signal[first : first + size].tobytes())
        await client.send('{"type": "CloseStream"}')
        await receiving
    return delays


def make_speech(folder):
    """Makes speech to send.

    Arguments
    ---------
    folder : pathlib.Path
        Where its corpus goes.

    Returns
    -------
    numpy.ndarray
        int16 (samples,).
    """
    synthesize_corpus(folder, {"all": (1, 6)}, seed=1, progress=False)
    signal = np.concatenate(
        [read_signal(path) for path in sorted(folder.rglob("*.flac"))]
    )
    return (signal * 32767).astype(np.int16)


def measure(signal, streams, seconds, slots, store):
    """Measures a number of streams.

    Returns
    -------
    dict
        Percentiles of the delay in seconds, cores of CPU, and bytes for each
        stream.
    """

    async def run(server):
        start = time.monotonic() + 1
        return await asyncio.gather(
            *(
                stream(
                    server.port,
                    np.roll(signal, number * 7919),
                    seconds,
                    start + number / streams,
                    store is not None,
                )
                for number in range(streams)
            )
        )

    with Server(slots, store) as server:
        asyncio.run(run_one(server.port, signal))
        cpu, memory = server.used()
        begun = time.monotonic()
        delays = [delay for each in asyncio.run(run(server)) for delay in each]
        elapsed = time.monotonic() - begun
        cpu_after, memory_after = server.used()
    return {
        "delays": np.percentile(delays, PERCENTS).tolist(),
        "cores": (cpu_after - cpu) / elapsed,
        "bytes": (memory_after - memory) / streams,
    }


async def run_one(port, signal):
    """Warms the server up."""
    await stream(port, signal, 1, time.monotonic(), False)


def one_by_one(asr, signal, seconds):
    """How many streams one thread would transcribe in real time with plain
    sessions, pushed a step at a time in turn, without server and clients.

    Arguments
    ---------
    asr : OnnxStreamingASR
        The model.
    signal : numpy.ndarray
        int16 (samples,).
    seconds : float
        Audio of each session.

    Returns
    -------
    float
        Seconds of audio for each second of work.
    """
    sessions = [asr.session() for _ in range(SESSIONS)]
    size = round(asr.batcher(1).step_seconds * SAMPLE_RATE)
    signal = np.resize(signal, round(seconds * SAMPLE_RATE))
    begun = time.monotonic()
    for first in range(0, len(signal), size):
        for session in sessions:
            session.push(signal[first : first + size])
    return SESSIONS * seconds / (time.monotonic() - begun)


def main(arguments=None):
    """Measures, and writes the tables.

    Arguments
    ---------
    arguments : list of str, optional
        The command line without the name of the program.
    """
    parser = make_parser(__doc__)
    parser.add_argument(
        "--seconds", type=float, default=20, help="of each measurement"
    )
    parser.add_argument("--most", type=int, default=256, help="streams at most")
    parser.add_argument(
        "--store", action="store_true", help="streams are stored in a folder"
    )
    options = parse(parser, arguments)
    seconds, most = (3, 2) if options.tiny else (options.seconds, options.most)
    asr = OnnxStreamingASR.from_folder("english")
    declared = asr.latency_report().declared_latency.total_seconds
    hop = asr.batcher(1).step_seconds
    with tempfile.TemporaryDirectory() as folder:
        signal = make_speech(Path(folder) / "digits")
        rows = {}

        def delays(count):
            store = tempfile.mkdtemp(dir=folder) if options.store else None
            rows[count] = measure(signal, count, seconds, most, store)
            return rows[count]["delays"]

        plain = one_by_one(asr, signal, seconds)
        holds, _ = find_most_streams(delays, declared + hop, most)
    how = "each stored in a folder once a second" if options.store else ""
    report = Report("A live server", TEXT.format(how=how), options)
    bar = Bar(round(declared + hop, 3))
    for count, row in sorted(rows.items()):
        p50, p95, p99 = (f"{value:.2f} s" for value in row["delays"])
        report.add(
            f"{count} streams: delay p95 (p50, p99)",
            f"{p95} ({p50}, {p99})",
            f"{row['cores']:.2f} cores",
            f"{row['bytes'] / 1e6:.1f} MB each",
            bar,
            row["delays"][1],
        )
    report.add("streams that hold", str(holds))
    report.add("sessions one by one, without a server", f"{plain:.0f} streams")
    report.write()


if __name__ == "__main__":
    main()
