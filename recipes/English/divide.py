#!/usr/bin/env python3
"""Divides the recordings of one speaker into some to adapt a model with, some
to choose the epoch by and some to measure it on, no sentence being in two.

> python recipes/English/divide.py recordings/90001 --out own

The new tree, in LibriSpeech layout, has the splits ``adapt``, ``valid`` and
``test``; its audio links to that of the old one.
"""

from pathlib import Path

from linked_speech import check_new, write_split

from speechbrain_llsa.evaluation.librispeech import (
    TRANSCRIPT_SUFFIX,
    read_transcripts,
)
from speechbrain_llsa.utils.normalization import fold_transcript
from speechbrain_llsa_runtime.dataio.audio_files import audio_info
from speechbrain_llsa_runtime.utils.atomic_files import written_atomically
from speechbrain_llsa_runtime.utils.checks import check_number
from speechbrain_llsa_runtime.utils.errors import must_be
from speechbrain_llsa_runtime.utils.parser import OneLineParser

SPLITS = ("test", "valid", "adapt")
"""Splits of the new tree, from the last sentences to the first."""


def read_speaker(folder):
    """Finds the utterances of a speaker.

    Arguments
    ---------
    folder : pathlib.Path
        A folder of chapters: SPEAKER/CHAPTER/SPEAKER-CHAPTER-NUMBER.flac, and
        SPEAKER-CHAPTER.trans.txt beside.

    Returns
    -------
    dict of str to dict
        Audio files and their sentences, by the sentence in lower case, in the
        order of the recordings.

    Raises
    ------
    FileNotFoundError
        If a transcript has no audio.
    ValueError
        If there are no transcripts.
    """
    sentences = {}
    for transcripts in sorted(folder.glob(f"*/*{TRANSCRIPT_SUFFIX}")):
        for name, sentence in read_transcripts(transcripts):
            audio = transcripts.with_name(f"{name}.flac").absolute()
            if not audio.is_file():
                raise FileNotFoundError(
                    must_be(
                        str(transcripts), "of recordings beside it", repr(name)
                    )
                )
            spoken = fold_transcript(sentence, "lower")
            sentences.setdefault(spoken, {})[audio] = sentence
    if not sentences:
        raise ValueError(
            must_be(
                "SPEAKER",
                "a folder of chapters with transcripts",
                repr(str(folder)),
            )
        )
    return sentences


def divide(folder, out, test_minutes=20.0, valid_minutes=5.0):
    """Writes the tree.

    Arguments
    ---------
    folder : str or pathlib.Path
        The folder of the speaker, as for :func:`read_speaker`.
    out : str or pathlib.Path
        The tree to write.
    test_minutes : float
        Audio to measure on: the last sentences of the recordings, as many as
        do not make it longer, with all their repetitions.
    valid_minutes : float
        Audio to choose the epoch by: the sentences before those.

    Returns
    -------
    dict of str to float
        Minutes of each split.

    Raises
    ------
    FileExistsError
        If there is something at ``out``.
    FileNotFoundError
        If a recording is missing.
    TypeError
        If the minutes are not a number.
    ValueError
        If there are no transcripts, or a split would be empty.
    """
    folder, out = Path(folder), Path(out)
    limits = [test_minutes, valid_minutes, float("inf")]
    for name, limit in zip(SPLITS, limits[:2], strict=False):
        check_number(f"--{name}_minutes", limit, 0)
    check_new("--out", out)
    splits = {split: {} for split in SPLITS}
    lengths = dict.fromkeys(SPLITS, 0.0)
    remaining = list(zip(SPLITS, limits, strict=True))
    for sentence, files in reversed(read_speaker(folder).items()):
        length = sum(audio_info(file).duration_seconds for file in files) / 60
        while lengths[remaining[0][0]] + length > remaining[0][1]:
            del remaining[0]
        split, _ = remaining[0]
        splits[split][sentence] = files
        lengths[split] += length
    for split, sentences in splits.items():
        if not sentences:
            raise ValueError(
                must_be(
                    "minutes",
                    f"such that there is speech for the split {split} too",
                    f"{test_minutes} and {valid_minutes}",
                )
            )
    with written_atomically(out) as new:
        for split, sentences in splits.items():
            files = {}
            for group in sentences.values():
                files |= group
            write_split(new / split, files)
    return lengths


def main(arguments=None):
    """Runs the script.

    Arguments
    ---------
    arguments : list of str, optional
        The command line without the name of the program.
    """
    parser = OneLineParser(description="Divides the recordings of one speaker.")
    parser.add_argument(
        "speaker", metavar="SPEAKER", help="folder of the speaker's chapters"
    )
    parser.add_argument(
        "--out", required=True, metavar="FOLDER", help="tree to write"
    )
    for split, minutes, purpose in (
        ("test", 20.0, "measure on"),
        ("valid", 5.0, "choose the epoch by"),
    ):
        parser.add_argument(
            f"--{split}_minutes",
            type=float,
            default=minutes,
            metavar="N",
            help=f"audio to {purpose} (default: %(default)s)",
        )
    options = parser.parse_args(arguments)
    try:
        lengths = divide(
            options.speaker,
            options.out,
            options.test_minutes,
            options.valid_minutes,
        )
    except (OSError, ValueError) as error:
        parser.error(error)
    for split, length in lengths.items():
        print(f"{split}: {length:.1f} minutes")


if __name__ == "__main__":
    main()
