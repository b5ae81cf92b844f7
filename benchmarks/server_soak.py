#!/usr/bin/env python3
"""A long stream on one connection to a server: does its memory stay flat?

    python benchmarks/server_soak.py --hours 24

starts `serve` with the English model in 8 bits in a process of its own, and
sends it the same speech again and again, as fast as the server takes it. The
speech ends in silence, and lasts a whole number of steps: so the text of each
round, and the times of its words, should be those of the second. The first
begins without a past. Products in 8 bits turn the last bits of rotary positions
into another letter here and there: hence a share of characters may differ, and
a word may move by a frame, and neither must grow.

For each hour of audio it prints the resident memory of the server, how much
faster than real time it was, the share of characters that differ, and of equal
words that lie elsewhere. Exit status 1: more than a fifth, or a twentieth.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from websockets.asyncio.client import connect

from server_load import Server, make_speech
from speechbrain_llsa.evaluation.error_rates import ErrorRates
from speechbrain_llsa_runtime.geometry import SAMPLE_RATE
from speechbrain_llsa_runtime.inference.onnx import OnnxStreamingASR

SILENCE_SECONDS = 3
"""Silence after the speech, in which a segment closes."""

MOST_DIFFERENT = 0.2
"""The largest share of characters that may differ."""

TIME_TOLERANCE = 0.03
"""Seconds that an equal word may move by: a frame."""

MOST_MOVED = 0.05
"""The largest share of equal words that may move by more."""


def round_of(speech, step_samples):
    """The audio of a round: speech, then silence up to a whole step.

    Arguments
    ---------
    speech : numpy.ndarray
        int16 (samples,).
    step_samples : int
        Samples of a step.

    Returns
    -------
    numpy.ndarray
        int16 (samples,), a multiple of ``step_samples``.

    Example
    -------
    >>> len(round_of(np.ones(10, np.int16), 1000)) % 1000
    0
    """
    silence = SILENCE_SECONDS * SAMPLE_RATE
    silence += -(len(speech) + silence) % step_samples
    return np.pad(speech, (0, silence))


def compare_rounds(words, seconds):
    """Compares each round from the third on with the second.

    Arguments
    ---------
    words : list of tuple of (str, float)
        Words of the stream and when they begin, in seconds; whole rounds.
    seconds : float
        Duration of a round.

    Returns
    -------
    float
        Insertions, deletions and substitutions for each character of the
        second; 0 if there is no third.
    float
        Share of equal words whose times within their rounds differ.

    Example
    -------
    >>> words = [("AB", 0.1), ("AB", 2.2), ("AB", 4.2), ("AB", 6.4), ("C", 6.5)]
    >>> compare_rounds(words, 2.0)
    (0.5, 0.5)
    """
    rounds = [[] for _ in range(int(words[-1][1] / seconds) + 1)]
    for text, start in words:
        number = int(start / seconds)
        rounds[number].append((text, start - number * seconds))
    _, second, *later = rounds
    if not later:
        return 0.0, 0.0
    rates, moves = ErrorRates(), []
    for number, each in enumerate(later):
        equal = rates.append(
            str(number), *(" ".join(w for w, _ in r) for r in (each, second))
        )
        moves += [abs(each[one][1] - second[two][1]) for one, two in equal]
    moved = sum(move > TIME_TOLERANCE for move in moves)
    return rates.character_error_rate / 100, moved / max(1, len(moves))


async def soak(server, audio, rounds, report):
    """Streams rounds on one connection.

    Arguments
    ---------
    server : server_load.Server
        The server.
    audio : numpy.ndarray
        int16 (samples,), a round.
    rounds : int
        How many of them.
    report : callable
        Called with the hours that the server has transcribed, at each whole
        one, and with the words so far.

    Returns
    -------
    list of tuple of (str, float)
        All words and when they begin, in seconds.
    """
    words = []
    url = f"ws://127.0.0.1:{server.port}/v1/listen"
    query = f"encoding=linear16&sample_rate={SAMPLE_RATE}"
    # a server that is behind answers no pings
    async with connect(
        f"{url}?{query}", max_queue=1024, ping_interval=None
    ) as client:

        async def receive():
            hours = 0
            async for text in client:
                message = json.loads(text)
                if message["type"] == "Metadata":
                    return
                if message["type"] != "Results" or not message["is_final"]:
                    continue
                found = message["channel"]["alternatives"][0]["words"]
                words.extend((each["word"], each["start"]) for each in found)
                if message["samples"] >= (hours + 1) * 3600 * SAMPLE_RATE:
                    hours += 1
                    report(hours, words)

        receiving = asyncio.ensure_future(receive())
        for _ in range(rounds):
            for first in range(0, len(audio), SAMPLE_RATE):
                block = audio[first : first + SAMPLE_RATE]
                await client.send(block.tobytes())
        await client.send('{"type": "CloseStream"}')
        await receiving
    return words


def main(arguments=None):
    """Streams, and prints a line for each hour.

    Arguments
    ---------
    arguments : list of str, optional
        The command line without the name of the program.

    Returns
    -------
    int
        The exit status: 1 if too much differs.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, default=24.0)
    options = parser.parse_args(arguments)
    asr = OnnxStreamingASR.from_folder("english")
    step_samples = round(asr.batcher(1).step_seconds * SAMPLE_RATE)
    with tempfile.TemporaryDirectory() as folder:
        audio = round_of(make_speech(Path(folder) / "digits"), step_samples)
    seconds = len(audio) / SAMPLE_RATE
    rounds = max(3, round(options.hours * 3600 / seconds))
    begun = time.monotonic()

    with Server(1, None, "--longest", "1000000000") as server:

        def report(hours, words):
            whole = int(words[-1][1] / seconds) * seconds
            ended = [each for each in words if each[1] < whole]
            _, memory = server.used()
            faster = hours * 3600 / (time.monotonic() - begun)
            different, moved = compare_rounds(ended, seconds)
            print(
                f"{hours} h: {memory / 1e6:.1f} MB, {faster:.1f} times real "
                f"time, {different:.2%} of characters differ, {moved:.2%} of "
                "equal words lie elsewhere",
                flush=True,
            )

        words = asyncio.run(soak(server, audio, rounds, report))
        report(round(rounds * seconds / 3600, 2), words)
    different, moved = compare_rounds(words, seconds)
    return 0 if different <= MOST_DIFFERENT and moved <= MOST_MOVED else 1


if __name__ == "__main__":
    sys.exit(main())
