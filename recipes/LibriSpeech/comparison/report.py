"""The report of a comparison: RESULTS.md, results.json and two pictures."""

import json
import statistics
from dataclasses import asdict

from comparison.pictures import draw_error_rates, draw_pretraining
from comparison.results import MODES
from speechbrain_llsa.utils.markdown import markdown_table
from speechbrain_llsa_runtime.utils.atomic_files import write_atomically

_NOTHING = "-"
_RATES = {"words": "WER", "characters": "CER"}
_HEAD = (
    "row",
    "look-ahead, s",
    "latency, s",
    "WER % streamed",
    "WER % offline",
    "CER % streamed",
    "CER % offline",
    "texts that differ",
    "accuracy of pre-training, %",
    "training, core min",
    "memory of training, GiB",
    "RTF streamed",
    "WER % by seed",
    "WER % of speakers: median (worst)",
    "accuracy % by seed",
)
_EXPLANATION = """\
Look-ahead is that of the whole model; latency adds the wait for the hop and
the receptive field of the front end. Error rates have 95 % intervals by
bootstrap over utterances; several seeds count together, errors summed over
seeds for each utterance. Texts that differ: utterances, of all seeds, whose
text streamed is not the one offline; where only some were streamed, of how
many, and error rates are those offline. Training is pre-training and
fine-tuning of one seed, mean over seeds, in minutes of a processor core.
Accuracy is that of the best epoch in finding the true target among
distractors. RTF: time of computing by time of audio, streamed in pushes of a
hop, best run."""


