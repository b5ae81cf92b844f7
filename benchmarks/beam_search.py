#!/usr/bin/env python3
"""Greedy and beam search while streaming: errors, cost, and how long a word
stays provisional.

    python benchmarks/beam_search.py --model demo/finetune/streaming \\
        --data demo/digits --split test --out section.md

streams every utterance of a split of a folder in LibriSpeech layout with each
search, and counts errors as the recipes do. The language model is one that is
given, or that of the words of another split of the folder.

The real-time factor is processor time, for model and search together. A word
is provisional from the push that shows it first, as the whole text then stands,
to the push that commits it. Each streamed text is compared with what the search
gives for the log-probabilities of the whole utterance at once.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "recipes" / "LibriSpeech")]

import torch  # noqa: E402
from error_rates import ErrorRates  # noqa: E402
from librispeech_prepare import prepare_librispeech  # noqa: E402
from ngram import (  # noqa: E402
    estimate_ngrams,
    read_transcripts,
    write_arpa,
)
from training_data import load_manifests  # noqa: E402

from speechbrain_llsa import StreamingASR  # noqa: E402
from speechbrain_llsa.geometry import SAMPLE_RATE  # noqa: E402
from speechbrain_llsa.lobes.language_model import LanguageModel  # noqa: E402

HEAD = (
    "| search | WER | texts that differ offline | real-time factor "
    "| provisional: median | 90 % | shown words that change |\n"
    "| --- | --- | --- | --- | --- | --- | --- |\n"
)


def load_split(data, split, folder, snr):
    """The utterances of a split, with ``sig``, ``wrd`` and ``id``, and with
    white noise if there is a ratio in dB."""
    prepare_librispeech(
        data_folder=str(data), save_folder=str(folder), splits=[split]
    )
    dataset = load_manifests([str(Path(folder) / f"{split}.csv")])
    dataset.set_output_keys(["id", "sig", "wrd"])
    items = list(dataset)
    generator = torch.Generator().manual_seed(0)
    for item in items if snr is not None else ():
        noise = torch.randn(item["sig"].shape, generator=generator)
        loudness = item["sig"].square().mean().sqrt() * 10 ** (-snr / 20)
        item["sig"] = item["sig"] + loudness * noise
    return items


class WordClock:
    """When words are shown, and when they are committed.

    Example
    -------
    >>> clock = WordClock()
    >>> clock.show(0.1, "", "ON")
    >>> clock.show(0.2, "", "ONE T")
    >>> clock.show(0.5, "ONE ", "TWO")
    >>> clock.show(0.9, "ONE TWO", "")
    >>> [round(seconds, 1) for seconds in clock.provisional_seconds()]
    [0.3, 0.4]
    >>> clock.changes
    2
    """

    def __init__(self):
        self.changes = 0
        self._shown = []
        self._since = []
        self._committed = []
        self._committed_at = []

    def show(self, seconds, committed, provisional):
        """Takes what stands there after so much audio."""
        shown = (committed + provisional).split()
        pairs = zip(self._shown, shown, strict=False)
        same = next(
            (index for index, (old, new) in enumerate(pairs) if old != new),
            min(len(self._shown), len(shown)),
        )
        self.changes += len(self._shown) - same
        self._since = self._since[:same] + [seconds] * (len(shown) - same)
        self._shown = shown
        words = committed.split()
        same = len(self._committed)
        while same and words[:same] != self._committed[:same]:
            same -= 1  # a word of which only a part was committed
        self._committed_at[same:] = [seconds] * (len(words) - same)
        self._committed = words

    def provisional_seconds(self):
        """For each word, from being shown to being committed."""
        return [
            end - begin
            for begin, end in zip(self._since, self._committed_at, strict=True)
        ]


def measure(asr, search, items, push_seconds):
    """Streams utterances with a search; figures for a row."""
    rates, provisional, changes, different = ErrorRates(), [], 0, 0
    spent = audio = 0.0
    size = round(push_seconds * SAMPLE_RATE)
    for item in items:
        session, clock = asr.session(search=search), WordClock()
        pushed = 0
        for samples in item["sig"].split(size):
            begin = time.process_time()
            transcript = session.push(samples)
            spent += time.process_time() - begin
            pushed += len(samples)
            clock.show(
                pushed / SAMPLE_RATE, session.text, transcript.provisional
            )
        begin = time.process_time()
        session.finish()
        spent += time.process_time() - begin
        clock.show(pushed / SAMPLE_RATE, session.text, "")
        rates.append(item["id"], session.text, item["wrd"])
        provisional += clock.provisional_seconds()
        changes += clock.changes
        audio += pushed / SAMPLE_RATE
        different += session.text != offline_text(asr, search, item["sig"])
    return {
        "wer": rates.word_error_rate,
        "different": different,
        "real_time_factor": spent / audio,
        "median": statistics.median(provisional),
        "most": float(np.percentile(provisional, 90)),
        "changes": changes / len(provisional),
    }


@torch.no_grad()
def offline_text(asr, search, signal):
    """What the search gives for the whole at once."""
    log_probs, _ = asr.model(signal[None])
    tokens = search.advance(
        log_probs[0], search.make_streaming_context(), final=True
    )
    return asr.text_decoder.decode(token.label for token in tokens)


def language_model_of(options, folder):
    """The one that is given, or that of the words of another split."""
    if options.language_model is not None:
        return LanguageModel(options.language_model)
    transcripts = read_transcripts(options.data, [options.train_split])
    path = Path(folder) / "words.arpa"
    write_arpa(path, estimate_ngrams(transcripts, options.order))
    return LanguageModel(path)


def row(name, figures):
    """A line of the table."""
    return (
        f"| {name} | {figures['wer']:.2f} % | {figures['different']} "
        f"| {figures['real_time_factor']:.3f} | {figures['median']:.2f} s "
        f"| {figures['most']:.2f} s | {figures['changes']:.0%} |"
    )


def parser():
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", required=True, metavar="FOLDER")
    parser.add_argument("--data", required=True, metavar="TREE")
    parser.add_argument("--split", default="test", metavar="NAME")
    parser.add_argument("--beam_sizes", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--language_model", metavar="FILE")
    parser.add_argument(
        "--train_split", default="train", help="for a language model"
    )
    parser.add_argument("--order", type=int, default=3, help="of it")
    parser.add_argument(
        "--snr", type=float, help="add white noise at this ratio, in dB"
    )
    parser.add_argument("--push_seconds", type=float, default=0.1)
    parser.add_argument("--utterances", type=int, help="take so many alone")
    parser.add_argument("--out", type=Path, metavar="FILE")
    return parser


def main(arguments=None):
    """Measures, and prints and writes a table.

    Arguments
    ---------
    arguments : list of str, optional
        sys.argv[1:] by default.
    """
    options = parser().parse_args(arguments)
    torch.set_num_threads(1)
    asr = StreamingASR.from_hparams(options.model)
    with tempfile.TemporaryDirectory() as folder:
        items = load_split(options.data, options.split, folder, options.snr)
        items = items[: options.utterances]
        model = language_model_of(options, folder)
    searches = {"greedy": asr.search}
    for size in options.beam_sizes:
        searches[f"beam of {size}"] = asr.beam_search(beam_size=size)
        searches[f"beam of {size}, language model"] = asr.beam_search(
            beam_size=size, language_model=model
        )
    lines = []
    print(HEAD, end="", flush=True)
    for name, search in searches.items():
        lines.append(
            row(name, measure(asr, search, items, options.push_seconds))
        )
        print(lines[-1], flush=True)
    if options.out is not None:
        options.out.write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
