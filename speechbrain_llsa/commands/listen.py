"""Transcribes live, from a microphone or from standard input."""

from speechbrain_llsa.commands.models import Models
from speechbrain_llsa_runtime.commands import listen
from speechbrain_llsa_runtime.commands.listen import NAME, run

__all__ = ["NAME", "add_arguments", "run"]


def add_arguments(parser):
    """Declares the arguments of the command.

    Arguments
    ---------
    parser : argparse.ArgumentParser
        Parser of the command.
    """
    listen.add_arguments(parser, Models())
