#!/usr/bin/env python3
"""How well a model's word times fit those of the speech.

    python benchmarks/word_times.py --model demo/finetune/streaming \\
        --data demo/digits --split test --out section.md

streams every utterance of a split of a folder in LibriSpeech layout, and
compares the words that are right with SPEAKER-CHAPTER.ctm, which synthesize.py
writes. The word offsets are the model's own, or with --estimate valid those
that fit another split best, which are printed as the model's YAML file takes
them.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

import _paths  # noqa: F401
from librispeech_prepare import prepare_librispeech
from speechbrain_llsa import StreamingASR
from speechbrain_llsa.evaluation.word_events import (
    estimate_offsets,
    find_words,
    time_errors,
)
from speechbrain_llsa.training.data import load_manifests
from speechbrain_llsa_runtime.transcripts.words import WordOffsets
from speechbrain_llsa_runtime.utils.errors import must_be

BAR_SECONDS = 0.08
"""Largest median absolute error of word ends."""

PUSH_SECONDS = 0.32


def load_split(data, split, folder):
    """Waveform and spoken words of each utterance that has word times."""
    prepare_librispeech(
        data_folder=str(data), save_folder=str(folder), splits=[split]
    )
    dataset = load_manifests([str(Path(folder) / f"{split}.csv")])
    dataset.set_output_keys(["sig", "wav"])
    utterances = [(item["sig"], find_words(item["wav"])) for item in dataset]
    utterances = [each for each in utterances if each[1] is not None]
    if not utterances:
        raise ValueError(
            must_be(
                "--data",
                "a corpus as synthesize.py writes it",
                (f"{str(data)!r}, whose split {split!r} has no CTM files"),
            )
        )
    return utterances


def stream(asr, waveform, push_seconds=PUSH_SECONDS):
    """The final words of a session."""
    session, words = asr.session(), []
    for samples in waveform.split(round(push_seconds * 16000)):
        words += session.push(samples).final_words
    return [*words, *session.finish().final_words]


def recognise(asr, utterances):
    """Recognised and spoken words of each."""
    return [(stream(asr, wave), spoken) for wave, spoken in utterances]


def quantiles(errors):
    """Median and 90th percentile of absolute errors, in milliseconds."""
    return np.quantile(np.abs(errors), [0.5, 0.9]) * 1000


def main(arguments=None):
    """Measures, and prints and writes a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--split", default="test")
    parser.add_argument("--estimate", metavar="SPLIT")
    parser.add_argument("--out")
    options = parser.parse_args(arguments)
    asr = StreamingASR.from_hparams(options.model)
    with tempfile.TemporaryDirectory() as scratch:
        if options.estimate is not None:
            asr.word_offsets, asr.endpointer = None, None
            known = load_split(options.data, options.estimate, scratch)
            asr.word_offsets = estimate_offsets(recognise(asr, known))
            if asr.word_offsets is None:
                raise ValueError(
                    "--estimate must be a split with enough words recognised "
                    f"right, got {options.estimate!r}"
                )
        utterances = load_split(options.data, options.split, scratch)
        results = recognise(asr, utterances)
    offsets = asr.word_offsets or WordOffsets()
    errors = time_errors(results)
    if not len(errors):
        raise ValueError(f"--split: no word of {options.split!r} is right")
    spoken = sum(len(reference) for _, reference in results)
    (start_median, start_90), (end_median, end_90) = map(quantiles, errors.T)
    verdict = "met" if end_median <= BAR_SECONDS * 1000 else "missed"
    lines = [
        "## Word times",
        "",
        "| split | words | right | starts: median ms | 90 % | "
        "ends: median ms | 90 % |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        f"| {options.split} | {spoken} | {len(errors)} | {start_median:.0f} | "
        f"{start_90:.0f} | {end_median:.0f} | {end_90:.0f} |",
        "",
        f"Absolute errors, of streamed words that are right, with word offsets "
        f"of {offsets.start_seconds} and {offsets.end_seconds} s. The bar of "
        f"{BAR_SECONDS * 1000:.0f} ms for the median of ends is {verdict}.",
        "",
    ]
    print("\n".join(lines))
    if options.estimate is not None:
        print(
            '"word_offsets": {"start_seconds": '
            f'{offsets.start_seconds}, "end_seconds": {offsets.end_seconds}}}'
        )
    if options.out:
        Path(options.out).write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
