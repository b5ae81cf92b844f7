"""Pictures of a comparison: error rate against latency, and pre-training."""

_COLOURS = {
    "aa": "#333333",
    "maa": "#8172B3",
    "sa": "#DD8452",
    "llsa": "#4C72B0",
}


def draw_error_rates(results, path):
    """Draws the word error rate of each row against its latency, with its
    interval. What needs the whole utterance is a line across.

    Arguments
    ---------
    results : comparison.results.Results
        What there is.
    path : pathlib.Path
        The PNG file.

    Returns
    -------
    int
        Rows that were drawn; with none, nothing is written.
    """
    figure = _figure(7.0, 4.6)
    panel = figure.subplots()
    drawn = 0
    labelled = set()
    for row in results.rows:
        rate = row.rate("streamed", "words") or row.rate("offline", "words")
        if rate is None:
            continue
        measured = next(iter(row.measured.values()))
        attention, seconds = measured["attention"], measured["latency_seconds"]
        colour = _COLOURS[attention]
        label = None if attention in labelled else attention
        labelled.add(attention)
        drawn += 1
        if seconds is None:
            panel.axhspan(rate.low, rate.high, color=colour, alpha=0.12)
            panel.axhline(
                rate.percent, color=colour, linestyle="--", label=label
            )
            continue
        panel.errorbar(
            seconds,
            rate.percent,
            yerr=[[rate.percent - rate.low], [rate.high - rate.percent]],
            color=colour,
            fmt="s" if row.weights_of else "o",
            capsize=3,
            label=label,
        )
        panel.annotate(
            row.name,
            (seconds, rate.percent),
            xytext=(6, 4),
            textcoords="offset points",
            fontsize=7,
        )
    if not drawn:
        return 0
    panel.set_xlabel("latency: look-ahead, hop and front end, seconds")
    panel.set_ylabel("word error rate, %")
    panel.set_title(results.plan.title, fontsize=10)
    panel.grid(alpha=0.3)
    panel.margins(x=0.3)  # room for the names
    panel.legend(fontsize=8)
    figure.savefig(path, dpi=120)
    return drawn


def draw_pretraining(results, path):
    """Draws loss and accuracy of the pre-trainings, as validated.

    Arguments
    ---------
    results : comparison.results.Results
        What there is.
    path : pathlib.Path
        The PNG file.

    Returns
    -------
    int
        Trainings that were drawn; with none, nothing is written.
    """
    figure = _figure(10.0, 4.4)
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
    figure.savefig(path, dpi=120)
    return drawn


def _smooth(points, width=5):
    """Means of neighbouring points: steps, and values."""
    steps, values = zip(*points, strict=True)
    means = []
    for index in range(len(values)):
        near = values[max(0, index - width + 1) : index + 1]
        means.append(sum(near) / len(near))
    return steps, means


def _figure(width, height):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure
