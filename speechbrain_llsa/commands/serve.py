"""Serves live speech recognition over WebSocket and HTTP."""

from speechbrain_llsa.commands.models import Models
from speechbrain_llsa_runtime.commands import serve
from speechbrain_llsa_runtime.commands.serve import NAME, run

__all__ = ["NAME", "add_arguments", "run"]


def add_arguments(parser):
    """Declares the arguments of the command.

    Arguments
    ---------
    parser : argparse.ArgumentParser
        Parser of the command.
    """
    serve.add_arguments(parser, Models())
