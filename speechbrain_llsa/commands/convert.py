"""Converts a model folder of the previous version to the current format."""

from speechbrain_llsa.commands.written_files import print_files
from speechbrain_llsa.model_folder.convert import convert_folder

NAME = "convert"


def add_arguments(parser):
    """Declares the arguments of the command.

    Arguments
    ---------
    parser : argparse.ArgumentParser
        Parser of the command.
    """
    parser.add_argument(
        "folder",
        metavar="FOLDER",
        help="streaming/, pretrained/ or exported folder to read",
    )
    parser.add_argument(
        "new_folder", metavar="NEW_FOLDER", help="folder to write"
    )


def run(arguments):
    """Runs the command.

    Arguments
    ---------
    arguments : argparse.Namespace
        Its arguments.

    Raises
    ------
    FileNotFoundError
        If the folder, or a file in it, does not exist.
    FileExistsError
        If something else already exists at the output path.
    ValueError
        If a file is damaged, or would do anything but describe a model.
    """
    folder = convert_folder(arguments.folder, arguments.new_folder)
    print_files(folder)
