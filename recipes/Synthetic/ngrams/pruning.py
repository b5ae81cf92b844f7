"""Leaves out n-grams that change little: entropy pruning (Stolcke, 1998)."""

import math
from collections import defaultdict
from itertools import pairwise

from ngrams.estimation import BEGIN, END
from speechbrain_llsa_runtime.utils.errors import must_be


def prune_ngrams(levels, threshold):
    """Leaves out each n-gram without which the perplexity of text that the
    model itself makes up grows by a smaller share than a threshold. Words stay,
    and what longer n-grams begin and end with: KenLM looks for both.

    Arguments
    ---------
    levels : list of dict
        The result of :func:`ngrams.estimation.estimate_ngrams`.
    threshold : float
        The share, 0 or more; 0 leaves out nothing.

    Returns
    -------
    list of dict
        As levels; the mass for unseen words is such that all probabilities
        after a history sum to 1.

    Raises
    ------
    ValueError
        If the threshold is negative, or no number.

    Example
    -------
    >>> from ngrams.estimation import estimate_ngrams
    >>> levels = estimate_ngrams(["A B", "A A"], order=2)
    >>> [len(level) for level in levels]
    [5, 5]
    >>> [len(level) for level in prune_ngrams(levels, 0.05)]
    [5, 2]
    """
    if not 0 <= threshold < math.inf:
        raise ValueError(must_be("prune", "0 or more", threshold))
    if threshold == 0:
        return levels
    kept, parts = [], set()
    for n in reversed(range(1, len(levels))):
        level = {
            ngram: levels[n][ngram]
            for history, ngrams in _by_history(levels[n]).items()
            for ngram, growth in _growths(levels, history, ngrams)
            if growth >= threshold or ngram in parts
        }
        parts = {part for ngram in level for part in (ngram[:-1], ngram[1:])}
        kept.append(level)
    return _with_masses([levels[0], *reversed(kept)])


def _by_history(level):
    """The n-grams that begin with each history."""
    ngrams = defaultdict(list)
    for ngram in level:
        ngrams[ngram[:-1]].append(ngram)
    return ngrams


def _growths(levels, history, ngrams):
    """Each n-gram of a history with the share by which the perplexity grows
    without it."""
    level, shorter = levels[len(history)], levels[len(history) - 1]
    frequency = _probability(levels, history)
    unseen = 1 - math.fsum(shorter[ngram[1:]][0] for ngram in ngrams)
    _, left = shorter[history]
    for ngram in ngrams:
        probability, lower = level[ngram][0], shorter[ngram[1:]][0]
        new_left = (left * unseen + probability) / (unseen + lower)
        gain = probability * math.log(new_left * lower / probability)
        gain += left * unseen * math.log(new_left / left)
        yield ngram, math.expm1(-frequency * gain)


def _probability(levels, ngram):
    """Of an n-gram anywhere in a text; sentences begin as often as they end."""
    first = END if ngram[0] == BEGIN else ngram[0]
    product, _ = levels[0][(first,)]
    for n in range(1, len(ngram)):
        product *= levels[n][ngram[: n + 1]][0]
    return product


def _with_masses(levels):
    """With the mass that each history then has for unseen words."""
    levels = [
        {ngram: (probability, 1.0) for ngram, (probability, _) in level.items()}
        for level in levels
    ]
    for shorter, longer in pairwise(levels):
        for history, ngrams in _by_history(longer).items():
            seen = math.fsum(longer[ngram][0] for ngram in ngrams)
            lower = math.fsum(shorter[ngram[1:]][0] for ngram in ngrams)
            probability, _ = shorter[history]
            shorter[history] = probability, (1 - seen) / (1 - lower)
    return levels
