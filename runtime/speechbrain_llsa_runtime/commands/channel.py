"""The option for the audio channel to use."""


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
