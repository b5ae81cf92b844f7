"""One hour of audio through one session of the small model: the time of a
step, and the memory of the process.

> python benchmarks/one_hour.py --out one_hour.md
"""

import gc
import statistics

import matplotlib
import psutil
import torch

matplotlib.use("Agg")

from matplotlib import pyplot
from torch.utils.benchmark import Timer

from common import (
    Bar,
    Report,
    check_at_least_one,
    duration,
    figure,
    make_parser,
    mebibytes,
    parse,
)
from models import SMALL, check_streaming, make_model, noise
from speechbrain_llsa.decoders.tokenizers import TextDecoder
from speechbrain_llsa_runtime.geometry import SAMPLE_RATE
from speechbrain_llsa_runtime.inference.session import Session

PUSH_SAMPLES = 2560
PUSHES_A_TIME = 3
"""A timer calls twice to warm up, and then once on the clock."""

SETTLED_MINUTES = 5
"""What is allocated once has been allocated by then."""

TEXT = """
One session of the model of hparams/finetune_small.yaml with random weights,
waveform to text, in pushes of 0.16 s of noise. Every third push is timed. The
peer of the last minute is the first one, that of the slowest the audio itself.
Resident memory is read at the end of each minute. Log-probabilities are checked
against those of the whole signal on the first seconds.
"""


def main(arguments=None):
    """Checks, measures and writes."""
    parser = make_parser(__doc__)
    parser.add_argument(
        "--minutes",
        type=int,
        default=60,
        help="of audio (default: %(default)s)",
    )
    options = parse(parser, arguments)
    check_at_least_one(parser, options, "--minutes")
    report = Report("One hour", TEXT, options)
    if options.tiny:
        options.minutes = 2
    model, tokenizer = make_model(
        "finetune_small", SMALL if options.tiny else {}
    )
    check_streaming("small model", model, PUSH_SAMPLES, 4.0)
    minute = 6.0 if options.tiny else 60.0
    times, memory = run(
        Session(model, TextDecoder(tokenizer)), options.minutes, minute
    )
    report.compare(
        f"step, minute {options.minutes} against minute 1",
        times[-1],
        times[0],
        Bar(1.05),
    )
    settled = min(SETTLED_MINUTES, options.minutes)
    growth = memory[-1] - memory[settled - 1]
    report.add(
        f"resident memory, minute {options.minutes} against minute {settled}",
        mebibytes(memory[-1]),
        mebibytes(memory[settled - 1]),
        f"growth of {mebibytes(growth)}",
        Bar(1.0),
        growth / 2**20,
    )
    slowest = max(times, key=statistics.median)
    audio = PUSH_SAMPLES / SAMPLE_RATE
    report.add(
        "slowest minute, real-time factor",
        duration(slowest),
        f"{audio * 1e3:g} ms",
        figure(statistics.median(slowest) / audio),
    )
    draw(report, times, memory)
    report.write()


def run(session, minutes, minute):
    """Pushes minutes of audio.

    Arguments
    ---------
    session : Session
        The session.
    minutes : int
        How many.
    minute : float
        Seconds of one.

    Returns
    -------
    list of list of float
        For each minute the seconds of the timed pushes.
    list of int
        Resident memory after each minute, in bytes.
    """
    rounds = round(minute * SAMPLE_RATE / PUSH_SAMPLES / PUSHES_A_TIME)
    signal = noise(rounds * PUSHES_A_TIME * PUSH_SAMPLES / SAMPLE_RATE)
    pushes = iter(())

    def push():
        session.push(next(pushes))

    timer = Timer(
        "push()",
        globals={"push": push},
        num_threads=torch.get_num_threads(),
    )
    process = psutil.Process()
    times, memory = [], []
    for _ in range(minutes):
        signal.normal_(std=0.1)
        pushes = iter(signal.split(PUSH_SAMPLES))
        times.append([timer.timeit(1).median for _ in range(rounds)])
        gc.collect()
        memory.append(process.memory_info().rss)
    return times, memory


def draw(report, times, memory):
    """Step time and memory by minutes."""
    plot, (above, below) = pyplot.subplots(
        2, figsize=(6, 5), sharex=True, layout="constrained"
    )
    minutes = range(1, len(times) + 1)
    medians = [statistics.median(values) * 1e3 for values in times]
    above.plot(minutes, medians)
    above.set_ylabel("step, ms (median)")
    below.plot(minutes, [size / 2**20 for size in memory])
    below.set_ylabel("resident memory, MiB")
    below.set_xlabel("minutes of audio")
    for axes in (above, below):
        axes.set_ylim(bottom=0)
        axes.grid(True, alpha=0.3)
    report.save_picture(plot, "one_hour.png")
    pyplot.close(plot)


if __name__ == "__main__":
    main()
