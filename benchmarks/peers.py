#!/usr/bin/env python3
"""The English model beside what a user would take in its place.

    make bench-peers DATA=LibriSpeech SPLITS="dev-held-out dev-other-mini"

streams the utterances of each split with every recogniser, each in a process
of its own, on the same cores, and writes a table and a picture for each split:

word errors
    of the last text, after Whisper's normalisation of English, with 95 %
    intervals over utterances.
delay
    from the end of a word to the time since when it is shown without a break,
    the wait for other work included; of words that are right, and final before
    the utterance has ended. Ends are those of a forced alignment with
    pocketsphinx's acoustic model.
real-time factor
    work for a second of speech. A recogniser that does not stream transcribes
    a window that grows each second, and late, it takes all that has arrived.
"""

import argparse
import importlib.util
import itertools
import json
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import _paths
from common import check_at_least_one, read_splits
from peer_stream import Shown, final_times
from speechbrain_llsa.evaluation.delays import Delay, Delays
from speechbrain_llsa.evaluation.error_rates import ErrorRates
from speechbrain_llsa.evaluation.machine import processor
from speechbrain_llsa.utils.markdown import markdown_table
from speechbrain_llsa.utils.normalization import fold_transcript
from speechbrain_llsa_runtime.utils.errors import must_be
from word_alignment import WordAligner

TRAINED_ON = {
    "english": "Moonshine's encoder, then 9.2 h",
    "whisper": "438,000 h",
    "moonshine": "about 200,000 h",
    "pocketsphinx": "not said",
}
"""Speech that the models have seen."""


@dataclass(frozen=True)
class Recognizer:
    """A row of the table."""

    name: str
    """In the table."""

    family: str
    """A name of ``TRAINED_ON``, for its colour."""

    system: str
    """A name of ``peer_systems.SYSTEMS``."""

    arguments: tuple[str, ...] = ()
    """Those of the system."""


def recognizers(exported, models):
    """All rows.

    Arguments
    ---------
    exported : pathlib.Path
        Where the graph in 32 bits is written.
    models : list of str
        NAME=FOLDER of further exported folders.

    Returns
    -------
    list of Recognizer
    """
    further = [each.partition("=")[::2] for each in models]
    rows = [
        ("english, int8", "english", "onnx", ("english",)),
        ("english, fp32", "english", "onnx", (str(exported),)),
        *((name, "english", "onnx", (path,)) for name, path in further),
        ("Whisper tiny.en, int8", "whisper", "whisper", ("int8",)),
        ("Moonshine tiny", "moonshine", "moonshine", ()),
        ("pocketsphinx", "pocketsphinx", "pocketsphinx", ()),
    ]
    if importlib.util.find_spec("kenlm") is not None:
        rows.insert(2, ("english, n-grams", "english", "weights", ("english",)))
    return [Recognizer(*row) for row in rows]


def words_of(text):
    """Words without case and punctuation.

    Example
    -------
    >>> words_of("Well, it\\u2019s done.")
    ['WELL', "IT'S", 'DONE']
    """
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*", fold_transcript(text, "upper"))


def run(recognizer, utterances, threads, folder):
    """Streams all utterances in another process.

    Arguments
    ---------
    recognizer : Recognizer
        With which.
    utterances : list of Utterance
        In a file each.
    threads : int
        Cores that it may use.
    folder : pathlib.Path
        For the files of this call.

    Returns
    -------
    dict
        The result of ``peer_systems.run``.
    """
    job, result = folder / "job.json", folder / "result.json"
    values = {
        "system": recognizer.system,
        "arguments": recognizer.arguments,
        "threads": threads,
        "paths": [str(each.path) for each in utterances],
    }
    job.write_text(json.dumps(values), encoding="utf-8")
    program = Path(__file__).with_name("peer_systems.py")
    subprocess.run(
        [sys.executable, str(program), str(job), str(result)], check=True
    )
    return json.loads(result.read_text(encoding="utf-8"))


def normaliser():
    """Whisper's normalisation of English text."""
    from whisper_normalizer.english import EnglishTextNormalizer

    return EnglishTextNormalizer()


def score(utterances, times, result, normalise):
    """Error rate and delays.

    Arguments
    ---------
    utterances : list of Utterance
        With transcripts.
    times : list of (list of SpokenWord or None)
        Of the words of each, ``None`` where they are not known.
    result : dict
        The result of :func:`run`.
    normalise : callable
        From text to text, before words are compared.

    Returns
    -------
    ErrorRate
        Of words.
    Delay
    """
    rates, matching, delays = ErrorRates(), ErrorRates(), Delays()
    for utterance, words, texts in zip(
        utterances, times, result["shown"], strict=True
    ):
        shown = [Shown(**each) for each in texts]
        text = shown[-1].text
        rates.append(
            utterance.identity, normalise(text), normalise(utterance.transcript)
        )
        correct = matching.append(
            utterance.identity,
            " ".join(words_of(text)),
            " ".join(words_of(utterance.transcript)),
        )
        final = final_times(shown, words_of)
        if words is not None:
            for word, spoken in correct:
                first = final[word]
                seconds = None if first.at_end else first.seconds
                delays.append(seconds, words[spoken].end_seconds)
    no_word_is_right = Delay(0, 0, None, None)
    return rates.words_with_interval(), delays.summary() or no_word_is_right


