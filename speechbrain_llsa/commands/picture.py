"""Draws what each attention sees after a stack of layers, to a PNG file.

With --layout, it draws two neighbouring hops of llsa instead: the frames that
each commits, its provisional frames, and who sees whom.
"""

from pathlib import Path

from speechbrain_llsa.dependency_picture import draw_dependencies, draw_layout
from speechbrain_llsa_runtime.geometry import StreamGeometry
from speechbrain_llsa_runtime.latency import LatencyReport
from speechbrain_llsa_runtime.utils.errors import must_be

NAME = "picture"


def add_arguments(parser):
    """Declares the arguments of the command.

    Arguments
    ---------
    parser : argparse.ArgumentParser
        Parser of the command.
    """
    parser.add_argument("out", metavar="OUT.png", help="file to write")
    parser.add_argument(
        "--layout",
        action="store_true",
        help="draw the layout of two hops of llsa; --frames does not matter",
    )
    for name, default, meaning in (
        ("layers", 6, "layers of the stack"),
        ("look_back", 6, "frames that a layer sees behind a frame"),
        ("look_ahead", 2, "frames that a layer sees ahead of a frame"),
        ("hop", 1, "frames that llsa commits at once"),
        ("frames", 48, "frames of the utterance"),
    ):
        parser.add_argument(
            f"--{name}",
            type=int,
            default=default,
            metavar="N",
            help=f"{meaning} (default: {default})",
        )


def run(arguments):
    """Runs the command.

    Arguments
    ---------
    arguments : argparse.Namespace
        Its arguments.

    Raises
    ------
    FileNotFoundError
        If the folder of the file does not exist.
    ValueError
        If a number is out of range.
    """
    out = Path(arguments.out)
    if out.suffix.lower() != ".png":
        raise ValueError(
            must_be("OUT.png", "a name that ends in .png", repr(arguments.out))
        )
    if not out.parent.is_dir():
        raise FileNotFoundError(
            must_be(
                "OUT.png",
                "a file in a folder that exists",
                repr(arguments.out),
            )
        )
    geometry = StreamGeometry(
        arguments.look_back, arguments.look_ahead, arguments.hop
    )
    if arguments.layout:
        draw_layout(out, geometry)
    else:
        draw_dependencies(out, geometry, arguments.layers, arguments.frames)
    print(LatencyReport("llsa", geometry, arguments.layers))
