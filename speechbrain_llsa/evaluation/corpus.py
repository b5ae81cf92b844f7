"""Readers of test data: LibriSpeech folders, manifests, word times."""

import csv
import io
import json
import math
from pathlib import Path

from speechbrain_llsa.evaluation.librispeech import (
    find_splits,
    list_split,
    read_rows,
    utterance_of,
)
from speechbrain_llsa.evaluation.utterance import SpokenWord, Utterance
from speechbrain_llsa.utils.normalization import (
    fold_transcript,
    normalise_transcript,
)
from speechbrain_llsa_runtime.utils.errors import must_be, reason
from speechbrain_llsa_runtime.utils.text_files import read_lines, read_text

WORD_TIMES_SUFFIX = ".ctm"


def word_times_path(wav):
    """The CTM file that may hold the word times of an utterance of a
    LibriSpeech tree: that of its chapter.

    Arguments
    ---------
    wav : str or pathlib.Path
        Audio file of the utterance, SPEAKER-CHAPTER-NUMBER.flac.

    Returns
    -------
    pathlib.Path

    Example
    -------
    >>> word_times_path("dev/7/1/7-1-0003.flac").name
    '7-1.ctm'
    """
    wav = Path(wav)
    return wav.with_name(wav.stem.rpartition("-")[0] + WORD_TIMES_SUFFIX)


def _csv_rows(text):
    rows = {}
    reader = csv.DictReader(
        io.StringIO(text, newline=""), skipinitialspace=True
    )
    for row in reader:
        identity = row.pop("ID")
        if identity in rows:
            raise ValueError(f"it has the utterance {identity!r} twice")
        rows[identity] = row
    return rows


MANIFEST_READERS = {".csv": _csv_rows, ".json": json.loads}
"""Parsers of manifests by file suffix: from text to rows by utterance."""

TRANSCRIPT_NAMES = ("wrd", "words")
"""Possible names of the transcript in a manifest."""


def read_split(folder, split, on_bad_file="error", progress=False):
    """Reads all utterances of a split in LibriSpeech layout, with word times if
    there are CTM files beside them (:func:`read_word_times`).

    Arguments
    ---------
    folder : str or pathlib.Path
        The folder that holds the splits, or the one that holds LibriSpeech/
        with the splits.
    split : str
        Name of the split.
    on_bad_file : str
        What to do about audio that is empty, truncated, unreadable or without a
        transcript, and about a transcript without audio: "error" raises, "skip"
        leaves them out and warns. Both name them.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    list of Utterance

    Raises
    ------
    FileNotFoundError
        If the folder or the split does not exist.
    ValueError
        If the split has no audio, for bad files, or if word times do not match
        the transcripts.

    Example
    -------
    >>> import numpy as np, soundfile
    >>> folder = getfixture("tmp_path")
    >>> chapter = folder / "test" / "7" / "1"
    >>> chapter.mkdir(parents=True)
    >>> soundfile.write(chapter / "7-1-0000.flac", np.zeros(8000), 16000)
    >>> _ = (chapter / "7-1.trans.txt").write_text("7-1-0000 HELLO\\n")
    >>> _ = (chapter / "7-1.ctm").write_text("7-1-0000 1 0.1 0.3 HELLO\\n")
    >>> (utterance,) = read_split(folder, "test")
    >>> utterance.transcript, utterance.words[0].end_seconds
    ('HELLO', 0.4)
    """
    content = list_split(find_splits(folder, [split])[split])
    rows = read_rows(
        split,
        content,
        progress=progress,
        transcripts_required=True,
        on_bad_file=on_bad_file,
    )
    return _with_words(
        (identity, words, path) for identity, _, path, _, words in rows
    )


