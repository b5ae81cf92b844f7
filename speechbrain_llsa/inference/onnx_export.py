"""Writes the streaming step of a model as ONNX graphs, for runtimes without
PyTorch."""

import contextlib
import copy
import io
import logging
import math
import sys
import warnings

import numpy as np
import torch

from speechbrain_llsa.inference.onnx_decoder import write_decoder
from speechbrain_llsa.lobes.streaming_step import StreamingStep
from speechbrain_llsa.lobes.transducer import StreamingTransducer
from speechbrain_llsa.model_folder.write import write_description
from speechbrain_llsa.utils.precision import full_float32
from speechbrain_llsa_runtime.inference.onnx import describe, read_exported
from speechbrain_llsa_runtime.inference.onnx_model import OnnxCTC
from speechbrain_llsa_runtime.inference.onnx_transducer import OnnxTransducer
from speechbrain_llsa_runtime.model_folder.description import (
    MODEL_FILE,
    PRECISIONS,
)
from speechbrain_llsa_runtime.step_clock import NEVER
from speechbrain_llsa_runtime.utils.atomic_files import (
    check_replaceable,
    written_atomically,
)
from speechbrain_llsa_runtime.utils.errors import must_be

OPSET = 18
"""The lowest that PyTorch's exporter writes."""

IR_VERSION = 8
"""That of ONNX 1.13, which brought the opset: onnxruntime reads it since
1.14."""

GRAPH_FILES = {"fp32": "step.onnx", "int8": "step.int8.onnx"}
"""File of each precision."""

TOLERANCE = 1e-4
"""Largest difference of log-probabilities that the graph in 32 bits may
have."""

INT8_TOLERANCE = 0.2
"""Largest root mean square of the differences of log-probabilities that the
graph in 8 bits may have for quiet noise, relative to their standard
deviation."""

FLOAT32 = {"dtype": torch.float32, "device": "cpu"}
"""What a graph takes."""


@full_float32()
def export_model(
    folder,
    model,
    text_decoder,
    precisions=("fp32",),
    step_frames=None,
    geometry=None,
    endpointer=None,
    word_offsets=None,
):
    """Writes a folder that :class:`OnnxStreamingASR` loads.

    It is complete or absent: it is written beside its place, checked, run and
    compared with the model, and then moved.

    Arguments
    ---------
    folder : str or pathlib.Path
        Where to write. What an earlier call wrote there is replaced.
    model : StreamingCTC or StreamingTransducer
        The model, which is left as it is; the graphs are of a copy in
        float32.
    text_decoder : PieceDecoder
        The text of its labels.
    precisions : list of str
        Graphs that the folder holds: "fp32", with weights of 32 bits, "int8",
        with weights of 8 bits, or both. Each is compared with the model.
    step_frames : int, optional
        Frames of a step, for maa and sa; llsa takes its hop.
    geometry : StreamGeometry, optional
        That of the graphs: one of those that the model is trained for; the
        default one otherwise.
    endpointer : Endpointer, optional
        Where segments close, if a session does not say.
    word_offsets : WordOffsets, optional
        Where words begin and end, relative to the frames of their labels.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    ImportError
        If the packages of the extra ``onnx`` are not installed.
    ValueError
        If there is no such precision, the attention cannot stream, the model
        is not trained for the geometry, or a graph does not give what the
        model gives.
    FileExistsError
        If there is something else at the place.
    """
    _check_precisions(precisions)
    folder = check_replaceable(folder, MODEL_FILE)
    model = copy.deepcopy(model).cpu().float()
    step = StreamingStep(model, step_frames, geometry).eval()
    graphs = {
        name: file for name, file in GRAPH_FILES.items() if name in precisions
    }
    shapes = dict(
        zip(
            step.state_names,
            (list(part.shape[1:]) for part in step.initial_state(1)),
            strict=True,
        )
    )
    with written_atomically(folder) as new:
        new.mkdir()
        _write_graphs(step, new, precisions)
        transducer = None
        if isinstance(model, StreamingTransducer):
            transducer = write_decoder(new, model.decoder)
        description = describe(
            step.clock,
            shapes,
            text_decoder,
            graphs,
            endpointer,
            word_offsets,
            transducer,
        )
        write_description(new, description)
        read_exported(new)
    return folder


