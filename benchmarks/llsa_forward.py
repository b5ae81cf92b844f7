"""llsa forward, against torchaudio's Emformer with the same weights.

> python benchmarks/llsa_forward.py --out llsa_forward.md
"""

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

LOOK_BACK, LOOK_AHEAD, HOP = 64, 8, 1

TEXT = f"""
Forward of whole utterances, batch 1, two layers of 768 (8 heads, d_ffn 3072),
hop {HOP}, look_back {LOOK_BACK}, look_ahead {LOOK_AHEAD}, without gradients.
The peer is `torchaudio.models.Emformer` with the same weights (ours without
positions, and with Emformer's closing layer norms); the outputs are checked
against each other at every length.
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
    with torch.inference_mode():
        for frames in lengths:
            compare(report, encoder, oracle, frames, turns, turn_seconds)
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


def compare(report, encoder, oracle, frames, turns, turn_seconds):
    """A row. Emformer takes its look-ahead as frames appended to the input,
    and does not commit them; so do we not."""
    src = torch.randn(1, frames + LOOK_AHEAD, encoder.d_model)
    lengths = torch.tensor([frames])
    check_equal(
        f"llsa against Emformer, {frames} frames",
        encoder(src)[0][:, :frames],
        oracle(src, lengths)[0],
    )
    times = take_turns(
        {"ours": lambda: encoder(src), "peer": lambda: oracle(src, lengths)},
        turns,
        turn_seconds,
    )
    report.compare(
        f"{frames} frames",
        times["ours"],
        times["peer"],
        Bar(12, least=True) if frames == 1000 else None,
    )


if __name__ == "__main__":
    main()
