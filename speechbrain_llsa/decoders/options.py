"""The ``search`` section of a model folder: options of its beam search."""

import inspect
from pathlib import Path
from typing import Any

from speechbrain_llsa.decoders.beam_search import BeamSearch
from speechbrain_llsa.decoders.language_model import LanguageModel
from speechbrain_llsa.decoders.transducer_beam_search import (
    TransducerBeamSearch,
)
from speechbrain_llsa_runtime.decoders.greedy import PieceDecoder
from speechbrain_llsa_runtime.decoders.tokens import Search
from speechbrain_llsa_runtime.decoders.transducer import TransducerGreedySearch
from speechbrain_llsa_runtime.utils.errors import must_be

ARGUMENTS = tuple(inspect.signature(BeamSearch).parameters)[1:]
"""Names of the arguments that a folder may give."""


class BeamSearchOptions:
    """Arguments of a beam search, as the ``search`` section of a folder's
    ``model.json`` gives them:

    .. code-block:: json

        "search": {
         "beam_size": 16,
         "language_model": "words.arpa",
         "alpha": 0.5
        }

    ``language_model`` is a file in the folder. The search itself is made once
    the labels of the model are known.

    Arguments
    ---------
    **arguments : dict
        As for :class:`speechbrain_llsa.decoders.beam_search.BeamSearch`, or
        for that of transducers, whose options are the same.

    Raises
    ------
    TypeError
        If an argument is unknown.

    Example
    -------
    >>> from speechbrain_llsa_runtime.decoders.greedy import PieceDecoder
    >>> options = BeamSearchOptions(beam_size=4)
    >>> search = options.make_search(PieceDecoder(["", "A"]))
    >>> search.decode([[-3.0, -0.05]])
    [Token(label=1, start=0, end=1, confidence=0.951229)]
    """

    def __init__(self, **arguments: Any) -> None:
        _check_names(arguments)
        self.arguments = arguments
        self.trust = False
        """Whether the language model may be a binary of KenLM."""

    @property
    def language_model(self) -> Path | None:
        """Path of the language model, or ``None``."""
        model = self.arguments.get("language_model")
        if model is None:
            return None
        return Path(getattr(model, "path", model))

    def to_dict(self) -> dict[str, Any]:
        """The arguments for the ``search`` section of ``model.json``.

        Returns
        -------
        dict
            Plain values; the language model by its file name.

        Example
        -------
        >>> BeamSearchOptions(beam_size=4, hotwords=("A",)).to_dict()
        {'beam_size': 4, 'hotwords': ['A']}
        """
        arguments = dict(self.arguments)
        if self.language_model is not None:
            arguments["language_model"] = self.language_model.name
        if "hotwords" in arguments and not isinstance(
            arguments["hotwords"], str
        ):
            arguments["hotwords"] = list(arguments["hotwords"])
        return arguments

    def make_search(
        self,
        text_decoder: PieceDecoder,
        greedy: Search | None = None,
        **changes: Any,
    ) -> BeamSearch | TransducerBeamSearch:
        """Makes the search.

        Arguments
        ---------
        text_decoder : PieceDecoder
            Maps labels to text.
        greedy : GreedySearch or TransducerGreedySearch, optional
            The greedy search of the model, which says of what kind it is. CTC
            by default.
        **changes : dict
            Arguments that replace these.

        Returns
        -------
        BeamSearch or TransducerBeamSearch

        Raises
        ------
        FileNotFoundError
            If there is no such language model.
        TypeError
            If an argument is unknown or has the wrong type.
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
        if isinstance(greedy, TransducerGreedySearch):
            return TransducerBeamSearch(text_decoder, greedy, **arguments)
        return BeamSearch(text_decoder, **arguments)


def _check_names(arguments: dict[str, Any]) -> None:
    unknown = arguments.keys() - set(ARGUMENTS)
    if unknown:
        raise TypeError(
            must_be(
                "arguments of the search",
                f"among {', '.join(ARGUMENTS)}",
                repr(min(unknown)),
            )
        )
