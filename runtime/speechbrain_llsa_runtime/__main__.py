"""Streaming speech recognition with exported models."""

import sys

from speechbrain_llsa_runtime.commands import listen, serve, transcribe
from speechbrain_llsa_runtime.commands.program import run_program


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
    return run_program(
        "speechbrain_llsa_runtime",
        (transcribe, listen, serve),
        __doc__,
        arguments,
    )


if __name__ == "__main__":
    sys.exit(main())
