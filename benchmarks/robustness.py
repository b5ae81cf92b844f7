#!/usr/bin/env python3
"""Robustness of a model to level, noise, and sounds without speech.

    python recipes/Synthetic/synthesize.py demo/fresh --digits 1 8 \\
        --seed 7 --voice_seed 1 --workers 2 \\
        --split unheard:voices=24:utterances=1200 \\
        --split rest:voices=25:utterances=25
    python benchmarks/robustness.py --model demo/finetune/streaming \\
        --data demo/fresh --split unheard --out section.md

The first command makes utterances of voices that the demo does not train with:
the same --voice_seed gives the same families of voices to the smallest split.
The second transcribes all of them, with their level changed, and rounds them
to 16 bits; then silence, noise and music of 30 s, which have no words; and then
some utterances with 20 s of noise behind them, where segments are to close. All
is transcribed whole, which gives the text of a stream; some of it is streamed
as well, and has to be the same.
"""

import argparse
from dataclasses import dataclass

import numpy as np
import torch
from torchaudio.functional import highpass_biquad

import _paths  # noqa: F401
from common import machine, make_parser, parse
from speechbrain_llsa import StreamingASR
from speechbrain_llsa.evaluation.corpus import read_split
from speechbrain_llsa.evaluation.error_rates import (
    ErrorRates,
    bootstrap_interval,
)
from speechbrain_llsa.evaluation.measure import spread
from speechbrain_llsa_runtime.geometry import FRAME_SECONDS, SAMPLE_RATE
from speechbrain_llsa_runtime.transcripts.endpointer import (
    MAXIMUM_LENGTH,
    Endpointer,
)
from speechbrain_llsa_runtime.transcripts.transcriber import Transcriber
from speechbrain_llsa_runtime.utils.errors import must_be
from synthesis.acoustics import coloured_noise

RELATIVE_BAR, POINTS_BAR = 0.1, 0.3
"""A level may cost so much of the plain error rate, or so many points."""

BATCH_SECONDS = 120.0
PUSH_SECONDS = 0.32


def gain(decibels):
    """Changes the level, and clips at full scale."""
    factor = np.float32(10 ** (decibels / 20))
    return lambda signal: np.clip(signal * factor, -1, 1)


def offset(value):
    """Adds a constant."""
    return lambda signal: np.clip(signal + np.float32(value), -1, 1)


def hum(decibels):
    """Adds 50 Hz with two overtones; the level is that of all three."""

    def add(signal):
        seconds = np.arange(len(signal)) / SAMPLE_RATE
        tones = sum(
            part * np.sin(2 * np.pi * 50 * number * seconds)
            for number, part in ((1, 1.0), (2, 0.5), (3, 0.25))
        )
        return signal + at_level(tones, decibels)

    return add


def high_passed(change):
    """The same behind a high-pass of second order at 120 Hz, as a caller could
    have one."""

    def add(signal):
        changed = torch.from_numpy(change(signal))
        return highpass_biquad(changed, SAMPLE_RATE, 120).numpy()

    return add


CONDITIONS = {
    "plain": (lambda signal: signal, False),
    "-40 dB": (gain(-40), False),
    "-30 dB": (gain(-30), True),
    "-20 dB": (gain(-20), True),
    "-10 dB": (gain(-10), True),
    "+10 dB": (gain(10), True),
    "+20 dB, clipped": (gain(20), False),
    "offset of 0.01": (offset(0.01), False),
    "offset of 0.2": (offset(0.2), False),
    "the same, high-passed": (high_passed(offset(0.2)), False),
    "50 Hz hum at -30 dBFS": (hum(-30), False),
    "the hum, high-passed": (high_passed(hum(-30)), False),
}
"""Conditions: changes to the utterances, and whether the bar applies."""


def at_level(signal, decibels):
    """Scales to a root mean square, in decibels relative to full scale."""
    level = np.sqrt(np.mean(np.square(signal, dtype=np.float64)))
    return np.float32(signal * (10 ** (decibels / 20) / level))


