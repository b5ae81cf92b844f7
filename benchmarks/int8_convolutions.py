"""Convolutions with weights in 8 bits: bytes and errors of what export writes,
and errors of convolutions of integers.

> python benchmarks/int8_convolutions.py --out int8_convolutions.md
"""

import tempfile
from pathlib import Path

import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic

from common import Bar, Report, check_equal, figure, make_parser, parse
from models import SMALL, check_streaming, make_model, noise
from speechbrain_llsa.decoders.tokenizers import TextDecoder
from speechbrain_llsa.inference.onnx_export import GRAPH_FILES, export_model
from speechbrain_llsa_runtime.inference.onnx import OnnxCTC, OnnxStreamingASR

SECONDS = 10.0
DECIBELS = 40
TOLERANCE = 1.0
"""Largest difference of log-probabilities in 8 bits: weights are rounded, and
here random."""

LARGER = {
    "num_layers": 6,
    "embedding_dim": 288,
    "d_ffn": 1152,
    "nhead": 6,
    "hop": 8,
}
MODELS = {
    "3 convolutions": {
        "extractor_channels": [288, 576, 288],
        "extractor_kernels": [127, 7, 3],
        "extractor_strides": [64, 3, 2],
        "extractor_dim": 288,
    },
    "7 convolutions": {"extractor_channels": [512] * 7, "extractor_dim": 512},
}

TEXT = f"""
The model of hparams/finetune_small.yaml with 6 layers of 288 (6 heads, d_ffn
1152), hop 8, random weights, and one of two front ends: 3 convolutions (288,
576, 288 channels; kernels of 127, 7, 3) or the 7 of wav2vec 2.0 (512 channels).
Ours is the graph in 8 bits that export writes: its convolutions have weights of
8 bits and are of float32. The peer of its bytes is the graph in 32 bits. The
peer of its errors has convolutions of integers (`ConvInteger`), made by ONNX
Runtime's `quantize_dynamic`, and the same matrix products. Errors are those of
log-probabilities against fp32, for {SECONDS:g} s of noise whose level changes
every 40 ms, by up to {DECIBELS} dB. Time is not measured. ONNX Runtime
{onnxruntime.__version__}.
"""


def main(arguments=None):
    """Checks, measures and writes."""
    options = parse(make_parser(__doc__), arguments)
    report = Report("Convolutions in 8 bits", TEXT, options)
    for name, front_end in MODELS.items():
        channels = [8] * len(front_end["extractor_channels"])
        small = {**SMALL, "extractor_channels": channels}
        changes = {**LARGER, **front_end, **(small if options.tiny else {})}
        model, tokenizer = make_model("finetune_small", changes)
        check_streaming(name, model, 5000)
        with tempfile.TemporaryDirectory() as folder:
            folder = export_model(
                Path(folder) / "exported",
                model,
                TextDecoder(tokenizer),
                ["fp32", "int8"],
            )
            add_bytes(report, name, folder)
            add_errors(report, name, folder)
    report.write()


def add_bytes(report, name, folder):
    """A row of the sizes of the graphs."""
    ours, peer = (
        (folder / GRAPH_FILES[precision]).stat().st_size / 1e6
        for precision in ("int8", "fp32")
    )
    report.add(
        f"{name}, file",
        f"{figure(ours)} MB",
        f"{figure(peer)} MB",
        figure(ours / peer),
        None if report.options.tiny else Bar(0.26),
        ours / peer,
    )


def add_errors(report, name, folder):
    """Rows of the errors against fp32. Exits if one is too large."""
    threads = report.options.threads
    fp32, int8 = (
        OnnxStreamingASR.from_folder(folder, precision, threads).model
        for precision in ("fp32", "int8")
    )
    path = folder / "peer.onnx"
    use_conv_integer(folder / GRAPH_FILES["fp32"], path)
    peer = OnnxCTC(path, int8.clock, int8.labels, threads)
    samples = changing_noise()
    expected = outputs(fp32, samples)
    errors = []
    for what, each in (("ours", int8), ("peer", peer)):
        given = outputs(each, samples)
        check_equal(f"{name}, {what}", given, expected, TOLERANCE)
        errors.append((given - expected).abs())
    for measure, (ours, theirs) in {
        "largest": [error.max() for error in errors],
        "root mean square": [error.square().mean().sqrt() for error in errors],
    }.items():
        report.add(
            f"{name}, {measure} error",
            figure(ours.item()),
            figure(theirs.item()),
            figure((ours / theirs).item()),
        )


def use_conv_integer(source, target):
    """Writes a graph of integers all through. Weights of convolutions are
    unsigned: up to 1.23, onnxruntime has no ConvInteger of signed ones."""
    quantise = {
        "per_channel": True,
        "extra_options": {"MatMulConstBOnly": True},
    }
    matrices = target.with_suffix(".matrices")
    quantize_dynamic(
        str(source),
        str(matrices),
        op_types_to_quantize=["MatMul"],
        weight_type=QuantType.QInt8,
        **quantise,
    )
    quantize_dynamic(
        str(matrices),
        str(target),
        op_types_to_quantize=["Conv"],
        weight_type=QuantType.QUInt8,
        **quantise,
    )


def changing_noise():
    """Noise whose level changes every 40 ms, (samples,)."""
    samples = noise(SECONDS)
    levels = -DECIBELS * torch.rand(len(samples) // 640)
    return samples * 10 ** (levels.repeat_interleave(640) / 20)


def outputs(model, samples):
    """Log-probabilities of a whole stream, (frames, labels)."""
    state = model.make_streaming_context()
    given, _ = model.stream(samples.numpy(), state, final=True)
    return torch.from_numpy(given)


if __name__ == "__main__":
    main()
