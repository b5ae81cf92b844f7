#!/usr/bin/env python3
"""How many live streams one machine transcribes, in batches.

    python benchmarks/many_streams.py --out results/many_streams.md

takes the model of hparams/finetune_small.yaml with random weights, on the
CPU, and writes two tables in Markdown.

Throughput
    Streams push a hop at a time, and all audio is there. The batcher runs
    them in one step; sessions take their pushes one by one. Both run in
    turns, once they have given the same texts.

Load
    Streams deliver a hop of audio in real time, each at a phase of its own.
    The latency of a push is the time from its arrival, when its last sample
    has been spoken, to the end of the step that takes it: the wait for a step
    that is running, and the step. The arrivals are on a virtual clock. It
    goes on by what each round of pushes and step really took, and jumps to
    the next arrival where nothing is to be done: so the run takes no longer
    than the work, and the latencies are those of a machine with nothing else
    to do. Pushes that a machine under too much load has not taken at the end
    count with the time they have waited until then. Texts are not compared.

    Streams are doubled until the 95th percentile exceeds a hop, then the last
    number that holds is found to an eighth.
"""

import argparse
import platform
import statistics
import time
from collections import deque
from pathlib import Path

import torch

from common import Bar, check_at_least_one
from small_model import make_noise, make_small_model
from speechbrain_llsa.inference.batcher import SessionBatcher
from speechbrain_llsa_runtime.geometry import SAMPLE_RATE
from speechbrain_llsa_runtime.inference.session import Session
from speechbrain_llsa_runtime.utils.errors import must_be

PERCENTS = (50, 95, 99)
"""Percentiles of the latency that are shown."""

MOST_STREAMS = 4096
"""Where the search ends, whatever the machine holds."""

BAR = Bar(3, least=True)
"""Of the speed of the batcher by that of the sessions."""


def run_sessions(model, text_decoder, streams):
    """Transcribes streams with sessions, one push of each in turn.

    Arguments
    ---------
    model : StreamingCTC
        The model.
    text_decoder : TextDecoder
        Of its labels.
    streams : list of list of torch.Tensor
        The pushes of each stream, equally many.

    Returns
    -------
    list of str
        Their texts.
    """
    sessions = [Session(model, text_decoder) for _ in streams]
    for pushes in zip(*streams, strict=True):
        for session, samples in zip(sessions, pushes, strict=True):
            session.push(samples)
    for session in sessions:
        session.finish()
    return [session.text for session in sessions]


def run_batcher(model, text_decoder, streams):
    """Transcribes streams with a batcher, one push of each and then a step.

    Arguments and result are those of :func:`run_sessions`.
    """
    batcher = SessionBatcher(model, text_decoder, len(streams))
    sessions = [batcher.session() for _ in streams]
    for pushes in zip(*streams, strict=True):
        for session, samples in zip(sessions, pushes, strict=True):
            session.push(samples)
        batcher.step()
    for session in sessions:
        session.finish()
    while batcher.step():
        pass
    return [session.text for session in sessions]


def check_texts(model, text_decoder, streams):
    """Raises an error if the batcher gives another text than the sessions.

    Arguments are those of :func:`run_sessions`.

    Raises
    ------
    ValueError
        If a text differs.
    """
    texts = run_sessions(model, text_decoder, streams)
    others = run_batcher(model, text_decoder, streams)
    for stream, (text, other) in enumerate(zip(texts, others, strict=True)):
        if other != text:
            raise ValueError(
                must_be(
                    f"text of stream {stream}",
                    repr(text),
                    f"{other!r} by the batcher; nothing was measured",
                )
            )


def measure_throughput(model, text_decoder, streams, repeats):
    """Times both methods in turns.

    Arguments
    ---------
    model : StreamingCTC
        The model.
    text_decoder : TextDecoder
        Of its labels.
    streams : list of list of torch.Tensor
        The pushes of each stream, equally many.
    repeats : int
        How often each way runs.

    Returns
    -------
    dict of str to list of float
        For "sessions" and "batcher", seconds of audio in each second.
    """
    ways = {"sessions": run_sessions, "batcher": run_batcher}
    samples = sum(push.shape[0] for pushes in streams for push in pushes)
    speeds = {name: [] for name in ways}
    for _ in range(repeats):
        for name, run in ways.items():
            begin = time.perf_counter()
            run(model, text_decoder, streams)
            seconds = time.perf_counter() - begin
            speeds[name].append(samples / SAMPLE_RATE / seconds)
    return speeds


