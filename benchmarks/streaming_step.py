"""One step of a streaming encoder in steady state: PyTorch, ONNX Runtime,
torchaudio's Emformer, SpeechBrain's Conformer, and reading the weights.

> python benchmarks/streaming_step.py --out streaming_step.md
"""

import copy
import statistics
import tempfile
from pathlib import Path

import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from speechbrain.lobes.models.transformer.Conformer import ConformerEncoder
from speechbrain.nnet.attention import RelPosEncXL
from speechbrain.utils.dynamic_chunk_training import DynChunkTrainConfig

from common import (
    Bar,
    Report,
    check_equal,
    duration,
    figure,
    make_parser,
    parse,
    take_turns,
)
from emformer import make_pair
from speechbrain_llsa.nnet.encoder_step import encoder_step, initial_layer_state
from speechbrain_llsa.nnet.packed import pack_linears
from speechbrain_llsa.state import LayerState

HOP, LOOK_BACK, LOOK_AHEAD = 4, 64, 8
INT8_TOLERANCE = 0.2
"""Largest difference of the int8 step, relative to the largest value: weights
are rounded, and here random."""

TEXT = f"""
One step of the encoder alone in steady state: 12 layers of 768 (8 heads, d_ffn
3072), batch 1, hop {HOP}, look_back {LOOK_BACK}, look_ahead {LOOK_AHEAD}, so
that {HOP + LOOK_AHEAD} rows pass through each layer. The peer is
`torchaudio.models.Emformer.infer` with the same weights (ours without
positions, and with Emformer's closing layer norms); outputs are checked
against it, step by step, until more than look_back frames have passed. int8
has the weights of the matrix products in 8 bits, by channel. Reading the
weights is the sum over all of the encoder's weights in float32, which is the
least that a step of float32 can take. SpeechBrain's streaming Conformer of the
same sizes, in chunks of {HOP} frames with {LOOK_BACK} frames of left context,
is another model with about twice as many weights: time only. packed is PyTorch
as a user gets it, whose weights a loaded model packs for the CPU; eager is
without.
"""


