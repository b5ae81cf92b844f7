"""Shards: a split of a corpus as a few large tar files, and their index.

A folder of small files is slow on a network disk. A shard is a tar file in
WebDataset's layout: for each utterance KEY.json with ``duration``, ``spk_id``
and ``wrd``, and behind it the audio as it was, such as KEY.flac. Beside the
shards SPLIT.shards.json lists them, and SPLIT.index.npz holds where each
utterance lies, how long it is and a digest of its key: 32 bytes of memory for
each, so that batches of 60,000 hours can be planned before any audio is read.
"""

from __future__ import annotations

import glob
import hashlib
import io
import json
import math
import random
import tarfile
import zipfile
import zlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from speechbrain.utils.logger import get_logger

from speechbrain_llsa.training.run_record import digest
from speechbrain_llsa_runtime.utils.atomic_files import (
    write_atomically,
    written_atomically,
)
from speechbrain_llsa_runtime.utils.checks import check_integer, check_type
from speechbrain_llsa_runtime.utils.errors import must_be, reason

logger = get_logger(__name__)

FORMAT = 2
"""Version of shards and index."""

_ARRAYS = {
    "durations": np.float64,
    "offsets": np.int64,
    "sizes": np.int64,
    "keys": np.uint64,
}

_DAMAGE = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    EOFError,
    OverflowError,
    RecursionError,
    MemoryError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What reading damaged JSON, arrays and archives raises."""


@dataclass(frozen=True)
class ShardIndex:
    """Where the utterances of shards lie.

    Example
    -------
    >>> index = ShardIndex(
    ...     files=(Path("a-000000.tar"), Path("a-000001.tar")),
    ...     file_bytes=(4096, 2048),
    ...     counts=np.array([2, 1]),
    ...     durations=np.array([1.0, 2.5, 0.5]),
    ...     offsets=np.array([0, 2048, 0]),
    ...     sizes=np.array([2048, 2048, 2048]),
    ...     keys=np.array([3, 1, 2]),
    ... )
    >>> len(index), index.shards.tolist(), index.kept(0.6).used.tolist()
    (3, [0, 0, 1], [0, 1])
    """

    files: tuple[Path, ...]
    """The shards."""

    file_bytes: tuple[int, ...]
    """Bytes of each."""

    counts: np.ndarray
    """Utterances of each, (shards,)."""

    durations: np.ndarray
    """Seconds of each utterance, in the order of the shards, (utterances,)."""

    offsets: np.ndarray
    """Where each begins in its shard, in bytes, (utterances,)."""

    sizes: np.ndarray
    """Bytes that it takes there, (utterances,)."""

    keys: np.ndarray
    """What :func:`digest_of_key` gives for it, (utterances,)."""

    chosen: np.ndarray | None = None
    """True for utterances that are used, (utterances,); ``None`` for all."""

    def __len__(self):
        return len(self.durations)

    @cached_property
    def shards(self):
        """The number of each utterance's shard, (utterances,)."""
        return np.repeat(
            np.arange(len(self.files), dtype=np.int32), self.counts
        )

    @cached_property
    def used(self):
        """The utterances that are used, in order, (used utterances,)."""
        if self.chosen is None:
            return np.arange(len(self))
        return np.flatnonzero(self.chosen)

    def kept(self, shortest_seconds=0.0, longest_seconds=None):
        """Uses utterances of some durations alone, and logs how many it leaves
        out.

        Arguments
        ---------
        shortest_seconds : float
            The shortest duration to keep.
        longest_seconds : float or None
            The longest duration to keep; ``None`` for no limit.

        Returns
        -------
        ShardIndex

        Raises
        ------
        ValueError
            If none remain.
        """
        chosen = self.durations >= shortest_seconds
        if longest_seconds is not None:
            chosen &= self.durations <= longest_seconds
        return self._choose(
            chosen, f"not of {shortest_seconds:g} to {longest_seconds} s"
        )

    def without_shards(self, numbers):
        """Uses the utterances of other shards alone.

        Arguments
        ---------
        numbers : collection of int
            The shards to leave out.

        Returns
        -------
        ShardIndex
        """
        chosen = ~np.isin(self.shards, list(numbers))
        return self._choose(chosen, "in damaged shards")

    def _choose(self, chosen, why_not):
        if self.chosen is not None:
            chosen = chosen & self.chosen
        kept = replace(self, chosen=chosen)
        if len(kept.used) < len(self.used):
            logger.info(
                f"Left out {len(self.used) - len(kept.used)} of "
                f"{len(self.used)} utterances: {why_not}"
            )
        if not len(kept.used):
            raise ValueError(
                must_be(
                    "shards", "some with other utterances", f"those {why_not}"
                )
            )
        return kept

    def damage(self):
        """Looks for shards that are missing or cut short, without reading
        them.

        Returns
        -------
        dict of int to str
            What is wrong, by the number of the shard; names the file.
        """
        damaged = {}
        for number, (file, expected) in enumerate(
            zip(self.files, self.file_bytes, strict=True)
        ):
            try:
                found = file.stat().st_size
            except OSError as error:
                damaged[number] = f"{file} cannot be read: {reason(error)}"
                continue
            if found != expected:
                damaged[number] = (
                    f"{file} has {found} bytes, its index says {expected}"
                )
        return damaged

    @property
    def fingerprint(self):
        """Digest of what is used of which shards."""
        arrays = [getattr(self, name) for name in _ARRAYS]
        return digest(
            *(file.name.encode() for file in self.files),
            *(array.tobytes() for array in (self.counts, *arrays, self.used)),
        )


