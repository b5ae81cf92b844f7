#!/usr/bin/env python3
"""Long streams: does a step give after hours what it gives at the start?

    python benchmarks/soak.py --hours 24 --minutes 60

takes the model of hparams/finetune_small.yaml with random weights, on the CPU.
First its encoder takes ``--hours`` of random frames in large pushes, then a
session takes ``--minutes`` of noise, a hop at a time.

At checkpoints, and at the end with what finishing brings out, the newest
output is compared with that of a fresh stream, which begins at position 0 and
is given only what the output can depend on: the frames that all layers look
back to, and what lies after them. Positions are relative, so the two must be
equal to 1e-4. The noise follows from its seed and its place, and is never
kept.

The script prints the largest error at each checkpoint, the median time of the
pushes since the one before, and the resident memory. The last two are for the
eye: neither should grow. Exit status 1: an output differs.
"""

import argparse
import statistics
import sys
import time
from collections import deque
from dataclasses import dataclass
from functools import lru_cache

import psutil
import torch

from small_model import make_noise, make_small_model
from speechbrain_llsa_runtime.geometry import FRAME_SECONDS, SAMPLE_RATE
from speechbrain_llsa_runtime.inference.session import Session

TOLERANCE = 1e-4
"""The largest error that passes."""

COMPARED_FRAMES = 1000
"""Frames that a checkpoint compares, at least, where there are so many."""

FRESH_PUSHES = 7
"""Pushes of the fresh stream: other ones than those of the long stream."""


class Noise:
    """Noise of any length, of which any part can be made again.

    Arguments
    ---------
    seed : int
        The same seed gives the same noise.
    block : int
        How much is made at once.
    *shape : int
        Of each entry.

    Example
    -------
    >>> noise = Noise(0, 10, 3)
    >>> noise.read(7, 15).shape
    torch.Size([15, 3])
    >>> bool((noise.read(7, 15)[5:] == noise.read(12, 10)).all())
    True
    """

    def __init__(self, seed, block, *shape):
        self._block = block
        self._make = lru_cache(maxsize=2)(
            lambda number: make_noise((seed << 32) + number, block, *shape)
        )

    def read(self, first, count):
        """A part of the noise.

        Arguments
        ---------
        first : int
            Where it begins.
        count : int
            Its length, at least 1.

        Returns
        -------
        torch.Tensor
            float32 (count, ...).
        """
        numbers = range(
            first // self._block, (first + count - 1) // self._block + 1
        )
        blocks = torch.cat([self._make(number) for number in numbers])
        skipped = first - numbers[0] * self._block
        return blocks[skipped : skipped + count]


class EncoderStream:
    """Frames through an encoder, to the frames that it commits.

    Arguments
    ---------
    encoder : StreamingTransformerEncoder
        The encoder.
    """

    unit = 1
    """Entries of the input for each frame."""

    def __init__(self, encoder):
        self._encoder = encoder
        self._context = encoder.make_streaming_context()

    def push(self, frames):
        """The next frames (frames, features), to those that are committed."""
        return self._encoder.forward_streaming(frames[None], self._context)[0][
            0
        ]

    def finish(self):
        """The rest of the frames."""
        return self._encoder.flush(self._context)[0][0]


class SessionStream:
    """Samples through a session, to the log-probabilities that it decodes.

    Arguments
    ---------
    model : StreamingCTC
        The model.
    text_decoder : TextDecoder
        Of its labels.
    """

    def __init__(self, model, text_decoder):
        self.unit = model.extractor.stride_samples
        self._model = _Recording(model)
        self._session = Session(self._model, text_decoder)

    def push(self, samples):
        """The next samples (samples,), to the frames that are committed."""
        self._session.push(samples)
        return self._model.taken()

    def finish(self):
        """The rest of the frames."""
        self._session.finish()
        return self._model.taken()


class _Recording:
    """A model for a session that records its outputs."""

    def __init__(self, model):
        self.geometries = model.geometries
        self.frame_seconds = model.frame_seconds
        self.gives_labels = model.gives_labels
        self.greedy_search = model.greedy_search
        self.make_streaming_context = model.make_streaming_context
        self._model = model
        self._returned = []

    def stream(self, samples, context, final=False):
        log_probs, ahead = self._model.stream(samples, context, final)
        self._returned.append(torch.from_numpy(log_probs))
        return log_probs, ahead

    def taken(self):
        frames, self._returned = self._returned, []
        return torch.cat(frames)


@dataclass(frozen=True)
class Checkpoint:
    """Results of one checkpoint."""

    frames: int
    """Frames committed so far."""

    error: float
    """Largest difference to the fresh stream."""

    push_seconds: float
    """Median time of the pushes since the checkpoint before."""

    resident_bytes: int
    """Memory of the process."""

    @property
    def passed(self):
        """Whether the outputs are equal; NaN is not."""
        return self.error <= TOLERANCE


