"""Writes a model as ONNX graphs that run without PyTorch."""

from speechbrain_llsa.commands.models import add_model_arguments, load_model
from speechbrain_llsa.commands.written_files import print_files
from speechbrain_llsa.inference.onnx_export import export_model
from speechbrain_llsa.inference.triton_export import export_triton_model
from speechbrain_llsa_runtime.commands.models import add_geometry_arguments
from speechbrain_llsa_runtime.model_folder.description import PRECISIONS

NAME = "export"


def add_arguments(parser):
    """Declares the arguments of the command.

    Arguments
    ---------
    parser : argparse.ArgumentParser
        Parser of the command.
    """
    add_model_arguments(parser, "a streaming/ folder of fine-tuning")
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="folder to write"
    )
    graphs = parser.add_mutually_exclusive_group()
    graphs.add_argument(
        "--precision",
        nargs="+",
        choices=PRECISIONS,
        default=["fp32"],
        help="graphs to write: with weights of 32 bits, of 8, or both "
        "(default: fp32)",
    )
    graphs.add_argument(
        "--int8",
        action="store_const",
        dest="precision",
        const=PRECISIONS,
        help="the same as --precision fp32 int8",
    )
    parser.add_argument(
        "--triton",
        action="store_true",
        help="write DIR for Triton Inference Server, with its config.pbtxt: "
        "its name is that of the model, and the folder around it the model "
        "repository",
    )
    parser.add_argument(
        "--step_frames",
        type=int,
        metavar="N",
        help="frames of a step, for maa and sa (llsa takes its hop)",
    )
    add_geometry_arguments(parser)


def run(arguments):
    """Runs the command.

    Arguments
    ---------
    arguments : argparse.Namespace
        Its arguments.

    Raises
    ------
    FileNotFoundError
        If the model does not exist.
    FileExistsError
        If something else already exists at the output path.
    ValueError
        If the model cannot be read, cannot stream, or is not trained for the
        hop or the look-ahead; or if Triton is to have two graphs of it.
    """
    asr = load_model(arguments)
    write = export_triton_model if arguments.triton else export_model
    folder = write(
        arguments.out,
        asr.model,
        asr.text_decoder,
        arguments.precision,
        arguments.step_frames,
        asr.model.geometries.choose(arguments.hop, arguments.look_ahead),
        asr.endpointer,
        asr.word_offsets,
    )
    print_files(folder)
