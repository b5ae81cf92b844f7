"""CSV manifests of LibriSpeech, or of any folder in its layout.

    python librispeech_prepare.py --data_folder LibriSpeech \\
        --save_folder manifests --splits train-clean-100 dev-clean test-clean

reads SPLIT/SPEAKER/CHAPTER/ with audio (FLAC or WAV) and, where there are
transcripts, SPEAKER-CHAPTER.trans.txt, and writes SPLIT.csv with the columns
ID, duration (in seconds), wav (absolute path), spk_id and wrd.

Beside each manifest lies a small JSON file that says what it was made of. A
manifest is used again only if that is still so; otherwise it is written anew,
and the log says why.
"""

import argparse
import csv
import hashlib
import io
import json
import logging
import os
import re
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import soundfile
from tqdm import tqdm

from speechbrain_llsa.commands.parser import OneLineParser

logger = logging.getLogger(__name__)

COLUMNS = ("ID", "duration", "wav", "spk_id", "wrd")
AUDIO_SUFFIXES = (".flac", ".wav")
TRANSCRIPT_SUFFIX = ".trans.txt"
_FORMAT = 1
_NAMED_AT_MOST = 10
_HOST_VARIABLE = re.compile(r"\$[\w.]")


def prepare_librispeech(
    data_folder,
    save_folder,
    splits,
    merge_splits=None,
    merge_name=None,
    transcripts_required=False,
    on_bad_file="error",
    threads=8,
    progress=False,
):
    """Writes one CSV manifest per split, and one of several splits together.

    Arguments
    ---------
    data_folder : str or path
        The folder that holds the splits, or the one that holds LibriSpeech/
        with the splits.
    save_folder : str or path
        Where the manifests go, made if need be.
    splits : list of str
        Names of folders, for example train-clean-100.
    merge_splits : list of str, optional
        Splits to put into one more manifest.
    merge_name : str, optional
        Name of that manifest, without .csv; needed with merge_splits.
    transcripts_required : bool
        Whether audio without a transcript is a bad file. Otherwise its wrd
        is empty, as pre-training wants it.
    on_bad_file : str
        What to do about audio that is empty, truncated or cannot be read, and
        about a transcript without audio: "error" raises, "skip" leaves them
        out and warns. Either names them. (Damage in the middle of a file is
        not looked for: only its header and its end are read.)
    threads : int
        How many files to open at once.
    progress : bool
        Whether to show progress bars.

    Returns
    -------
    dict of str to str
        Path of each manifest by its name.

    Raises
    ------
    FileNotFoundError
        If the data folder or any split does not exist; all are named.
    ValueError
        If a split has no audio, for bad files (see on_bad_file), for an
        utterance that is in two merged splits, or for an argument out of
        range.
    TypeError
        If splits is not a list.

    Example
    -------
    >>> import numpy as np
    >>> folder = getfixture("tmp_path")
    >>> chapter = folder / "train" / "7" / "1"
    >>> chapter.mkdir(parents=True)
    >>> soundfile.write(chapter / "7-1-0000.flac", np.zeros(8000), 16000)
    >>> _ = (chapter / "7-1.trans.txt").write_text("7-1-0000 HELLO\\n")
    >>> paths = prepare_librispeech(folder, folder / "manifests", ["train"])
    >>> print(Path(paths["train"]).read_text().splitlines()[0])
    ID,duration,wav,spk_id,wrd
    """
    merge_splits = [] if merge_splits is None else merge_splits
    _check_arguments(splits, merge_splits, merge_name, on_bad_file, threads)
    members = {split: [split] for split in dict.fromkeys(splits)}
    if merge_splits:
        members[merge_name] = list(dict.fromkeys(merge_splits))
    folders = _find_splits(
        Path(data_folder), [s for group in members.values() for s in group]
    )
    save_folder = Path(save_folder)
    save_folder.mkdir(parents=True, exist_ok=True)
    options = {
        "transcripts_required": transcripts_required,
        "on_bad_file": on_bad_file,
    }
    contents = {split: _list_split(path) for split, path in folders.items()}
    rows = {}
    paths = {}
    for name, group in members.items():
        path = save_folder / f"{name}.csv"
        paths[name] = str(path)
        made_of = {
            "format": _FORMAT,
            "splits": {split: str(folders[split]) for split in group},
            "fingerprint": {
                split: contents[split]["fingerprint"] for split in group
            },
            "options": options,
        }
        reason = _why_stale(path, made_of)
        if reason is None:
            logger.info("%s is up to date and used again.", path)
            continue
        logger.info("%s is written: %s.", path, reason)
        for split in group:
            if split not in rows:
                rows[split] = _rows_of(
                    split, contents[split], threads, progress, **options
                )
        _write(path, [row for split in group for row in rows[split]], made_of)
    return paths


def _check_arguments(splits, merge_splits, merge_name, on_bad_file, threads):
    """Raises TypeError or ValueError for arguments out of range."""
    for key, names in (("splits", splits), ("merge_splits", merge_splits)):
        if isinstance(names, str) or not all(
            isinstance(name, str) for name in names
        ):
            raise TypeError(
                f"{key} must be a list of folder names, got {names!r}."
            )
        for name in names:
            if name in ("", ".", "..") or Path(name).name != name:
                raise ValueError(
                    f"{key} must be names of folders right in the data "
                    f"folder, got {name!r}."
                )
    if not splits and not merge_splits:
        raise ValueError("splits must name at least one folder, got none.")
    if bool(merge_splits) != bool(merge_name):
        raise ValueError(
            "merge_splits and merge_name must be given together, got "
            f"{merge_splits!r} and {merge_name!r}."
        )
    if merge_name in splits:
        raise ValueError(
            f"merge_name must differ from all splits, got {merge_name!r}."
        )
    if merge_name and Path(merge_name).name != merge_name:
        raise ValueError(
            f"merge_name must be a plain name, got {merge_name!r}."
        )
    if on_bad_file not in ("error", "skip"):
        raise ValueError(
            f'on_bad_file must be "error" or "skip", got {on_bad_file!r}.'
        )
    if threads < 1:
        raise ValueError(f"threads must be at least 1, got {threads}.")


