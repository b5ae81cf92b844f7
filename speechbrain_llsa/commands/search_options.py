"""Options of greedy and beam search."""

from speechbrain_llsa.decoders.language_model import LanguageModel
from speechbrain_llsa_runtime.utils.errors import must_be


def add_search_arguments(parser):
    """Declares ``--search`` and the options of beam search.

    Arguments
    ---------
    parser : argparse.ArgumentParser
        Parser of the command.
    """
    group = parser.add_argument_group(
        "search", "by default as the model's folder says, which is greedy"
    )
    group.add_argument(
        "--search",
        choices=("greedy", "beam"),
        help="the options below imply beam",
    )
    group.add_argument(
        "--beam_size", type=int, metavar="N", help="beams that are kept"
    )
    group.add_argument(
        "--language_model",
        metavar="FILE",
        help="word n-grams in ARPA format, or with --trust KenLM's binary",
    )
    group.add_argument(
        "--alpha", type=float, metavar="X", help="weight of the language model"
    )
    group.add_argument(
        "--beta", type=float, metavar="X", help="what each word adds with it"
    )
    group.add_argument(
        "--hotword",
        action="append",
        metavar="WORD",
        help="word or phrase that is likely, any number of times",
    )
    group.add_argument(
        "--hotword_weight",
        type=float,
        metavar="X",
        help="what a hotword adds to the log-probability (default: 8)",
    )


def choose_search(make_search, make_greedy, arguments):
    """Makes the search that the arguments describe.

    Arguments
    ---------
    make_search : callable
        Makes a ``BeamSearch`` for the model from its arguments.
    make_greedy : callable
        Makes the greedy search of the model.
    arguments : argparse.Namespace
        As :func:`add_search_arguments` declares them, and ``trust``.

    Returns
    -------
    GreedySearch or BeamSearch or None
        ``None`` for the default search of the model.

    Raises
    ------
    FileNotFoundError
        If there is no such language model.
    ImportError
        If KenLM is needed and not installed.
    ValueError
        If an argument is out of range, or contradicts another.
    """
    changes = {
        "beam_size": arguments.beam_size,
        "language_model": arguments.language_model,
        "alpha": arguments.alpha,
        "beta": arguments.beta,
        "hotwords": arguments.hotword,
        "hotword_weight": arguments.hotword_weight,
    }
    changes = {
        name: value for name, value in changes.items() if value is not None
    }
    if not changes and arguments.search != "beam":
        return make_greedy() if arguments.search else None
    if arguments.search == "greedy":
        raise ValueError(
            must_be("--search", f"beam with {', '.join(changes)}", "greedy")
        )
    if "language_model" in changes:
        changes["language_model"] = LanguageModel(
            changes["language_model"], arguments.trust
        )
    return make_search(**changes)
