"""Plot of word error rates against latency."""

from collections import Counter
from dataclasses import dataclass

from speechbrain_llsa.evaluation.error_rates import ErrorRate
from speechbrain_llsa_runtime.utils.atomic_files import written_atomically

COLOURS = {
    "aa": "#7a7a7a",
    "maa": "#7aa6d6",
    "sa": "#20507f",
    "llsa": "#e07b39",
}
MARKERS = "osD^vP*X<>"
SHIFT_POINTS = 7
"""Horizontal distance between markers at the same latency, which keeps each
visible."""


@dataclass(frozen=True)
class Point:
    """A model in the plot."""

    label: str
    """Name of the model."""

    attention: str
    """aa, maa, sa or llsa; determines the colour."""

    latency_seconds: float | None
    """Declared latency: look-ahead, wait for the hop and receptive field.
    ``None`` for a model that needs the whole utterance."""

    rate: ErrorRate
    """Word error rate with its confidence interval."""


def points_of(evaluations):
    """Extracts the points to draw: streamed results if the model can stream,
    otherwise offline ones.

    Arguments
    ---------
    evaluations : list of Evaluation
        Results of :func:`speechbrain_llsa.evaluation.measure.evaluate`.

    Returns
    -------
    list of Point
    """
    return [
        Point(
            _label(each, evaluations),
            each.attention,
            each.latency_seconds,
            (each.streamed or each.offline).wer,
        )
        for each in evaluations
    ]


def draw_error_rates(path, points, title=None):
    """Draws word error rates against latency, with confidence intervals as
    error bars. A model that needs the whole utterance is a horizontal line.

    Arguments
    ---------
    path : str or pathlib.Path
        PNG file to write.
    points : list of Point
        At least one.
    title : str, optional
        Title of the plot.
    """
    # matplotlib is slow to import, and only this function needs it
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.transforms import ScaledTranslation

    figure = Figure(figsize=(8, 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    if title is not None:
        axes.set_title(title, fontsize=11)
    axes.set_xlabel(
        "latency in s: look-ahead, wait for the hop and receptive field"
    )
    axes.set_ylabel("word error rate in %, with 95 % interval")
    axes.grid(alpha=0.3)
    drawn, here = Counter(), Counter()
    for each in points:
        rate = each.rate
        style = {"color": COLOURS[each.attention], "label": each.label}
        if each.latency_seconds is None:
            line = ("--", ":", "-.")[drawn[each.attention] % 3]
            axes.axhline(rate.percent, linestyle=line, **style)
            axes.axhspan(
                rate.low, rate.high, color=style["color"], alpha=0.12, lw=0
            )
        else:
            shift = here[each.latency_seconds] * SHIFT_POINTS / 72
            axes.errorbar(
                each.latency_seconds,
                rate.percent,
                [
                    [max(0, rate.percent - rate.low)],
                    [max(0, rate.high - rate.percent)],
                ],
                linestyle="none",
                marker=MARKERS[drawn[each.attention] % len(MARKERS)],
                capsize=3,
                transform=axes.transData
                + ScaledTranslation(shift, 0, figure.dpi_scale_trans),
                **style,
            )
            here[each.latency_seconds] += 1
        drawn[each.attention] += 1
    latencies = [each.latency_seconds or 0 for each in points]
    axes.set_xlim(0, max(latencies) * 1.15 or 1)
    axes.set_ylim(0, max(each.rate.high for each in points) * 1.08 or 1)
    figure.legend(loc="outside lower center", ncols=2, fontsize=9)
    with written_atomically(path) as scratch:
        figure.savefig(scratch, dpi=100, format="png")


def _label(evaluation, evaluations):
    """Name of the model, with the geometry if others share that name, and with
    the attention unless the name mentions it."""
    same = [each for each in evaluations if each.name == evaluation.name]
    parts = [evaluation.name]
    parts += [
        f"{name} {getattr(evaluation, name)}"
        for name in ("look_ahead", "hop")
        if len({getattr(each, name) for each in same}) > 1
    ]
    if evaluation.attention != evaluation.name:
        parts.append(evaluation.attention)
    label = ", ".join(parts)
    if evaluation.latency_seconds is None:
        label += " (whole utterance)"
    return label if len(label) <= 48 else f"... {label[-44:]}"
