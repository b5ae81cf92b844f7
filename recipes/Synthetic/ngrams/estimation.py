"""Estimates the probabilities of word n-grams from sentences.

The probability of a word after a history is a share of its own, and the rest
of the history's probability mass times that of the word after a shorter
history. The smoothing sets the shares:

- interpolated Witten-Bell takes each word as if it had been new once more;
- interpolated modified Kneser-Ney (Chen and Goodman, 1999) takes a discount off
  each count, and lets a shorter history count how many different words stood
  before, instead of how often one did.
"""

from collections import Counter, defaultdict
from functools import partial
from itertools import pairwise

from speechbrain_llsa_runtime.utils.errors import must_be

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"

SMOOTHINGS = ("witten_bell", "kneser_ney")

USUAL_DISCOUNTS = (0.5, 1.0, 1.5)
"""Of counts of 1, 2 and more, where there is too little text to estimate them;
those that KenLM's lmplz falls back to."""


def estimate_ngrams(transcripts, order, smoothing="witten_bell"):
    """Estimates the probabilities of an n-gram model.

    Arguments
    ---------
    transcripts : iterable of str
        Words with spaces between them, one sentence each.
    order : int
        Length of the longest n-grams, 2 to 6, the range of KenLM.
    smoothing : str
        "witten_bell" or "kneser_ney".

    Returns
    -------
    list of dict
        For n-grams of 1, 2, ... words: by n-gram, a tuple of str, its
        conditional probability, and the probability mass that it reserves for
        unseen next words.

    Raises
    ------
    ValueError
        If the order is out of range, the smoothing is unknown, or there are no
        words.

    Example
    -------
    >>> unigrams, bigrams = estimate_ngrams(["A B", "A A"], order=2)
    >>> probability, left = bigrams["A", "B"]
    >>> round(probability, 3)  # half of 1/3, and half of that of B alone
    0.264
    """
    if not 2 <= order <= 6:
        raise ValueError(must_be("order", "2 to 6", order))
    if smoothing not in SMOOTHINGS:
        raise ValueError(
            must_be("smoothing", " or ".join(SMOOTHINGS), repr(smoothing))
        )
    followers = _count(transcripts, order)
    vocabulary = {*followers[0][()], UNKNOWN}
    if len(vocabulary) < 3:
        raise ValueError(
            must_be("transcripts", "text with at least one word", "none")
        )
    if smoothing == "kneser_ney":
        _count_words_before(followers)
    shorter = {(word,): 1 / len(vocabulary) for word in vocabulary}
    levels, lefts = [], {}
    for histories in followers:
        share = _witten_bell
        if smoothing == "kneser_ney":
            share = partial(_kneser_ney, _discounts(histories))
        probabilities = {}
        for before, words in histories.items():
            shares, left = share(words)
            for word in words if before else sorted(vocabulary):
                lower = shorter[(*before[1:], word)]
                probabilities[(*before, word)] = (
                    shares.get(word, 0.0) + left * lower
                )
            lefts[before] = left
        levels.append(probabilities)
        shorter = probabilities
    levels[0][(BEGIN,)] = 0.0
    return [
        {
            ngram: (value, lefts.get(ngram, 1.0))
            for ngram, value in level.items()
        }
        for level in levels
    ]


def _count(transcripts, order):
    """How often each word follows each history, by length of the history."""
    followers = [defaultdict(Counter) for _ in range(order)]
    for transcript in transcripts:
        words = [BEGIN, *transcript.split(), END]
        for end in range(1, len(words)):
            for history in range(min(order, end + 1)):
                before = tuple(words[end - history : end])
                followers[history][before][words[end]] += 1
    return followers


def _count_words_before(followers):
    """Replaces the counts of all but the longest n-grams by the number of words
    that stood before them; before a sentence none does."""
    for shorter, longer in pairwise(followers):
        for before in shorter:
            if before[:1] != (BEGIN,):
                shorter[before] = Counter()
        for before, words in longer.items():
            shorter[before[1:]].update(words.keys())


def _witten_bell(words):
    """Shares of the words that follow a history, and what is left for unseen
    ones: as if each word had been new once."""
    total = len(words) + sum(words.values())
    shares = {word: count / total for word, count in words.items()}
    return shares, len(words) / total


def _kneser_ney(discounts, words):
    """Shares of the words that follow a history, and what is left for unseen
    ones: the discounts of all."""
    total = sum(words.values())
    taken = {
        word: discounts[min(count, 3) - 1] for word, count in words.items()
    }
    shares = {
        word: (count - taken[word]) / total for word, count in words.items()
    }
    return shares, sum(taken.values()) / total


def _discounts(histories):
    """Discounts of counts of 1, 2 and more, from how many n-grams have them."""
    counts = Counter(
        count for words in histories.values() for count in words.values()
    )
    if not all(counts[count] for count in (1, 2, 3, 4)):
        return USUAL_DISCOUNTS
    ratio = counts[1] / (counts[1] + 2 * counts[2])
    discounts = tuple(
        count - (count + 1) * ratio * counts[count + 1] / counts[count]
        for count in (1, 2, 3)
    )
    return discounts if min(discounts) > 0 else USUAL_DISCOUNTS
