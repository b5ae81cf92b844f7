"""Plots of a comparison: error rate against latency, and pre-training."""

from speechbrain_llsa.evaluation import error_rate_picture as picture
from speechbrain_llsa_runtime.utils.atomic_files import written_atomically


def draw_error_rates(results, path):
    """Draws the word error rate of each row against its latency.

    Arguments
    ---------
    results : comparison.results.Results
        The results so far.
    path : pathlib.Path
        The PNG file.

    Returns
    -------
    int
        Number of rows that were drawn; if 0, nothing is written.
    """
    points = []
    for row in results.rows:
        rate = row.rate(row.mode, "words")
        if rate is None:
            continue
        measured = next(iter(row.measured.values()))
        points.append(
            picture.Point(
                row.name,
                measured["attention"],
                measured["latency_seconds"],
                rate,
            )
        )
    if points:
        picture.draw_error_rates(path, points, results.plan.title)
    return len(points)


def draw_pretraining(results, path):
    """Draws the validation loss and accuracy of pre-training.

    Arguments
    ---------
    results : comparison.results.Results
        The results so far.
    path : pathlib.Path
        The PNG file.

    Returns
    -------
    int
        Number of trainings that were drawn; if 0, nothing is written.
    """
    # matplotlib is slow to import, and only this function needs it
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2)
    drawn = 0
    for row in results.rows:
        if row.weights_of or not row.curves:
            continue
        # training: the steps of the validation may be few
        entries = next(iter(row.curves.values()))
        for panel, name in zip(panels, ("loss", "accuracy"), strict=True):
            points = [
                (each["step"], each[name])
                for each in entries
                if each["split"] == "train" and name in each
            ]
            if points:
                panel.plot(*_smooth(points), label=row.name, linewidth=1.1)
        drawn += 1
    if not drawn:
        return 0
    for panel, title in zip(
        panels, ("contrastive loss, nats", "accuracy"), strict=True
    ):
        panel.set_xlabel("optimiser step of the pre-training")
        panel.set_ylabel(title)
        panel.grid(alpha=0.3)
    panels[1].legend(fontsize=7)
    with written_atomically(path) as scratch:
        figure.savefig(scratch, dpi=120, format="png")
    return drawn


def _smooth(points, width=5):
    """Averages neighbouring points; returns steps and values."""
    steps, values = zip(*points, strict=True)
    means = []
    for index in range(len(values)):
        near = values[max(0, index - width + 1) : index + 1]
        means.append(sum(near) / len(near))
    return steps, means
