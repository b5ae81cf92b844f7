"""The models that a command may work with."""

from functools import partial

from speechbrain_llsa.commands.search_options import (
    add_search_arguments,
    choose_search,
)
from speechbrain_llsa.decoders.options import BeamSearchOptions
from speechbrain_llsa.decoders.scored_search import ScoredSearch
from speechbrain_llsa.inference.asr import StreamingASR
from speechbrain_llsa.model_folder.shipped import find_model
from speechbrain_llsa_runtime.commands.models import (
    ExportedModels,
    check_folder,
)
from speechbrain_llsa_runtime.inference.onnx import OnnxStreamingASR
from speechbrain_llsa_runtime.model_folder.description import is_exported
from speechbrain_llsa_runtime.model_folder.shipped import DEFAULT_MODEL


class Models(ExportedModels):
    """Loads fine-tuned and exported models, with greedy or beam search."""

    def add_arguments(self, parser):
        """Declares the arguments of the model and of its search.

        Arguments
        ---------
        parser : argparse.ArgumentParser
            Parser of the command.
        """
        add_model_arguments(
            parser, "a streaming/ folder of fine-tuning, or an exported one"
        )
        add_search_arguments(parser)

    def load(self, arguments):
        """Loads the model that the arguments name.

        Arguments
        ---------
        arguments : argparse.Namespace
            As :meth:`add_arguments` declares them.

        Returns
        -------
        StreamingASR or OnnxStreamingASR

        Raises
        ------
        FileNotFoundError
            If the folder does not exist.
        ValueError
            If the model cannot be read.
        """
        if is_exported(arguments.model):
            return super().load(arguments)
        return load_model(arguments)

    def choose_search(self, asr, arguments):
        """Makes the search for a session.

        Arguments
        ---------
        asr : StreamingASR or OnnxStreamingASR
            The model.
        arguments : argparse.Namespace
            As :meth:`add_arguments` declares them.

        Returns
        -------
        GreedySearch or BeamSearch or None
            ``None`` for the search that the folder describes.

        Raises
        ------
        FileNotFoundError
            If there is no such language model.
        ImportError
            If KenLM is needed and not installed.
        ValueError
            If an argument is out of range, or contradicts another.
        """
        return choose_search(
            _search_maker(asr), asr.model.greedy_search, arguments
        )

    def hotword_search(self, asr, search, hotwords):
        """Makes a search with hotwords for a session, in place of those of
        other sessions.

        Arguments
        ---------
        asr : StreamingASR or OnnxStreamingASR
            The model.
        search : GreedySearch or BeamSearch or None
            The search of other sessions, as of :meth:`choose_search`.
        hotwords : list of str
            Words or phrases that are likely.

        Returns
        -------
        BeamSearch

        Raises
        ------
        TypeError
            If a hotword is not a string.
        ValueError
            If a hotword cannot be spelled.
        """
        if search is None:
            search = getattr(asr, "search", None)
        if isinstance(search, ScoredSearch):
            return search.with_hotwords(hotwords)
        return _search_maker(asr)(hotwords=hotwords)


def _search_maker(asr):
    """Makes beam searches for a model."""
    if isinstance(asr, OnnxStreamingASR):
        return partial(
            BeamSearchOptions().make_search,
            asr.text_decoder,
            asr.model.greedy_search(),
        )
    return asr.beam_search


def add_model_arguments(parser, kinds, several=False):
    """Declares ``--model`` and ``--trust``.

    Arguments
    ---------
    parser : argparse.ArgumentParser
        Parser of the command.
    kinds : str
        The kinds of models that are allowed, for the help.
    several : bool
        Whether several models are allowed.
    """
    parser.add_argument(
        "--model",
        default=[DEFAULT_MODEL] if several else DEFAULT_MODEL,
        nargs="+" if several else None,
        metavar="FOLDER",
        help=f"{kinds} (default: {DEFAULT_MODEL}, which ships with the "
        "package)",
    )
    parser.add_argument(
        "--trust",
        action="store_true",
        help="accept a language model in KenLM's binary format, which is "
        "mapped into memory unchecked",
    )


def load_model(arguments):
    """Loads a fine-tuned model.

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
    check_folder(find_model(arguments.model))
    return StreamingASR.from_hparams(arguments.model, trust=arguments.trust)
