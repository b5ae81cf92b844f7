"""A training step of one BASE layer: llsa at each hop, against aa.

> python benchmarks/llsa_training.py --out llsa_training.md
"""

import torch
from torch.nn import functional

from common import (
    Bar,
    Report,
    check_attention,
    make_parser,
    parse,
    take_turns,
)
from speechbrain_llsa.nnet.attention import HopSchedule
from speechbrain_llsa.nnet.encoder import StreamingTransformerEncoder
from speechbrain_llsa.state import LayerState

LOOK_BACK, LOOK_AHEAD = 64, 8
HOPS = (1, 2, 4, 8, 16)

TEXT = f"""
Forward and backward of one inner layer of 768 (8 heads, d_ffn 3072), batch 1,
look_back {LOOK_BACK}, look_ahead {LOOK_AHEAD}. Ours is `llsa`, the peer the
same layer with `aa`, which sees the whole utterance and has no latency to
speak of. A hop of C frames computes 1 + {LOOK_AHEAD} / C frames for each; that
is the bar. Outputs and gradients of every attention are checked against
`ops/reference.py`.
"""


def main(arguments=None):
    """Checks, measures and writes."""
    options = parse(make_parser(__doc__), arguments)
    report = Report("llsa, training step", TEXT, options)
    width, heads, hidden, frames = 768, 8, 3072, 1000
    look_back, turns, turn_seconds = LOOK_BACK, 7, 0.3
    if options.tiny:
        width, heads, hidden, frames = 32, 4, 64, 50
        look_back, turns, turn_seconds = 8, 2, 0.01
    cases = {"aa": ("aa", 1), **{f"hop {hop}": ("llsa", hop) for hop in HOPS}}
    src = torch.randn(1, frames, width)
    steps = {}
    for name, (attention, hop) in cases.items():
        layer = StreamingTransformerEncoder(
            num_layers=1,
            nhead=heads,
            d_ffn=hidden,
            d_model=width,
            attention=attention,
            look_back=look_back,
            look_ahead=LOOK_AHEAD,
            hop=hop,
        )
        check_attention(layer.geometry, attention, heads, width // heads)
        frames_in = src
        if attention == "llsa":
            layer, frames_in = inner_layer(layer, src)
        steps[name] = lambda layer=layer, x=frames_in: train(layer, x)
    times = take_turns(steps, turns, turn_seconds)
    for hop in HOPS:
        report.compare(
            f"{frames} frames, hop {hop}",
            times[f"hop {hop}"],
            times["aa"],
            Bar(1 + LOOK_AHEAD / hop),
        )
    report.write()


def inner_layer(encoder, src):
    """The layer, and its frames hop by hop, as one inside a stack has them:
    the first of a stack projects each frame once, and the last gives committed
    frames alone, so that both do less."""
    geometry = encoder.geometry
    hops = -(-src.shape[1] // geometry.hop)
    slots = geometry.hop + geometry.look_ahead
    needed = hops * geometry.hop + geometry.look_ahead
    padded = functional.pad(src, (0, 0, 0, needed - src.shape[1]))
    # (batch, hops, features, slots) -> (batch, hops * slots, features)
    windows = padded.unfold(1, slots, geometry.hop)
    end = torch.full((len(src),), src.shape[1])

    def run(x):
        schedule = HopSchedule(geometry, 0, hops, end)
        return encoder.layers[0](x, schedule, LayerState())

    return run, windows.transpose(2, 3).flatten(1, 2).contiguous()


def train(layer, src):
    """Forward and backward."""
    layer(src)[0].square().mean().backward()


if __name__ == "__main__":
    main()
