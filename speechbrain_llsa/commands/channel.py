"""The channel that a command takes, and a warning where it takes all."""

import contextlib
import sys
import warnings

from tqdm import tqdm

from speechbrain_llsa.dataio.channels import CancelledChannelsWarning


def add_channel_argument(parser):
    """Declares ``--channel``.

    Arguments
    ---------
    parser : argparse.ArgumentParser
        Parser of the command.
    """
    parser.add_argument(
        "--channel",
        type=int,
        metavar="N",
        help="take this channel of the audio, counted from 0 (default: the "
        "mean of all)",
    )


@contextlib.contextmanager
def told_warnings(prefix=""):
    """A warning is a line on standard error, once.

    Arguments
    ---------
    prefix : str
        What stands before it, such as the name of a file.

    Example
    -------
    >>> with told_warnings("a.wav: "):
    ...     warnings.warn("it is quiet", CancelledChannelsWarning)
    """

    shown, show_others = set(), warnings.showwarning

    def show(message, category, *place, **others):
        if not issubclass(category, CancelledChannelsWarning):
            show_others(message, category, *place, **others)
        elif str(message) not in shown:
            shown.add(str(message))
            tqdm.write(f"{prefix}warning: {message}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("always", CancelledChannelsWarning)
        warnings.showwarning = show
        yield