def _check_precisions(precisions):
    if (
        not isinstance(precisions, (list, tuple))
        or not precisions
        or any(name not in PRECISIONS for name in precisions)
        or len(set(precisions)) < len(precisions)
    ):
        raise ValueError(
            must_be(
                "precisions",
                f"a list of {' or '.join(PRECISIONS)}, or of both",
                repr(precisions),
            )
        )


def _write_graphs(step, folder, precisions):
    """Writes the graphs, and compares each with the model. That in 8 bits is
    made of that in 32, which goes if it is not asked for."""
    onnx = _import_onnx()
    fp32, int8 = (folder / GRAPH_FILES[name] for name in ("fp32", "int8"))
    _write_graph(step, fp32)
    onnx.checker.check_model(str(fp32), full_check=True)
    _check_same(step, fp32)
    if "int8" in precisions:
        _quantise(fp32, int8)
        onnx.checker.check_model(str(int8), full_check=True)
        _check_close(step, int8)
    if "fp32" not in precisions:
        fp32.unlink()


def _import_onnx():
    try:
        import onnx
        import onnxruntime.quantization  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"{error.name}: not installed, needed to export models: pip "
            'install "speechbrain-llsa[onnx]"'
        ) from error
    return onnx


def _write_graph(step, path):
    rows = 2  # not 1, which would become a constant
    position = torch.full((rows,), step.clock.first_frame, device="cpu")
    # copies: tensors that are one and the same would become one input
    state = [tensor.clone() for tensor in step.initial_state(rows)]
    arguments = (
        torch.zeros(rows, step.clock.step_samples, **FLOAT32),
        position,
        torch.full_like(position, NEVER),
        *state,
    )
    batch = {0: torch.export.Dim("batch")}
    transducer = isinstance(step.model, StreamingTransducer)
    with _quiet(), torch.device("cpu"):
        program = torch.onnx.export(
            step,
            arguments,
            input_names=["samples", "position", "end", *step.state_names],
            output_names=[
                *(OnnxTransducer if transducer else OnnxCTC).OUTPUTS,
                *(f"new_{name}" for name in step.state_names),
            ],
            dynamic_shapes={
                "samples": batch,
                "position": batch,
                "end": batch,
                "state": (batch,) * len(state),
            },
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
            custom_translation_table={torch.ops.aten.cos.default: _cosine},
        )
        program.model.ir_version = IR_VERSION
        _fold_constants(program.model)
        _drop_notes(program.model.graph)
        program.save(str(path))


def _fold_constants(model):
    """Computes what depends on weights alone, however large, so that matrix
    products and convolutions take constants, which can be quantised."""
    from onnxscript import optimizer

    optimizer.optimize(
        model, input_size_limit=sys.maxsize, output_size_limit=sys.maxsize
    )


def _drop_notes(graph):
    """Removes the exporter's notes: paths of this machine, and more bytes than
    a small model."""
    values = [*graph.inputs, *graph.initializers.values()]
    for node in graph:
        values += node.outputs
        node.metadata_props.clear()
    for part in (graph, *values):
        part.metadata_props.clear()


def _cosine(angle):
    """As a sine: before 1.29 onnxruntime has a cosine of float32 alone."""
    from onnxscript import opset18

    quarter = opset18.CastLike(math.pi / 2, angle)
    return opset18.Sin(opset18.Add(angle, quarter))


