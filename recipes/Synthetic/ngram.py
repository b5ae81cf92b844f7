"""Estimates word n-grams from transcripts, as an ARPA file for beam search.

    python ngram.py digits.arpa --order 3 --data DATA --splits train
    python ngram.py sentences.arpa --order 3 --text sentences --lines 20000

The first command counts the words of a folder in LibriSpeech layout, the second
those of the sentences that `synthesize.py` generates. The smoothing is
interpolated Witten-Bell: the probability of a word after a history is its
relative frequency, discounted by the mass that the history reserves for unseen
words. For text that does not fit into memory, use KenLM's lmplz.
"""

import argparse
import math
from collections import Counter, defaultdict
from pathlib import Path

from speechbrain_llsa.evaluation import librispeech
from speechbrain_llsa.utils.normalization import CASES, fold_transcript
from speechbrain_llsa_runtime.utils.errors import must_be
from speechbrain_llsa_runtime.utils.parser import OneLineParser
from speechbrain_llsa_runtime.utils.printing import all_characters
from synthesis.text import KINDS, make_texts, transcript_of

BEGIN, END, UNKNOWN = "<s>", "</s>", "<unk>"
NEVER = -99.0
"""Logarithm of a probability of 0, as ARPA files write it."""


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
    followers = [defaultdict(Counter) for _ in range(order)]
    for transcript in transcripts:
        words = [BEGIN, *transcript.split(), END]
        for end in range(1, len(words)):
            for history in range(min(order, end + 1)):
                before = tuple(words[end - history : end])
                followers[history][before][words[end]] += 1
    vocabulary = {*followers[0][()], UNKNOWN}
    if len(vocabulary) < 3:
        raise ValueError(
            must_be("transcripts", "text with at least one word", "none")
        )
    uniform = {(word,): 1 / len(vocabulary) for word in vocabulary}
    levels, shorter = [], uniform
    for histories in followers:
        probabilities = {}
        for before, words in histories.items():
            left = _left(words)
            total = sum(words.values())
            for word in words if before else sorted(vocabulary):
                lower = shorter[(*before[1:], word)]
                probabilities[(*before, word)] = (1 - left) * words[
                    word
                ] / total + left * lower
        levels.append(probabilities)
        shorter = probabilities
    levels[0][(BEGIN,)] = 0.0
    lefts = {
        before: _left(words)
        for histories in followers[1:]
        for before, words in histories.items()
    }
    return [
        {
            ngram: (value, lefts.get(ngram, 1.0))
            for ngram, value in level.items()
        }
        for level in levels
    ]


def _left(words):
    """Probability mass that a history reserves for unseen words."""
    return len(words) / (len(words) + sum(words.values()))


def write_arpa(path, levels):
    """Writes n-grams in ARPA format.

    Arguments
    ---------
    path : str or pathlib.Path
        The file.
    levels : list of dict
        The result of :func:`estimate_ngrams`.
    """
    lines = ["\\data\\"]
    lines += [f"ngram {n}={len(level)}" for n, level in enumerate(levels, 1)]
    for n, level in enumerate(levels, 1):
        lines += ["", f"\\{n}-grams:"]
        for ngram in sorted(level):
            probability, left = level[ngram]
            logarithm = math.log10(probability) if probability else NEVER
            line = f"{logarithm:.7f}\t{' '.join(ngram)}"
            if n < len(levels):
                line += f"\t{math.log10(left):.7f}"
            lines.append(line)
    lines += ["", "\\end\\", ""]
    Path(path).write_text("\n".join(lines), encoding="utf-8")


def read_transcripts(data, splits):
    """Reads the transcripts of a folder in LibriSpeech layout.

    Arguments
    ---------
    data : str or pathlib.Path
        The folder.
    splits : list of str
        Its sub-folders.

    Returns
    -------
    list of str

    Raises
    ------
    FileNotFoundError
        If a sub-folder is missing, or holds no transcripts.
    ValueError
        If a file is not UTF-8.
    """
    transcripts = []
    for split in splits:
        files = sorted(Path(data, split).rglob("*.trans.txt"))
        if not files:
            raise FileNotFoundError(
                must_be(
                    "splits",
                    f"a folder in {data} with transcripts (*.trans.txt)",
                    repr(split),
                )
            )
        for file in files:
            transcripts += [
                words for _, words in librispeech.read_transcripts(file)
            ]
    return transcripts


@all_characters()
def main(arguments=None):
    """Command line; see `--help`.

    Arguments
    ---------
    arguments : list of str, optional
        sys.argv[1:] by default.
    """
    parser = OneLineParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("out", metavar="OUT.arpa", help="file to write")
    parser.add_argument(
        "--order", type=int, default=3, help="words of an n-gram (default: 3)"
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", help="folder in LibriSpeech layout")
    source.add_argument("--text", choices=KINDS, help="what is made up")
    parser.add_argument(
        "--splits", nargs="+", default=["train"], help="folders of --data"
    )
    parser.add_argument(
        "--transcript_case",
        choices=CASES,
        default="as_is",
        help="case of the words of --data, that of the model's units "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--lines", type=int, default=20000, help="how much of --text"
    )
    parser.add_argument("--seed", type=int, default=1, help="of --text")
    options = parser.parse_args(arguments)
    try:
        if options.data:
            transcripts = [
                fold_transcript(transcript, options.transcript_case)
                for transcript in read_transcripts(options.data, options.splits)
            ]
        else:
            texts = make_texts(
                options.text, {"lines": options.lines}, options.seed
            )
            transcripts = map(transcript_of, texts["lines"])
        levels = estimate_ngrams(transcripts, options.order)
        write_arpa(options.out, levels)
    except (ValueError, OSError) as error:
        parser.error(error)
    counts = ", ".join(str(len(level)) for level in levels)
    print(f"{options.out}: {counts} n-grams of 1 to {len(levels)} words")


if __name__ == "__main__":
    main()
