"""Pictures of who sees whom, in a stack of layers and in two hops of LLSA."""

from __future__ import annotations

import torch

from speechbrain_llsa.visibility import (
    dependency_matrix,
    frame_tags,
    hop_tags,
    join_tags,
    visible,
)
from speechbrain_llsa_runtime.geometry import ATTENTIONS
from speechbrain_llsa_runtime.latency import LatencyReport
from speechbrain_llsa_runtime.utils.checks import check_integer
from speechbrain_llsa_runtime.utils.errors import must_be

TITLES = {
    "aa": "AA: acausal",
    "maa": "MAA: masked acausal",
    "sa": "SA: streaming",
    "llsa": "LLSA: low-latency streaming",
}

NOTHING, PAST, PRESENT, FUTURE = "#f7f7f7", "#9db7d5", "#20507f", "#e07b39"

LARGEST_MATRIX = 10_000
"""Maximum number of rows of a matrix: frames, including provisional copies."""

MOST_LAYERS = 1000

MOST_LAYOUT_FRAMES = 40
"""Maximum number of keys in the layout of two hops; more would be illegible."""


def draw_dependencies(path, geometry, num_layers, frames=48):
    """Draws the dependency matrices of the four attentions side by side.

    A mark in row t and column s says that output frame t depends on input frame
    s; entries right of the diagonal are the future.

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
    >>> from speechbrain_llsa_runtime.geometry import StreamGeometry
    >>> from pathlib import Path
    >>> path = Path(getfixture("tmp_path")) / "dependencies.png"
    >>> draw_dependencies(path, StreamGeometry(4, 2), num_layers=3, frames=20)
    >>> path.read_bytes()[1:4]
    b'PNG'
    """
    check_integer("num_layers", num_layers, 1)
    check_integer("frames", frames, 1)
    _check_size(geometry, num_layers, frames)
    from matplotlib.colors import ListedColormap

    figure = _figure(14, 4.2)
    report = LatencyReport("llsa", geometry, num_layers)
    colours = ListedColormap([NOTHING, PAST, PRESENT, FUTURE])
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


def draw_layout(path, geometry):
    """Draws two neighbouring hops of LLSA: the frames that each of them
    commits, the provisional ones that it carries, and who sees whom.

    Arguments
    ---------
    path : str or pathlib.Path
        PNG file to write.
    geometry : StreamGeometry
        Look-back, look-ahead and hop, in frames.

    Raises
    ------
    ValueError
        If there are more frames than can be read in a picture.

    Example
    -------
    >>> from speechbrain_llsa_runtime.geometry import StreamGeometry
    >>> from pathlib import Path
    >>> path = Path(getfixture("tmp_path")) / "layout.png"
    >>> draw_layout(path, StreamGeometry(look_back=4, look_ahead=2, hop=3))
    >>> path.read_bytes()[1:4]
    b'PNG'
    """
    keys = geometry.look_back + 2 * (geometry.hop + geometry.look_ahead)
    if keys > MOST_LAYOUT_FRAMES:
        raise ValueError(
            must_be(
                "look_back + 2 * (hop + look_ahead)",
                f"at most {MOST_LAYOUT_FRAMES} frames to be drawn",
                keys,
            )
        )
    figure = _figure(15, 6.4)
    hops, mask = figure.subplots(1, 2, width_ratios=(1.1, 1))
    # the first hop whose whole look-back exists
    first = -(-geometry.look_back // geometry.hop)
    _draw_hops(hops, geometry, first)
    _draw_mask(mask, geometry, first)
    figure.suptitle(
        f"LLSA with look_back {geometry.look_back}, look_ahead "
        f"{geometry.look_ahead}, hop {geometry.hop}",
        fontsize=13,
    )
    figure.savefig(path, dpi=100)


def _figure(width, height):
    # matplotlib is slow to import, and only pictures need it
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


ROWS = ("input", "after layer 1", "after layer 2", "output")
"""Rows of each hop in the layout, from bottom to top."""


def _draw_hops(axes, geometry, first):
    """Draws what two hops compute, each as a stack of layers over the time
    axis."""
    from matplotlib.patches import Polygon

    gap, between = 1.7, 2.4
    height = gap * len(ROWS) + between
    for order, hop in enumerate((first, first + 1)):
        start = hop * geometry.hop
        end = start + geometry.hop
        last = end + geometry.look_ahead
        bottom = (1 - order) * height
        for row, name in enumerate(ROWS):
            y = bottom + row * gap
            axes.text(
                first * geometry.hop - geometry.look_back - 0.4,
                y + 0.5,
                name,
                ha="right",
                va="center",
                fontsize=9,
            )
            is_output = row == len(ROWS) - 1
            if not is_output:
                # what the frames above see: these keys, all of them
                above = end if row == len(ROWS) - 2 else last
                corners = [
                    (start - geometry.look_back, y + 1),
                    (last, y + 1),
                    (above, y + gap),
                    (start, y + gap),
                ]
                axes.add_patch(Polygon(corners, color="#e9eef4", lw=0))
                for frame in range(start - geometry.look_back, start):
                    _cell(axes, frame, y, PAST)
                for frame in range(end, last):
                    _cell(axes, frame, y, FUTURE, "//")
            for frame in range(start, end):
                _cell(axes, frame, y, PRESENT)
        axes.text(
            (start + end) / 2,
            bottom + len(ROWS) * gap - 0.45,
            f"hop {hop} commits {start} to {end - 1}",
            ha="center",
            fontsize=10,
            fontweight="bold",
        )
    _draw_time(axes, geometry, first, height)


def _draw_time(axes, geometry, first, height):
    """Draws the axis of positions, and what happens to provisional frames."""
    start = first * geometry.hop
    end = start + geometry.hop
    for frame in range(end, end + geometry.look_ahead):
        axes.annotate(
            "",
            xy=(frame + 0.5, height - 0.9),
            xytext=(frame + 0.5, height - 0.1),
            arrowprops={"arrowstyle": "->", "color": FUTURE, "lw": 1.8},
        )
    if geometry.look_ahead > 0:
        axes.text(
            end + geometry.look_ahead + 0.3,
            height - 0.5,
            "computed again,\nwith more future",
            color="#b4531a",
            va="center",
            fontsize=9,
        )
    left = start - geometry.look_back
    right = end + geometry.hop + geometry.look_ahead
    axes.set_xlim(left, right)
    axes.set_ylim(-0.2, 2 * height - 1.6)
    axes.set_xticks(
        [frame + 0.5 for frame in range(left, right)],
        [str(frame) for frame in range(left, right)],
    )
    axes.set_xlabel("position of the frame")
    axes.set_yticks([])
    axes.set_title(
        "Two hops in time: all layers of a hop read the same frames,\n"
        "so the look-ahead does not grow with depth",
        fontsize=11,
    )
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)


