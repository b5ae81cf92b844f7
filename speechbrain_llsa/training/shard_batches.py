"""Batches of utterances from shards: planned from the index alone, and read in
the order of the shards.

The plan of an epoch follows from index, seed, epoch and the number of streams.
A stream is what one worker of one rank reads: a part of all shards, in a
random order of shards, from beginning to end. Within a stream utterances are
shuffled in a buffer and put into buckets by length; a bucket that is full is a
batch. Batch p of the epoch is of stream p modulo their number: so each rank
takes every n-th of n ranks, and each worker of PyTorch's loader every m-th of
those, and all find theirs in one stretch of shards.

So a plan needs no audio: a training is resumed at any batch, and files in a
folder, in the order of the index, give the same batches.
"""

from __future__ import annotations

import io
import json
import os
from contextlib import contextmanager

import numpy as np
import torch
from speechbrain.utils.logger import get_logger

from speechbrain_llsa.training.bad_utterances import UtteranceBatch
from speechbrain_llsa.training.data import even_boundaries, read_or_fault
from speechbrain_llsa.training.ranks import check_same_on_ranks, join_faults
from speechbrain_llsa.training.run_record import digest
from speechbrain_llsa.training.shards import (
    digest_of_key,
    parse_utterance,
    read_index,
)
from speechbrain_llsa_runtime.geometry import SAMPLE_RATE
from speechbrain_llsa_runtime.utils.checks import check_integer, check_number
from speechbrain_llsa_runtime.utils.errors import must_be, reason

logger = get_logger(__name__)


