"""Writes the streaming step of a model as ONNX graphs, for runtimes without
PyTorch."""

import contextlib
import copy
import io
import logging
import math
import warnings

import torch

from speechbrain_llsa.lobes.streaming_step import StreamingStep
from speechbrain_llsa.model_folder.write import write_description
from speechbrain_llsa.utils.precision import full_float32
from speechbrain_llsa_runtime.inference.onnx import describe, read_exported
from speechbrain_llsa_runtime.inference.onnx_model import OnnxCTC
from speechbrain_llsa_runtime.model_folder.description import MODEL_FILE
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

TOLERANCE = 1e-4
"""Largest difference of log-probabilities that the written graph may have."""

FLOAT32 = {"dtype": torch.float32, "device": "cpu"}
"""What a graph takes."""


@full_float32()
def export_model(
    folder,
    model,
    text_decoder,
    int8=False,
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
    model : StreamingCTC
        The model, which is left as it is; the graphs are of a copy in
        float32.
    text_decoder : PieceDecoder
        The text of its labels.
    int8 : bool
        Whether to write a graph with weights in 8 bits as well: matrices are
        quantised channel by channel, what they are multiplied with by its
        range in each step.
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
        If the attention cannot stream, the model is not trained for the
        geometry, or the graph does not give what the model gives.
    FileExistsError
        If there is something else at the place.
    """
    folder = check_replaceable(folder, MODEL_FILE)
    onnx = _import_onnx()
    model = copy.deepcopy(model).cpu().float()
    step = StreamingStep(model, step_frames, geometry).eval()
    with written_atomically(folder) as new:
        new.mkdir()
        graphs = {"fp32": "step.onnx"}
        _write_graph(step, new / graphs["fp32"])
        if int8:
            graphs["int8"] = "step.int8.onnx"
            _quantise(new / graphs["fp32"], new / graphs["int8"])
        for name in graphs.values():
            onnx.checker.check_model(str(new / name), full_check=True)
        shapes = dict(
            zip(
                step.state_names,
                (list(part.shape[1:]) for part in step.initial_state(1)),
                strict=True,
            )
        )
        description = describe(
            step.clock, shapes, text_decoder, graphs, endpointer, word_offsets
        )
        write_description(new, description)
        read_exported(new)
        _check_same(step, new / graphs["fp32"])
    return folder


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
    with _quiet(), torch.device("cpu"):
        program = torch.onnx.export(
            step,
            arguments,
            input_names=["samples", "position", "end", *step.state_names],
            output_names=[
                "log_probs",
                "provisional_log_probs",
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
        program.save(str(path))


def _cosine(angle):
    """As a sine: before 1.29 onnxruntime has a cosine of float32 alone."""
    from onnxscript import opset18

    quarter = opset18.CastLike(math.pi / 2, angle)
    return opset18.Sin(opset18.Add(angle, quarter))


def _quantise(source, target):
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


@torch.no_grad()
def _check_same(step, path):
    """Runs what was written, and compares what it gives for noise."""
    written = OnnxCTC(path, step.clock, step.model.labels)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(8000, generator=generator, **FLOAT32) / 10
    expected, _ = step.model(noise[None], geometry=step.clock.geometry)
    state = written.make_streaming_context()
    given, _ = written.stream(noise.numpy(), state, final=True)
    error = float((torch.from_numpy(given) - expected[0]).abs().max())
    if not error <= TOLERANCE:
        raise ValueError(
            must_be(
                "model",
                f"one whose graph gives the same within {TOLERANCE:g}",
                f"log-probabilities that differ by up to {error:.3g}",
            )
        )
