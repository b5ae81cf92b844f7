#!/usr/bin/env python3
"""Transcribes speech that has no transcripts with Moonshine tiny-en, the whole
of it and not only its encoder, to train on what that heard (self-training).

> python recipes/English/pseudo_label.py data/english/train-unlabelled
      --out data/english/train-pseudo-labelled

Needs moonshine-voice (``pip install ".[peers]"``). The new split links to the
audio of the old one. What holds anything but letters and apostrophes, such as
digits, whose words are not known, is left out.
"""

import re
from pathlib import Path

from linked_speech import check_new, write_split
from moonshine_transcriber import make_transcriber
from tqdm import tqdm

from speechbrain_llsa.evaluation.librispeech import list_split
from speechbrain_llsa_runtime.dataio.audio_files import read_signal
from speechbrain_llsa_runtime.utils.atomic_files import written_atomically
from speechbrain_llsa_runtime.utils.errors import must_be
from speechbrain_llsa_runtime.utils.parser import OneLineParser

_PUNCTUATION = re.compile(r"[.,?!;:\"“”…()—–-]")
_WORD = r"[A-Z]+('[A-Z]+)*'?"
_WORDS = re.compile(f"{_WORD}( {_WORD})*")


def words_of(text):
    """Words as LibriSpeech writes them.

    Arguments
    ---------
    text : str
        With punctuation.

    Returns
    -------
    str or None
        Capital letters, apostrophes behind them and spaces, ``None`` if there
        is anything else than punctuation beside them, or nothing.

    Example
    -------
    >>> words_of("Well-known, isn’t it?")
    "WELL KNOWN ISN'T IT"
    >>> words_of("In 1850.") is words_of("...") is None
    True
    """
    text = _PUNCTUATION.sub(" ", text.replace("’", "'")).upper()
    words = " ".join(text.split())
    return words if _WORDS.fullmatch(words) else None


def pseudo_label(split, out, transcribe):
    """Writes the new split.

    Arguments
    ---------
    split : str or pathlib.Path
        A folder of speech: SPEAKER/CHAPTER/UTTERANCE.flac.
    out : str or pathlib.Path
        The folder to write.
    transcribe : callable
        From samples, (samples,) in float32 at 16 kHz, to text.

    Returns
    -------
    int
        Utterances that have words now.
    int
        Utterances that are left out.

    Raises
    ------
    FileExistsError
        If there is something at ``out``.
    ValueError
        If there are no files, or no words in them.
    """
    split, out = Path(split), Path(out)
    check_new("--out", out)
    files = list(map(Path, list_split(split.absolute())["audio"]))
    if not files:
        raise ValueError(
            must_be(
                "SPLIT",
                "a folder of speech, SPEAKER/CHAPTER/UTTERANCE.flac",
                repr(str(split)),
            )
        )
    transcripts = {}
    for file in tqdm(files, unit="file", disable=None):
        try:
            words = words_of(transcribe(read_signal(file)))
        except ValueError as error:  # audio that cannot be read
            print(f"left out: {error}")
            continue
        if words is not None:
            transcripts[file] = words
    if not transcripts:
        raise ValueError(
            must_be("SPLIT", "speech with words", f"none in {len(files)} files")
        )
    with written_atomically(out) as new:
        write_split(new, transcripts)
    return len(transcripts), len(files) - len(transcripts)


def main(arguments=None):
    """Runs the script.

    Arguments
    ---------
    arguments : list of str, optional
        The command line without the name of the program.
    """
    parser = OneLineParser(
        description="Transcribes speech to train on with Moonshine tiny-en."
    )
    parser.add_argument(
        "split", metavar="SPLIT", help="a split in LibriSpeech layout"
    )
    parser.add_argument(
        "--out", required=True, metavar="FOLDER", help="the split to write"
    )
    options = parser.parse_args(arguments)
    try:
        transcribe, _ = make_transcriber()
        counts = pseudo_label(options.split, options.out, transcribe)
    except (ModuleNotFoundError, OSError, ValueError) as error:
        parser.error(error)
    print("{} utterances with words, {} left out".format(*counts))


if __name__ == "__main__":
    main()
