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

from ngrams.arpa import write_arpa
from ngrams.estimation import estimate_ngrams
from ngrams.sources import read_transcripts
from speechbrain_llsa.utils.normalization import CASES, fold_transcript
from speechbrain_llsa_runtime.utils.parser import OneLineParser
from speechbrain_llsa_runtime.utils.printing import all_characters
from synthesis.text import KINDS, make_texts, transcript_of


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
