"""The model that a command works with."""

from pathlib import Path

from speechbrain_llsa.inference.asr import StreamingASR
from speechbrain_llsa.utils.errors import must_be


def add_model_arguments(parser, several=False):
    """Declares ``--model`` and ``--trust``.

    Arguments
    ---------
    parser : argparse.ArgumentParser
        Parser of the command.
    several : bool
        Whether there may be several models, exported ones among them.
    """
    kinds = "a streaming/ folder, as fine-tuning writes it"
    if several:
        kinds = f"{kinds}, or an exported one; or several"
    parser.add_argument(
        "--model",
        required=True,
        nargs="+" if several else None,
        metavar="FOLDER",
        help=kinds,
    )
    parser.add_argument(
        "--trust",
        action="store_true",
        help="accept a language model in KenLM's binary format, which is "
        "mapped into memory unchecked",
    )


def add_geometry_arguments(parser, several=False):
    """Declares ``--hop`` and ``--look_ahead``.

    Arguments
    ---------
    parser : argparse.ArgumentParser
        Parser of the command.
    several : bool
        Whether there may be several of each, a row of a table for each pair.
    """
    allowed = "one of those that the model is trained for"
    if several:
        allowed = f"{allowed}, or several, a row for each"
    for name, meaning in (
        ("hop", "frames that llsa commits at once"),
        ("look_ahead", "frames that a layer sees ahead"),
    ):
        parser.add_argument(
            f"--{name}",
            type=int,
            nargs="+" if several else None,
            default=[None] if several else None,
            metavar="N",
            help=f"{meaning}: {allowed} (default: the first)",
        )


def load_model(arguments):
    """Loads the model that the arguments name.

    Arguments
    ---------
    arguments : argparse.Namespace
        With ``model`` and ``trust``.

    Returns
    -------
    StreamingASR

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    ValueError
        If the model cannot be read.
    """
    check_folder(arguments.model)
    return StreamingASR.from_hparams(arguments.model, trust=arguments.trust)


def check_folder(folder):
    """Refuses a model whose folder does not exist.

    Arguments
    ---------
    folder : str
        The folder.

    Raises
    ------
    FileNotFoundError
        If it does not exist.
    """
    if not Path(folder).is_dir():
        raise FileNotFoundError(
            must_be(
                "--model",
                "an existing folder as fine-tuning writes it",
                repr(folder),
            )
        )