def measure_load(model, text_decoder, count, seconds, seed=0):
    """Measures the latency of pushes of real-time streams.

    Arguments
    ---------
    model : StreamingCTC
        The model.
    text_decoder : TextDecoder
        Of its labels.
    count : int
        How many streams.
    seconds : float
        How long they last, on the virtual clock. The first tenth does not
        count.
    seed : int
        Of the phases and the noise.

    Returns
    -------
    list of float
        For each push its latency in seconds.
    """
    batcher = SessionBatcher(model, text_decoder, count)
    hop = batcher.step_seconds
    samples = round(hop * SAMPLE_RATE)
    noise = make_noise(seed, 64, samples)
    phases = hop * torch.rand(count, generator=torch.manual_seed(seed))
    arrivals = sorted(
        (phase + number * hop, stream)
        for stream, phase in enumerate(phases.tolist())
        for number in range(int(seconds / hop))
    )
    sessions = [batcher.session() for _ in range(count)]
    # A step of a stream takes in the last sample of one push.
    waiting = {session: deque() for session in sessions}
    latencies, now, pushed, ready = [], 0.0, 0, []
    while now < seconds and (ready or pushed < len(arrivals)):
        if not ready:
            now = max(now, arrivals[pushed][0])
        begin = time.perf_counter()
        while pushed < len(arrivals) and arrivals[pushed][0] <= now:
            arrival, stream = arrivals[pushed]
            sessions[stream].push(noise[pushed % len(noise)])
            waiting[sessions[stream]].append(arrival)
            pushed += 1
        ready = batcher.step()
        now += time.perf_counter() - begin
        latencies += [(waiting[each].popleft(), now) for each in ready]
    left = [arrival for queue in waiting.values() for arrival in queue]
    left += [arrival for arrival, _ in arrivals[pushed:]]
    latencies += [(arrival, now) for arrival in left if arrival < now]
    return [end - start for start, end in latencies if start >= seconds / 10]


def percentiles(latencies):
    """The percentiles of ``PERCENTS``.

    Arguments
    ---------
    latencies : list of float
        In seconds.

    Returns
    -------
    list of float
        In seconds.
    """
    quantiles = torch.tensor(PERCENTS, dtype=torch.float64) / 100
    values = torch.tensor(latencies, dtype=torch.float64)
    return values.quantile(quantiles).tolist()