def read_index(folder, splits):
    """Reads the index of shards.

    Arguments
    ---------
    folder : str or pathlib.Path
        Their folder.
    splits : list of str
        The splits, one behind the other.

    Returns
    -------
    ShardIndex

    Raises
    ------
    FileNotFoundError
        If the folder does not have a split.
    ValueError
        If a file of the index is damaged, or an utterance is in there twice.
    """
    folder = Path(folder)
    files, file_bytes, counts = [], [], []
    arrays = {name: [] for name in _ARRAYS}
    for split in splits:
        path = folder / f"{split}.shards.json"
        if not path.is_file():
            raise FileNotFoundError(
                must_be(
                    "shards",
                    "a folder that recipes/LibriSpeech/shard.py wrote for "
                    f"{split}",
                    f"one without {path}",
                )
            )
        shards = _read_list(path)
        files += [folder / shard["file"] for shard in shards]
        file_bytes += [shard["bytes"] for shard in shards]
        counts += [shard["utterances"] for shard in shards]
        found = _read_arrays(folder / f"{split}.index.npz")
        expected = sum(shard["utterances"] for shard in shards)
        for name, array in found.items():
            if len(array) != expected:
                raise ValueError(
                    must_be(
                        f"{split}.index.npz",
                        f"of {expected} utterances",
                        len(array),
                    )
                )
            arrays[name].append(array)
        _check_places(split, shards, found)
    if not sum(counts):
        raise ValueError(must_be("splits", "some with utterances", splits))
    arrays = {name: np.concatenate(parts) for name, parts in arrays.items()}
    if len(np.unique(arrays["keys"])) < sum(counts):
        raise ValueError(
            must_be("splits", "of different utterances", f"{splits}, one twice")
        )
    return ShardIndex(
        files=tuple(files),
        file_bytes=tuple(file_bytes),
        counts=np.array(counts),
        **arrays,
    )


def _check_places(split, shards, arrays):
    """Rejects durations that no utterance has, and places outside of their
    shards."""
    ends = np.repeat(
        [shard["bytes"] for shard in shards],
        [shard["utterances"] for shard in shards],
    )
    durations, offsets, sizes = (
        arrays[name] for name in ("durations", "offsets", "sizes")
    )
    good = np.isfinite(durations) & (durations > 0)
    good &= (offsets >= 0) & (sizes > 0) & (sizes <= ends - offsets)
    if not good.all():
        raise ValueError(
            must_be(
                f"{split}.index.npz",
                "of durations above 0 and of places in the shards",
                f"another for utterance {int(np.argmin(good))}",
            )
        )


def _read_list(path):
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(
                f"format {content['format']!r}, and shard.py writes {FORMAT}"
            )
        shards = content["shards"]
        for shard in shards:
            if not _is_file_name(shard["file"]):
                raise ValueError(f"it names the file {shard['file']!r}")
            check_integer("bytes", shard["bytes"], 0)
            check_integer("utterances", shard["utterances"], 0)
    except _DAMAGE as error:
        raise ValueError(
            must_be(path.name, "a list of shards", reason(error))
        ) from error
    return shards


