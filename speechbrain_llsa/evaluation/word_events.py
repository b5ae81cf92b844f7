"""Word times: references from CTM files, errors of a model's word times, and
the offsets that minimise them.

A corpus that ``synthesize.py`` made has a file SPEAKER-CHAPTER.ctm beside each
SPEAKER-CHAPTER.trans.txt; forced alignments of other corpora can be put there
as well.
"""

from functools import cache
from pathlib import Path

import numpy as np
from speechbrain.utils.edit_distance import alignment, op_table

from speechbrain_llsa.evaluation.corpus import (
    read_word_times,
    word_times_path,
)
from speechbrain_llsa_runtime.transcripts.words import WordOffsets

STEP_SECONDS = 0.01
"""Step of the grid search for the offset of word ends."""

FARTHEST_SECONDS = 1.0
"""Largest offset of that search, from the last frame of a word."""

FEWEST_WORDS = 20
"""Minimum number of words that offsets are estimated from."""


_read_once = cache(read_word_times)


def find_words(wav):
    """Finds the word times of an utterance of a LibriSpeech tree in the CTM
    file of its chapter.

    Arguments
    ---------
    wav : str or pathlib.Path
        Audio file of the utterance, SPEAKER-CHAPTER-NUMBER.flac.

    Returns
    -------
    list of (str, float, float) or None
        Words with start and end in seconds; ``None`` if there is no such file,
        or no such utterance in it.
    """
    wav = Path(wav)
    path = word_times_path(wav)
    if not path.is_file():
        return None
    words = _read_once(path).get(wav.stem)
    if words is None:
        return None
    return [(each.word, each.start_seconds, each.end_seconds) for each in words]


def match_words(words, reference):
    """Pairs recognised with spoken words by the alignment of the word error
    rate. Wrong words are left out.

    Arguments
    ---------
    words : list of speechbrain_llsa_runtime.transcripts.transcript.Word
        The recognised words.
    reference : list of (str, float, float)
        The spoken words with start and end.

    Returns
    -------
    list of (int, int)
        Index of the recognised and of the spoken word of each pair.

    Example
    -------
    >>> from speechbrain_llsa_runtime.transcripts.transcript import Word
    >>> words = [Word("ONE", 0.1, 0.2, 1.0), Word("SIX", 0.3, 0.4, 1.0)]
    >>> match_words(words, [("NO", 0, 0.1), ("ONE", 0.1, 0.2), ("TWO", 1, 2)])
    [(0, 1)]
    """
    table = op_table(
        [word for word, _, _ in reference], [word.text for word in words]
    )
    return [
        (recognised, spoken)
        for operation, spoken, recognised in alignment(table)
        if operation == "="
    ]


def time_errors(utterances):
    """Measures how far recognised word starts and ends are from spoken ones.

    Arguments
    ---------
    utterances : iterable of (list of Word, list of (str, float, float))
        Recognised and spoken words of each.

    Returns
    -------
    numpy.ndarray
        Recognised minus spoken time in seconds, (words, 2): start and end.
        Correct words only.

    Example
    -------
    >>> from speechbrain_llsa_runtime.transcripts.transcript import Word
    >>> word = Word("ONE", 0.5, 1.0, 1.0)
    >>> time_errors([([word], [("ONE", 0.25, 1.125)])])
    array([[ 0.25 , -0.125]])
    """
    errors = [
        (words[i].start - reference[j][1], words[i].end - reference[j][2])
        for words, reference in utterances
        for i, j in match_words(words, reference)
    ]
    return np.array(errors).reshape(-1, 2)


def estimate_offsets(utterances):
    """Estimates the word offsets of a model: for starts, the median distance of
    spoken starts from first frames; for ends, the offset with the smallest
    mean absolute error.

    Arguments
    ---------
    utterances : iterable of (list of Word, list of (str, float, float))
        Words recognised without word offsets, and spoken words, of each.

    Returns
    -------
    WordOffsets or None
        ``None`` if fewer than ``FEWEST_WORDS`` words are correct.
    """
    pairs = []
    for words, reference in utterances:
        following = [*(word.start for word in words[1:]), np.inf]
        for i, j in match_words(words, reference):
            _, start, end = reference[j]
            pairs.append(
                (words[i].start, words[i].end, following[i], start, end)
            )
    if len(pairs) < FEWEST_WORDS:
        return None
    first, last, following, starts, ends = np.array(pairs).T
    start = round(float(np.median(starts - first)), 3)
    low = max(start, -FARTHEST_SECONDS)
    offsets = np.arange(low, FARTHEST_SECONDS, STEP_SECONDS)
    errors = [
        np.abs(np.minimum(last + end, following + start) - ends).mean()
        for end in offsets
    ]
    return WordOffsets(start, round(float(offsets[np.argmin(errors)]), 3))
