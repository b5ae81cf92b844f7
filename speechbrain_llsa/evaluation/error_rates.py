"""Word and character error rates, with intervals, and who says which word."""

import io
from dataclasses import dataclass

import numpy as np
from speechbrain.utils.edit_distance import EDIT_SYMBOLS
from speechbrain.utils.metric_stats import ErrorRateStats

from speechbrain_llsa.utils.normalization import normalise_transcript
from speechbrain_llsa_runtime.utils.atomic_files import write_atomically

CONFIDENCE = 0.95
"""Part of the resamples whose rate lies within an interval."""

RESAMPLES = 1000
"""Resamples of an interval, where the caller does not say."""


@dataclass(frozen=True)
class ErrorRate:
    """An error rate, and its 95 % interval by bootstrap over utterances."""

    percent: float
    """Errors by words or characters that were said, in percent."""

    low: float
    """Lower end of the interval, in percent."""

    high: float
    """Upper end of the interval, in percent."""

    errors: int
    """Insertions, deletions and substitutions."""

    total: int
    """Words or characters that were said."""


class ErrorRates:
    """Counts word and character errors, with SpeechBrain's ``ErrorRateStats``.

    Example
    -------
    >>> rates = ErrorRates()
    >>> rates.append("1", "ONE TO", "ONE TWO")
    [(0, 0)]
    >>> rates.word_error_rate
    50.0
    >>> rates.append("2", "TEN", "TEN")
    [(0, 0)]
    >>> rate = rates.words_with_interval()
    >>> rate.errors, rate.total, rate.low, rate.high
    (1, 3, 0.0, 50.0)
    """

    def __init__(self):
        self.words = ErrorRateStats()
        self.characters = ErrorRateStats()

    def __len__(self):
        """Utterances that were counted."""
        return len(self.words.ids)

    def append(self, identity, text, transcript):
        """Counts the errors of one utterance. However many spaces there are
        between two words, they are one character, and those at the ends are
        none. Letters with accents are one character, composed or not.

        Arguments
        ---------
        identity : str
            Which utterance.
        text : str
            What the model says.
        transcript : str
            What was said.

        Returns
        -------
        list of tuple of int
            The words that are right: index of each in the text and in the
            transcript, by SpeechBrain's alignment.
        """
        ours, said = (
            normalise_transcript(each).split() for each in (text, transcript)
        )
        self.words.append([identity], [ours], [said])
        self.characters.append(
            [identity], [list(" ".join(ours))], [list(" ".join(said))]
        )
        return [
            (ours, said)
            for symbol, said, ours in self.words.scores[-1]["alignment"]
            if symbol == EDIT_SYMBOLS["eq"]
        ]

    @property
    def word_error_rate(self):
        """In percent."""
        return self.words.summarize("error_rate")

    @property
    def character_error_rate(self):
        """In percent."""
        return self.characters.summarize("error_rate")

    def write_alignments(self, path):
        """Writes the alignment of each utterance's words, as SpeechBrain does.

        Arguments
        ---------
        path : str or pathlib.Path
            The file; it is whole or not there.
        """
        stream = io.StringIO()
        self.words.write_stats(stream)
        write_atomically(path, stream.getvalue())

    def words_with_interval(self, resamples=RESAMPLES, seed=0):
        """The word error rate.

        Arguments
        ---------
        resamples : int
            Resamples of the bootstrap.
        seed : int
            Of the bootstrap.

        Returns
        -------
        ErrorRate
        """
        return _with_interval(self.words, resamples, seed)

    def characters_with_interval(self, resamples=RESAMPLES, seed=0):
        """The character error rate. As :meth:`words_with_interval`."""
        return _with_interval(self.characters, resamples, seed)


def _with_interval(stats, resamples, seed):
    summary = stats.summarize()
    errors, totals = (
        np.array([score[name] for score in stats.scores])
        for name in ("num_edits", "num_ref_tokens")
    )
    low, high = bootstrap_interval(errors, totals, resamples, seed)
    return ErrorRate(
        float(summary["error_rate"]),
        low,
        high,
        int(errors.sum()),
        int(totals.sum()),
    )


def bootstrap_interval(errors, totals, resamples=RESAMPLES, seed=0):
    """The 95 % interval of an error rate: the percentiles of the rates of as
    many utterances, drawn again and again with replacement.

    Arguments
    ---------
    errors : numpy.ndarray
        Errors of each utterance, (utterances,).
    totals : numpy.ndarray
        Words, or characters, that were said in each, (utterances,).
    resamples : int
        How often they are drawn.
    seed : int
        Of the draws.

    Returns
    -------
    float
        Lower end in percent.
    float
        Upper end in percent.

    Example
    -------
    >>> bootstrap_interval(np.array([1, 1, 1]), np.array([4, 4, 4]))
    (25.0, 25.0)
    """
    generator = np.random.default_rng(seed)
    rates = np.empty(resamples)
    for index in range(resamples):
        drawn = generator.integers(len(errors), size=len(errors))
        said = totals[drawn].sum()
        rates[index] = errors[drawn].sum() / said if said else np.nan
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.nanpercentile(rates, [tail, 100 - tail]) * 100
    return float(low), float(high)