def _quantise(source, target):
    """Writes a graph whose weights are of 8 bits, by output channel.

    Matrix products are of integers: what the weights are multiplied with is
    quantised by its range in each step. Convolutions are of float32: the
    samples of a step would have one range, in which quiet ones are lost.
    ``benchmarks/int8_convolutions.py`` measures how much that costs.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _quiet():
        quantize_dynamic(
            str(source),
            str(target),
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            extra_options={"MatMulConstBOnly": True},
        )
    model = onnx.load(target)
    _quantise_convolutions(model.graph)
    onnx.save(model, target)


def _quantise_convolutions(graph):
    """Replaces the weights of convolutions by integers, cast and scaled. ONNX
    Runtime does both once, when it loads the graph; a ``DequantizeLinear`` it
    would run in each step."""
    from onnx import TensorProto, helper, numpy_helper

    constants = {constant.name: constant for constant in graph.initializer}
    nodes = list(graph.node)
    weights = {node.input[1] for node in nodes if node.op_type == "Conv"}
    del graph.node[:]
    for name in sorted(weights):
        integers, scale = _in_8_bits(numpy_helper.to_array(constants[name]))
        graph.initializer.remove(constants[name])
        graph.initializer.extend(
            [
                numpy_helper.from_array(integers, f"{name}_quantized"),
                numpy_helper.from_array(scale, f"{name}_scale"),
            ]
        )
        graph.node.extend(
            [
                helper.make_node(
                    "Cast",
                    [f"{name}_quantized"],
                    [f"{name}_cast"],
                    to=TensorProto.FLOAT,
                ),
                helper.make_node(
                    "Mul", [f"{name}_cast", f"{name}_scale"], [name]
                ),
            ]
        )
    graph.node.extend(nodes)


def _in_8_bits(weight):
    """Integers, and the step of each output channel, (channels, 1, ...), whose
    product is the weight of a convolution, (channels, ...)."""
    axes = tuple(range(1, weight.ndim))
    largest = np.abs(weight).max(axis=axes, keepdims=True)
    scale = np.maximum(largest / 127, np.finfo(np.float32).tiny)
    return np.rint(weight / scale).astype(np.int8), scale.astype(np.float32)


@contextlib.contextmanager
def _quiet():
    """Without the notes of exporter and quantiser to themselves."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _check_same(step, path):
    """Refuses a graph that gives something else than the model."""
    given, expected = _outputs_for_noise(step, path, level=0.1)
    error = np.abs(given - expected).max()
    if not error <= TOLERANCE:
        raise ValueError(
            must_be(
                "model",
                f"one whose graph gives the same within {TOLERANCE:g}",
                f"outputs that differ by up to {error:.3g}",
            )
        )


def _check_close(step, path):
    """Refuses a graph in 8 bits that is far from the model.

    The measure is the root mean square of the differences: rounding is noise in
    each number, and the largest of it grows with their count. The most probable
    labels would say less: for noise a trained model gives the blank, whether
    the graph is damaged or not. Loud noise is nothing that models have heard:
    there small differences become large ones, in graphs that are right too.
    """
    given, expected = _outputs_for_noise(step, path, level=0.01)
    error = np.sqrt(np.mean((given - expected) ** 2))
    allowed = TOLERANCE + INT8_TOLERANCE * np.std(expected)
    if not error <= allowed:
        raise ValueError(
            must_be(
                "model",
                "one whose graph in 8 bits gives the same within "
                f"{allowed:.3g}, root mean square",
                f"outputs that differ by {error:.3g}",
            )
        )


def _load(step, path):
    model = step.model
    if not isinstance(model, StreamingTransducer):
        return OnnxCTC(path, step.clock, model.labels)
    decoder = model.decoder
    return OnnxTransducer(
        path, step.clock, decoder.weights(), decoder.max_symbols
    )


@torch.no_grad()
def _outputs_for_noise(step, path, level):
    """What the written graph gives for white noise of a root mean square, and
    what the model gives: log-probabilities, (frames, labels), or frames of a
    transducer, (frames, features)."""
    written = _load(step, path)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(8000, generator=generator, **FLOAT32) * level
    expected, _ = step.model(noise[None], geometry=step.clock.geometry)
    state = written.make_streaming_context()
    given, _ = written.stream(noise.numpy(), state, final=True)
    return given, expected[0].numpy()
