#!/usr/bin/env python3
"""Divides speech in LibriSpeech layout into speakers to learn from and speakers
to measure on.

> python recipes/English/hold_out.py LibriSpeech --out data/english
      --speakers 1867 1898

The new tree links to the chapters of the old one. The speakers leave every
split; where they have transcripts, they make up the split ``dev-held-out``.
"""

import os
from pathlib import Path

from linked_speech import check_new

from speechbrain_llsa.evaluation.librispeech import TRANSCRIPT_SUFFIX
from speechbrain_llsa_runtime.utils.atomic_files import written_atomically
from speechbrain_llsa_runtime.utils.errors import must_be
from speechbrain_llsa_runtime.utils.parser import OneLineParser

HELD_OUT = "dev-held-out"


def hold_out(source, out, speakers):
    """Writes a tree of links without some speakers, who get a split of their
    own.

    Arguments
    ---------
    source : str or pathlib.Path
        A folder in LibriSpeech layout: SPLIT/SPEAKER/CHAPTER.
    out : str or pathlib.Path
        The folder to write.
    speakers : list of str
        Names of the folders of the speakers.

    Raises
    ------
    FileExistsError
        If there is something at ``out``.
    FileNotFoundError
        If there is no such source.
    ValueError
        If a speaker has no transcripts there.
    """
    source, out = Path(source).absolute(), Path(out)
    if not source.is_dir():
        raise FileNotFoundError(
            must_be("source", "an existing folder", repr(str(source)))
        )
    check_new("--out", out)
    links = {}
    for folder in sorted(source.glob("*/*/*/")):
        split, speaker, chapter = folder.parts[-3:]
        if speaker not in speakers:
            links[Path(split, speaker, chapter)] = folder
        elif any(folder.glob(f"*{TRANSCRIPT_SUFFIX}")):
            links[Path(HELD_OUT, speaker, chapter)] = folder
    held_out = {place.parts[1] for place in links if HELD_OUT in place.parts}
    for speaker in speakers:
        if speaker not in held_out:
            raise ValueError(
                must_be("--speakers", "speakers with transcripts", speaker)
            )
    with written_atomically(out) as new:
        for place, folder in links.items():
            (new / place).parent.mkdir(parents=True, exist_ok=True)
            os.symlink(folder, new / place, target_is_directory=True)


def main(arguments=None):
    """Runs the script.

    Arguments
    ---------
    arguments : list of str, optional
        The command line without the name of the program.
    """
    parser = OneLineParser(description="Holds speakers out of speech.")
    parser.add_argument(
        "source", metavar="FOLDER", help="speech in LibriSpeech layout"
    )
    parser.add_argument(
        "--out", required=True, metavar="FOLDER", help="tree of links to write"
    )
    parser.add_argument(
        "--speakers", required=True, nargs="+", metavar="SPEAKER"
    )
    options = parser.parse_args(arguments)
    try:
        hold_out(options.source, options.out, options.speakers)
    except (OSError, ValueError) as error:
        parser.error(error)


if __name__ == "__main__":
    main()
