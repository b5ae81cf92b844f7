#!/usr/bin/env python3
"""Where words begin and end, by forced alignment with the acoustic model of
pocketsphinx (requirements/peers.txt), which has no part in our models.

> python benchmarks/word_alignment.py --data LibriSpeech --splits dev-other

writes SPEAKER-CHAPTER.ctm beside each SPEAKER-CHAPTER.trans.txt of the splits,
which ``evaluate`` then measures delays from. Utterances whose words are not all
in the dictionary are left out.
"""

import argparse
from collections import defaultdict

from common import read_splits
from peer_systems import pcm16
from speechbrain_llsa.evaluation.corpus import word_times_path
from speechbrain_llsa.evaluation.utterance import SpokenWord
from speechbrain_llsa_runtime.utils.atomic_files import write_atomically

FRAME_SECONDS = 0.01


class WordAligner:
    """Aligns transcripts with the speech.

    Example
    -------
    >>> aligner = WordAligner()  # doctest: +SKIP
    >>> aligner.words(samples, "ONE TWO")[0]  # doctest: +SKIP
    SpokenWord(word='ONE', start_seconds=0.31, end_seconds=0.72)
    """

    def __init__(self):
        from pocketsphinx import Decoder

        self.decoder = Decoder(loglevel="FATAL")

    def words(self, samples, transcript):
        """Times of the words.

        Arguments
        ---------
        samples : numpy.ndarray
            float32 at 16 kHz, (samples,).
        transcript : str
            What was spoken.

        Returns
        -------
        list of SpokenWord or None
            ``None`` where the dictionary lacks a word, or nothing fits.
        """
        spelled = transcript.split()
        words = [word.lower() for word in spelled]
        if any(self.decoder.lookup_word(word) is None for word in words):
            return None
        self.decoder.set_align_text(" ".join(words))
        self.decoder.start_utt()
        self.decoder.process_raw(pcm16(samples), full_utt=True)
        self.decoder.end_utt()
        if self.decoder.hyp() is None:
            return None
        found = [
            (each.start_frame, each.end_frame + 1)
            for each in self.decoder.seg()
            if not each.word.startswith(("<", "["))
        ]
        if len(found) != len(words):
            return None
        return [
            SpokenWord(
                word,
                round(start * FRAME_SECONDS, 2),
                round(end * FRAME_SECONDS, 2),
            )
            for word, (start, end) in zip(spelled, found, strict=True)
        ]


def write_word_times(utterances, aligner):
    """Writes the CTM files of a split.

    Arguments
    ---------
    utterances : list of Utterance
        Those of the split.
    aligner : WordAligner
        Finds the words.

    Returns
    -------
    int
        Number of utterances that have word times now.
    """
    lines, aligned = defaultdict(list), 0
    for utterance in utterances:
        words = aligner.words(utterance.read(), utterance.transcript)
        chapter = word_times_path(utterance.path)
        aligned += words is not None
        lines[chapter] += [
            f"{utterance.identity} 1 {each.start_seconds:.2f} "
            f"{each.end_seconds - each.start_seconds:.2f} {each.word}"
            for each in words or ()
        ]
    for path, of_chapter in lines.items():
        write_atomically(path, "\n".join([*of_chapter, ""]))
    return aligned


def main(arguments=None):
    """Aligns, and writes."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--data", required=True, help="folder in LibriSpeech layout"
    )
    parser.add_argument("--splits", nargs="+", required=True)
    options = parser.parse_args(arguments)
    splits, aligner = read_splits(parser, options), WordAligner()
    for split, utterances in splits.items():
        aligned = write_word_times(utterances, aligner)
        print(f"{split}: {aligned} of {len(utterances)} utterances are aligned")


if __name__ == "__main__":
    main()