def read_manifest(path):
    """Reads a SpeechBrain manifest: CSV or JSON, with ``wav`` and ``wrd``, as
    ``librispeech_prepare.py`` writes it. Word times are read from CTM files
    beside the audio, if there are any.

    Arguments
    ---------
    path : str or pathlib.Path
        The file.

    Returns
    -------
    list of Utterance
        Those with a transcript.

    Raises
    ------
    FileNotFoundError
        If it, or the audio of an utterance, does not exist.
    ValueError
        If it is damaged, or has no utterance with a transcript.

    Example
    -------
    >>> import numpy as np, soundfile
    >>> folder = getfixture("tmp_path")
    >>> soundfile.write(folder / "a.wav", np.zeros(8000), 16000)
    >>> _ = (folder / "test.csv").write_text(
    ...     f"ID,duration,wav,wrd\\n7,0.5,{folder}/a.wav,HELLO\\n"
    ... )
    >>> [each.transcript for each in read_manifest(folder / "test.csv")]
    ['HELLO']
    """
    path = Path(path)
    if not path.is_file() or path.suffix.lower() not in MANIFEST_READERS:
        raise FileNotFoundError(
            must_be(
                "manifest",
                "an existing file that ends in .csv or .json",
                repr(str(path)),
            )
        )
    try:
        data = MANIFEST_READERS[path.suffix.lower()](read_text(path))
        rows = [
            (str(identity), _transcript(row), row["wav"])
            for identity, row in data.items()
        ]
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        raise ValueError(
            must_be(
                "manifest",
                "a manifest of SpeechBrain with wav and wrd",
                f"{str(path)!r}: {reason(error)}",
            )
        ) from error
    rows = [row for row in rows if row[1]]
    if not rows:
        raise ValueError(
            must_be(
                "manifest",
                "a file with at least one transcript",
                f"{str(path)!r} without any",
            )
        )
    for identity, _, audio in rows:
        if not Path(audio).is_file():
            raise FileNotFoundError(
                must_be(
                    f"wav of utterance {identity} in {str(path)!r}",
                    "an existing file",
                    repr(str(audio)),
                )
            )
    return _with_words(rows)


def _transcript(row):
    for name in TRANSCRIPT_NAMES:
        if isinstance(row.get(name), str):
            return normalise_transcript(row[name])
    raise KeyError("wrd")


def _with_words(rows):
    """Makes utterances from rows of identity, transcript and audio path, with
    the word times found beside the audio."""
    times = {}
    utterances = []
    for identity, transcript, path in rows:
        folder = Path(path).parent
        if folder not in times:
            times[folder] = {}
            for file in sorted(folder.glob(f"*{WORD_TIMES_SUFFIX}")):
                times[folder] |= read_word_times(file)
        words = times[folder].get(identity)
        if words is not None:
            _check_words(folder, identity, transcript, words)
        utterances.append(Utterance(identity, transcript, path, words=words))
    return utterances


def _check_words(folder, identity, transcript, words):
    timed = [each.word for each in words]
    if fold_transcript(" ".join(timed)) != fold_transcript(transcript):
        raise ValueError(
            must_be(
                f"{WORD_TIMES_SUFFIX[1:]} in {str(folder)!r}",
                f"the words of the transcript {transcript!r}",
                f"the words {' '.join(timed)!r} for {identity}",
            )
        )


def read_word_times(path):
    """Reads word times from a CTM file, with lines ``UTTERANCE CHANNEL START
    DURATION WORD`` and times in seconds. Further columns, and lines that start
    with ``;;``, are ignored.

    Arguments
    ---------
    path : str or pathlib.Path
        The file.

    Returns
    -------
    dict of str to tuple of SpokenWord
        The words of each utterance, in order.

    Raises
    ------
    ValueError
        If a line is something else.

    Example
    -------
    >>> path = getfixture("tmp_path") / "7-1.ctm"
    >>> _ = path.write_text(";; by hand\\n7-1-0000 1 0.5 0.25 HELLO\\n")
    >>> read_word_times(path)["7-1-0000"]
    (SpokenWord(word='HELLO', start_seconds=0.5, end_seconds=0.75),)
    """
    utterances = {}
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip() or line.startswith(";;"):
            continue
        try:
            name, _, start, duration, word, *_ = line.split()
            start, end = float(start), float(start) + float(duration)
            if not 0 <= start <= end < math.inf:
                raise ValueError("its times are out of range")
        except ValueError as error:
            raise ValueError(
                must_be(
                    f"{path}, line {number}",
                    "UTTERANCE CHANNEL START DURATION WORD",
                    f"{line.strip()[:80]!r}: {reason(error)}",
                )
            ) from error
        utterances.setdefault(utterance_of(name), []).append(
            SpokenWord(normalise_transcript(word), start, end)
        )
    return {
        identity: tuple(sorted(words, key=lambda each: each.start_seconds))
        for identity, words in utterances.items()
    }
