"""Word and character error rates, with bootstrap confidence intervals."""

import io
from dataclasses import dataclass

import numpy as np
from speechbrain.utils.edit_distance import EDIT_SYMBOLS
from speechbrain.utils.metric_stats import ErrorRateStats

from speechbrain_llsa.utils.normalization import normalise_transcript
from speechbrain_llsa_runtime.utils.atomic_files import write_atomically

CONFIDENCE = 0.95
"""Level of the confidence intervals."""

RESAMPLES = 1000
"""Default number of bootstrap resamples."""


@dataclass(frozen=True)
class ErrorRate:
    """An error rate with its 95 % bootstrap interval over utterances."""

    percent: float
    """Errors per spoken word or character, in percent."""

    low: float
    """Lower end of the interval, in percent."""

    high: float
    """Upper end of the interval, in percent."""

    errors: int
    """Insertions, deletions and substitutions."""

    total: int
    """Number of spoken words or characters."""


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
        """Number of utterances."""
        return len(self.words.ids)

    def append(self, identity, text, transcript):
        """Counts the errors of one utterance. Spaces between two words count as
        one character however many there are, and those at the ends do not
        count. A letter with an accent is one character, composed or not.

        Arguments
        ---------
        identity : str
            Name of the utterance.
        text : str
            The hypothesis: what the model recognised.
        transcript : str
            The reference: what was spoken.

        Returns
        -------
        list of tuple of int
            The correct words: index of each in the text and in the transcript,
            by SpeechBrain's alignment.
        """
        hypothesis, reference = (
            normalise_transcript(each).split() for each in (text, transcript)
        )
        self.words.append([identity], [hypothesis], [reference])
        self.characters.append(
            [identity],
            [list(" ".join(hypothesis))],
            [list(" ".join(reference))],
        )
        return [
            (hypothesis, reference)
            for symbol, reference, hypothesis in self.words.scores[-1][
                "alignment"
            ]
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
            The file, written atomically.
        """
        stream = io.StringIO()
        self.words.write_stats(stream)
        write_atomically(path, stream.getvalue())

    def words_with_interval(self, resamples=RESAMPLES, seed=0):
        """Word error rate with its confidence interval.

        Arguments
        ---------
        resamples : int
            Number of bootstrap resamples.
        seed : int
            Seed of the bootstrap.

        Returns
        -------
        ErrorRate
        """
        return _with_interval(self.words, resamples, seed)

    def characters_with_interval(self, resamples=RESAMPLES, seed=0):
        """Character error rate, otherwise as :meth:`words_with_interval`."""
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
    """The 95 % confidence interval of an error rate, by bootstrap: percentiles
    of the rates of utterances resampled with replacement.

    Arguments
    ---------
    errors : numpy.ndarray
        Errors of each utterance, (utterances,).
    totals : numpy.ndarray
        Spoken words, or characters, of each utterance, (utterances,).
    resamples : int
        Number of resamples.
    seed : int
        Seed of the resampling.

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
        total = totals[drawn].sum()
        rates[index] = errors[drawn].sum() / total if total else np.nan
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.nanpercentile(rates, [tail, 100 - tail]) * 100
    return float(low), float(high)
