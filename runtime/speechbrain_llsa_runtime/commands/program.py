"""A program of several commands."""

import os
import sys
from pathlib import Path

from speechbrain_llsa_runtime.commands.signals import Ended, breaking_off
from speechbrain_llsa_runtime.commands.warning_lines import warning_lines
from speechbrain_llsa_runtime.dataio.audio_files import TruncatedAudio
from speechbrain_llsa_runtime.utils.parser import OneLineParser
from speechbrain_llsa_runtime.utils.printing import all_characters


def run_program(package, commands, description, arguments=None):
    """Runs one command of a package.

    Arguments
    ---------
    package : str
        Name of the package, which ``python -m`` runs, and which gives the
        script its name.
    commands : iterable of module
        Each has ``NAME``, ``add_arguments(parser)`` and ``run(arguments)``.
    description : str
        What ``--help`` says of the program.
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
    parser = OneLineParser(prog=_name(package), description=description)
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in commands:
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
            warning_lines(TruncatedAudio, f"{parser.prog}: "),
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


def _name(package):
    """The program's name, as it was typed."""
    script = package.replace("_", "-")
    typed = Path(sys.argv[0]).stem
    return script if typed == script else f"python -m {package}"
