"""Streaming self-supervised speech encoders for SpeechBrain."""

import sys

from speechbrain_llsa.commands import (
    convert,
    evaluate,
    export,
    import_model,
    listen,
    picture,
    serve,
    transcribe,
)
from speechbrain_llsa_runtime.commands.program import run_program

COMMANDS = (
    transcribe,
    listen,
    serve,
    evaluate,
    export,
    import_model,
    convert,
    picture,
)


def main(arguments=None):
    """Runs one command.

    Arguments
    ---------
    arguments : list of str, optional
        Command line after the program's name; by default that of the process.

    Returns
    -------
    int
        Exit status, as of
        :func:`speechbrain_llsa_runtime.commands.program.run_program`.
    """
    return run_program("speechbrain_llsa", COMMANDS, __doc__, arguments)


if __name__ == "__main__":
    sys.exit(main())
