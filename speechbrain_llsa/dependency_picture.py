"""What each attention sees after a stack of layers, as a picture."""

from __future__ import annotations

from speechbrain_llsa.geometry import ATTENTIONS
from speechbrain_llsa.latency import LatencyReport
from speechbrain_llsa.utils.checks import check_integer
from speechbrain_llsa.visibility import dependency_matrix

TITLES = {
    "aa": "AA: acausal",
    "maa": "MAA: masked acausal",
    "sa": "SA: streaming",
    "llsa": "LLSA: low-latency streaming",
}


LARGEST_MATRIX = 10_000
"""Rows of a matrix: frames, provisional copies among them."""

MOST_LAYERS = 1000


def draw_dependencies(path, geometry, num_layers, frames=48):
    """Draws the dependency matrices of the four attentions side by side.

    A mark in row t and column s says that output frame t depends on input
    frame s; what lies right of the diagonal is future.

    Arguments
    ---------
    path : str or pathlib.Path
        PNG file to write.
    geometry : StreamGeometry
        Look-back, look-ahead and hop, in frames.
    num_layers : int
        Layers of the stack, at least 1.
    frames : int
        Frames of the utterance, at least 1.

    Raises
    ------
    TypeError
        If a number is not an integer.
    ValueError
        If there is no layer or no frame, or far more than can be drawn.

    Example
    -------
    >>> from speechbrain_llsa.geometry import StreamGeometry
    >>> from pathlib import Path
    >>> path = Path(getfixture("tmp_path")) / "dependencies.png"
    >>> draw_dependencies(path, StreamGeometry(4, 2), num_layers=3, frames=20)
    >>> path.read_bytes()[1:4]
    b'PNG'
    """
    check_integer("num_layers", num_layers, 1)
    check_integer("frames", frames, 1)
    _check_size(geometry, num_layers, frames)
    # matplotlib is slow to import, and only this function needs it
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    report = LatencyReport("llsa", geometry, num_layers)
    # nothing, past, present, future
    colours = ListedColormap(["#f7f7f7", "#9db7d5", "#20507f", "#e07b39"])
    for axes, attention in zip(
        figure.subplots(1, len(ATTENTIONS)), ATTENTIONS, strict=True
    ):
        depends = dependency_matrix(geometry, attention, num_layers, frames).T
        future = depends.triu(1)
        kind = depends.int() + depends.int().diag().diag() + 2 * future.int()
        axes.imshow(kind.numpy(), cmap=colours, vmin=0, vmax=3)
        latency = report[attention]
        seconds = latency.look_ahead_seconds
        seen = "the utterance" if seconds is None else f"{seconds:.2f} s"
        axes.set_title(f"{TITLES[attention]}\nlook-ahead {seen}", fontsize=10)
        axes.set_xlabel("input frame")
        axes.set_ylabel("output frame")
    figure.suptitle(
        f"What a frame depends on after {num_layers} layers: look_back "
        f"{geometry.look_back}, look_ahead {geometry.look_ahead}, hop "
        f"{geometry.hop}",
        fontsize=12,
    )
    figure.savefig(path, dpi=100)


def _check_size(geometry, num_layers, frames):
    """Refuses what would take gigabytes, or hours."""
    hops = -(-frames // geometry.hop)
    rows = hops * (geometry.hop + geometry.look_ahead)
    if rows > LARGEST_MATRIX:
        raise ValueError(
            f"frames: got {frames} with hop {geometry.hop} and look_ahead "
            f"{geometry.look_ahead}, which are {rows} frames with the "
            f"provisional ones, allowed is {LARGEST_MATRIX}"
        )
    if num_layers > MOST_LAYERS:
        raise ValueError(
            f"num_layers: got {num_layers}, allowed is up to {MOST_LAYERS}"
        )