HEAD = (
    "recogniser",
    "trained on",
    "look-ahead or chunk",
    "word errors, %",
    "delay of a word: median",
    "90 %",
    "words final at the end, %",
    "real-time factor",
    "memory, MiB",
    "on disk, MB",
)


def cells(recognizer, result, rate, delay):
    """A row of the table.

    Arguments
    ---------
    recognizer : Recognizer
        Of which.
    result : dict
        The result of :func:`run`.
    rate : ErrorRate
        Of words.
    delay : Delay
        Of words.

    Returns
    -------
    list of str
    """
    at_end = 100 * delay.at_end / max(1, delay.at_end + delay.words)
    known = delay.words > 0
    return [
        recognizer.name,
        TRAINED_ON[recognizer.family],
        result["look_ahead"],
        f"{rate.percent:.1f} ({rate.low:.1f} to {rate.high:.1f})",
        f"{delay.median_seconds:.2f} s" if known else "",
        f"{delay.p90_seconds:.2f} s" if known else "",
        f"{at_end:.0f}",
        f"{result['work'] / result['seconds']:.3f}",
        f"{result['memory'] / 2**20:.0f}",
        f"{result['size'] / 1e6:.1f}",
    ]


def draw(path, title, points):
    """Word errors against delay, a point for each recogniser.

    Arguments
    ---------
    path : pathlib.Path
        PNG file to write.
    title : str
        Of the picture.
    points : list of (Recognizer, ErrorRate, Delay)
        Those with a delay are drawn.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    colours = dict(zip(TRAINED_ON, ("C1", "C0", "C2", "C7"), strict=True))
    for (recognizer, rate, delay), marker in zip(
        points, itertools.cycle("os^Dv")
    ):
        if delay.median_seconds is None:
            continue
        axes.errorbar(
            delay.median_seconds,
            rate.percent,
            # of one utterance, ends and rate differ in the last bit
            yerr=[
                [max(rate.percent - rate.low, 0)],
                [max(rate.high - rate.percent, 0)],
            ],
            xerr=[[0], [delay.p90_seconds - delay.median_seconds]],
            marker=marker,
            linestyle="none",
            color=colours[recognizer.family],
            elinewidth=0.8,
            label=recognizer.name,
        )
    axes.set_xlabel("delay of a word, median to 90 % [s]")
    axes.set_ylabel("word errors [%]")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=100)


def measure(split, utterances, options, exported):
    """Measures all recognisers on a split.

    Arguments
    ---------
    split : str
        Its name.
    utterances : list of Utterance
        Those that are streamed.
    options : argparse.Namespace
        The command line.
    exported : pathlib.Path
        Folder of the graph in 32 bits.

    Returns
    -------
    str
        A section in Markdown.
    """
    aligner = WordAligner()
    times = [aligner.words(each.read(), each.transcript) for each in utterances]
    aligned = sum(each is not None for each in times)
    rows, points = [], []
    for recognizer in recognizers(exported, options.models):
        result = run(recognizer, utterances, options.threads, exported.parent)
        rate, delay = score(utterances, times, result, normaliser())
        rows.append(cells(recognizer, result, rate, delay))
        points.append((recognizer, rate, delay))
        print(f"{split}: {' | '.join(rows[-1])}", flush=True)
    picture = options.out.with_name(f"peers_{split}.png")
    draw(picture, split, points)
    minutes = result["seconds"] / 60
    return "\n".join(
        [
            f"## {split}",
            "",
            f"{len(utterances)} utterances, {minutes:.1f} minutes; words of "
            f"{aligned} of them have ends. {processor()}, {options.threads} "
            "threads.",
            "",
            markdown_table(HEAD, rows, right=range(3, len(HEAD))),
            "",
            f"![{split}]({picture.name})",
            "",
        ]
    )


def main(arguments=None):
    """Measures, and writes the tables and the pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--data", required=True, help="folder in LibriSpeech layout"
    )
    parser.add_argument("--splits", nargs="+", default=["dev-other-mini"])
    parser.add_argument(
        "--utterances", type=int, help="only the first of each split"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--models",
        nargs="*",
        default=[],
        metavar="NAME=FOLDER",
        help="further exported folders",
    )
    parser.add_argument("--out", type=Path, default=Path("results/peers.md"))
    options = parser.parse_args(arguments)
    check_at_least_one(parser, options, "--utterances", "--threads")
    for each in options.models:
        if not all(each.partition("=")):
            parser.error(must_be("--models", "NAME=FOLDER", repr(each)))
    splits = read_splits(parser, options)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        exported = Path(scratch) / "english_fp32"
        command = [sys.executable, "-m", "speechbrain_llsa", "export"]
        subprocess.run(
            [*command, "--precision", "fp32", "--out", str(exported)],
            check=True,
            cwd=_paths.ROOT,
        )
        sections = [
            measure(split, every[: options.utterances], options, exported)
            for split, every in splits.items()
        ]
    options.out.write_text("\n".join(sections), encoding="utf-8")


if __name__ == "__main__":
    main()
