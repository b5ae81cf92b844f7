"""Many live streams with a graph in 8 bits: a step of the batcher against the
same streams one by one, and what its matrix products allow.

> python benchmarks/int8_batch.py --out int8_batch.md
"""

import itertools
import statistics
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import helper, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic

from common import (
    Bar,
    Report,
    check_equal,
    figure,
    make_parser,
    parse,
    take_turns,
)
from models import SMALL, check_streaming, make_model, noise
from speechbrain_llsa.decoders.tokenizers import TextDecoder
from speechbrain_llsa.inference.onnx_export import export_model
from speechbrain_llsa_runtime.geometry import SAMPLE_RATE
from speechbrain_llsa_runtime.inference.onnx import OnnxStreamingASR

STREAMS, HOP, FRAME_SAMPLES = 64, 8, 320
SIZES = {
    "num_layers": 6,
    "embedding_dim": 512,
    "d_ffn": 2048,
    "nhead": 8,
    "extractor_dim": 512,
    "extractor_channels": [512] * 7,
    "hop": HOP,
}
TURNS = 5
ROUNDED = 0.2
"""Largest difference of a product in 8 bits, whose inputs have deviation 1."""

TEXT = f"""
The model of hparams/finetune_small.yaml with 6 layers of 512 (8 heads, d_ffn
2048) and the front end of wav2vec 2.0 BASE, hop {HOP}, random weights, through
ONNX Runtime {onnxruntime.__version__}: {STREAMS} live streams, each pushed one
hop. Ours is a step of the batcher, the peer the sessions one by one; texts are
checked to be equal. A graph in 8 bits rounds what it multiplies by one range
for all rows, so its batcher runs the streams one after the other.

Below, what a batch could win at most: a product of 512 x 2048 weights in 8
bits, for the 16 rows of one stream and the {16 * STREAMS} rows of all, by row.
Ours is ONNX Runtime's `MatMulIntegerToFloat` as export writes it. The peers
round each row by itself, so that a batch would change no text: `blocks` is
`MatMulNBits` with 8 bits and blocks of 32, `rows` is `MatMulInteger` behind
operators that find the range of each row.
"""


def main(arguments=None):
    """Checks, measures and writes."""
    options = parse(make_parser(__doc__), arguments)
    report = Report("Batches in 8 bits", TEXT, options)
    streams, sizes, shape = STREAMS, SIZES, (512, 2048)
    if options.tiny:
        streams, sizes, shape = 4, {**SMALL, "hop": HOP}, (64, 64)
    model, tokenizer = make_model("finetune_small", sizes)
    check_streaming("the model", model, HOP * FRAME_SAMPLES)
    with tempfile.TemporaryDirectory() as folder:
        path = export_model(
            f"{folder}/exported",
            model,
            TextDecoder(tokenizer),
            precisions=("fp32", "int8"),
        )
        for precision in ("fp32", "int8"):
            asr = OnnxStreamingASR.from_folder(path, precision, options.threads)
            add_step(report, precision, asr, streams)
        add_products(report, Path(folder), shape, streams, options)
    report.write()


def add_step(report, precision, asr, streams):
    """The row of a precision. Exits if a text differs."""
    samples = HOP * FRAME_SAMPLES
    pushes = [
        noise((4 + stream % 8) * samples / SAMPLE_RATE).numpy()
        for stream in range(streams)
    ]
    batcher = asr.batcher(streams)
    batched = [batcher.session() for _ in pushes]
    alone = [asr.session() for _ in pushes]
    signals = [
        itertools.cycle(signal.reshape(-1, samples)) for signal in pushes
    ]

    def step():
        for session, signal in zip(batched, signals, strict=True):
            session.push(next(signal), SAMPLE_RATE)
        while batcher.step():
            pass

    def one_by_one():
        for session, signal in zip(alone, signals, strict=True):
            session.push(next(signal), SAMPLE_RATE)

    for one, other, signal in zip(batched, alone, pushes, strict=True):
        one.push(signal, SAMPLE_RATE)
        other.push(signal, SAMPLE_RATE)
        while batcher.step():
            pass
        if one.text != other.text:
            raise SystemExit("texts differ; nothing was measured")
    times = take_turns(
        {"batch": step, "one by one": one_by_one}, TURNS, number=2
    )
    bar = Bar(6, least=True) if precision == "int8" else None
    report.compare(
        f"{streams} streams, {precision}",
        times["batch"],
        times["one by one"],
        bar,
    )


