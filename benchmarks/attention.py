"""The attention alone, forward and backward: the band against the dense mask
that gives the same, and against the package local-attention.

> python benchmarks/attention.py --out attention.md
"""

import statistics
from functools import partial

import matplotlib
import torch

matplotlib.use("Agg")

from local_attention import LocalAttention
from matplotlib import pyplot

from common import (
    Bar,
    Report,
    attend,
    check_attention,
    check_equal,
    exponent,
    figure,
    make_parser,
    mebibytes,
    parse,
    random_inputs,
    take_turns,
    with_gradients,
)
from memory import peak_memory
from speechbrain_llsa_runtime.geometry import StreamGeometry

HEADS, HEAD_DIM = 8, 64
GEOMETRY = StreamGeometry(look_back=64, look_ahead=8)
SYMMETRIC = StreamGeometry(look_back=64, look_ahead=64)
"""What local-attention can do as well."""

TEXT = f"""
Forward and backward of the attention alone: batch 1, {HEADS} heads of
{HEAD_DIM}, look_back {GEOMETRY.look_back}, look_ahead {GEOMETRY.look_ahead}.
Ours is `sa`, the peer `maa`: the same numbers by a dense mask, outputs and
gradients checked against each other at every length, and against
`ops/reference.py`. Times are medians of turns with the interquartile range;
ratios are those of the medians, with the range of the turns. Memory is the
growth of a process of its own. local-attention looks as far ahead as back:
it is checked against `sa` with look_ahead {SYMMETRIC.look_ahead}, outputs and
gradients; against look_ahead {GEOMETRY.look_ahead} only time is compared,
since it cannot take that band.
"""


def main(arguments=None):
    """Checks, measures and writes."""
    options = parse(make_parser(__doc__), arguments)
    report = Report("Attention", TEXT, options)
    for attention in ("sa", "maa"):
        check_attention(GEOMETRY, attention, HEADS, HEAD_DIM)
    lengths, alone = [500, 1000, 2000, 4000, 8000], [16000]
    local_lengths, first_fitted = [512, 8000], 2000
    turns, turn_seconds = 5, 0.5
    if options.tiny:
        lengths, alone, local_lengths, first_fitted = [200, 400], [], [256], 200
        turns, turn_seconds = 2, 0.01
    times = measure_times(report, lengths, alone, turns, turn_seconds)
    measure_local(report, local_lengths, turns, turn_seconds)
    memory = measure_memory(report, lengths, alone, options)
    for what, values in (("time", times), ("memory", memory)):
        add_exponent(report, what, values, first_fitted)
    draw(report, "attention_time.png", times, "seconds", first_fitted)
    draw(report, "attention_memory.png", memory, "bytes", first_fitted)
    report.write()


def step(inputs, weight, attention, geometry=GEOMETRY):
    """Forward and backward."""
    return with_gradients(
        lambda x: attend(x, geometry, attention), inputs, weight
    )


def measure_times(report, lengths, alone, turns, turn_seconds):
    """Seconds of a step by attention and frames."""
    seconds = {"sa": {}, "maa": {}}
    for frames in (*lengths, *alone):
        inputs = random_inputs(HEADS, frames, HEAD_DIM)
        work = inputs, torch.randn_like(inputs[0])
        functions = {"sa": partial(step, *work, "sa")}
        if frames not in alone:
            functions["maa"] = partial(step, *work, "maa")
            check_equal(
                f"sa against maa, {frames} frames",
                step(*work, "sa"),
                step(*work, "maa"),
            )
        times = take_turns(functions, turns, turn_seconds)
        for name, values in times.items():
            seconds[name][frames] = statistics.median(values)
        if frames not in alone:
            bar = {500: Bar(1, least=True), 8000: Bar(15, least=True)}
            report.compare(
                f"{frames} frames",
                times["sa"],
                times["maa"],
                bar.get(frames),
            )
    return seconds


def measure_local(report, lengths, turns, turn_seconds):
    """Rows against the package local-attention."""
    local = LocalAttention(
        window_size=SYMMETRIC.look_back,
        look_backward=1,
        look_forward=1,
        exact_windowsize=True,
    )
    for frames in lengths:
        inputs = random_inputs(HEADS, frames, HEAD_DIM)
        work = inputs, torch.randn_like(inputs[0])
        peer = partial(with_gradients, lambda x: local(*x), *work)

        check_equal(
            f"sa against local-attention, {frames} frames",
            step(*work, "sa", SYMMETRIC),
            peer(),
        )
        times = take_turns(
            {
                "same band": partial(step, *work, "sa", SYMMETRIC),
                "ours": partial(step, *work, "sa"),
                "peer": peer,
            },
            turns,
            turn_seconds,
        )
        for name, title in (
            ("same band", f"look_ahead {SYMMETRIC.look_ahead}"),
            ("ours", f"look_ahead {GEOMETRY.look_ahead}, time only"),
        ):
            report.compare(
                f"{frames} frames, {title}, against local-attention",
                times[name],
                times["peer"],
            )


def measure_memory(report, lengths, alone, options):
    """Bytes of a step by attention and frames."""
    memory = {"sa": {}, "maa": {}}
    for frames in (*lengths, *alone):
        for attention, found in memory.items():
            if attention == "sa" or frames not in alone:
                found[frames] = peak_memory(
                    attention,
                    frames,
                    HEADS,
                    HEAD_DIM,
                    GEOMETRY,
                    options.threads,
                )
        if frames not in alone:
            ratio = memory["sa"][frames] / memory["maa"][frames]
            report.add(
                f"{frames} frames, peak memory",
                mebibytes(memory["sa"][frames]),
                mebibytes(memory["maa"][frames]),
                figure(ratio),
                {500: Bar(1), 8000: Bar(0.098)}.get(frames),
                ratio,
            )
    return memory


def fitted(values, first):
    """The exponent from a length on."""
    sizes = [frames for frames in values if frames >= first]
    return exponent(sizes, [values[frames] for frames in sizes])


def add_exponent(report, what, values, first):
    """A row of how time or memory grows."""
    ours, peer = (fitted(values[name], first) for name in ("sa", "maa"))
    report.add(
        f"exponent of {what} from {first} frames, ours to "
        f"{max(values['sa'])}, peer to {max(values['maa'])}",
        figure(ours),
        figure(peer),
        bar=Bar(1.1),
        value=ours,
    )


def draw(report, name, values, unit, first):
    """The growth of both, with logarithmic axes."""
    plot, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    for attention, marker in (("sa", "o"), ("maa", "s")):
        frames, heights = zip(*values[attention].items(), strict=True)
        growth = fitted(values[attention], first)
        axes.loglog(
            frames,
            heights,
            marker=marker,
            label=f"{attention}: frames to the power of {growth:.2f}",
        )
    axes.set_xlabel("frames")
    axes.set_ylabel(f"{unit}, forward and backward")
    axes.grid(True, which="both", alpha=0.3)
    axes.legend()
    report.save_picture(plot, name)
    pyplot.close(plot)


if __name__ == "__main__":
    main()
