"""Writes n-grams in ARPA format."""

import math
from pathlib import Path

NEVER = -99.0
"""Logarithm of a probability of 0, as ARPA files write it."""


def write_arpa(path, levels):
    """Writes n-grams in ARPA format. Where the mass for unseen words is 1, as
    after most long n-grams, it is not written; SpeechBrain's own reader needs
    that of words.

    Arguments
    ---------
    path : str or pathlib.Path
        The file.
    levels : list of dict
        The result of :func:`ngrams.estimation.estimate_ngrams`.

    Example
    -------
    >>> path = getfixture("tmp_path") / "a.arpa"
    >>> write_arpa(path, [{("A",): (0.1, 0.01)}, {("A", "A"): (1.0, 1.0)}])
    >>> path.read_text().split("\\n")[5]
    '-1.0000000\\tA\\t-2.0000000'
    """
    lines = ["\\data\\"]
    lines += [f"ngram {n}={len(level)}" for n, level in enumerate(levels, 1)]
    for n, level in enumerate(levels, 1):
        lines += ["", f"\\{n}-grams:"]
        for ngram in sorted(level):
            probability, left = level[ngram]
            logarithm = math.log10(probability) if probability else NEVER
            line = f"{logarithm:.7f}\t{' '.join(ngram)}"
            if n == 1 or (n < len(levels) and left != 1.0):
                line += f"\t{math.log10(left):.7f}"
            lines.append(line)
    lines += ["", "\\end\\", ""]
    Path(path).write_text("\n".join(lines), encoding="utf-8")
