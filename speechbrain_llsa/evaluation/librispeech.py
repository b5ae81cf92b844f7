"""Folders in the layout of LibriSpeech: SPLIT/SPEAKER/CHAPTER/ with audio and
SPEAKER-CHAPTER.trans.txt."""

import hashlib
import logging
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import soundfile
from tqdm import tqdm

from speechbrain_llsa.utils.normalization import normalise_transcript
from speechbrain_llsa_runtime.dataio.audio_files import open_audio
from speechbrain_llsa_runtime.utils.text_files import read_lines

logger = logging.getLogger(__name__)

AUDIO_SUFFIXES = (".flac", ".wav")
TRANSCRIPT_SUFFIX = ".trans.txt"
_NAMED_AT_MOST = 10
_HOST_VARIABLE = re.compile(r"\$[\w.]")


def find_splits(data_folder, splits):
    """Finds the folder of each split.

    Arguments
    ---------
    data_folder : str or pathlib.Path
        The folder that holds the splits, or the one that holds LibriSpeech/
        with the splits.
    splits : list of str
        Names of folders, for example train-clean-100.

    Returns
    -------
    dict of str to pathlib.Path
        The absolute folder of each, by name.

    Raises
    ------
    FileNotFoundError
        If the data folder or any split does not exist; all are named.
    ValueError
        If the data folder has a name that SpeechBrain's manifests cannot hold.
    """
    data_folder = Path(data_folder)
    if not data_folder.is_dir():
        raise FileNotFoundError(
            f"data_folder must be an existing folder, got {data_folder}."
        )
    data_folder = data_folder.resolve()
    if _HOST_VARIABLE.search(str(data_folder)):
        raise ValueError(
            "data_folder must not hold a $, which SpeechBrain's manifests "
            f"take for a variable, got {data_folder}."
        )
    roots = [data_folder]
    if (data_folder / "LibriSpeech").is_dir():
        roots.append(data_folder / "LibriSpeech")
    found = {
        split: root / split
        for split in splits
        for root in reversed(roots)
        if (root / split).is_dir()
    }
    missing = [split for split in dict.fromkeys(splits) if split not in found]
    if missing:
        there = sorted(
            str(path.relative_to(data_folder))
            for root in roots
            for path in root.iterdir()
            if path.is_dir() and path not in roots
        )
        raise FileNotFoundError(
            f"splits must be folders in {data_folder}: "
            f"{', '.join(missing)} not found, there are "
            f"{', '.join(there) or 'no folders'}."
        )
    return found


def list_split(folder):
    """Lists the files of a split.

    Arguments
    ---------
    folder : pathlib.Path
        Its folder.

    Returns
    -------
    dict
        ``folder``; ``audio`` and ``transcripts``, lists of paths;
        ``misplaced``, the number of audio files outside of SPEAKER/CHAPTER/,
        which are ignored; ``fingerprint``, which changes if any file does.
    """
    audio, transcripts, misplaced = [], [], 0
    newest, total_bytes = 0.0, 0
    digest = hashlib.blake2b(digest_size=16)
    for parent, folders, files in os.walk(folder, followlinks=True):
        folders.sort()
        depth = len(Path(parent).relative_to(folder).parts)
        for name in sorted(files):
            is_audio = name.lower().endswith(AUDIO_SUFFIXES)
            if name.startswith(".") or not (
                is_audio or name.endswith(TRANSCRIPT_SUFFIX)
            ):
                continue
            path = os.path.join(parent, name)
            if depth != 2:
                misplaced += is_audio
                continue
            (audio if is_audio else transcripts).append(path)
            status = os.stat(path)
            newest = max(newest, status.st_mtime)
            total_bytes += status.st_size
            relative = os.path.relpath(path, folder)
            digest.update(
                f"{relative}\0{status.st_size}\0{status.st_mtime_ns}\n".encode()
            )
    return {
        "folder": folder,
        "audio": audio,
        "transcripts": transcripts,
        "misplaced": misplaced,
        "fingerprint": {
            "files": len(audio) + len(transcripts),
            "bytes": total_bytes,
            "newest": newest,
            "hash": digest.hexdigest(),
        },
    }


def utterance_of(name):
    """Identity of the utterance that a line of a text file refers to.

    Arguments
    ---------
    name : str
        The utterance, or its audio file.

    Returns
    -------
    str

    Example
    -------
    >>> utterance_of("7-1-0000"), utterance_of("7-1-0000.flac")
    ('7-1-0000', '7-1-0000')
    """
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in AUDIO_SUFFIXES else name


def read_transcripts(path):
    """Reads a file of transcripts: lines ``UTTERANCE WORDS``.

    Arguments
    ---------
    path : str or pathlib.Path
        The file.

    Returns
    -------
    list of (str, str)
        Utterance and words of each line, as :func:`normalise_transcript`
        gives them.

    Raises
    ------
    ValueError
        If it is not UTF-8.

    Example
    -------
    >>> path = getfixture("tmp_path") / "7-1.trans.txt"
    >>> _ = path.write_text("7-1-0000.flac  ONE\\tTWO\\r\\n\\n7-1-0001")
    >>> read_transcripts(path)
    [('7-1-0000', 'ONE TWO'), ('7-1-0001', '')]
    """
    lines = map(normalise_transcript, read_lines(path))
    parts = [line.partition(" ") for line in lines if line]
    return [(utterance_of(name), words) for name, _, words in parts]


