"""The command line: ``python -m speechbrain_llsa COMMAND ...``."""

import contextlib
import os
import sys
import warnings

from tqdm import tqdm

from speechbrain_llsa.commands import (
    convert,
    evaluate,
    export,
    listen,
    picture,
    transcribe,
)
from speechbrain_llsa.commands.signals import Ended, breaking_off
from speechbrain_llsa.dataio.audio_files import TruncatedAudio
from speechbrain_llsa.utils.parser import OneLineParser
from speechbrain_llsa.utils.printing import all_characters

COMMANDS = (transcribe, listen, evaluate, export, convert, picture)
"""Each has ``NAME``, ``add_arguments(parser)`` and ``run(arguments)``."""


def main(arguments=None):
    """Runs one command.

    Arguments
    ---------
    arguments : list of str, optional
        What follows the program's name. That of the process by default.

    Returns
    -------
    int
        0, or 2 after bad input, which gets a line on standard error, or
        128 and the number of the signal that broke the command off. 0 as well
        where nobody reads the output to its end.

    Raises
    ------
    SystemExit
        With 2, if the command line is not one of the program's, and with 0
        after ``--help``.
    """
    parser = OneLineParser(
        prog="python -m speechbrain_llsa", description=__doc__
    )
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in COMMANDS:
        summary = command.__doc__.splitlines()[0]
        subparser = subparsers.add_parser(
            command.NAME, help=summary, description=command.__doc__
        )
        command.add_arguments(subparser)
        subparser.set_defaults(run=command.run)
    parsed = parser.parse_args(arguments)
    try:
        with (
            breaking_off(),
            all_characters(),
            _warnings_in_one_line(parser.prog),
        ):
            parsed.run(parsed)
            sys.stdout.flush()
    except BrokenPipeError:
        # what is still to be written would raise the error again at exit
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        return 0
    except (ImportError, OSError, TypeError, ValueError) as error:
        for line in getattr(error, "lines", [str(error)]):
            message = " ".join(line.split())
            print(f"{parser.prog}: error: {message}", file=sys.stderr)
        return 2
    except Ended as error:
        return error.exit_code
    return 0


@contextlib.contextmanager
def _warnings_in_one_line(program):
    """What is said of audio that is truncated goes to standard error in one
    line, once for each file."""
    with warnings.catch_warnings():
        warnings.simplefilter("default", TruncatedAudio)
        shown, show_others = set(), warnings.showwarning

        def show(message, category, *place, **others):
            if category is not TruncatedAudio:
                show_others(message, category, *place, **others)
            elif str(message) not in shown:
                shown.add(str(message))
                tqdm.write(f"{program}: warning: {message}", file=sys.stderr)

        warnings.showwarning = show
        yield


if __name__ == "__main__":
    sys.exit(main())