def find_most_streams(measure, hop, most):
    """Finds how many streams a machine can sustain.

    Arguments
    ---------
    measure : callable
        Takes a number of streams, and gives the percentiles of the latency.
    hop : float
        Upper limit for the 95th percentile, in seconds.
    most : int
        Where the search ends.

    Returns
    -------
    int
        The largest number found to hold, 0 if none does.
    dict of int to list of float
        What was measured, by the number of streams.

    Example
    -------
    >>> find_most_streams(lambda count: [0, count / 100, 1], 0.7, 4096)[0]
    64
    """
    measured, holds, fails, count = {}, 0, None, 1
    while count <= most:
        measured[count] = measure(count)
        if measured[count][PERCENTS.index(95)] < hop:
            holds = count
        else:
            fails = count
        if fails is None:
            count *= 2
        elif fails - holds > max(1, holds // 8):
            count = (fails + holds) // 2
        else:
            break
    return holds, dict(sorted(measured.items()))


def format_tables(speeds, streams, measured, holds, hop):
    """Both tables, in Markdown.

    Arguments
    ---------
    speeds : dict of str to list of float
        As :func:`measure_throughput` gives them.
    streams : int
        How many streams gave them.
    measured : dict of int to list of float
        As :func:`find_most_streams` gives them.
    holds : int
        The number that holds.
    hop : float
        In seconds.

    Returns
    -------
    str
    """
    lines = [
        f"| {streams} streams | seconds of audio in a second | range |",
        "| --- | --- | --- |",
    ]
    medians = {name: statistics.median(runs) for name, runs in speeds.items()}
    names = {"sessions": "sessions one by one", "batcher": "batcher"}
    for name, title in names.items():
        low, high = min(speeds[name]), max(speeds[name])
        lines.append(
            f"| {title} | {medians[name]:.0f} | {low:.0f} to {high:.0f} |"
        )
    ratio = medians["batcher"] / medians["sessions"]
    verdict = "met" if BAR.met(ratio) else "**missed**"
    lines += [
        "",
        f"The batcher is {ratio:.1f} times as fast; the bar, {BAR}, is "
        f"{verdict}.",
        "",
    ]
    titles = " | ".join(f"p{percent}" for percent in PERCENTS)
    lines += [
        f"| streams in real time | {titles} | p95 under a hop of {hop} s |",
        "| --- |" + " --- |" * (len(PERCENTS) + 1),
    ]
    for count, values in measured.items():
        cells = " | ".join(f"{1000 * value:.1f} ms" for value in values)
        under = "yes" if values[PERCENTS.index(95)] < hop else "no"
        lines.append(f"| {count} | {cells} | {under} |")
    lines += ["", f"The machine holds {holds} streams."]
    return "\n".join(lines)


def main(arguments=None):
    """Measures throughput and load.

    Arguments
    ---------
    arguments : list of str, optional
        The command line without the name of the program.

    Returns
    -------
    dict
        ``speeds`` as :func:`measure_throughput` gives them, ``measured`` and
        ``holds`` as :func:`find_most_streams` does.

    Raises
    ------
    ValueError
        If the batcher gives another text than the sessions.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    check_at_least_one(
        parser,
        options,
        *("--streams", "--seconds", "--repeats", "--most", "--threads"),
    )
    if options.tiny:
        options.streams, options.seconds, options.repeats = 3, 1.0, 1
        options.most = 2
    threads = torch.get_num_threads()
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        result = _measure(options)
    finally:
        torch.set_num_threads(threads)
    return result


def _measure(options):
    model, text_decoder = make_small_model()
    batcher = SessionBatcher(model, text_decoder, 1)
    hop = batcher.step_seconds
    hop_samples = round(hop * SAMPLE_RATE)
    samples = round(options.seconds * SAMPLE_RATE)
    streams = [
        make_noise(stream, samples).split(hop_samples)
        for stream in range(options.streams)
    ]
    check_texts(model, text_decoder, streams)
    speeds = measure_throughput(model, text_decoder, streams, options.repeats)

    def measure(count):
        return percentiles(
            measure_load(model, text_decoder, count, options.seconds)
        )

    holds, measured = find_most_streams(measure, hop, options.most)
    tables = format_tables(speeds, options.streams, measured, holds, hop)
    tables += (
        f"\n\nEach stream lasts {options.seconds} s; {options.repeats} runs, "
        f"median and range; PyTorch {torch.__version__}, "
        f"{torch.get_num_threads()} threads, {platform.machine()}.\n"
    )
    print(tables)
    if options.out:
        Path(options.out).parent.mkdir(parents=True, exist_ok=True)
        Path(options.out).write_text(tables, encoding="utf-8")
    return {"speeds": speeds, "measured": measured, "holds": holds}


def _parser():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--out", help="file for the tables, in Markdown")
    for name, kind, default, words in (
        ("streams", int, 16, "streams of the throughput"),
        ("seconds", float, 8.0, "seconds of audio of each stream"),
        ("repeats", int, 3, "runs of the throughput"),
        ("most", int, MOST_STREAMS, "streams at which the search ends"),
        ("threads", int, None, "threads of PyTorch"),
    ):
        parser.add_argument(
            f"--{name}",
            type=kind,
            default=default,
            help=f"{words} (default: %(default)s)",
        )
    parser.add_argument(
        "--tiny",
        action="store_true",
        help="a second of few streams: does it run?",
    )
    return parser


if __name__ == "__main__":
    main()