def _cell(axes, x, y, colour, hatch=None):
    from matplotlib.patches import Rectangle

    axes.add_patch(
        Rectangle(
            (x + 0.04, y + 0.04),
            0.92,
            0.92,
            facecolor=colour,
            edgecolor="white",
            hatch=hatch,
            lw=0,
        )
    )


def _draw_mask(axes, geometry, first):
    """Draws the visibility rule,
    :func:`~speechbrain_llsa.visibility.visible`."""
    from matplotlib.patches import Patch

    cached = frame_tags(
        first * geometry.hop - geometry.look_back,
        geometry.look_back,
        geometry.hop,
    )
    queries = hop_tags(first, 2, geometry)
    keys = join_tags(cached, queries)
    sees = visible(queries.as_queries(), keys.as_keys(), geometry, "llsa")
    for row, column in torch.nonzero(sees).tolist():
        if keys.provisional[column]:
            _cell(axes, column, row, FUTURE, "//")
        else:
            new = keys.hop[column] == queries.hop[row]
            _cell(axes, column, row, PRESENT if new else PAST)
    rows, columns = sees.shape
    axes.set_xlim(0, columns)
    axes.set_ylim(rows, 0)
    axes.set_aspect("equal")
    axes.set_facecolor(NOTHING)
    axes.xaxis.tick_top()
    for ticks, tags in ((axes.set_xticks, keys), (axes.set_yticks, queries)):
        names = [
            f"{position}*" if provisional else str(position)
            for position, provisional in zip(
                tags.position.tolist(), tags.provisional.tolist(), strict=True
            )
        ]
        ticks([place + 0.5 for place in range(len(names))], names, fontsize=9)
    # between the frames of the two hops
    group = geometry.hop + geometry.look_ahead
    axes.axhline(group, color="white", lw=3)
    for place in (geometry.look_back, geometry.look_back + group):
        axes.axvline(place, color="white", lw=3)
    axes.tick_params(length=0)
    axes.set_xlabel("key (* provisional)")
    axes.set_ylabel("query (* provisional)")
    axes.set_title("Who sees whom, in every layer", fontsize=11)
    axes.legend(
        handles=[
            Patch(color=PRESENT, label="committed by this hop"),
            Patch(color=PAST, label="committed before: look-back"),
            Patch(
                facecolor=FUTURE,
                edgecolor="white",
                hatch="//",
                label="provisional: look-ahead",
            ),
        ],
        loc="upper center",
        bbox_to_anchor=(0.5, -0.08),
        ncols=3,
        frameon=False,
        fontsize=9,
    )


def _check_size(geometry, num_layers, frames):
    """Rejects pictures that would take gigabytes, or hours."""
    hops = -(-frames // geometry.hop)
    rows = hops * (geometry.hop + geometry.look_ahead)
    if rows > LARGEST_MATRIX:
        raise ValueError(
            must_be(
                "frames",
                f"few enough for at most {LARGEST_MATRIX} frames with the "
                f"provisional ones ({rows} with hop {geometry.hop} and "
                f"look_ahead {geometry.look_ahead})",
                frames,
            )
        )
    if num_layers > MOST_LAYERS:
        raise ValueError(
            must_be("num_layers", f"at most {MOST_LAYERS}", num_layers)
        )