def _transcripts_by_utterance(paths):
    """Words and file of each utterance, and what is wrong with the files."""
    transcripts, bad = {}, []
    for path in paths:
        try:
            lines = read_transcripts(path)
        except ValueError as error:
            bad.append((path, str(error).removeprefix(f"{path} ")))
            continue
        for utterance, words in lines:
            if utterance in transcripts:
                bad.append((path, f"has {utterance} twice"))
            transcripts[utterance] = (words, path)
    return transcripts, bad


def _duration_or_fault(path):
    """Duration in seconds, or a description of what is wrong with the file."""
    try:
        if os.path.getsize(path) == 0:
            return "is empty"
        with open_audio(path) as (file, shortfall):
            if shortfall:
                return f"is truncated: {shortfall}"
            if file.frames == 0:
                return "holds no audio"
            try:
                file.seek(file.frames - 1)
                complete = len(file.read(1)) == 1
            except soundfile.LibsndfileError:
                complete = False
            if not complete:
                return "is truncated"
            return file.frames / file.samplerate
    except (OSError, ValueError) as error:
        return f"cannot be read ({error})"


def read_rows(
    split,
    content,
    threads=8,
    progress=False,
    transcripts_required=False,
    on_bad_file="error",
):
    """Reads the transcripts of a split, and the durations of its audio files
    from their headers, checking that the last sample can be decoded.

    Arguments
    ---------
    split : str
        Its name.
    content : dict
        The result of :func:`list_split`.
    threads : int
        Number of files to open at once.
    progress : bool
        Whether to show a progress bar.
    transcripts_required : bool
        Whether audio without a transcript is a bad file. Otherwise its
        transcript is empty.
    on_bad_file : str
        What to do about audio that is empty, truncated or unreadable, and about
        a transcript without audio: "error" raises, "skip" leaves them out and
        warns. Both name them.

    Returns
    -------
    list of tuple
        Utterance, duration in seconds, path of the audio, speaker and words
        of each.

    Raises
    ------
    ValueError
        If the split has no audio, or for bad files.
    """
    audio = content["audio"]
    if not audio:
        raise ValueError(
            f"split {split} must hold audio as SPEAKER/CHAPTER/UTTERANCE.flac "
            f"(or .wav), got none in {content['folder']} "
            f"({content['misplaced']} audio files elsewhere in it)."
        )
    if content["misplaced"]:
        logger.warning(
            "%s: %d audio files that are not in SPEAKER/CHAPTER/ are left out.",
            split,
            content["misplaced"],
        )
    transcripts, bad = _transcripts_by_utterance(content["transcripts"])
    with ThreadPoolExecutor(threads) as pool:
        results = list(
            tqdm(
                pool.map(_duration_or_fault, audio),
                total=len(audio),
                desc=split,
                unit="file",
                disable=None if progress else True,
            )
        )
    rows, seen = [], set()
    without = 0
    for path, result in zip(audio, results, strict=True):
        utterance = Path(path).stem
        if utterance in seen:
            bad.append((path, f"is another file of utterance {utterance}"))
            continue
        seen.add(utterance)
        words, _ = transcripts.get(utterance, ("", None))
        if isinstance(result, str):
            bad.append((path, result))
            continue
        if not words:
            without += 1
            if transcripts_required:
                bad.append((path, "has no transcript"))
                continue
        if _HOST_VARIABLE.search(path) or _HOST_VARIABLE.search(words):
            bad.append((path, "has a $ in its name or transcript"))
            continue
        speaker = Path(path).parts[-3]
        rows.append((utterance, result, path, speaker, words))
    bad += [
        (path, f"has a transcript of {utterance}, which has no audio")
        for utterance, (_, path) in transcripts.items()
        if utterance not in seen
    ]
    _report_bad_files(split, bad, on_bad_file)
    if not rows:
        raise ValueError(
            f"split {split} must hold a good audio file, got "
            f"{len(audio)} bad ones."
        )
    if transcripts and without and not transcripts_required:
        logger.warning(
            "%s: %d of %d utterances have no transcript; their wrd is empty.",
            split,
            without,
            len(audio),
        )
    return rows


def _report_bad_files(split, bad, on_bad_file):
    """Raises an error or a warning that names the bad files."""
    if not bad:
        return
    named = "; ".join(f"{path} {fault}" for path, fault in bad[:_NAMED_AT_MOST])
    if len(bad) > _NAMED_AT_MOST:
        named += f"; and {len(bad) - _NAMED_AT_MOST} more"
    if on_bad_file == "error":
        raise ValueError(
            f'split {split} must hold good files unless on_bad_file="skip", '
            f"got {len(bad)} bad: {named}."
        )
    logger.warning("%s: %d bad, left out: %s.", split, len(bad), named)
