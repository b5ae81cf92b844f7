"""Turns an encoder that was trained elsewhere into a streaming model folder."""

from speechbrain_llsa.commands.streaming_form import (
    add_streaming_arguments,
    check_streaming_arguments,
    write_streaming_form,
)
from speechbrain_llsa.pretrained.sources import import_source

NAME = "import"


def add_arguments(parser):
    """Declares the arguments of the command.

    Arguments
    ---------
    parser : argparse.ArgumentParser
        Parser of the command.
    """
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="a bundle of torchaudio.pipelines such as WAV2VEC2_BASE, a folder "
        "of transformers or its owner/name on a model hub, or a folder of "
        "SpeechBrain's wav2vec 2.0 pre-training",
    )
    parser.add_argument(
        "--calibrate",
        metavar="FOLDER",
        help="folder with speech, searched recursively: norms over whole "
        "utterances are fixed with it, and --report measures on it",
    )
    add_streaming_arguments(parser)


def run(arguments):
    """Runs the command.

    Arguments
    ---------
    arguments : argparse.Namespace
        Its arguments.

    Raises
    ------
    FileNotFoundError
        If there is no such source or folder, or a file is missing.
    FileExistsError
        If the folder to write holds something.
    ImportError
        If transformers is needed and not installed.
    OSError
        If the model cannot be downloaded.
    TypeError
        If an entry of a configuration has the wrong type.
    ValueError
        If the model is of another family, a file is damaged, audio cannot be
        used, or an option is out of range.
    """
    files = check_streaming_arguments(
        arguments, arguments.calibrate, "--calibrate"
    )
    model = import_source(arguments.source)
    write_streaming_form(model, arguments, files)
