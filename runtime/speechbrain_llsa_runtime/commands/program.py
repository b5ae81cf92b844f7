"""Runner for a program with several commands."""

import os
import sys
from pathlib import Path

from speechbrain_llsa_runtime.commands.signals import (
    Interrupted,
    interrupt_on_signals,
)
from speechbrain_llsa_runtime.commands.warning_lines import warning_lines
from speechbrain_llsa_runtime.dataio.audio_files import TruncatedAudio
from speechbrain_llsa_runtime.utils.parser import OneLineParser
from speechbrain_llsa_runtime.utils.printing import all_characters

BAD_INPUT = (FloatingPointError, ImportError, OSError, TypeError, ValueError)
"""Errors that a bad command line, file or model raises."""


def run_program(package, commands, description, arguments=None):
    """Runs one command of a package.

    Arguments
    ---------
    package : str
        Name of the package for ``python -m``; the script is named after it.
    commands : iterable of module
        Each has ``NAME``, ``add_arguments(parser)`` and ``run(arguments)``.
    description : str
        Description of the program for ``--help``.
    arguments : list of str, optional
        Command line after the program's name; by default that of the process.

    Returns
    -------
    int
        Exit status: 0 on success, and if the reader of the output closes it
        early; 2 on bad input, which is reported in one line on standard error;
        128 plus the number of the signal that interrupted the command.

    Raises
    ------
    SystemExit
        With status 2 if the command line is invalid, and 0 after ``--help``.
    """
    parser = OneLineParser(prog=_program_name(package), description=description)
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
            interrupt_on_signals(),
            all_characters(),
            warning_lines(TruncatedAudio, f"{parser.prog}: "),
        ):
            parsed.run(parsed)
            sys.stdout.flush()
    except BrokenPipeError:
        # flushing buffered output at exit would raise the error again
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, sys.stdout.fileno())
        return 0
    except BAD_INPUT as error:
        for line in getattr(error, "lines", [str(error)]):
            message = " ".join(line.split())
            print(f"{parser.prog}: error: {message}", file=sys.stderr)
        return 2
    except Interrupted as error:
        return error.exit_code
    return 0


def _program_name(package):
    """Name of the program, as the user started it."""
    script = package.replace("_", "-")
    typed = Path(sys.argv[0]).stem
    return script if typed == script else f"python -m {package}"