def main(arguments=None):
    """Checks, measures and writes."""
    options = parse(make_parser(__doc__), arguments)
    report = Report("Streaming step", TEXT, options)
    layers, width, heads, hidden = 12, 768, 8, 3072
    turns, turn_seconds = 9, 1.0
    if options.tiny:
        layers, width, heads, hidden = 2, 32, 4, 64
        turns, turn_seconds = 2, 0.01
    encoder, oracle = make_pair(
        HOP, layers, heads, width, hidden, LOOK_BACK, LOOK_AHEAD
    )
    encoder.requires_grad_(False)
    packed = copy.deepcopy(encoder)
    pack_linears(packed)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        fp32, int8 = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        with torch.inference_mode(False):
            export(encoder, fp32)
        quantise(fp32, int8)
        steps = {
            "Emformer": EmformerStream(oracle),
            "eager": EagerStream(encoder),
            "ONNX fp32": OnnxStream(encoder, fp32, options.threads),
            "ONNX int8": OnnxStream(encoder, int8, options.threads),
            "packed": EagerStream(packed),
        }
        error = check(steps, width)
        src = torch.randn(1, HOP, width)
        functions = {
            name: lambda step=step: step(src) for name, step in steps.items()
        }
        conformer = ConformerStream(layers, width, heads, hidden)
        functions["Conformer"] = lambda: conformer(src)
        weights = [weight.detach() for weight in encoder.parameters()]
        functions["reading"] = lambda: [weight.sum() for weight in weights]
        for function in functions.values():
            for _ in range(LOOK_BACK // HOP + 2):
                function()
        times = take_turns(functions, turns, turn_seconds)
    bars = {
        "eager": Bar(0.75),
        "packed": Bar(0.6),
        "ONNX fp32": Bar(0.33),
        "ONNX int8": Bar(0.2),
    }
    for name, bar in bars.items():
        if name in times:
            report.compare(
                f"{name}, against Emformer.infer",
                times[name],
                times["Emformer"],
                bar,
            )
    report.compare(
        "eager, against SpeechBrain's Conformer, time only",
        times["eager"],
        times["Conformer"],
    )
    size = sum(weight.nbytes for weight in weights)
    report.compare(
        f"ONNX fp32, against reading the weights ({size / 1e6:,.0f} MB)",
        times["ONNX fp32"],
        times["reading"],
        Bar(2.0),
    )
    report.add(
        "bandwidth of reading the weights",
        f"{figure(size / statistics.median(times['reading']) / 1e9)} GB/s",
        duration(times["reading"]),
    )
    report.add("largest relative error of ONNX int8", figure(error))
    report.write()


class EagerStream:
    """A stream through the encoder, in PyTorch.

    Arguments
    ---------
    encoder : StreamingTransformerEncoder
        The encoder.
    """

    def __init__(self, encoder):
        self.encoder = encoder
        self.context = encoder.make_streaming_context()
        look_ahead = encoder.geometry.look_ahead
        silence = torch.zeros(1, look_ahead, encoder.d_model)
        encoder.forward_streaming(silence, self.context)

    def __call__(self, src):
        """Takes the next hop, (1, hop, features), after silence of
        ``look_ahead`` frames; gives the frames that are now committed."""
        return self.encoder.forward_streaming(src, self.context)[0]


class EmformerStream:
    """The same, through Emformer.

    Arguments
    ---------
    oracle : torchaudio.models.Emformer
        The model.
    """

    def __init__(self, oracle):
        self.oracle = oracle
        self.state = None
        self.ahead = torch.zeros(
            1, LOOK_AHEAD, oracle.emformer_layers[0].input_dim
        )
        self.lengths = torch.tensor([HOP + LOOK_AHEAD])

    def __call__(self, src):
        """As ``EagerStream`` does."""
        segment = torch.cat([self.ahead, src], dim=1)
        out, _, self.state = self.oracle.infer(
            segment, self.lengths, self.state
        )
        self.ahead = segment[:, HOP:]
        return out


class OnnxStream:
    """The same, through ONNX Runtime.

    Arguments
    ---------
    encoder : StreamingTransformerEncoder
        What was exported.
    path : pathlib.Path
        The file.
    threads : int
        Threads of ONNX Runtime.
    """

    def __init__(self, encoder, path, threads):
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(
            str(path), settings, providers=["CPUExecutionProvider"]
        )
        self.names = [entry.name for entry in self.session.get_inputs()]
        _, position, *state = step_inputs(encoder)
        self.position = position.numpy()
        self.state = [tensor.numpy() for tensor in state]

    def __call__(self, src):
        """As ``EagerStream`` does."""
        inputs = src.numpy(), self.position, *self.state
        out, *self.state = self.session.run(
            None, dict(zip(self.names, inputs, strict=True))
        )
        self.position = self.position + HOP
        return torch.from_numpy(out)


class ConformerStream:
    """SpeechBrain's streaming Conformer, with random weights.

    Arguments
    ---------
    layers : int
        Layers.
    width : int
        Features of a frame.
    heads : int
        Attention heads.
    hidden : int
        Hidden size of the feed-forward networks.
    """

    def __init__(self, layers, width, heads, hidden):
        self.model = ConformerEncoder(layers, width, hidden, heads).eval()
        self.positions = RelPosEncXL(width)
        self.context = self.model.make_streaming_context(
            DynChunkTrainConfig(HOP, LOOK_BACK // HOP)
        )

    def __call__(self, src):
        """Takes the next chunk, (1, hop, features)."""
        past = self.context.layers[0].mha_left_context
        frames = src.shape[1] + (0 if past is None else past.shape[1])
        positions = self.positions(src.new_empty(1, frames, src.shape[2]))
        return self.model.forward_streaming(src, self.context, positions)[0]


class EncoderStep(torch.nn.Module):
    """A step of the encoder alone, with its state as a row of tensors: keys
    and values of each layer, and for a Conformer what its convolution sees.

    Arguments
    ---------
    encoder : StreamingTransformerEncoder
        The encoder.
    """

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, frames, position, ahead, *past):
        """
        Arguments
        ---------
        frames : torch.Tensor
            The next hop, (batch, hop, features).
        position : torch.Tensor
            Position of its first frame, int64 (batch,).
        ahead : torch.Tensor
            Frames that are not committed yet, (batch, look_ahead, features).
        *past : torch.Tensor
            The parts of the state of each layer: keys and values, (batch,
            heads, look_back, head dimension), and for a Conformer (batch,
            conv_look_back, features).

        Returns
        -------
        tuple of torch.Tensor
            The committed frames, and the new ``ahead`` and ``past``.
        """
        nothing, names = frames[:, :0], parts_of(self.encoder)
        layers = [
            LayerState(
                query=past[0][:, :, :0],
                residual=nothing,
                convolution_residual=nothing,
                **dict(zip(names, past[first:], strict=False)),
            )
            for first in range(0, len(past), len(names))
        ]
        end = torch.full_like(position, torch.iinfo(torch.int64).max)
        out, _, _, ahead, layers = encoder_step(
            self.encoder, frames, nothing, ahead, layers, position, end
        )
        new = [getattr(layer, name) for layer in layers for name in names]
        return out, ahead, *new


def parts_of(encoder):
    """Names of the tensors in the state of a layer of llsa."""
    names = "key", "value"
    return (*names, "convolution") if encoder.convolves else names


def step_inputs(encoder):
    """What a stream begins with: hop, position and state. The silence of
    ``look_ahead`` frames that comes first stands at 0."""
    heads = encoder.layers[0].self_att.nhead
    ahead = torch.zeros(1, LOOK_AHEAD, encoder.d_model)
    layer = initial_layer_state(
        "llsa",
        encoder.geometry,
        heads,
        encoder.d_model // heads,
        ahead,
        encoder.conv_look_back,
        encoder.conv_look_ahead,
    )
    frames = torch.zeros(1, HOP, encoder.d_model)
    position = torch.tensor([LOOK_AHEAD])
    parts = [getattr(layer, name) for name in parts_of(encoder)]
    past = parts * len(encoder.layers)
    return frames, position, ahead, *past


def export(encoder, path):
    """Writes the step as an ONNX file."""
    inputs = tuple(tensor.clone() for tensor in step_inputs(encoder))
    torch.onnx.export(
        EncoderStep(encoder).eval(),
        inputs,
        path,
        dynamo=True,
        external_data=False,
        verbose=False,
    )


def quantise(fp32, int8):
    """Writes the ONNX file again, with matrices in 8 bits."""
    quantize_dynamic(
        str(fp32),
        str(int8),
        op_types_to_quantize=["MatMul"],
        per_channel=True,
        weight_type=QuantType.QInt8,
        extra_options={"MatMulConstBOnly": True},
    )


def check(steps, width):
    """Exits if a stream differs from Emformer's. Returns the largest relative
    error of int8."""
    worst = 0.0
    for _ in range(LOOK_BACK // HOP + 4):
        src = torch.randn(1, HOP, width)
        expected = steps["Emformer"](src)
        for name, step in steps.items():
            if name == "Emformer":
                continue
            actual = step(src)
            if name == "ONNX int8":
                check_equal(name, actual, expected, INT8_TOLERANCE)
                error = (actual - expected).abs().max() / expected.abs().max()
                worst = max(worst, error.item())
            else:
                check_equal(name, actual, expected)
    return worst


if __name__ == "__main__":
    main()
