"""Training curves: a log with one JSON object per line, and a plot of it.

Both recipes write ``curves.jsonl`` while they train and plot it to
``curves.png`` after each epoch. To plot one by hand:

> python curves.py results/pretrain/curves.jsonl curves.png
"""

import json
import math
import sys
from pathlib import Path

from speechbrain_llsa_runtime.utils.atomic_files import (
    naming_write_errors,
    write_atomically,
    written_atomically,
)
from speechbrain_llsa_runtime.utils.errors import must_be
from speechbrain_llsa_runtime.utils.parser import OneLineParser
from speechbrain_llsa_runtime.utils.printing import all_characters

_TITLES = {
    "loss": "Loss",
    "diversity_loss": "Diversity loss",
    "accuracy": "Accuracy",
    "wer": "Word error rate (%)",
    "cer": "Character error rate (%)",
    "code_perplexity": "Code perplexity",
    "probability_perplexity": "Probability perplexity",
    "temperature": "Gumbel temperature",
    "ratio_masked": "Ratio of masked frames",
    "learning_rate": "Learning rate",
    "gradient_norm": "Gradient norm",
}
_COLOURS = {"train": "#4C72B0", "valid": "#DD8452", "test": "#55A868"}


class CurveLog:
    """A file of measured values, one JSON object per line.

    Arguments
    ---------
    path : str or pathlib.Path
        The file; created with its folder when the first value is appended.

    Example
    -------
    >>> log = CurveLog(getfixture("tmp_path") / "curves.jsonl")
    >>> log.append("train", 1, loss=4.5, learning_rate=1e-4)
    >>> log.append("train", 2, loss=4.1, learning_rate=2e-4)
    >>> log.rewind(1)
    >>> log.read()
    [{'split': 'train', 'step': 1, 'loss': 4.5, 'learning_rate': 0.0001}]
    """

    def __init__(self, path):
        self.path = Path(path)

    def append(self, split, step, **values):
        """Adds one line.

        Arguments
        ---------
        split : str
            The data: "train", "valid" or the name of a test set.
        step : int
            Optimiser steps done at the time of the measurement.
        **values : float
            The measured values by name.

        Raises
        ------
        speechbrain_llsa_runtime.utils.atomic_files.WriteError
            If the file cannot be written.
        """
        line = json.dumps({"split": split, "step": step, **values})
        with naming_write_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, "a", encoding="utf-8") as stream:
                stream.write(line + "\n")

    def read(self):
        """Reads all lines, except those cut short by a crash or with foreign
        content.

        Returns
        -------
        list of dict
            The lines, in the order in which they were written.
        """
        if not self.path.exists():
            return []
        entries = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(entry, dict) and {"split", "step"} <= entry.keys():
                entries.append(entry)
        return entries

    def rewind(self, step, within_epoch=False):
        """Drops all lines after a step, because training resumes from there.

        Arguments
        ---------
        step : int
            Optimiser steps done in the checkpoint.
        within_epoch : bool
            Whether the checkpoint was saved within an epoch: a validation at
            its step then comes after it.
        """
        if not self.path.exists():
            return
        kept = [
            entry
            for entry in self.read()
            if entry["step"] < step
            or (
                entry["step"] == step
                and (entry["split"] == "train" or not within_epoch)
            )
        ]
        text = "".join(json.dumps(entry) + "\n" for entry in kept)
        write_atomically(self.path, text)


def draw_curves(entries, path):
    """Draws one panel per value, with one line per split.

    Arguments
    ---------
    entries : list of dict
        The lines that ``CurveLog.read`` returns.
    path : str or pathlib.Path
        The PNG file to write.

    Returns
    -------
    list of str
        The names of the plotted values, one per panel. Nothing is written if
        there are none.

    Example
    -------
    >>> entries = [
    ...     {"split": "train", "step": 1, "loss": 4.5},
    ...     {"split": "train", "step": 2, "loss": 4.1},
    ...     {"split": "valid", "step": 2, "loss": 4.2, "accuracy": 0.1},
    ... ]
    >>> draw_curves(entries, getfixture("tmp_path") / "curves.png")
    ['loss', 'accuracy']
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = _value_names(entries)
    if not names:
        return names
    columns = min(3, len(names))
    rows = math.ceil(len(names) / columns)
    figure = Figure(figsize=(4.2 * columns, 3.0 * rows))
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    figure.subplots_adjust(
        left=0.65 / (4.2 * columns),
        right=1 - 0.15 / (4.2 * columns),
        bottom=0.5 / (3.0 * rows),
        top=1 - 0.35 / (3.0 * rows),
        wspace=0.25,
        hspace=0.45,
    )
    for name, panel in zip(names, panels, strict=False):
        _draw_panel(panel, name, entries)
    for panel in panels[len(names) :]:
        panel.set_axis_off()
    with written_atomically(path) as scratch:
        figure.savefig(scratch, dpi=120, format="png")
    return names


def _value_names(entries):
    measured = {
        name
        for entry in entries
        for name, value in entry.items()
        if name not in ("split", "step", "epoch") and _is_number(value)
    }
    known = [name for name in _TITLES if name in measured]
    return known + sorted(measured - set(known))


def _is_number(value):
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and math.isfinite(value)
    )


def _draw_panel(panel, name, entries):
    splits = dict.fromkeys(entry["split"] for entry in entries)
    drawn = 0
    for split in splits:
        points = [
            (entry["step"], entry[name])
            for entry in entries
            if entry["split"] == split and _is_number(entry.get(name))
        ]
        if not points:
            continue
        steps, values = zip(*points, strict=True)
        panel.plot(
            steps,
            values,
            color=_COLOURS.get(split),
            label=split,
            linewidth=1.2,
            marker="o" if len(points) < 25 else None,
            markersize=3,
        )
        drawn += 1
    panel.set_title(_TITLES.get(name, name.replace("_", " ")), fontsize=10)
    panel.set_xlabel("optimiser step", fontsize=8)
    panel.tick_params(labelsize=8)
    panel.grid(alpha=0.3)
    if drawn > 1:
        panel.legend(fontsize=8)


@all_characters()
def main(arguments):
    """Draws a log to a PNG file.

    Arguments
    ---------
    arguments : list of str
        The path of the log, and of the PNG file to write.
    """
    parser = OneLineParser(description=main.__doc__.splitlines()[0])
    parser.add_argument("source", metavar="CURVES.jsonl")
    parser.add_argument("target", metavar="CURVES.png")
    source, target = vars(parser.parse_args(arguments)).values()
    if not Path(source).is_file():
        parser.error(must_be("CURVES.jsonl", "a file", repr(source)))
    if not target.lower().endswith(".png"):
        parser.error(must_be("CURVES.png", "a PNG file", repr(target)))
    try:
        names = draw_curves(CurveLog(source).read(), target)
    except (OSError, ValueError) as error:
        parser.error(error)
    if not names:
        parser.error(f"CURVES.jsonl must hold values, got {source!r}")
    print(target, *names)


if __name__ == "__main__":
    main(sys.argv[1:])
