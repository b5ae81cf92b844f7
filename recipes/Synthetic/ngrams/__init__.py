"""Parts of the estimation of n-grams behind `ngram.py`."""
