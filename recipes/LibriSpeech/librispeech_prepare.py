"""CSV manifests of LibriSpeech, or of any folder in its layout.

    python librispeech_prepare.py --data_folder LibriSpeech \\
        --save_folder manifests --splits train-clean-100 dev-clean test-clean

reads SPLIT/SPEAKER/CHAPTER/ with audio (FLAC or WAV) and, where there are
transcripts, SPEAKER-CHAPTER.trans.txt, and writes SPLIT.csv with the columns
ID, duration (in seconds), wav (absolute path), spk_id and wrd.

A small JSON file beside each manifest records what it was made from. A manifest
is reused only if that has not changed; otherwise it is rewritten, and the log
says why.
"""

import argparse
import csv
import hashlib
import io
import json
import logging
import os
from collections import Counter
from pathlib import Path

from speechbrain_llsa.evaluation.librispeech import (
    find_splits,
    list_split,
    read_rows,
)
from speechbrain_llsa_runtime.utils.parser import OneLineParser
from speechbrain_llsa_runtime.utils.printing import all_characters

logger = logging.getLogger(__name__)

COLUMNS = ("ID", "duration", "wav", "spk_id", "wrd")
_FORMAT = 2
"""Version of the manifests: 1 had transcripts as typed, 2 has composed
accents."""


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
    """Writes one CSV manifest per split, and optionally one of several splits
    merged.

    Arguments
    ---------
    data_folder : str or path
        The folder that holds the splits, or the one that holds LibriSpeech/
        with the splits.
    save_folder : str or path
        Folder of the manifests; created if necessary.
    splits : list of str
        Names of folders, for example train-clean-100.
    merge_splits : list of str, optional
        Splits to put into one more manifest.
    merge_name : str, optional
        Name of that manifest, without .csv; needed with merge_splits.
    transcripts_required : bool
        Whether audio without a transcript is a bad file. Otherwise its wrd is
        empty, as pre-training expects.
    on_bad_file : str
        What to do about audio that is empty, truncated or cannot be read, and
        about a transcript without audio: "error" raises, "skip" leaves them out
        and warns. Both name them. (Damage in the middle of a file is not looked
        for: only its header and its end are read.)
    threads : int
        Number of files to open at once.
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
    >>> import soundfile
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
    folders = find_splits(
        data_folder, [s for group in members.values() for s in group]
    )
    save_folder = Path(save_folder)
    save_folder.mkdir(parents=True, exist_ok=True)
    options = {
        "transcripts_required": transcripts_required,
        "on_bad_file": on_bad_file,
    }
    contents = {split: list_split(path) for split, path in folders.items()}
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
                rows[split] = read_rows(
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


def _description_path(path):
    return path.with_name(f"{path.stem}.manifest.json")


def _why_stale(path, made_of):
    """Says why a manifest cannot be reused; None if it can."""
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


def _write(path, rows, made_of):
    """Writes a manifest, and the record of what it was made from,
    atomically."""
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
