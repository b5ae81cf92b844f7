"""Trees in LibriSpeech layout whose audio links to that of others."""

import os
from pathlib import Path

from speechbrain_llsa.evaluation.librispeech import TRANSCRIPT_SUFFIX
from speechbrain_llsa_runtime.utils.errors import must_be


def check_new(name, path):
    """Checks that nothing lies where a tree is to be written.

    Arguments
    ---------
    name : str
        Name of the argument, for the error.
    path : pathlib.Path
        Its value.

    Raises
    ------
    FileExistsError
        If something does.
    """
    if path.exists():
        raise FileExistsError(
            must_be(name, "a path where nothing lies", repr(str(path)))
        )


def write_split(folder, transcripts):
    """Writes a split: links to audio files, and their transcripts.

    Arguments
    ---------
    folder : pathlib.Path
        The folder of the split.
    transcripts : dict of pathlib.Path to str
        The words of each audio file, whose absolute path is
        .../SPEAKER/CHAPTER/UTTERANCE.flac.
    """
    chapters = {}
    for file, words in transcripts.items():
        chapter = folder / Path(*file.parts[-3:-1])
        chapter.mkdir(parents=True, exist_ok=True)
        os.symlink(file, chapter / file.name)
        chapters.setdefault(chapter, []).append(f"{file.stem} {words}\n")
    for chapter, lines in chapters.items():
        name = "-".join(chapter.parts[-2:]) + TRANSCRIPT_SUFFIX
        text = "".join(sorted(lines))
        (chapter / name).write_text(text, encoding="utf-8")
