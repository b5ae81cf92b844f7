"""Streams audio files through a model, and prints text as it is committed."""

from speechbrain_llsa.commands.models import Models
from speechbrain_llsa_runtime.commands import transcribe
from speechbrain_llsa_runtime.commands.transcribe import NAME, run

__all__ = ["NAME", "add_arguments", "run"]


def add_arguments(parser):
    """Declares the arguments of the command.

    Arguments
    ---------
    parser : argparse.ArgumentParser
        Parser of the command.
    """
    transcribe.add_arguments(parser, Models())