class ShardBatchSampler(torch.utils.data.Sampler):
    """The batches of all streams, one of each in turn.

    Arguments
    ---------
    index : ShardIndex
        The utterances.
    seed : int
        Determines the batches, together with the epoch.
    max_batch_length : float
        Seconds of a batch, including padding.
    num_buckets : int
        Number of buckets, divided by :func:`~data.even_boundaries`.
    shuffle_buffer : int
        Utterances of a stream that are shuffled at once: that many are held
        in memory, as they lie in their shards.
    streams : int
        Ranks times workers of each.

    Raises
    ------
    TypeError
        If an argument is not a number.
    ValueError
        If a number is out of range, or there are fewer utterances than
        streams.

    Example
    -------
    >>> from pathlib import Path
    >>> from speechbrain_llsa.training.shards import ShardIndex
    >>> index = ShardIndex(
    ...     files=(Path("a.tar"), Path("b.tar")),
    ...     file_bytes=(0, 0),
    ...     counts=np.array([3, 3]),
    ...     durations=np.ones(6),
    ...     offsets=np.zeros(6),
    ...     sizes=np.zeros(6),
    ...     keys=np.arange(6),
    ... )
    >>> sampler = ShardBatchSampler(index, 0, 2.0, 1, 1, streams=2)
    >>> sampler.set_epoch(1)
    >>> sorted(map(sorted, sampler))
    [[0, 1], [2], [3, 4], [5]]
    """

    def __init__(
        self,
        index,
        seed,
        max_batch_length,
        num_buckets=20,
        shuffle_buffer=2000,
        streams=1,
    ):
        check_integer("seed", seed, 0)
        check_number("max_batch_length", max_batch_length, 0)
        check_integer("shuffle_buffer", shuffle_buffer, 1)
        check_integer("streams", streams, 1)
        if len(index.used) < streams:
            raise ValueError(
                must_be(
                    "shards",
                    f"of at least {streams} utterances, one for each worker of "
                    "each rank",
                    len(index.used),
                )
            )
        self.index = index
        self.streams = streams
        self._seed = seed
        self._buffer = shuffle_buffer
        durations = index.durations[index.used]
        boundaries = even_boundaries(durations.tolist(), num_buckets)
        # the longest may be rounded
        bucket = np.searchsorted(boundaries[:-1], index.durations)
        self._bucket = bucket.astype(np.int16)
        self._capacity = np.array(
            [max(1, int(max_batch_length / limit)) for limit in boundaries]
        )
        self.fingerprint = digest(
            index.fingerprint.encode(),
            json.dumps(
                [seed, max_batch_length, boundaries, shuffle_buffer, streams]
            ).encode(),
        )
        self.set_epoch(0)

    def set_epoch(self, epoch):
        """Plans an epoch.

        Arguments
        ---------
        epoch : int
            Its number.
        """
        draw = np.random.default_rng([self._seed, epoch])
        self.order = self._order_of_shards(draw)
        places = np.full(len(self.index), -1, np.int64)
        places[self.order] = np.arange(len(self.order))
        self.places = places
        streams = [
            self._batches_of(part, draw) for part in self._parts(self.order)
        ]
        count = max(len(batches) for batches in streams)
        self._batches = [
            batches[number % len(batches)]
            for number in range(count)
            for batches in streams
        ]
        self._batch_of = np.full(len(self.index), -1, np.int64)
        # the first of those that are repeated
        for position in reversed(range(len(self._batches))):
            self._batch_of[self._batches[position]] = position

    def __iter__(self):
        return (batch.tolist() for batch in self._batches)

    def __len__(self):
        return len(self._batches)

    def reading_order(self, batch):
        """What the stream of a batch reads from there on: of a resumed epoch
        not what has been used.

        Arguments
        ---------
        batch : list of int
            The batch.

        Returns
        -------
        numpy.ndarray
            Utterances, each once, in the order in which they lie.
        """
        position = int(self._batch_of[batch[0]])
        if position < 0:
            return np.zeros(0, np.int64)
        numbers = np.unique(
            np.concatenate(self._batches[position :: self.streams])
        )
        return numbers[np.argsort(self.places[numbers])]

    def _order_of_shards(self, draw):
        """The utterances that are used, by shard, in a random order of shards:
        the order in which they are read."""
        used = self.index.used
        turn = draw.permutation(len(self.index.files))
        turn_of_shard = np.empty_like(turn)
        turn_of_shard[turn] = np.arange(len(turn))
        turns = turn_of_shard[self.index.shards[used]]
        return used[np.argsort(turns, kind="stable")]

    def _parts(self, order):
        """The part of each stream: of about equal durations, and not empty."""
        ends = np.cumsum(self.index.durations[order])
        cuts = ends[-1] * np.arange(1, self.streams) / self.streams
        cuts = np.searchsorted(ends, cuts, side="right")
        least = np.arange(1, self.streams)
        cuts = np.minimum(
            np.maximum.accumulate(np.maximum(cuts - least, 0)) + least,
            len(order) - self.streams + least,
        )
        return np.split(order, cuts)

    def _batches_of(self, part, draw):
        """The batches of a stream, in the order in which they are complete;
        those that the end leaves half full are the last."""
        part = self._shuffled(part, draw)
        buckets = self._bucket[part]
        batches = []
        for bucket in np.unique(buckets):
            (members,) = np.nonzero(buckets == bucket)
            capacity = self._capacity[bucket]
            for first in range(0, len(members), capacity):
                batch = members[first : first + capacity]
                complete = len(batch) == capacity
                batches.append((not complete, int(batch[-1]), batch))
        batches.sort(key=lambda entry: entry[:2])
        return [part[batch] for _, _, batch in batches]

    def _shuffled(self, part, draw):
        """What a buffer gives from which a random utterance is taken for each
        one that comes in."""
        size = min(self._buffer, len(part))
        held, coming = part[:size].tolist(), part[size:].tolist()
        taken = []
        for number, place in zip(
            coming, draw.integers(0, size, len(coming)).tolist(), strict=True
        ):
            taken.append(held[place])
            held[place] = number
        draw.shuffle(held)
        return np.array(taken + held, dtype=np.int64)