def look_back_frames(encoder):
    """How far back the output of an encoder depends on its input.

    Arguments
    ---------
    encoder : StreamingTransformerEncoder
        The encoder.

    Returns
    -------
    int
        Frames before a hop, a whole number of hops.
    """
    geometry = encoder.geometry
    # The hop of a key that is seen begins up to hop - 1 frames before it.
    reach = len(encoder.layers) * (geometry.look_back + geometry.hop - 1)
    return -(-reach // geometry.hop) * geometry.hop


def soak(open_stream, noise, total, push, checkpoints, look_back):
    """Runs one long stream, and compares it with fresh ones.

    Arguments
    ---------
    open_stream : callable
        Begins a stream: ``EncoderStream`` or ``SessionStream``.
    noise : Noise
        Its input.
    total : int
        Length of the input.
    push : int
        How much is pushed at once.
    checkpoints : int
        How many checkpoints, evenly spread, the last one at the end.
    look_back : int
        Frames that the output depends on before itself, in whole hops.

    Yields
    ------
    Checkpoint
    """
    stream, process = open_stream(), psutil.Process()
    pushes = -(-total // push)
    marks = {
        -(-number * pushes // checkpoints)
        for number in range(1, checkpoints + 1)
    }
    newest, seconds, committed = deque(), [], 0
    for number in range(1, pushes + 1):
        start, received = (number - 1) * push, min(number * push, total)
        entries = noise.read(start, received - start)
        begin = time.perf_counter()
        out = stream.push(entries)
        seconds.append(time.perf_counter() - begin)
        if received == total:
            out = torch.cat([out, stream.finish()])
        committed += out.shape[0]
        newest.append(out)
        while sum(map(len, newest)) - len(newest[0]) >= COMPARED_FRAMES:
            newest.popleft()
        if number in marks:
            actual = torch.cat(list(newest))
            first = max(0, committed - len(actual) - look_back)
            start = first * stream.unit
            expected = _run_fresh(
                open_stream(),
                noise.read(start, received - start),
                finish=received == total,
            )
            error = float("nan")
            if len(expected) == committed - first:
                error = _largest(
                    actual - expected[len(expected) - len(actual) :]
                )
            yield Checkpoint(
                committed,
                error,
                statistics.median(seconds),
                process.memory_info().rss,
            )
            seconds.clear()


def _run_fresh(stream, entries, finish):
    pushes = entries.split(len(entries) // FRESH_PUSHES + 1)
    out = [stream.push(push) for push in pushes]
    if finish:
        out.append(stream.finish())
    return torch.cat(out)


def _largest(difference):
    return float(difference.abs().max()) if len(difference) else 0.0


def report(title, checkpoints):
    """Prints the checkpoints as they come.

    Arguments
    ---------
    title : str
        What is running.
    checkpoints : iterable of Checkpoint
        As :func:`soak` yields them.

    Returns
    -------
    bool
        Whether there were some, and all passed.
    """
    print(f"\n{title}", flush=True)
    print("| hours | frames | largest error | push | memory |")
    print("| --- | --- | --- | --- | --- |", flush=True)
    results = []
    for checkpoint in checkpoints:
        hours = checkpoint.frames * FRAME_SECONDS / 3600
        print(
            f"| {hours:.2f} | {checkpoint.frames} | {checkpoint.error:.1e} | "
            f"{1000 * checkpoint.push_seconds:.1f} ms | "
            f"{checkpoint.resident_bytes / 2**20:.0f} MiB |",
            flush=True,
        )
        results.append(checkpoint.passed)
    return bool(results) and all(results)


def main(arguments=None):
    """Runs both parts.

    Arguments
    ---------
    arguments : list of str, optional
        The command line without the name of the program.

    Returns
    -------
    int
        The exit status: 1 if an output differs.
    """
    options = _parser().parse_args(arguments)
    model, text_decoder = make_small_model(
        attention=options.attention, hop=options.hop
    )
    encoder = model.encoder_wrapper.latent_encoder
    look_back = look_back_frames(encoder)
    frames = round(options.hours * 3600 / FRAME_SECONDS)
    samples = round(options.minutes * 60 * SAMPLE_RATE)
    passed = []
    if frames:
        checkpoints = soak(
            lambda: EncoderStream(encoder),
            Noise(1, options.push_frames, encoder.d_model),
            frames,
            options.push_frames,
            options.checkpoints,
            look_back,
        )
        passed.append(report(f"Encoder, {options.hours} hours", checkpoints))
    if samples:
        hop_samples = encoder.geometry.hop * model.extractor.stride_samples
        checkpoints = soak(
            lambda: SessionStream(model, text_decoder),
            Noise(2, SAMPLE_RATE),
            samples,
            hop_samples,
            options.checkpoints,
            look_back,
        )
        passed.append(
            report(f"Session, {options.minutes} minutes", checkpoints)
        )
    if not all(passed):
        print("An output differs from that of a fresh stream.")
        return 1
    return 0


def _parser():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--attention",
        default="llsa",
        choices=("llsa", "sa", "maa"),
        help="of the model (default: %(default)s)",
    )
    for name, kind, default, words in (
        ("hop", int, 8, "frames of a hop"),
        ("hours", float, 1.0, "hours of the encoder"),
        ("minutes", float, 60.0, "minutes of the session"),
        ("push_frames", int, 2000, "frames that the encoder is pushed"),
        ("checkpoints", int, 6, "checkpoints of each part"),
    ):
        parser.add_argument(
            f"--{name}",
            type=kind,
            default=default,
            help=f"{words} (default: %(default)s)",
        )
    return parser


if __name__ == "__main__":
    sys.exit(main())
