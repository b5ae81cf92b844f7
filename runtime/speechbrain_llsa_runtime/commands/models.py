"""The models that a command may work with."""

from pathlib import Path

from speechbrain_llsa_runtime.inference.onnx import OnnxStreamingASR
from speechbrain_llsa_runtime.model_folder.shipped import (
    DEFAULT_MODEL,
    find_model,
)
from speechbrain_llsa_runtime.utils.errors import must_be


class ExportedModels:
    """Loads exported models.

    The PyTorch package extends this class with its own models and beam search.
    """

    def add_arguments(self, parser):
        """Declares ``--model``.

        Arguments
        ---------
        parser : argparse.ArgumentParser
            Parser of the command.
        """
        parser.add_argument(
            "--model",
            default=DEFAULT_MODEL,
            metavar="FOLDER",
            help="an exported folder (default: %(default)s, which ships with "
            "the package)",
        )

    def load(self, arguments):
        """Loads the model that the arguments name.

        Arguments
        ---------
        arguments : argparse.Namespace
            As :meth:`add_arguments` declares them.

        Returns
        -------
        OnnxStreamingASR

        Raises
        ------
        FileNotFoundError
            If the folder does not exist, or lacks a file.
        ValueError
            If the model cannot be read.
        """
        check_folder(find_model(arguments.model))
        return OnnxStreamingASR.from_folder(arguments.model)

    def choose_search(self, asr, arguments):
        """Makes the search for a session.

        Arguments
        ---------
        asr : OnnxStreamingASR
            The model.
        arguments : argparse.Namespace
            As :meth:`add_arguments` declares them.

        Returns
        -------
        None
            The default of the model: greedy search.
        """
        return None

    def hotword_search(self, asr, search, hotwords):
        """Makes a search with hotwords for a session.

        Arguments
        ---------
        asr : OnnxStreamingASR
            The model.
        search : GreedySearch or BeamSearch or None
            The search of other sessions, as of :meth:`choose_search`.
        hotwords : list of str
            Words or phrases that are likely.

        Raises
        ------
        ValueError
            Always: beam search needs the PyTorch package.
        """
        raise ValueError(
            must_be(
                "hotwords",
                "absent where speechbrain-llsa is not installed",
                ", ".join(hotwords),
            )
        )


def check_folder(folder):
    """Checks that the folder of a model exists.

    Arguments
    ---------
    folder : str or pathlib.Path
        The folder.

    Raises
    ------
    FileNotFoundError
        If it does not exist.
    """
    if not Path(folder).is_dir():
        raise FileNotFoundError(
            must_be("--model", "an existing model folder", repr(str(folder)))
        )


def add_geometry_arguments(parser, several=False):
    """Declares ``--hop`` and ``--look_ahead``.

    Arguments
    ---------
    parser : argparse.ArgumentParser
        Parser of the command.
    several : bool
        Whether each may be repeated; every pair is a row of the table.
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
