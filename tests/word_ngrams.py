"""A small language model in ARPA format, for tests."""

import numpy as np

WORDS = ("A", "BC", "CAB", "B")


def make_arpa(path, order=3, words=WORDS, seed=0):
    """Counts the n-grams of sentences at random; the recipes have to be
    importable."""
    from ngrams.arpa import write_arpa
    from ngrams.estimation import estimate_ngrams

    generator = np.random.default_rng(seed)
    sentences = [
        " ".join(generator.choice(words, generator.integers(1, 8)))
        for _ in range(100)
    ]
    write_arpa(path, estimate_ngrams(sentences, order))
    return path
