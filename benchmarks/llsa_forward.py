"""llsa forward, against torchaudio's Emformer with the same weights.

> python benchmarks/llsa_forward.py --out llsa_forward.md
"""

import copy
import statistics

import torch

from common import (
    Bar,
    Report,
    check_equal,
    exponent,
    figure,
    make_parser,
    parse,
    take_turns,
)
from emformer import make_pair
from speechbrain_llsa.nnet.packed import pack_linears

LOOK_BACK, LOOK_AHEAD, HOP = 64, 8, 1

TEXT = f"""
Forward of whole utterances, batch 1, two layers of 768 (8 heads, d_ffn 3072),
hop {HOP}, look_back {LOOK_BACK}, look_ahead {LOOK_AHEAD}, without gradients.
The peer is `torchaudio.models.Emformer` with the same weights (ours without
positions, and with Emformer's closing layer norms); the outputs are checked
against each other at every length. packed is PyTorch as a user gets it, whose
weights a loaded model packs for the CPU; eager is without. The products alone
are the linear layers of a packed forward, as PyTorch's profiler counts them.
"""


def main(arguments=None):
    """Checks, measures and writes."""
    options = parse(make_parser(__doc__), arguments)
    report = Report("llsa, forward", TEXT, options)
    width, heads, hidden = 768, 8, 3072
    lengths, fitted = [250, 500, 1000], [500, 1000, 2000, 4000]
    turns, turn_seconds, our_turns = 2, 0.5, 5
    if options.tiny:
        width, heads, hidden = 32, 4, 64
        lengths, fitted, our_turns, turn_seconds = [30, 60], [60, 120], 2, 0.01
    encoder, oracle = make_pair(
        HOP, 2, heads, width, hidden, LOOK_BACK, LOOK_AHEAD
    )
    encoder.requires_grad_(False)
    models = {"eager": encoder, "packed": copy.deepcopy(encoder)}
    pack_linears(models["packed"])
    with torch.inference_mode():
        for frames in lengths:
            compare(report, models, oracle, frames, turns, turn_seconds)
        seconds = []
        for frames in fitted:
            src = torch.randn(1, frames, width)
            times = take_turns(
                {"ours": lambda src=src: encoder(src)}, our_turns, turn_seconds
            )
            seconds.append(statistics.median(times["ours"]))
    growth = exponent(fitted, seconds)
    report.add(
        f"exponent of our time, {fitted[0]} to {fitted[-1]} frames",
        figure(growth),
        bar=Bar(1.1),
        value=growth,
    )
    report.write()


def compare(report, models, oracle, frames, turns, turn_seconds):
    """The rows of a length. Emformer takes its look-ahead as frames appended to
    the input, and does not commit them; so do we not."""
    src = torch.randn(1, frames + LOOK_AHEAD, models["eager"].d_model)
    lengths = torch.tensor([frames])
    functions = {
        name: lambda model=model: model(src) for name, model in models.items()
    }
    functions["peer"] = lambda: oracle(src, lengths)
    expected, *_ = functions["peer"]()
    for name in models:
        given, *_ = functions[name]()
        check_equal(f"{name}, {frames} frames", given[:, :frames], expected)
    times = take_turns(functions, turns, turn_seconds)
    bars = {("packed", 1000): Bar(15, least=True)}
    for name in models:
        work, bar = f"{frames} frames, {name}", bars.get((name, frames))
        report.compare(work, times[name], times["peer"], bar)
    products = seconds_of_products(functions["packed"], turns)
    report.compare(f"{frames} frames, products alone", products, times["peer"])


def seconds_of_products(function, turns):
    """Seconds that the linear layers of a call take, for each of some calls."""
    seconds = []
    for _ in range(turns):
        with torch.profiler.profile() as profiler:
            function()
        seconds.append(
            sum(
                each.self_cpu_time_total / 1e6
                for each in profiler.key_averages()
                if "linear" in each.key or each.key == "aten::addmm"
            )
        )
    return seconds


if __name__ == "__main__":
    main()