def _read_arrays(path):
    try:
        with np.load(path, allow_pickle=False) as saved:
            arrays = {name: saved[name] for name in _ARRAYS}
    except (*_DAMAGE, OSError, NotImplementedError) as error:
        raise ValueError(
            must_be(str(path), "an index of shards", reason(error))
        ) from error
    for name, kind in _ARRAYS.items():
        if arrays[name].dtype != kind or arrays[name].ndim != 1:
            raise ValueError(
                must_be(f"{name} of {path}", "a list of numbers", "another")
            )
    return arrays


def write_shards(rows, folder, split, shard_bytes=1 << 30, seed=0):
    """Writes a split as shards, and their index.

    Utterances are in a random order: a shard is a random sample of the split.
    A shard is complete or absent. The same call again keeps those that are
    there, as after an interruption.

    Arguments
    ---------
    rows : list of dict
        The utterances, with ``ID``, ``duration`` in seconds, ``wav`` (a file),
        ``spk_id`` and ``wrd``, as manifests have them.
    folder : str or pathlib.Path
        Where to write; created if necessary.
    split : str
        Name of the split.
    shard_bytes : int
        Bytes from which a shard is full.
    seed : int
        Determines the order.

    Returns
    -------
    ShardIndex

    Raises
    ------
    ValueError
        If there are no utterances, an ID is in there twice or cannot be a key,
        an audio file cannot be read or has no suffix, the name of the split is
        no file name, or a shard is there that is damaged, or has other
        utterances.
    OSError
        If a file cannot be written.
    """
    check_integer("shard_bytes", shard_bytes, 1)
    _check_keys([row["ID"] for row in rows])
    if not _is_file_name(split):
        raise ValueError(must_be("split", "a file name", repr(split)))
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows = list(rows)
    random.Random(seed).shuffle(rows)
    shards, entries, first = [], [], 0
    while first < len(rows):
        path = folder / f"{split}-{len(shards):06d}.tar"
        if path.is_file():
            places = _find_entries(path, rows[first:])
        else:
            places = _write_shard(path, rows[first:], shard_bytes)
        of_shard = rows[first : first + len(places)]
        shards.append(
            {
                "file": path.name,
                "bytes": path.stat().st_size,
                "utterances": len(places),
                "seconds": sum(float(row["duration"]) for row in of_shard),
            }
        )
        entries += [
            (float(row["duration"]), *place, digest_of_key(row["ID"]))
            for row, place in zip(of_shard, places, strict=True)
        ]
        first += len(places)
        logger.info(f"{path}: {len(places)} utterances")
    columns = zip(*entries, strict=True)
    arrays = {
        name: np.array(column, dtype=kind)
        for (name, kind), column in zip(_ARRAYS.items(), columns, strict=True)
    }
    content = io.BytesIO()
    np.savez(content, **arrays)
    write_atomically(folder / f"{split}.index.npz", content.getvalue())
    listed = {"format": FORMAT, "split": split, "shards": shards}
    write_atomically(
        folder / f"{split}.shards.json",
        json.dumps(listed, indent=1).encode() + b"\n",
    )
    for path in sorted(folder.glob(f"{glob.escape(split)}-??????.tar")):
        if path.name not in {shard["file"] for shard in shards}:
            logger.warning(f"{path} is of an earlier call, and in no index")
    return read_index(folder, [split])


def _check_keys(keys):
    if not keys:
        raise ValueError(must_be("rows", "at least one utterance", "none"))
    if len(set(keys)) < len(keys):
        raise ValueError(must_be("rows", "of different IDs", "one twice"))
    for key in keys:
        # a key of WebDataset ends at the first dot
        if not _is_file_name(key) or "." in key:
            raise ValueError(
                must_be("ID", "a file name without a dot", repr(key))
            )


def digest_of_key(key):
    """A number that stands for the key of an utterance.

    Arguments
    ---------
    key : str
        The key.

    Returns
    -------
    int
        Of 64 bits.

    Example
    -------
    >>> digest_of_key("1-2-0003") == digest_of_key("1-2-0004")
    False
    """
    found = hashlib.blake2b(key.encode(), digest_size=8).digest()
    return int.from_bytes(found, "big")


