"""Generates texts: digit strings, numbers, or sentences of a grammar."""

import re
import zlib

import numpy as np

from .grammar import make_sentence
from .numbers import make_numbers

DIGITS = (
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
)
KINDS = ("digits", "numbers", "sentences")

_PAUSE_PROBABILITY = 0.12
_TRIES = 50


def transcript_of(text):
    """Converts a text to a transcript in LibriSpeech's style.

    Arguments
    ---------
    text : str
        What is spoken, with punctuation.

    Returns
    -------
    str

    Example
    -------
    >>> transcript_of("Two, o'clock.")
    "TWO O'CLOCK"
    """
    return " ".join(re.sub(r"[,.;:!?]", " ", text).upper().split())


def make_digits(generator, shortest, longest):
    """Draws a string of digits, with occasional pauses.

    Arguments
    ---------
    generator : numpy.random.Generator
    shortest : int
        Fewest digits.
    longest : int
        Most digits.

    Returns
    -------
    str

    Example
    -------
    >>> len(make_digits(np.random.default_rng(1), 3, 3).split())
    3
    """
    count = generator.integers(shortest, longest + 1)
    words = [DIGITS[digit] for digit in generator.integers(0, 10, count)]
    for index in range(len(words) - 1):
        if generator.random() < _PAUSE_PROBABILITY:
            words[index] += ","
    return " ".join(words)


def cut_words(text, fewest, most, generator):
    """Cuts a run of words out of a text.

    Arguments
    ---------
    text : str
        With its punctuation.
    fewest : int
        Fewest words of the run, at least 1.
    most : int
        Most words; a text that has fewer may stay whole.
    generator : numpy.random.Generator

    Returns
    -------
    str

    Example
    -------
    >>> generator = np.random.default_rng(1)
    >>> cut_words("On Friday, the bee sang.", 2, 3, generator)
    'the bee'
    """
    words = text.split()
    count = min(int(generator.integers(fewest, most + 1)), len(words))
    start = int(generator.integers(len(words) - count + 1))
    return " ".join(words[start : start + count])


def make_texts(
    kind,
    counts,
    seed,
    shortest=3,
    longest=8,
    longest_list=None,
    words=None,
):
    """Draws texts for all splits; no transcript is repeated while there are
    unused ones.

    Arguments
    ---------
    kind : str
        "digits", "numbers" or "sentences".
    counts : dict of str to int
        Number of texts per split.
    seed : int
        Each split draws from a generator of this seed and its name.
    shortest : int
        Fewest digits of a digit string.
    longest : int
        Most digits of a digit string.
    longest_list : int, optional
        How many words of each list of the lexicon sentences use; all by
        default.
    words : (int, int), optional
        Fewest and most words of a run that is cut out of a text. None
        leaves texts whole.

    Returns
    -------
    dict of str to list of str

    Raises
    ------
    ValueError
        If the kind is unknown or the lengths are not 1 <= shortest <=
        longest.

    Example
    -------
    >>> texts = make_texts("digits", {"train": 3, "test": 1}, seed=1)
    >>> len(texts["train"])
    3
    """
    if kind not in KINDS:
        raise ValueError(f"text must be one of {KINDS}, got {kind!r}.")
    if not 1 <= shortest <= longest:
        raise ValueError(
            "digits must be two numbers, 1 <= fewest <= most, "
            f"got {shortest} and {longest}."
        )
    taken = set()
    texts = {}
    for split in sorted(counts, key=lambda split: (counts[split], split)):
        generator = np.random.default_rng([seed, zlib.crc32(split.encode())])
        texts[split] = []
        for _ in range(counts[split]):
            for _ in range(_TRIES):
                if kind == "digits":
                    text = make_digits(generator, shortest, longest)
                elif kind == "numbers":
                    text = make_numbers(generator)
                else:
                    text = make_sentence(generator, longest_list)
                if words is not None:
                    text = cut_words(text, *words, generator)
                transcript = transcript_of(text)
                if transcript not in taken:
                    break
            taken.add(transcript)
            texts[split].append(text)
    return texts
