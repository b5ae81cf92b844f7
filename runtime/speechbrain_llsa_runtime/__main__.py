"""Streaming speech recognition with exported models."""

import sys

from speechbrain_llsa_runtime.commands import listen, transcribe
from speechbrain_llsa_runtime.commands.program import run_program


def main(arguments=None):
    """Runs one command.

    Arguments
    ---------
    arguments : list of str, optional
        What follows the program's name. That of the process by default.

    Returns
    -------
    int
        As :func:`speechbrain_llsa_runtime.commands.program.run_program`.
    """
    return run_program(
        "speechbrain_llsa_runtime", (transcribe, listen), __doc__, arguments
    )


if __name__ == "__main__":
    sys.exit(main())