def add_products(report, folder, shape, streams, options):
    """The rows of a product alone. Exits if one is far off."""
    generator = np.random.default_rng(0)
    weight = generator.standard_normal(shape, np.float32) / np.sqrt(
        np.float32(shape[0])
    )
    runs = {}
    session_options = onnxruntime.SessionOptions()
    session_options.intra_op_num_threads = options.threads
    writers = {"range": write_range, "blocks": write_blocks, "rows": write_rows}
    for name, write in writers.items():
        path = folder / f"{name}.onnx"
        write(path, weight)
        runs[name] = onnxruntime.InferenceSession(
            path, session_options, ["CPUExecutionProvider"]
        )
    medians = {}
    for rows in (16, 16 * streams):
        x = generator.standard_normal((rows, shape[0]), np.float32)
        for name, session in runs.items():
            given = session.run(None, {"x": x})[0]
            check_equal(
                f"{name}, {rows} rows",
                torch.from_numpy(given),
                torch.from_numpy(x @ weight),
                ROUNDED,
            )
        times = take_turns(
            {
                name: partial(session.run, None, {"x": x})
                for name, session in runs.items()
            },
            TURNS,
            0.01 if options.tiny else 0.3,
        )
        by_row = {
            name: [seconds / rows for seconds in values]
            for name, values in times.items()
        }
        for name in ("blocks", "rows"):
            report.compare(
                f"a row of a product, {rows} rows, against {name}",
                by_row["range"],
                by_row[name],
            )
        medians[rows] = {
            name: statistics.median(seconds) for name, seconds in by_row.items()
        }
    one, many = medians.values()
    for name in runs:
        report.add(
            f"a row of one stream, in rows of all streams, {name}",
            figure(one["range"] / many[name]),
        )


def _save(path, nodes, shape, constants):
    kind = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "product",
        [helper.make_tensor_value_info("x", kind, ["rows", shape[0]])],
        [helper.make_tensor_value_info("y", kind, ["rows", shape[1]])],
        [numpy_helper.from_array(each, name) for name, each in constants],
    )
    opsets = [
        helper.make_opsetid("", 18),
        helper.make_opsetid("com.microsoft", 1),
    ]
    onnx.save(
        helper.make_model(graph, opset_imports=opsets, ir_version=9), path
    )


def write_range(path, weight):
    """A product that rounds all rows by one range."""
    plain = path.with_suffix(".fp32.onnx")
    node = helper.make_node("MatMul", ["x", "weight"], ["y"])
    _save(plain, [node], weight.shape, [("weight", weight)])
    quantize_dynamic(plain, path, per_channel=True, weight_type=QuantType.QInt8)


def write_blocks(path, weight, block=32):
    """A product that rounds each row by itself, 32 inputs at a time."""
    inputs, outputs = weight.shape
    # (outputs, blocks, block)
    blocks = weight.T.reshape(outputs, -1, block)
    scales = np.abs(blocks).max(axis=2) / 127
    integers = np.rint(blocks / scales[:, :, None]) + 128
    node = helper.make_node(
        "MatMulNBits",
        ["x", "integers", "scales"],
        ["y"],
        domain="com.microsoft",
        K=inputs,
        N=outputs,
        bits=8,
        block_size=block,
        accuracy_level=4,
    )
    constants = [
        ("integers", integers.astype(np.uint8)),
        ("scales", scales.astype(np.float32).reshape(-1)),
    ]
    _save(path, [node], weight.shape, constants)


def write_rows(path, weight):
    """A product that rounds each row by itself, with a range for all of it."""
    column_scale = np.abs(weight).max(axis=0) / 127
    constants = [
        ("integers", np.rint(weight / column_scale).astype(np.int8)),
        ("column_scale", column_scale),
        ("zero", np.array(128, np.uint8)),
        ("middle", np.array(128, np.float32)),
        ("most", np.array(127, np.float32)),
        ("features", np.array([1])),
    ]
    nodes = [
        helper.make_node(operator, inputs.split(), [output], **attributes)
        for operator, inputs, output, attributes in (
            ("Abs", "x", "size", {}),
            ("ReduceMax", "size features", "range", {}),
            ("Div", "range most", "scale", {}),
            ("Div", "x scale", "scaled", {}),
            ("Round", "scaled", "rounded", {}),
            ("Add", "rounded middle", "shifted", {}),
            ("Cast", "shifted", "bytes", {"to": onnx.TensorProto.UINT8}),
            ("MatMulInteger", "bytes integers zero", "sums", {}),
            ("Cast", "sums", "floats", {"to": onnx.TensorProto.FLOAT}),
            ("Mul", "scale column_scale", "scales", {}),
            ("Mul", "floats scales", "y", {}),
        )
    ]
    _save(path, nodes, weight.shape, constants)


if __name__ == "__main__":
    main()