def _is_file_name(name):
    return name.isprintable() and Path(name).name == name != ""


def _write_shard(path, rows, shard_bytes):
    """Writes utterances until the shard is full: the place of each, (offset,
    size)."""
    places = []
    with written_atomically(path) as new, tarfile.open(new, "w") as archive:
        for row in rows:
            offset = archive.offset
            for name, content in _members(row):
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
            places.append((offset, archive.offset - offset))
            if archive.offset >= shard_bytes:
                break
    return places


def _members(row):
    """The two files of an utterance: their names and contents."""
    try:
        audio = Path(row["wav"]).read_bytes()
    except OSError as error:
        raise _bad_audio(row, reason(error)) from error
    yield f"{row['ID']}.json", _description(row)
    yield _audio_name(row), audio


def _description(row):
    described = {name: row[name] for name in ("spk_id", "wrd")}
    described["duration"] = float(row["duration"])
    return json.dumps(described).encode()


def _audio_name(row):
    suffix = Path(row["wav"]).suffix
    if not suffix:
        raise _bad_audio(row, "its name has no suffix")
    return f"{row['ID']}{suffix.lower()}"


def _bad_audio(row, fault):
    return ValueError(
        must_be(
            f"audio of {row['ID']}",
            "a file that can be read, with a suffix",
            f"{str(row['wav'])!r}: {fault}",
        )
    )


def _find_entries(path, rows):
    """The places of the utterances of a shard that an earlier call wrote, of
    which each has a description and audio."""
    places = []
    try:
        with tarfile.open(path, "r:") as archive:
            members = archive.getmembers()
            pairs = zip(members[::2], members[1::2], strict=False)
            for row, pair in zip(rows, pairs, strict=False):
                if not _holds(archive, pair, row):
                    break
                end = pair[1].offset_data + -(-pair[1].size // 512) * 512
                places.append((pair[0].offset, end - pair[0].offset))
    except tarfile.TarError as error:
        raise ValueError(
            must_be(str(path), "a whole shard, or absent", reason(error))
        ) from error
    if len(members) != 2 * len(places):
        raise ValueError(
            must_be(
                "folder",
                "an empty one, or one with the same shards",
                f"{path}, which has other content from "
                f"{members[2 * len(places)].name} on",
            )
        )
    return places


def _holds(archive, members, row):
    """Whether members of a shard are an utterance, by its description and the
    size of its audio."""
    if [member.name for member in members] != [
        f"{row['ID']}.json",
        _audio_name(row),
    ]:
        return False
    description, audio = members
    try:
        size = Path(row["wav"]).stat().st_size
    except OSError as error:
        raise _bad_audio(row, reason(error)) from error
    content = archive.extractfile(description).read()
    return content == _description(row) and audio.size == size


def parse_utterance(chunk):
    """Takes an utterance out of the bytes of its place in a shard.

    Arguments
    ---------
    chunk : bytes
        ``sizes`` bytes from ``offsets`` on.

    Returns
    -------
    dict
        ``id``, ``name`` of the audio, ``audio`` (bytes), ``spk_id``, ``wrd``
        and ``duration``.

    Raises
    ------
    ValueError
        If the bytes are no utterance.
    """
    try:
        with tarfile.open(fileobj=io.BytesIO(chunk), mode="r:") as archive:
            description, audio = archive.getmembers()
            content = [
                archive.extractfile(member).read()
                for member in (description, audio)
            ]
        key, _, _ = description.name.partition(".")
        if not audio.name.startswith(f"{key}."):
            raise ValueError("the names differ")
        described = json.loads(content[0])
        duration = float(described["duration"])
        if not (math.isfinite(duration) and duration > 0):
            raise ValueError(f"its duration is {duration} s")
        for name in ("spk_id", "wrd"):
            check_type(name, described[name], str)
        return {
            "id": key,
            "name": audio.name,
            "audio": content[1],
            "duration": duration,
            "spk_id": described["spk_id"],
            "wrd": described["wrd"],
        }
    except (*_DAMAGE, OSError) as error:
        raise ValueError(reason(error)) from error