def write_report(results, folder):
    """Writes all files of the report.

    Arguments
    ---------
    results : comparison.results.Results
        The results so far.
    folder : pathlib.Path
        Folder of the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pictures = [
        f"![{title}]({name})"
        for title, name, draw in (
            ("Error rates", "error_rates.png", draw_error_rates),
            ("Pre-training", "pretraining.png", draw_pretraining),
        )
        if draw(results, folder / name)
    ]
    done = sum(len(row.measured) for row in results.rows)
    of_all = sum(len(row.seeds) for row in results.rows)
    sections = [
        f"# {results.plan.title}",
        *([results.plan.text] if results.plan.text else []),
        f"{done} of {of_all} trainings and measurements are done. "
        f"{_time(results.rows)}{_machines(results.rows)}",
        "```sh\npython recipes/LibriSpeech/compare.py "
        f"hparams/{results.plan.file_name} --data_folder DATA"
        f"{_start(results.plan)}\n```",
        _table(results.rows),
        _EXPLANATION.replace("\n", " "),
        *_notes(results.rows),
        *_differences(results.differences),
        *pictures,
    ]
    write_atomically(folder / "RESULTS.md", "\n\n".join(sections) + "\n")
    write_atomically(
        folder / "results.json",
        json.dumps(_plain(results), indent=1) + "\n",
    )


def _start(plan):
    return "" if plan.pretrains else " --pretrained_folder FOLDER"


def _time(rows):
    costs = [
        stage
        for row in rows
        if row.weights_of is None
        for cost in row.costs.values()
        for stage in cost.values()
    ]
    core = sum(stage.cpu_seconds for stage in costs) / 60
    clock = sum(stage.seconds for stage in costs) / 60
    seeds = sorted({seed for row in rows for seed in row.seeds})
    return (
        f"Trainings so far took {core:.0f} minutes of a core, {clock:.0f} by "
        f"the clock. Seeds: {', '.join(map(str, seeds))}."
    )


def _machines(rows):
    machines = {
        found["machine"]: None
        for row in rows
        for found in row.measured.values()
        if "machine" in found
    }
    if not machines:
        return ""
    return f" Measured on: {'; '.join(machines)}."


def _table(rows):
    numbers = range(1, len(_HEAD))
    return markdown_table(_HEAD, map(_cells, rows), right=numbers)


def _cells(row):
    if not row.measured:
        return [row.name, *[_NOTHING] * (len(_HEAD) - 1)]
    measured = list(row.measured.values())
    first = measured[0]
    accuracies = row.accuracies().values()
    costs = row.costs.values()
    minutes = [
        sum(stage.cpu_seconds for stage in cost.values()) / 60 for cost in costs
    ]
    peaks = [
        stage.peak_memory_bytes / 2**30
        for cost in costs
        for stage in cost.values()
        if stage.peak_memory_bytes is not None
    ]
    streamed = [each["streamed"] for each in measured if each["streamed"]]
    factors = [
        each["real_time_factor"]["best"]
        for each in streamed
        if each["real_time_factor"]
    ]
    speakers = row.speakers().values()
    return [
        row.name,
        _seconds(first["look_ahead_seconds"]),
        _seconds(first["latency_seconds"]),
        _rate(row.rate("streamed", "words")),
        _rate(row.rate("offline", "words")),
        _rate(row.rate("streamed", "characters")),
        _rate(row.rate("offline", "characters")),
        _different(measured) if streamed else _NOTHING,
        _number(_mean([100 * each for each in accuracies]), 1),
        _number(_mean(minutes), 1),
        _number(max(peaks, default=None), 2),
        _number(min(factors, default=None), 3),
        ", ".join(
            f"{each[row.mode]['wer']['percent']:.1f}" for each in measured
        ),
        f"{statistics.median(speakers):.1f} ({max(speakers):.1f})",
        ", ".join(f"{100 * each:.1f}" for each in accuracies),
    ]


def _different(measured):
    """Number of different texts, with the total if not all were streamed."""
    different = sum(each["different_texts"] for each in measured)
    texts = [text for each in measured for text in each["texts"]]
    streamed = sum(text["streamed"] is not None for text in texts)
    if streamed == len(texts):
        return str(different)
    return f"{different} of {streamed}"


def _mean(values):
    values = list(values)
    return sum(values) / len(values) if values else None


def _number(value, digits):
    return _NOTHING if value is None else f"{value:.{digits}f}"


def _seconds(value):
    return "utterance" if value is None else f"{value:.2f}"


def _rate(rate):
    if rate is None:
        return _NOTHING
    return f"{rate.percent:.1f} ({rate.low:.1f} to {rate.high:.1f})"


def _notes(rows):
    notes = []
    for row in rows:
        remarks = []
        if row.weights_of:
            remarks.append(f"the training is that of *{row.weights_of}*")
        if row.starts_from:
            remarks.append(f"starts from the model of *{row.starts_from}*")
        if row.teacher:
            remarks.append(f"its teacher is the model of *{row.teacher}*")
        if row.note:
            remarks.append(row.note)
        if remarks:
            notes.append(f"- *{row.name}*: {'; '.join(remarks)}.")
    return ["\n".join(notes)] if notes else []


def _differences(differences):
    if not differences:
        return []
    head = ["rate", "of", "minus that of", "points", "95 % interval"]
    head += ["over speakers", "relative"]
    rows = [
        [
            _RATES[each.unit],
            each.row,
            each.other,
            f"{each.percent:+.1f}",
            f"{each.low:+.1f} to {each.high:+.1f}",
            f"{each.speakers_low:+.1f} to {each.speakers_high:+.1f}",
            f"{each.relative:+.0f} %",
        ]
        for each in differences
    ]
    return [
        "Differences, by bootstrap over utterances and over speakers, the same "
        "for both:",
        markdown_table(head, rows, right=range(3, len(head))),
    ]


def _plain(results):
    rows = []
    for row in results.rows:
        rates = {
            mode: {
                unit: rate and asdict(rate)
                for unit in ("words", "characters")
                for rate in [row.rate(mode, unit)]
            }
            for mode in MODES
        }
        rows.append(
            {
                "name": row.name,
                "weights_of": row.weights_of,
                "starts_from": row.starts_from,
                "teacher": row.teacher,
                "note": row.note,
                "error_rates": rates,
                "word_error_rates_of_speakers": row.speakers(),
                "seeds": {
                    str(seed): {
                        "measured": {
                            name: value
                            for name, value in row.measured[seed].items()
                            if name != "texts"
                        }
                        if seed in row.measured
                        else None,
                        "pretraining_accuracy": row.accuracies().get(seed),
                        "costs": {
                            name: asdict(cost)
                            for name, cost in row.costs.get(seed, {}).items()
                        },
                    }
                    for seed in row.seeds
                },
            }
        )
    return {
        "title": results.plan.title,
        "rows": rows,
        "differences": [asdict(each) for each in results.differences],
    }