def music(seconds, generator):
    """Chords of plucked strings with a melody above them: sums of sines that
    die away, at -20 dBFS."""
    signal = np.zeros(round(seconds * SAMPLE_RATE) + SAMPLE_RATE)
    scale = np.array([0, 2, 4, 5, 7, 9, 11, 12])
    chords = ((0, 4, 7), (9, 12, 16), (5, 9, 12), (7, 11, 14))
    beat, key = 0.4, generator.integers(48, 60)

    def pluck(start, note, loudness, long):
        time = np.arange(round(long * SAMPLE_RATE)) / SAMPLE_RATE
        tone = sum(
            np.sin(2 * np.pi * 440 * 2 ** ((note - 69) / 12) * number * time)
            * np.exp(-(1.5 + number) * time)
            / number
            for number in range(1, 6)
        )
        first = round(start * SAMPLE_RATE)
        part = signal[first : first + len(tone)]
        part += loudness * tone[: len(part)]

    for number in range(round(seconds / beat)):
        if number % 4 == 0:
            for note in chords[number // 4 % len(chords)]:
                pluck(number * beat, key + note, 0.6, 4 * beat)
        melody = key + 12 + generator.choice(scale)
        pluck(number * beat, melody, 1.0, 2 * beat)
    return at_level(signal[: round(seconds * SAMPLE_RATE)], -20)


def noise(slope, decibels):
    """A function that makes noise of so many seconds: 0 white, 1 pink."""

    def make(seconds, generator):
        count = round(seconds * SAMPLE_RATE)
        return at_level(coloured_noise(count, slope, generator), decibels)

    return make


NOISES = {
    f"{name} noise at {decibels} dBFS": noise(slope, decibels)
    for decibels in (-50, -30)
    for name, slope in (("white", 0.0), ("pink", 1.0))
}

SOUNDS = {
    "digital silence": lambda seconds, _: np.zeros(
        round(seconds * SAMPLE_RATE), np.float32
    ),
    **NOISES,
    "music at -20 dBFS": music,
}
"""Sounds without words."""

WITHOUT_WORDS = ("digital silence", *list(NOISES)[:2])
"""Where the bar is no word at all."""


def sixteen_bits(signal):
    """Rounds as a file of 16 bits does."""
    return np.float32(np.round(np.clip(signal, -1, 1) * 32767) / 32768)


@torch.no_grad()
def log_probs_of(asr, signals):
    """Log-probabilities of whole signals, each (frames, labels), in batches of
    like length."""
    results, batch = {}, []
    order = sorted(range(len(signals)), key=lambda each: len(signals[each]))
    for place in order:
        batch.append(place)
        longest = len(signals[place])
        full = (len(batch) + 1) * longest > BATCH_SECONDS * SAMPLE_RATE
        if full or place == order[-1]:
            wavs = torch.zeros(len(batch), longest)
            for row, each in zip(wavs, batch, strict=True):
                row[: len(signals[each])] = torch.from_numpy(signals[each])
            lengths = torch.tensor([len(signals[each]) for each in batch])
            rows, frames = asr.model(wavs, lengths / longest)
            for row, count, each in zip(rows, frames, batch, strict=True):
                results[each] = row[:count].numpy()
            batch = []
    return [results[place] for place in range(len(signals))]


def transcript_of(asr, log_probs, endpointer=None):
    """Transcript of a stream with these log-probabilities, all at once."""
    transcriber = Transcriber(
        asr.text_decoder, asr.search, endpointer, asr.word_offsets
    )
    state = transcriber.make_streaming_context()
    return transcriber.advance(log_probs, log_probs[:0], state, final=True)


def transcribe(asr, signals):
    """Transcripts of signals, without endpoints."""
    return [transcript_of(asr, each) for each in log_probs_of(asr, signals)]


def check_streams(asr, signals, transcripts, endpointer=None):
    """Exits if a stream says something else.

    Arguments
    ---------
    asr : StreamingASR
        The model.
    signals : list of numpy.ndarray
        The signals to stream.
    transcripts : list of Transcript
        The expected transcripts.
    endpointer : Endpointer, optional
        Closes segments.

    Raises
    ------
    SystemExit
        If text, words or segments differ.
    """
    asr.endpointer = None
    for signal, expected in zip(signals, transcripts, strict=True):
        session = asr.session(endpointer=endpointer)
        push = round(PUSH_SECONDS * SAMPLE_RATE)
        outputs = [
            session.push(signal[start : start + push])
            for start in range(0, len(signal), push)
        ]
        outputs.append(session.finish())
        words = [
            (word.text, word.start, word.segment)
            for each in outputs
            for word in each.final_words
        ]
        wanted = [(w.text, w.start, w.segment) for w in expected.words]
        if words != wanted:
            raise SystemExit(
                must_be(
                    "words of the stream",
                    f"{wanted}, as of the whole signal",
                    f"{words}; nothing was measured",
                )
            )


def measure_levels(asr, utterances):
    """Error rates of each condition: rows of a table."""
    signals = [utterance.read() for utterance in utterances]
    rows, plain = [], None
    for name, (change, has_bar) in CONDITIONS.items():
        changed = [sixteen_bits(change(signal)) for signal in signals]
        transcripts = transcribe(asr, changed)
        some = spread(len(changed), 2)
        check_streams(
            asr, [changed[i] for i in some], [transcripts[i] for i in some]
        )
        rates = ErrorRates()
        for utterance, each in zip(utterances, transcripts, strict=True):
            rates.append(
                utterance.identity, each.committed, utterance.transcript
            )
        rate, scores = rates.words_with_interval(), rates.words.scores
        errors = np.array([score["num_edits"] for score in scores])
        totals = np.array([score["num_ref_tokens"] for score in scores])
        inserted = sum(score["insertions"] for score in scores)
        plain = (rate.percent, errors) if plain is None else plain
        cost = rate.percent - plain[0]
        low, high = bootstrap_interval(errors - plain[1], totals)
        allowed = max(RELATIVE_BAR * plain[0], POINTS_BAR)
        cells = [
            name,
            f"{rate.percent:.2f} ({rate.low:.2f} to {rate.high:.2f})",
            f"{cost:+.2f} ({low:+.2f} to {high:+.2f})",
            f"{100 * inserted / rate.total:.2f}",
            f"at most +{allowed:.2f}" if has_bar else "",
            verdict(cost <= allowed) if has_bar else "",
        ]
        rows.append(cells)
        print(" | ".join(cells), flush=True)
    return rows


def measure_sounds(asr, count, seconds):
    """Words out of what has none: rows of a table."""
    rows = []
    for name, make in SOUNDS.items():
        generator = np.random.default_rng(1)
        signals = [sixteen_bits(make(seconds, generator)) for _ in range(count)]
        transcripts = transcribe(asr, signals)
        check_streams(asr, signals[:1], transcripts[:1])
        words = [len(each.committed.split()) for each in transcripts]
        has_bar = name in WITHOUT_WORDS
        cells = [
            name,
            f"{sum(words) * 60 / (count * seconds):.1f}",
            f"{max(words) * 60 / seconds:.1f}",
            "none" if has_bar else "",
            verdict(not sum(words)) if has_bar else "",
        ]
        rows.append(cells)
        print(" | ".join(cells), flush=True)
    return rows


@dataclass
class Closing:
    """Effect of noise after speech on one utterance."""

    closed_seconds: float | None
    """From the start of the noise to the frame that closes the segment."""

    same_text: bool
    """Whether the text of the segment is that of the speech alone."""

    more_words: int
    """Words that begin in the noise."""


def measure_endpoints(asr, utterances, seconds):
    """Measures where segments close in noise after speech: rows of a table."""
    rows = []
    speech = [utterance.read() for utterance in utterances]
    alone = transcribe(asr, speech)
    for name, make in NOISES.items():
        generator = np.random.default_rng(2)
        signals = [
            sixteen_bits(np.concatenate([each, make(seconds, generator)]))
            for each in speech
        ]
        all_log_probs = log_probs_of(asr, signals)
        endpointer = Endpointer()
        transcripts = [
            transcript_of(asr, each, endpointer) for each in all_log_probs
        ]
        check_streams(asr, signals[:2], transcripts[:2], endpointer)
        closings = [
            _closing(asr, *each)
            for each in zip(
                speech, alone, all_log_probs, transcripts, strict=True
            )
        ]
        closed = [
            each.closed_seconds
            for each in closings
            if each.closed_seconds is not None
        ]
        low, median, high = np.quantile(closed or [np.nan], [0, 0.5, 1])
        cells = [
            name,
            f"{len(closed)} of {len(closings)}",
            f"{median:.2f} s ({low:.2f} to {high:.2f})",
            f"{sum(each.same_text for each in closings)}",
            f"{sum(each.more_words for each in closings)}",
            verdict(len(closed) == len(closings)),
        ]
        rows.append(cells)
        print(" | ".join(cells), flush=True)
    return rows


def _closing(asr, speech, alone, log_probs, transcript):
    """Evaluates one utterance."""
    end = len(speech) / SAMPLE_RATE
    closed = closing_seconds(asr, log_probs)
    behind = [each - end for each in closed if each > end]
    first = [word.text for word in transcript.words if word.start < end]
    more = sum(word.start >= end for word in transcript.words)
    same = first == alone.committed.split()
    return Closing(behind[0] if behind else None, same, more)


def closing_seconds(asr, log_probs):
    """Seconds at which the segments of a stream close."""
    transcriber = Transcriber(asr.text_decoder, asr.search, Endpointer())
    state, seconds, number = transcriber.make_streaming_context(), [], 0
    for frame in range(len(log_probs)):
        transcriber.advance(log_probs[frame : frame + 1], log_probs[:0], state)
        if state.segment.number > number:
            number = state.segment.number
            seconds.append((frame + 1) * FRAME_SECONDS)
    return seconds


def verdict(met):
    """The last cell of a row that has a bar."""
    return "met" if met else "**missed**"


def table(head, rows):
    """Markdown, with the cells of the head between bars."""
    lines = [head, " | ".join(["---"] * len(rows[0])), *map(" | ".join, rows)]
    return "\n".join(f"| {line} |" for line in lines)


def main(arguments=None):
    """Measures, and prints and writes three tables.

    Arguments
    ---------
    arguments : list of str, optional
        The command line without the name of the program.
    """
    parser = make_parser(__doc__)
    parser.formatter_class = argparse.RawTextHelpFormatter
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--split", default="test")
    options = parse(parser, arguments)
    asr = StreamingASR.from_hparams(options.model)
    utterances = read_split(options.data, options.split)
    if options.tiny:
        utterances = utterances[:4]
    sounds, seconds, behind = (1, 5, 21) if options.tiny else (10, 30, 20)
    some = [utterances[i] for i in spread(len(utterances), 50)]
    levels = measure_levels(asr, utterances)
    silence = measure_sounds(asr, sounds, seconds)
    closing = measure_endpoints(asr, some, behind)
    sections = [
        "## Levels, noise and silence",
        f"{machine()}. {len(utterances)} utterances of {options.split}.",
        table(
            "level | WER % | against plain | insertions % | bar | result",
            levels,
        ),
        "In brackets: the 95 % interval of a bootstrap over utterances; of a "
        "difference, over the same utterances in both.",
        table(
            f"{sounds} times {seconds} s | words a minute | most | bar | "
            "result",
            silence,
        ),
        table(
            f"{behind} s behind speech | segments closed | after | same text "
            "| words in the noise | result",
            closing,
        ),
        f"Of {len(some)} utterances, of which each has to close: by silence, "
        "or as the longest segment, of "
        f"{MAXIMUM_LENGTH.length_seconds:g} s.",
    ]
    text = "\n\n".join(sections) + "\n"
    print(text)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
