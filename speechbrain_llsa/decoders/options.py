"""The ``search:`` entry of a model folder: how its text is found."""

import inspect
from pathlib import Path

from speechbrain.utils.fetching import fetch

from speechbrain_llsa.decoders.beam_search import BeamSearch
from speechbrain_llsa.decoders.language_model import LanguageModel

ARGUMENTS = tuple(inspect.signature(BeamSearch).parameters)[1:]
"""Names of the arguments that a file may give."""


class BeamSearchOptions:
    """Arguments of a beam search, for the hyperparameter file of a folder:

    .. code-block:: yaml

        search: !new:speechbrain_llsa.hparams.BeamSearchOptions
            beam_size: 16
            language_model: words.arpa   # a file in the folder
            alpha: 0.5

    The search is made when the labels of the model are known.

    Arguments
    ---------
    **arguments : dict
        As for :class:`speechbrain_llsa.decoders.beam_search.BeamSearch`.

    Raises
    ------
    TypeError
        If an argument is unknown.

    Example
    -------
    >>> from speechbrain_llsa.decoders.greedy import PieceDecoder
    >>> options = BeamSearchOptions(beam_size=4)
    >>> search = options.make_search(PieceDecoder(["", "A"]))
    >>> search.decode([[-3.0, -0.05]])
    [Token(label=1, start=0, end=1, confidence=0.951229)]
    """

    def __init__(self, **arguments):
        _check_names(arguments)
        self.arguments = arguments
        self.trust = False

    @property
    def language_model(self):
        """Path of the language model, or ``None``."""
        model = self.arguments.get("language_model")
        if model is None:
            return None
        return Path(getattr(model, "path", model))

    def collect_files(self, source, trust=False, **fetching):
        """Finds the language model in the folder, and fetches it if the folder
        is far away.

        Arguments
        ---------
        source : str
            The folder, or a repository of a model hub.
        trust : bool
            Whether the language model may be a binary of KenLM.
        **fetching : dict
            As for the host's ``fetch``.

        Raises
        ------
        FileNotFoundError
            If the file is missing in a local folder.
        ValueError
            If it is not the name of a file right in the folder.
        """
        self.trust = trust
        name = self.arguments.get("language_model")
        if name is None:
            return
        if not isinstance(name, str) or Path(name).name != name:
            raise ValueError(
                f"language_model: got {name!r}, allowed is the name of a file "
                "right in the folder"
            )
        if Path(source).is_dir():
            path = Path(source, name)
            if not path.is_file():
                raise FileNotFoundError(
                    f"source: got {str(source)!r}, which holds no {name}; the "
                    "model is not complete"
                )
        else:
            path = fetch(name, source=source, **fetching)
        self.arguments = {**self.arguments, "language_model": path}

    def make_search(self, text_decoder, **changes):
        """Makes the search.

        Arguments
        ---------
        text_decoder : PieceDecoder
            Says what the labels stand for.
        **changes : dict
            Arguments that replace those of the file.

        Returns
        -------
        BeamSearch

        Raises
        ------
        FileNotFoundError
            If there is no such language model.
        TypeError
            If an argument is unknown or of another type.
        ValueError
            If an argument is out of range, or the language model is damaged.
        """
        _check_names(changes)
        arguments = {**self.arguments, **changes}
        model = arguments.get("language_model")
        if model is not None and not isinstance(model, LanguageModel):
            model = arguments["language_model"] = LanguageModel(
                model, self.trust
            )
            if "language_model" not in changes:  # no search loads it again
                self.arguments["language_model"] = model
        return BeamSearch(text_decoder, **arguments)


def _check_names(arguments):
    unknown = arguments.keys() - set(ARGUMENTS)
    if unknown:
        raise TypeError(
            f"search: got the argument {min(unknown)!r}, allowed are "
            f"{', '.join(ARGUMENTS)}"
        )
