"""Word error rates against latency, as a picture."""

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
"""Between those at the same latency, so that each can be seen."""


@dataclass(frozen=True)
class Point:
    """What is drawn of a model."""

    label: str
    """What it is called."""

    attention: str
    """Its colour follows from that."""

    latency_seconds: float | None
    """Look-ahead, wait for the hop and receptive field, as declared; ``None``
    for what needs the whole utterance."""

    rate: ErrorRate
    """Word error rate and interval."""


def points_of(evaluations):
    """What is drawn of evaluations: streamed, where the model can stream.

    Arguments
    ---------
    evaluations : list of Evaluation
        What :func:`speechbrain_llsa.evaluation.measure.evaluate` gave.

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
    """Draws word error rates against latency. Bars are the intervals. What
    needs the whole utterance is a line across.

    Arguments
    ---------
    path : str or pathlib.Path
        PNG file to write.
    points : list of Point
        At least one.
    title : str, optional
        What stands above.
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
    """The name, the geometry where others have the same name, and the
    attention where the name does not say it."""
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