def _spread_runs(numbers, most, run=100):
    """At most so many of a list, as runs that begin at even distances."""
    if len(numbers) <= most:
        return numbers
    runs = -(-most // run)
    starts = np.linspace(0, len(numbers) - run, runs).astype(np.int64)
    chosen = np.unique(starts[:, None] + np.arange(run))
    return numbers[chosen[:most]]


class ShardedDataset(torch.utils.data.Dataset):
    """Utterances in shards.

    Asked for a batch, it reads its stream of shards on, and holds what comes
    by until its batch is asked for. What is asked for in another order, as
    after resuming, is read from where it lies: the order of reading changes
    nothing but the time that it takes.

    Arguments
    ---------
    index : ShardIndex
        Where they lie.
    sample_rate : int
        Samples per second of the waveforms.
    most_held_bytes : int
        Bytes that may be held; more are forgotten, and read again.
    prepare : callable, optional
        Takes an item; returns entries that are added to it, or replace some.

    Example
    -------
    >>> from speechbrain_llsa.training.shards import write_shards
    >>> from speechbrain.dataio import audio_io
    >>> folder = getfixture("tmp_path")
    >>> audio_io.save(folder / "a.wav", torch.zeros(1, 800), 16000)
    >>> row = {"ID": "a", "wav": folder / "a.wav", "duration": 0.05}
    >>> row |= {"spk_id": "1", "wrd": "HELLO"}
    >>> dataset = ShardedDataset(write_shards([row], folder, "train"))
    >>> dataset[0]["wrd"], dataset[0]["sig"].shape, dataset[0]["fault"]
    ('HELLO', torch.Size([800]), '')
    """

    def __init__(
        self,
        index,
        sample_rate=SAMPLE_RATE,
        most_held_bytes=2 << 30,
        prepare=None,
    ):
        self.index = index
        self.sample_rate = sample_rate
        self.most_held_bytes = most_held_bytes
        self.prepare = prepare
        self.sampler = None
        self._open = None, None
        self._begin(None)

    def _begin(self, order):
        """Begins an epoch, of which nothing is held."""
        self._order = order
        self._coming, self._next = None, 0
        self._held = {}
        self._held_bytes = 0

    def follow(self, sampler):
        """Reads in the order of a sampler from now on.

        Arguments
        ---------
        sampler : ShardBatchSampler
            The sampler of the same index.
        """
        self.sampler = sampler

    def __len__(self):
        return len(self.index)

    def __getitem__(self, number):
        """Reads an utterance by its position in the index."""
        return self._item(number)

    def __getitems__(self, numbers):
        """Reads the utterances of a batch.

        Arguments
        ---------
        numbers : list of int
            Their positions in the index.

        Returns
        -------
        list of dict
            For each ``id``, ``wav``, which names shard and audio, ``sig``
            (samples,), ``fault``, ``spk_id`` and ``wrd``.
        """
        if self.sampler is not None:
            self._read_until(numbers)
        return [self._item(number) for number in numbers]

    @contextmanager
    def output_keys_as(self, keys):
        """As of SpeechBrain's datasets; items have all keys."""
        yield self

    def transcripts(self, most):
        """Reads transcripts: of all utterances that are used, or of runs of
        them from everywhere.

        Arguments
        ---------
        most : int
            How many are read at most.

        Returns
        -------
        list of str
            Those that can be read.
        """
        found = []
        for number in _spread_runs(self.index.used, most).tolist():
            try:
                found.append(self._parse(number, self._read(number))["wrd"])
            except (OSError, ValueError):
                continue  # named when its batch is read
        return found

    def _item(self, number):
        item = self._read_item(number)
        return item if self.prepare is None else item | self.prepare(item)

    def _read_item(self, number):
        shard = int(self.index.shards[number])
        file = self.index.files[shard]
        place = f"{file.name}, byte {self.index.offsets[number]}"
        item = {
            "id": place,
            "wav": str(file),
            "sig": torch.zeros(0),
            "fault": "",
            "spk_id": "",
            "wrd": "",
        }
        try:
            parsed = self._parse(number, self._take(number))
        except (OSError, ValueError) as error:
            text = " ".join(reason(error).split())[:200]
            return {**item, "fault": f"lies in a damaged shard: {text}"}
        waveform, fault = read_or_fault(
            io.BytesIO(parsed["audio"]), parsed["duration"], self.sample_rate
        )
        if fault:
            fault = f"{fault} ({place})"
        return {
            "id": parsed["id"],
            "wav": f"{file}/{parsed['name']}",
            "sig": waveform,
            "fault": fault,
            "spk_id": parsed["spk_id"],
            "wrd": parsed["wrd"],
        }

    def _read_until(self, numbers):
        """Reads on to the last of a batch, in the order of reading, and holds
        what lies before it."""
        places = self.sampler.places
        if self.sampler.order is not self._order:
            self._begin(self.sampler.order)
        if self._coming is None:
            self._coming = self.sampler.reading_order(numbers)
        last = places[[n for n in numbers if n not in self._held]].max(
            initial=-1
        )
        while (
            self._next < len(self._coming)
            and places[self._coming[self._next]] <= last
        ):
            number = int(self._coming[self._next])
            self._next += 1
            try:
                chunk = self._read(number)
            except OSError:
                continue  # its item says so
            self._held[number] = chunk
            self._held_bytes += len(chunk)
        # the oldest first, but nothing of this batch
        for number in list(self._held):
            if self._held_bytes <= self.most_held_bytes:
                break
            if number not in numbers:
                self._held_bytes -= len(self._held.pop(number))

    def _take(self, number):
        chunk = self._held.pop(number, None)
        if chunk is None:
            return self._read(number)
        self._held_bytes -= len(chunk)
        return chunk

    def _parse(self, number, chunk):
        parsed = parse_utterance(chunk)
        if digest_of_key(parsed["id"]) != self.index.keys[number]:
            raise ValueError(
                f"{parsed['id']} lies there, its index says another"
            )
        return parsed

    def _read(self, number):
        # a forked process shares the file's position: it opens its own
        wanted = os.getpid(), int(self.index.shards[number])
        opened, stream = self._open
        if opened != wanted:
            if stream is not None:
                stream.close()
            self._open = None, None
            stream = open(self.index.files[wanted[1]], "rb")  # noqa: SIM115
            self._open = wanted, stream
        stream.seek(int(self.index.offsets[number]))
        return stream.read(int(self.index.sizes[number]))


def shard_loader_options(
    dataset,
    seed,
    num_buckets,
    max_batch_length,
    num_workers=0,
    ranks=1,
    shuffle_buffer=2000,
):
    """Options of a loader of batches from shards, for ``Brain.fit``.

    Arguments
    ---------
    dataset : ShardedDataset
        The utterances.
    seed : int
        Determines the batches and their order, together with the epoch.
    num_buckets : int
        Number of buckets.
    max_batch_length : float
        Seconds of a batch, including padding.
    num_workers : int
        Processes of each rank that read shards; 0 reads in the training
        process.
    ranks : int
        Ranks of the training.
    shuffle_buffer : int
        Utterances of a worker that are shuffled at once.

    Returns
    -------
    dict
        For ``Brain.fit(train_loader_kwargs=...)``.
    """
    sampler = ShardBatchSampler(
        dataset.index,
        seed,
        max_batch_length,
        num_buckets,
        shuffle_buffer,
        ranks * max(1, num_workers),
    )
    dataset.follow(sampler)
    return {
        "batch_sampler": sampler,
        "collate_fn": UtteranceBatch,
        "num_workers": num_workers,
        "pin_memory": torch.cuda.is_available(),
        "generator": torch.Generator(),
    }


def load_shards(
    folder,
    splits,
    on_bad_utterance="skip",
    shortest_seconds=0.0,
    longest_seconds=None,
    sample_rate=SAMPLE_RATE,
):
    """Loads the utterances of shards.

    Arguments
    ---------
    folder : str or pathlib.Path
        Their folder.
    splits : list of str
        The splits.
    on_bad_utterance : str
        What to do about shards that are missing or cut short: "skip" leaves
        them out and names each in the log, "error" names the first.
    shortest_seconds : float
        The shortest utterance to keep.
    longest_seconds : float or None
        The longest utterance to keep; ``None`` for no limit.
    sample_rate : int
        Samples per second of the waveforms.

    Returns
    -------
    ShardedDataset

    Raises
    ------
    FileNotFoundError
        If the folder does not have a split.
    ValueError
        If the index is damaged, a shard is and they are not to be left out,
        or no utterance remains.
    """
    index = read_index(folder, splits)
    check_same_on_ranks("shards", lambda: index.fingerprint)
    # a shard that one rank has not is left out on all
    damaged = join_faults(index.damage())
    for fault in damaged.values():
        if on_bad_utterance == "error":
            raise ValueError(
                must_be(
                    "shards",
                    "whole unless on_bad_utterance is 'skip'",
                    fault,
                )
            )
        logger.warning(f"Leaving out a shard: {fault}")
    if damaged:
        index = index.without_shards(damaged)
    return ShardedDataset(
        index.kept(shortest_seconds, longest_seconds), sample_rate
    )
