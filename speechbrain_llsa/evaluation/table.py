"""Evaluations as a Markdown table."""

from speechbrain_llsa.evaluation.error_rates import CONFIDENCE
from speechbrain_llsa.utils.markdown import markdown_table

NOTHING = "-"


def format_table(evaluations, label="model"):
    """Formats evaluations as a Markdown table, one per row.

    Arguments
    ---------
    evaluations : list of Evaluation
        Results of :func:`speechbrain_llsa.evaluation.measure.evaluate`.
    label : str
        Heading of the column of names.

    Returns
    -------
    str
        How the figures were measured, followed by the table. Empty columns are
        left out.
    """
    columns = {
        label: [each.name for each in evaluations],
        "attention": [each.attention for each in evaluations],
        "look-ahead": [_look_ahead(each) for each in evaluations],
        "hop": [
            str(each.hop) if each.attention == "llsa" else NOTHING
            for each in evaluations
        ],
        "latency": [
            _or_nothing(each.latency_seconds, lambda value: f"{value:.2f} s")
            for each in evaluations
        ],
        "WER % offline": [_rate(each.offline, "wer") for each in evaluations],
        "WER % streamed": [_rate(each.streamed, "wer") for each in evaluations],
        "CER % offline": [_rate(each.offline, "cer") for each in evaluations],
        "CER % streamed": [_rate(each.streamed, "cer") for each in evaluations],
        "texts that differ": [
            _or_nothing(each.different_texts, str) for each in evaluations
        ],
        "word committed after": [
            _delay(each.emission_delay) for each in evaluations
        ],
        "word shown after": [
            _delay(each.display_delay) for each in evaluations
        ],
        "real-time factor": [_factor(each) for each in evaluations],
        "peak memory": [_memory(each) for each in evaluations],
    }
    columns = {
        name: cells
        for name, cells in columns.items()
        if set(cells) != {NOTHING}
    }
    rows = zip(*columns.values(), strict=True)
    table = markdown_table(list(columns), rows, padded=True)
    return f"{describe(evaluations)}\n\n{table}"


def describe(evaluations):
    """Describes how the figures were measured.

    Arguments
    ---------
    evaluations : list of Evaluation
        All of them.

    Returns
    -------
    str
        A list in Markdown.
    """
    first = evaluations[0]
    sizes = {
        f"{each.utterances} utterance{'s' if each.utterances > 1 else ''}, "
        f"{each.audio_seconds / 60:.1f} minutes"
        for each in evaluations
    }
    lines = [
        f"{' or '.join(sorted(sizes))}; on {first.device}, "
        f"{_threads(first.threads)}.",
        "Latency: look-ahead, wait for the hop and receptive field, at most.",
        f"WER, CER: in brackets the {100 * CONFIDENCE:.0f} % interval of a "
        "bootstrap over utterances.",
    ]
    streamed = [each for each in evaluations if each.streamed is not None]
    delays = [each.emission_delay for each in streamed if each.emission_delay]
    if delays:
        measured = sum(each.words for each in delays)
        at_end = sum(each.at_end for each in delays)
        sources = {each.word_ends for each in streamed if each.word_ends}
        lines.append(
            "Word committed, shown after: from the end of a word to the push "
            "that commits its last letter, or first shows it, maybe "
            "provisionally; median, and 90th percentile in brackets, of right "
            f"words, in pushes of {first.push_seconds:g} s. Their ends are "
            f"those of the {' or the '.join(sorted(sources))}. Committed only "
            "by the end of the stream, and left out: "
            f"{at_end} of {measured + at_end}."
        )
    factors = [
        each.streamed.real_time_factor
        for each in streamed
        if each.streamed.real_time_factor is not None
    ]
    if factors:
        first = factors[0]
        pushes = sorted({f"{each.push_seconds:g} s" for each in factors})
        runs = "one run"
        if first.runs > 1:
            runs = f"best of {first.runs} runs, worst in brackets"
        lines.append(
            f"Real-time factor: streamed, {runs}, of {first.audio_seconds:.0f} "
            f"s of audio, in pushes of {' or '.join(pushes)}."
        )
    lines.append(
        "Peak memory: largest resident set of the process while it streamed "
        "(offline where it cannot), with Python, libraries and model."
    )
    return "\n".join(f"- {line}" for line in lines)


def _or_nothing(value, text):
    return NOTHING if value is None else text(value)


def _look_ahead(evaluation):
    seconds = evaluation.look_ahead_seconds
    return "whole utterance" if seconds is None else f"{seconds:.2f} s"


def _rate(found, name):
    if found is None:
        return NOTHING
    rate = getattr(found, name)
    return f"{rate.percent:.2f} ({rate.low:.2f} to {rate.high:.2f})"


def _delay(delay):
    if delay is None or delay.median_seconds is None:
        return NOTHING
    return f"{delay.median_seconds:.2f} s ({delay.p90_seconds:.2f} s)"


def _factor(evaluation):
    streamed = evaluation.streamed
    if streamed is None or streamed.real_time_factor is None:
        return NOTHING
    factor = streamed.real_time_factor
    if factor.runs == 1:
        return f"{factor.best:.3f}"
    return f"{factor.best:.3f} ({factor.worst:.3f})"


def _memory(evaluation):
    found = evaluation.streamed or evaluation.offline
    size = found.peak_memory_bytes
    return _or_nothing(size, lambda size: f"{size / 2**20:.0f} MiB")


def _threads(threads):
    if threads is None:
        return "threads as the runtime chose"
    return f"{threads} thread{'s' if threads > 1 else ''}"
