"""Estimates the probabilities of word n-grams from sentences.

The smoothing is interpolated Witten-Bell: the probability of a word after a
history is its relative frequency, discounted by the mass that the history
reserves for unseen words.
"""

from collections import Counter, defaultdict

from speechbrain_llsa_runtime.utils.errors import must_be

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"


def estimate_ngrams(transcripts, order):
    """Estimates the probabilities of an n-gram model.

    Arguments
    ---------
    transcripts : iterable of str
        Words with spaces between them, one sentence each.
    order : int
        Length of the longest n-grams, 2 to 6, the range of KenLM.

    Returns
    -------
    list of dict
        For n-grams of 1, 2, ... words: by n-gram, a tuple of str, its
        conditional probability, and the probability mass that it reserves for
        unseen next words.

    Raises
    ------
    ValueError
        If the order is out of range, or there are no words.

    Example
    -------
    >>> unigrams, bigrams = estimate_ngrams(["A B", "A A"], order=2)
    >>> probability, left = bigrams["A", "B"]
    >>> round(probability, 3)  # half of 1/3, and half of that of B alone
    0.264
    """
    if not 2 <= order <= 6:
        raise ValueError(must_be("order", "2 to 6", order))
    followers = _count(transcripts, order)
    vocabulary = {*followers[0][()], UNKNOWN}
    if len(vocabulary) < 3:
        raise ValueError(
            must_be("transcripts", "text with at least one word", "none")
        )
    shorter = {(word,): 1 / len(vocabulary) for word in vocabulary}
    levels, lefts = [], {}
    for histories in followers:
        probabilities = {}
        for before, words in histories.items():
            shares, left = _witten_bell(words)
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


def _witten_bell(words):
    """Shares of the words that follow a history, and what is left for unseen
    ones: as if each word had been new once."""
    total = len(words) + sum(words.values())
    shares = {word: count / total for word, count in words.items()}
    return shares, len(words) / total