def _find_splits(data_folder, splits):
    """The absolute folder of each split."""
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


def _list_split(folder):
    """Audio and transcripts of a split, and a fingerprint of them.

    Only SPEAKER/CHAPTER/FILE counts; other audio is counted as misplaced.
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


def _description_path(path):
    return path.with_name(f"{path.stem}.manifest.json")


def _why_stale(path, made_of):
    """Why a manifest cannot be used again, in words; None if it can."""
    description = _description_path(path)
    if not path.is_file():
        return "it does not exist yet"
    if not description.is_file():
        return f"{description.name}, which says what it was made of, is missing"
    try:
        before = json.loads(description.read_text(encoding="utf-8"))
        made_before = {key: before.get(key) for key in made_of}
    except (ValueError, AttributeError):
        return f"{description.name} cannot be read"
    for key, words in (
        ("format", "the format of manifests has changed"),
        ("splits", "the data folder or the splits have changed"),
        ("options", "the options have changed"),
    ):
        if made_before[key] != made_of[key]:
            return f"{words}: {made_before[key]} then, {made_of[key]} now"
    for split, now in made_of["fingerprint"].items():
        then = (made_before["fingerprint"] or {}).get(split)
        if then != now:
            return f"the files of {split} have changed: {then} then, {now} now"
    if before.get("manifest_hash") != _hash(path.read_bytes()):
        return "it is not as it was written"
    return None


def _hash(content):
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _read_transcripts(paths):
    """Transcripts by utterance, and what is wrong with them."""
    transcripts, bad = {}, []
    for path in paths:
        try:
            with open(path, encoding="utf-8") as file:
                lines = file.read().splitlines()
        except UnicodeDecodeError:
            bad.append((path, "is not UTF-8"))
            continue
        for line in lines:
            if not line.strip():
                continue
            utterance, *words = line.split()
            if utterance in transcripts:
                bad.append((path, f"has {utterance} twice"))
            transcripts[utterance] = (" ".join(words), path)
    return transcripts, bad


def _duration_or_fault(path):
    """Duration in seconds, or what is wrong with the file in words."""
    try:
        if os.path.getsize(path) == 0:
            return "is empty"
        with soundfile.SoundFile(path) as file:
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
    except (OSError, soundfile.LibsndfileError) as error:
        return f"cannot be read ({error})"


def _rows_of(
    split, content, threads, progress, transcripts_required, on_bad_file
):
    """The rows of a split, bad files dealt with."""
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
    transcripts, bad = _read_transcripts(content["transcripts"])
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
    _deal_with(split, bad, on_bad_file)
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


def _deal_with(split, bad, on_bad_file):
    """Raises or warns about bad files, by name."""
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


def _write(path, rows, made_of):
    """Writes a manifest and what it was made of, each whole or not at all."""
    counts = Counter(row[0] for row in rows)
    repeated = [utterance for utterance, count in counts.items() if count > 1]
    if repeated:
        raise ValueError(
            f"splits {', '.join(made_of['splits'])} must not share utterances "
            f"when merged, got {len(repeated)} twice, {repeated[0]} first."
        )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    content = text.getvalue().encode()
    description = {
        **made_of,
        "utterances": len(rows),
        "seconds": sum(row[1] for row in rows),
        "manifest_hash": _hash(content),
    }
    for target, data in (
        (path, content),
        (
            _description_path(path),
            json.dumps(description, indent=2).encode() + b"\n",
        ),
    ):
        temporary = target.with_name(f"{target.name}.{os.getpid()}.tmp")
        try:
            temporary.write_bytes(data)
            os.replace(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)
    logger.info(
        "%s: %d utterances, %.2f hours, %d speakers.",
        path,
        len(rows),
        description["seconds"] / 3600,
        len({row[3] for row in rows}),
    )


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
    parser.add_argument(
        "--data_folder",
        required=True,
        help="folder of the splits, or the one that holds LibriSpeech/",
    )
    parser.add_argument(
        "--save_folder", required=True, help="folder of the manifests"
    )
    parser.add_argument(
        "--splits",
        nargs="+",
        required=True,
        metavar="SPLIT",
        help="names of folders, for example train-clean-100 dev-clean",
    )
    parser.add_argument(
        "--merge_splits",
        nargs="+",
        metavar="SPLIT",
        help="splits to put into one more manifest",
    )
    parser.add_argument("--merge_name", help="name of the merged manifest")
    parser.add_argument(
        "--transcripts_required",
        action="store_true",
        help="take audio without a transcript for a bad file",
    )
    parser.add_argument(
        "--on_bad_file",
        choices=("error", "skip"),
        default="error",
        help="what to do about bad files (default: error)",
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=8,
        help="how many files to open at once (default: 8)",
    )
    values = vars(parser.parse_args(arguments))
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        prepare_librispeech(**values, progress=True)
    except (ValueError, OSError) as error:
        parser.error(error)


if __name__ == "__main__":
    main()
