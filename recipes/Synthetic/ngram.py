"""Estimates word n-grams from transcripts, as an ARPA file for beam search.

    python ngram.py digits.arpa --order 3 --data DATA --splits train
    python ngram.py sentences.arpa --order 3 --text sentences --lines 20000
    python ngram.py english.arpa --order 4 --smoothing kneser_ney --prune 1e-8 \
        --data DATA --splits train-clean-5 so762-train \
        --text_files books.txt letters.txt --without_speakers 1867 1898

The first command counts the words of a folder in LibriSpeech layout, the second
those of the sentences that `synthesize.py` generates, the third those of all
that is named. Speakers who are to test a recogniser should have no sentence in
its n-grams: --without_speakers leaves theirs out, in text files too. For text
that does not fit into memory, use KenLM's lmplz.
"""

import argparse

from ngrams.arpa import write_arpa
from ngrams.estimation import SMOOTHINGS, estimate_ngrams
from ngrams.pruning import prune_ngrams
from ngrams.sources import (
    leave_out_speakers,
    read_sentences,
    read_utterances,
)
from speechbrain_llsa.utils.normalization import CASES, fold_transcript
from speechbrain_llsa_runtime.utils.errors import must_be
from speechbrain_llsa_runtime.utils.parser import OneLineParser
from speechbrain_llsa_runtime.utils.printing import all_characters
from synthesis.text import KINDS, make_texts, transcript_of


def _collect(options):
    """Speaker, if there is one, and sentence of all that is to be counted."""
    splits = options.splits or [["train"]]
    if len(splits) == 1:
        splits *= len(options.data)
    if len(splits) != len(options.data):
        raise ValueError(
            must_be(
                "splits",
                "given once, or once for each --data",
                f"{len(splits)} for {len(options.data)}",
            )
        )
    utterances = []
    for data, names in zip(options.data, splits, strict=True):
        utterances += read_utterances(data, names)
    for path in options.text_files:
        utterances += [(None, sentence) for sentence in read_sentences(path)]
    utterances = [
        (speaker, fold_transcript(words, options.transcript_case))
        for speaker, words in utterances
    ]
    if options.text:
        texts = make_texts(options.text, {"lines": options.lines}, options.seed)
        utterances += [(None, transcript_of(text)) for text in texts["lines"]]
    return leave_out_speakers(utterances, options.without_speakers)


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
    parser.add_argument(
        "--smoothing",
        choices=SMOOTHINGS,
        default="witten_bell",
        help="where words that were not seen after a history get probability "
        "from (default: %(default)s)",
    )
    parser.add_argument(
        "--prune",
        metavar="THRESHOLD",
        type=float,
        default=0.0,
        help="leave out n-grams without which the perplexity grows by a "
        "smaller share than this, such as 1e-7 (default: none)",
    )
    parser.add_argument(
        "--data",
        action="append",
        default=[],
        help="folder in LibriSpeech layout; may be given several times",
    )
    parser.add_argument(
        "--splits",
        nargs="+",
        action="append",
        help="folders of --data; given once for all of them, or once for each, "
        "in order (default: train)",
    )
    parser.add_argument(
        "--text_files",
        metavar="FILE",
        nargs="+",
        default=[],
        help="files with a sentence on each line, spelled here in capitals "
        "without digits and punctuation",
    )
    parser.add_argument("--text", choices=KINDS, help="what is made up")
    parser.add_argument(
        "--without_speakers",
        metavar="SPEAKER",
        nargs="+",
        default=[],
        help="speakers of --data whose sentences are left out, whoever says "
        "them",
    )
    parser.add_argument(
        "--transcript_case",
        choices=CASES,
        default="as_is",
        help="case of the words of --data and --text_files, that of the "
        "model's units (default: %(default)s)",
    )
    parser.add_argument(
        "--lines", type=int, default=20000, help="how much of --text"
    )
    parser.add_argument("--seed", type=int, default=1, help="of --text")
    options = parser.parse_args(arguments)
    if not (options.data or options.text_files or options.text):
        parser.error(
            "one of the arguments --data --text_files --text is required"
        )
    try:
        transcripts = [transcript for _, transcript in _collect(options)]
        levels = estimate_ngrams(transcripts, options.order, options.smoothing)
        levels = prune_ngrams(levels, options.prune)
        write_arpa(options.out, levels)
    except (ValueError, OSError) as error:
        parser.error(error)
    counts = ", ".join(str(len(level)) for level in levels)
    print(f"{options.out}: {counts} n-grams of 1 to {len(levels)} words")


if __name__ == "__main__":
    main()
