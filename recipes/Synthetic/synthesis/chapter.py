"""One chapter of the corpus: some utterances of one speaker."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch

from speechbrain_llsa_runtime.utils.atomic_files import (
    write_atomically,
    written_atomically,
)

from .acoustics import SAMPLE_RATE, record, resample
from .speakers import Speaker
from .text import transcript_of
from .voice import SpeechSynthesizer

_RATE_STEP = 500
_synthesizer = None


@dataclass(frozen=True)
class Chapter:
    """The work of one worker process.

    Arguments
    ---------
    folder : str
        Folder of the files: SPLIT/SPEAKER/CHAPTER.
    speaker : Speaker
        The speaker.
    name : str
        SPEAKER-CHAPTER, the beginning of all file names.
    seed : tuple of int
        Seed of this chapter; utterance `i` draws from (*seed, i).
    texts : tuple of str
        What is spoken, one text per utterance.
    silence : tuple of float
        Shortest and longest silence before and after, in seconds.
    noise : tuple of float or None
        Lowest and highest signal-to-noise ratio of added noise, in dB.
    tempo : float
        Factor of the speakers' usual speed.
    """

    folder: str
    speaker: Speaker
    name: str
    seed: tuple
    texts: tuple
    silence: tuple
    noise: tuple | None
    tempo: float


def synthesize_chapter(chapter):
    """Makes the files of a chapter, unless all exist already.

    The transcript is written last: a chapter that has it is complete.

    Arguments
    ---------
    chapter : Chapter

    Returns
    -------
    utterances : int
        Number of utterances.
    seconds : float
        Duration of the audio.
    kept : bool
        Whether the files existed already.
    """
    global _synthesizer
    folder = Path(chapter.folder)
    names = [f"{chapter.name}-{i:04d}" for i in range(len(chapter.texts))]
    paths = [folder / f"{name}.flac" for name in names]
    transcripts = "".join(
        f"{name} {transcript_of(text)}\n"
        for name, text in zip(names, chapter.texts, strict=True)
    )
    transcript_path = folder / f"{chapter.name}.trans.txt"
    words_path = folder / f"{chapter.name}.ctm"
    complete = (
        transcript_path.is_file()
        and transcript_path.read_text(encoding="utf-8") == transcripts
        and words_path.is_file()
        and all(path.is_file() for path in paths)
    )
    if complete:
        seconds = sum(soundfile.info(path).duration for path in paths)
        return len(paths), seconds, True

    if _synthesizer is None:
        _synthesizer = SpeechSynthesizer()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    seconds = 0.0
    lines = []
    try:
        for index, (path, text) in enumerate(
            zip(paths, chapter.texts, strict=True)
        ):
            samples, words = _make_utterance(chapter, index, text)
            with written_atomically(path) as scratch:
                soundfile.write(scratch, samples, SAMPLE_RATE, format="FLAC")
            seconds += len(samples) / SAMPLE_RATE
            lines += _ctm_lines(names[index], words)
    finally:
        torch.set_num_threads(threads)
    write_atomically(words_path, "".join(lines))
    write_atomically(transcript_path, transcripts)
    return len(paths), seconds, False


def _ctm_lines(name, words):
    """Lines of NIST's CTM format: utterance, channel, start and duration in
    seconds, word."""
    return [
        f"{name} 1 {start:.4f} {end - start:.4f} {word}\n"
        for word, start, end in words
    ]


def _make_utterance(chapter, index, text):
    """The samples of one utterance, and its words: each with the seconds
    where it starts and ends."""
    generator = np.random.default_rng([*chapter.seed, index])
    speaker = chapter.speaker
    speech = _synthesizer.say(
        text,
        speaker.language,
        speaker.variant,
        rate=round(
            speaker.rate * chapter.tempo * generator.uniform(0.92, 1.08)
        ),
        pitch=speaker.pitch + int(generator.integers(-4, 5)),
        pitch_range=speaker.pitch_range + int(generator.integers(-6, 7)),
        seed=int(generator.integers(2**31)),
    )
    played_rate = speaker.tract * _RATE_STEP
    before, after = (
        round(seconds * SAMPLE_RATE)
        for seconds in generator.uniform(*chapter.silence, 2)
    )
    level = generator.uniform(-32.0, -18.0)
    floor = generator.uniform(-75.0, -58.0)
    ratio = None if chapter.noise is None else generator.uniform(*chapter.noise)
    samples = record(
        resample(speech.samples, played_rate),
        before,
        after,
        level,
        floor,
        ratio,
        generator,
    )
    offset = before / SAMPLE_RATE
    words = [
        (
            transcript_of(word),
            round(offset + start / played_rate, 4),
            round(offset + end / played_rate, 4),
        )
        for word, start, end in speech.words
    ]
    return samples, words
