"""One step of a streaming Conformer in steady state, against SpeechBrain's.

> python benchmarks/conformer_step.py --out conformer_step.md
"""

import copy
import tempfile
from pathlib import Path

import torch
from speechbrain.lobes.models.transformer.Conformer import ConformerEncoder
from speechbrain.nnet.attention import RelPosEncXL
from speechbrain.utils.dynamic_chunk_training import DynChunkTrainConfig

from common import (
    Bar,
    Report,
    check_equal,
    figure,
    make_parser,
    parse,
    take_turns,
)
from speechbrain_llsa.nnet.packed import pack_linears
from speechbrain_llsa.pretrained import from_speechbrain_conformer
from streaming_step import (
    HOP,
    LOOK_AHEAD,
    LOOK_BACK,
    EagerStream,
    OnnxStream,
    export,
    quantise,
)

KERNEL = 31
INT8_TOLERANCE = 0.5
"""Largest difference of the int8 step, relative to the largest value: weights
are rounded, and here random."""

TEXT = f"""
One step of a Conformer's encoder alone in steady state: 12 layers of 512 (8
heads, d_ffn 2048, kernel {KERNEL}), batch 1, hop {HOP}, look_back {LOOK_BACK}.
The peer is `forward_streaming` of SpeechBrain's `ConformerEncoder` with the
same weights, in chunks of {HOP} frames with {LOOK_BACK} frames of left context.
Its dynamic chunks see what llsa without look-ahead sees: with `RoPEMHA` the
outputs are checked, step by step, until more than look_back frames have passed.
With look_ahead {LOOK_AHEAD}, which SpeechBrain's has not, {HOP + LOOK_AHEAD}
rows instead of {HOP} pass through each layer; packed and ONNX are checked
against eager. The peer with `RelPosMHAXL` is what SpeechBrain's streaming
recipes use: time only. eager is plain PyTorch, packed has its weights packed
for the CPU, int8 has the weights of the matrix products in 8 bits.
"""


def main(arguments=None):
    """Checks, measures and writes."""
    options = parse(make_parser(__doc__), arguments)
    report = Report("Streaming step of a Conformer", TEXT, options)
    layers, width, heads, hidden = 12, 512, 8, 2048
    turns, turn_seconds = 9, 1.0
    if options.tiny:
        layers, width, heads, hidden = 2, 32, 4, 64
        turns, turn_seconds = 2, 0.01
    torch.manual_seed(0)
    sizes = layers, width, hidden, heads, KERNEL
    source = ConformerEncoder(*sizes, attention_type="RoPEMHA").eval()
    exact = from_speechbrain_conformer(source.state_dict(), heads)
    causal, ahead = (
        exact.streaming(
            "llsa", LOOK_BACK, look_ahead, HOP
        ).encoder.requires_grad_(False)
        for look_ahead in (0, LOOK_AHEAD)
    )
    packed = [copy.deepcopy(encoder) for encoder in (causal, ahead)]
    for encoder in packed:
        pack_linears(encoder)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        fp32, int8 = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        with torch.inference_mode(False):
            export(ahead, fp32)
        quantise(fp32, int8)
        without = {
            "SpeechBrain": HostStream(source),
            "eager": EagerStream(causal),
            "packed": EagerStream(packed[0]),
        }
        steps = {
            "eager": EagerStream(ahead),
            "packed": EagerStream(packed[1]),
            "ONNX fp32": OnnxStream(ahead, fp32, options.threads),
            "ONNX int8": OnnxStream(ahead, int8, options.threads),
        }
        check(without, "SpeechBrain", width)
        error = check(steps, "eager", width)
        relative = ConformerEncoder(*sizes, attention_type="RelPosMHAXL")
        peer = HostStream(relative.eval(), RelPosEncXL(width))
        src = torch.randn(1, HOP, width)
        functions = {
            "peer": lambda: peer(src),
            **{
                f"{name}, no look-ahead": lambda step=step: step(src)
                for name, step in without.items()
            },
            **{
                name: lambda step=step: step(src)
                for name, step in steps.items()
            },
        }
        for function in functions.values():
            for _ in range(LOOK_BACK // HOP + 2):
                function()
        times = take_turns(functions, turns, turn_seconds)
    for name in ("eager", "packed"):
        report.compare(
            f"{name}, no look-ahead, against SpeechBrain's RoPEMHA",
            times[f"{name}, no look-ahead"],
            times["SpeechBrain, no look-ahead"],
            Bar(1.0),
        )
    for name in steps:
        report.compare(
            f"{name}, look_ahead {LOOK_AHEAD}, against SpeechBrain's "
            "RelPosMHAXL, time only",
            times[name],
            times["peer"],
        )
    report.add("largest relative error of ONNX int8", figure(error))
    report.write()


class HostStream:
    """SpeechBrain's streaming Conformer.

    Arguments
    ---------
    model : ConformerEncoder
        The model.
    positions : RelPosEncXL, optional
        Its positions, if it takes them.
    """

    def __init__(self, model, positions=None):
        self.model = model
        self.positions = positions
        self.context = model.make_streaming_context(
            DynChunkTrainConfig(HOP, LOOK_BACK // HOP)
        )

    def __call__(self, src):
        """Takes the next chunk, (1, hop, features)."""
        if self.positions is None:
            return self.model.forward_streaming(src, self.context)[0]
        past = self.context.layers[0].mha_left_context
        frames = src.shape[1] + (0 if past is None else past.shape[1])
        positions = self.positions(src.new_empty(1, frames, src.shape[2]))
        return self.model.forward_streaming(src, self.context, positions)[0]


def check(steps, reference, width):
    """Exits if a stream differs from the reference. Returns the largest
    relative error of int8."""
    worst = 0.0
    for _ in range(LOOK_BACK // HOP + 4):
        src = torch.randn(1, HOP, width)
        outs = {name: step(src) for name, step in steps.items()}
        expected = outs.pop(reference)
        for name, actual in outs.items():
            if name == "ONNX int8":
                check_equal(name, actual, expected, INT8_TOLERANCE)
                error = (actual - expected).abs().max() / expected.abs().max()
                worst = max(worst, error.item())
            else:
                check_equal(name, actual, expected)
    return worst


if __name__ == "__main__":
    main()
