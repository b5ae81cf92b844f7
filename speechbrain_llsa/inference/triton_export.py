"""Writes a model for the model repository of a Triton Inference Server."""

from speechbrain_llsa.inference.onnx_export import export_model
from speechbrain_llsa.inference.triton_config import triton_config
from speechbrain_llsa.lobes.transducer import StreamingTransducer
from speechbrain_llsa.model_folder.write import write_description
from speechbrain_llsa_runtime.inference.onnx import read_exported
from speechbrain_llsa_runtime.inference.onnx_graph import OnnxGraph
from speechbrain_llsa_runtime.utils.atomic_files import (
    check_replaceable,
    written_atomically,
)
from speechbrain_llsa_runtime.utils.errors import must_be

CONFIG_FILE = "config.pbtxt"

VERSION_FOLDER = "1"
"""The only version of the model. It is an exported folder of its own."""

GRAPH_FILE = "model.onnx"
"""Where Triton looks for the graph of a version."""


def export_triton_model(
    folder,
    model,
    text_decoder,
    precisions=("fp32",),
    step_frames=None,
    geometry=None,
    endpointer=None,
    word_offsets=None,
):
    """Writes a model as Triton Inference Server loads it: ``config.pbtxt``,
    and in the folder ``1`` the graph with the ``model.json`` that its clients
    need.

    It is complete or absent, and checked as
    :func:`~speechbrain_llsa.inference.onnx_export.export_model` says.

    Arguments
    ---------
    folder : str or pathlib.Path
        Where to write: its name is that of the model, the folder around it the
        model repository. What an earlier call wrote there is replaced.
    model : StreamingCTC
        The model.
    text_decoder : PieceDecoder
        The text of its labels.
    precisions : list of str
        "fp32" or "int8": Triton has one graph of a model.
    step_frames : int, optional
        As for ``export_model``.
    geometry : StreamGeometry, optional
        The same.
    endpointer : Endpointer, optional
        The same.
    word_offsets : WordOffsets, optional
        The same.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    ImportError
        If the packages of the extra ``onnx`` are not installed.
    ValueError
        If there are several precisions, the model is a transducer, or as for
        ``export_model``.
    FileExistsError
        If there is something else at the place.

    Example
    -------
    >>> place = getfixture("tmp_path") / "repository" / "english"
    >>> folder = export_triton_model(place, *getfixture("tiny_ctc"))
    >>> sorted(path.name for path in folder.rglob("*"))
    ['1', 'config.pbtxt', 'model.json', 'model.onnx']
    """
    if isinstance(precisions, (list, tuple)) and len(precisions) > 1:
        raise ValueError(
            must_be(
                "precisions",
                "one alone for Triton, which has one graph of a model",
                repr(precisions),
            )
        )
    if isinstance(model, StreamingTransducer):
        raise ValueError(
            must_be("model", "a CTC model for Triton", "a transducer")
        )
    folder = check_replaceable(folder, CONFIG_FILE)
    with written_atomically(folder) as new:
        version = export_model(
            new / VERSION_FOLDER,
            model,
            text_decoder,
            precisions,
            step_frames,
            geometry,
            endpointer,
            word_offsets,
        )
        precision = _rename_graph(version)
        graph = OnnxGraph(version / GRAPH_FILE)
        config = triton_config(
            graph.inputs(),
            graph.outputs(),
            rows_share_ranges=precision == "int8",
        )
        (new / CONFIG_FILE).write_text(config, encoding="utf-8")
    return folder


def _rename_graph(folder):
    """Names the graph of an exported folder as Triton does; gives its
    precision."""
    description = read_exported(folder)
    ((precision, name),) = description["graphs"].items()
    (folder / name).rename(folder / GRAPH_FILE)
    write_description(
        folder, {**description, "graphs": {precision: GRAPH_FILE}}
    )
    return precision
