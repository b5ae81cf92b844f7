"""Shards give the utterances of the folder that they were made of: in the same
batches, in one stretch for each reader, and by the names of what is damaged."""

import io
import json
import shutil
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from speechbrain.dataio.dataset import DynamicItemDataset

import shard
from speechbrain_llsa.training.bad_utterances import UtteranceBatch
from speechbrain_llsa.training.data import RankBatchSampler, read_or_fault
from speechbrain_llsa.training.log_mel_statistics import measure_statistics
from speechbrain_llsa.training.shard_batches import (
    ShardBatchSampler,
    ShardedDataset,
    _spread_runs,
    load_shards,
    shard_loader_options,
)
from speechbrain_llsa.training.shards import (
    ShardIndex,
    parse_utterance,
    read_index,
    write_shards,
)
from tiny_model import make_log_mel, make_signal

COUNT = 60
OPTIONS = {"seed": 3, "max_batch_length": 4.0, "num_buckets": 3}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A folder in LibriSpeech layout, of 0.2 to 1.4 s an utterance."""
    folder = tmp_path_factory.mktemp("corpus")
    chapter = folder / "train" / "1" / "2"
    chapter.mkdir(parents=True)
    lines = []
    for number in range(COUNT):
        name = f"1-2-{number:04d}"
        samples = 3200 + 320 * number
        signal = make_signal(samples, number).numpy()
        soundfile.write(chapter / f"{name}.flac", signal, 16000)
        lines.append(f"{name} WORD {chr(65 + number % 26)}\n")
    (chapter / "1-2.trans.txt").write_text("".join(lines))
    return folder


@pytest.fixture(scope="module")
def written(corpus, tmp_path_factory):
    """Its shards, of about 8 utterances each."""
    folder = tmp_path_factory.mktemp("written")
    rows = rows_of(corpus)
    write_shards(rows, folder, "train", shard_bytes=150_000, seed=1)
    return folder


@pytest.fixture
def shards(written, tmp_path):
    """A copy, to be damaged."""
    folder = tmp_path / "shards"
    folder.mkdir()
    for path in written.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def rows_of(corpus):
    paths = sorted((corpus / "train").rglob("*.flac"))
    return [
        {
            "ID": path.stem,
            "duration": str(soundfile.info(path).duration),
            "wav": str(path),
            "spk_id": "1",
            "wrd": f"WORD {number}",
        }
        for number, path in enumerate(paths)
    ]


def folder_in_order(corpus, index):
    """The files of the folder, in the order of the index."""
    rows = {row["ID"]: row for row in rows_of(corpus)}
    ids = [ShardedDataset(index)[number]["id"] for number in range(len(index))]
    dataset = DynamicItemDataset(
        {f"{n:04d}": rows[name] for n, name in enumerate(ids)}
    )
    dataset.add_dynamic_item(
        lambda wav, duration: iter(read_or_fault(wav, float(duration))),
        takes=["wav", "duration"],
        provides=["sig", "fault"],
    )
    dataset.add_dynamic_item(str, takes="ID", provides="name")
    dataset.set_output_keys(["name", "sig", "fault", "wrd"])
    return dataset


def load(dataset, sampler, workers=0, rank=None, ranks=1):
    if rank is not None:
        sampler = RankBatchSampler(sampler, num_replicas=ranks, rank=rank)
    return torch.utils.data.DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=list,
        multiprocessing_context="fork" if workers else None,
    )


@pytest.mark.parametrize(("ranks", "workers"), [(1, 0), (1, 2), (2, 0), (2, 2)])
def test_batches_are_those_of_a_folder(corpus, written, ranks, workers):
    """Names, waveforms and transcripts, on each rank, in each epoch."""
    index = read_index(written, ["train"])
    assert len(index.files) > 5
    streams = ranks * max(1, workers)
    sampler = ShardBatchSampler(
        index, **OPTIONS, shuffle_buffer=7, streams=streams
    )
    folder = folder_in_order(corpus, index)
    seen = []
    for epoch in (1, 2):
        sampler.set_epoch(epoch)
        used = Counter()
        for rank in range(ranks):
            dataset = ShardedDataset(index)
            dataset.follow(sampler)
            place = {"rank": rank, "ranks": ranks}
            ours = load(dataset, sampler, workers, **place)
            theirs = load(folder, sampler, 0, **place)
            assert len(ours) == len(theirs) > 1
            for one, other in zip(ours, theirs, strict=True):
                assert [item["id"] for item in one] == [
                    item["name"] for item in other
                ]
                for item, same in zip(one, other, strict=True):
                    assert torch.equal(item["sig"], same["sig"])
                    assert (item["wrd"], item["fault"]) == (same["wrd"], "")
                longest = max(len(item["sig"]) for item in one) / 16000
                assert len(one) == 1 or len(one) * longest <= 4
                used.update(item["id"] for item in one)
        seen.append(list(sampler))
        assert len(used) == COUNT
        # streams that are shorter repeat their first batches
        assert sum(used.values()) <= COUNT + (streams - 1) * 20
    assert seen[0] != seen[1]
    sampler.set_epoch(1)
    assert list(sampler) == seen[0]


def test_utterances_are_shuffled(written):
    """Neither the order of shards nor the order within them is that of the
    epoch, and a larger buffer mixes more."""
    index = read_index(written, ["train"])

    def distance(buffer):
        sampler = ShardBatchSampler(index, 3, 0.1, 1, buffer)
        sampler.set_epoch(1)
        numbers = [number for batch in sampler for number in batch]
        assert sorted(numbers) == list(range(COUNT))
        places = sampler.places[numbers]
        return np.abs(places - np.arange(COUNT)).mean()

    assert distance(1) < 2 < distance(8) < distance(1000)


class Reads:
    """Notes what a dataset reads."""

    def __init__(self, monkeypatch):
        self.numbers = []
        read = ShardedDataset._read

        def noting(dataset, number):
            self.numbers.append(number)
            return read(dataset, number)

        monkeypatch.setattr(ShardedDataset, "_read", noting)


def test_shards_are_read_in_sequence(written, monkeypatch):
    """Each utterance once, in the order in which they lie, and each shard
    opened once; a second epoch the same."""
    index = read_index(written, ["train"])
    sampler = ShardBatchSampler(index, **OPTIONS, shuffle_buffer=9)
    dataset = ShardedDataset(index)
    dataset.follow(sampler)
    for epoch in (1, 2):
        sampler.set_epoch(epoch)
        reads = Reads(monkeypatch)
        for _ in load(dataset, sampler):
            pass
        assert reads.numbers == sampler.order.tolist()
        of_shards = index.shards[reads.numbers]
        changes = np.count_nonzero(np.diff(of_shards))
        assert changes == len(index.files) - 1
        offsets = index.offsets[reads.numbers]
        assert (np.diff(offsets)[np.diff(of_shards) == 0] > 0).all()
        assert not dataset._held


@pytest.mark.parametrize("first", [1, 4, 9])
def test_an_epoch_goes_on_at_any_batch(written, monkeypatch, first):
    """With the batches that are left, and without reading all before them."""
    index = read_index(written, ["train"])
    sampler = ShardBatchSampler(index, **OPTIONS, shuffle_buffer=5)
    sampler.set_epoch(1)
    batches = list(sampler)
    dataset = ShardedDataset(index)
    whole = [dataset.__getitems__(batch) for batch in batches]
    dataset.follow(sampler)
    reads = Reads(monkeypatch)
    for batch, expected in zip(batches[first:], whole[first:], strict=True):
        for item, same in zip(
            dataset.__getitems__(batch), expected, strict=True
        ):
            assert item["id"] == same["id"]
            assert torch.equal(item["sig"], same["sig"])
    assert len(reads.numbers) <= COUNT + 2
    if first == 9:
        assert len(reads.numbers) < COUNT


def test_little_memory_is_enough(written):
    """What must be forgotten is read again."""
    index = read_index(written, ["train"])
    sampler = ShardBatchSampler(index, **OPTIONS, shuffle_buffer=30)
    sampler.set_epoch(1)
    little = ShardedDataset(index, most_held_bytes=0)
    little.follow(sampler)
    much = ShardedDataset(index)
    for batch in sampler:
        ours, theirs = little.__getitems__(batch), much.__getitems__(batch)
        for item, same in zip(ours, theirs, strict=True):
            assert torch.equal(item["sig"], same["sig"])
            assert not item["fault"]
        assert little._held_bytes <= sum(index.sizes[batch])


def test_durations_are_chosen(written):
    """Those that are too short or too long are in no batch."""
    dataset = load_shards(written, ["train"], "error", 0.5, 1.0)
    options = shard_loader_options(dataset, 3, 3, 4.0)
    assert options["collate_fn"] is UtteranceBatch
    sampler = options["batch_sampler"]
    numbers = [number for batch in sampler for number in batch]
    durations = dataset.index.durations[numbers]
    assert durations.min() >= 0.5 and durations.max() <= 1.0
    assert len(numbers) == 26
    assert (
        sampler.fingerprint
        != ShardBatchSampler(
            read_index(written, ["train"]), 3, 4.0, 3
        ).fingerprint
    )
    with pytest.raises(ValueError, match=r"^shards must be some with other"):
        load_shards(written, ["train"], "error", 5.0)


def test_statistics_of_shards(written):
    """A front end of log-mel energies measures them over shards too."""
    front_end = make_log_mel()
    front_end.log_mel.measured.zero_()
    dataset = ShardedDataset(read_index(written, ["train"]))
    measure_statistics(front_end, dataset)
    expected = make_log_mel().measure(
        dataset[number]["sig"] for number in range(COUNT)
    )
    assert torch.equal(front_end.log_mel.mean, expected.log_mel.mean)
    assert front_end.log_mel.measured == expected.log_mel.measured


def test_streams_are_of_equal_length():
    """Within the padding of a batch, for many streams of few shards."""
    draw = np.random.default_rng(0)
    counts = np.array([500, 40, 300])
    index = ShardIndex(
        files=tuple(Path(f"{number}.tar") for number in range(3)),
        file_bytes=(0, 0, 0),
        counts=counts,
        durations=draw.uniform(1, 20, counts.sum()),
        offsets=np.zeros(counts.sum(), np.int64),
        sizes=np.zeros(counts.sum(), np.int64),
        keys=np.arange(counts.sum()),
    )
    for streams in (1, 2, 7, 16):
        sampler = ShardBatchSampler(index, 0, 100.0, 10, 50, streams)
        sampler.set_epoch(5)
        used = Counter(number for batch in sampler for number in batch)
        assert len(used) == counts.sum()
        assert sum(used.values()) < 1.15 * counts.sum()
        assert len(sampler) % streams == 0
        for stream in range(streams):
            own = [b for p, b in enumerate(sampler) if p % streams == stream]
            places = sampler.places[[number for b in own for number in b]]
            assert np.ptp(places) == len(set(places)) - 1
    with pytest.raises(ValueError, match=r"^shards must be of at least 841"):
        ShardBatchSampler(index, 0, 100.0, streams=841)


def test_damaged_shards_are_named(shards, caplog):
    """Cut short or missing: before the training; they are left out, or end
    it."""
    whole = read_index(shards, ["train"])
    cut, missing = whole.files[1], whole.files[4]
    cut.write_bytes(cut.read_bytes()[:-1000])
    missing.unlink()
    with pytest.raises(ValueError, match=rf"got .*{cut.name} has .* bytes"):
        load_shards(shards, ["train"], "error")
    with caplog.at_level("WARNING"):
        dataset = load_shards(shards, ["train"], "skip")
    for path in (cut, missing):
        assert f"Leaving out a shard: {path}" in caplog.text
    sampler = shard_loader_options(dataset, 3, 3, 4.0)["batch_sampler"]
    numbers = [number for batch in sampler for number in batch]
    assert set(whole.shards[numbers]) == set(range(len(whole.files))) - {1, 4}
    items = dataset.__getitems__(numbers)
    assert not any(item["fault"] for item in items)


def test_workers_open_shards_themselves(corpus, tmp_path):
    """Also one that the main process has read before them."""
    index = write_shards(rows_of(corpus), tmp_path, "train")
    sampler = ShardBatchSampler(index, **OPTIONS, streams=2)
    dataset = ShardedDataset(index)
    assert len(dataset.transcripts(5)) == 5
    for _ in range(3):
        batches = list(load(dataset, sampler, workers=2))
        assert {item["fault"] for batch in batches for item in batch} == {""}


def test_transcripts_are_of_all_shards(written):
    """Of all splits, where not all are read."""
    index = read_index(written, ["train"])
    dataset = ShardedDataset(index)
    assert len(dataset.transcripts(COUNT)) == COUNT
    many = np.arange(0, 20000, 2)
    numbers = _spread_runs(many, 450)
    assert len(numbers) == len(set(numbers)) == 450
    assert set(numbers) <= set(many)
    assert numbers[0] == 0 and numbers[-1] > 19000
    assert (np.diff(numbers) == 2).mean() > 0.98


def test_a_shard_that_one_rank_lacks_is_left_out_on_all(shards, monkeypatch):
    module = "speechbrain_llsa.training.shard_batches"
    monkeypatch.setattr(
        f"{module}.join_faults", lambda faults: faults | {2: "it is not there"}
    )
    dataset = load_shards(shards, ["train"])
    assert 2 not in dataset.index.shards[dataset.index.used]


def test_ranks_need_the_same_index(shards, monkeypatch):
    module = "speechbrain_llsa.training.ranks"
    monkeypatch.setattr(f"{module}.rank_count", lambda: 2)

    def gather(found, value):
        found[:] = [value, "another"]

    monkeypatch.setattr(f"{module}.distributed.all_gather_object", gather)
    with pytest.raises(ValueError, match="shards must be the same on all ra"):
        load_shards(shards, ["train"])


@pytest.mark.parametrize("part", ["header", "description", "audio"])
def test_damage_within_a_shard_is_named(shards, part):
    """Where an utterance cannot be read its shard is named, and the others of
    the shard are read."""
    index = read_index(shards, ["train"])
    damaged, file = 9, index.files[index.shards[9]]
    content = bytearray(file.read_bytes())
    begin = int(index.offsets[damaged])
    places = {"header": 0, "description": 512, "audio": 3 * 512}
    first = begin + places[part]
    content[first : first + 60] = bytes(60)
    file.write_bytes(content)
    sampler = ShardBatchSampler(index, **OPTIONS)
    dataset = ShardedDataset(index)
    dataset.follow(sampler)
    faults = {}
    for batch in sampler:
        faults |= UtteranceBatch(dataset.__getitems__(batch)).faults
    ((name, fault),) = faults.items()
    assert file.name in name
    assert file.name in f"{name} {fault}"
    assert "damaged shard" in fault or "cannot be read" in fault
    problems, speed = shard.check_shards(shards, ["train"])
    assert len(problems) == 1 and file.name in problems[0]
    assert speed > 0


def test_a_shard_that_vanishes(shards):
    """In the middle of an epoch: its utterances are faults, named."""
    index = read_index(shards, ["train"])
    sampler = ShardBatchSampler(index, **OPTIONS)
    dataset = ShardedDataset(index)
    dataset.follow(sampler)
    index.files[2].unlink()
    faults = {}
    for batch in sampler:
        faults |= UtteranceBatch(dataset.__getitems__(batch)).faults
    assert len(faults) == index.counts[2]
    assert all(index.files[2].name in name for name in faults)


def test_written_again_and_interrupted(corpus, tmp_path, monkeypatch):
    """What an interrupted call wrote stays, and the end is the same; other
    utterances are refused."""
    rows = rows_of(corpus)
    first = write_shards(rows, tmp_path / "a", "train", 150_000)
    written = {p.name: p.read_bytes() for p in (tmp_path / "a").iterdir()}
    count = 0
    read = Path.read_bytes

    def failing(path):
        nonlocal count
        count += path.suffix == ".flac"
        if count == 20:
            raise OSError("unplugged")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", failing)
    with pytest.raises(ValueError, match=r"^audio of .* got .*: unplugged"):
        write_shards(rows, tmp_path / "b", "train", 150_000)
    monkeypatch.undo()
    complete = sorted((tmp_path / "b").glob("*.tar"))
    assert 0 < len(complete) < len(first.files)
    before = {path: path.stat().st_mtime_ns for path in complete}
    again = write_shards(rows, tmp_path / "b", "train", 150_000)
    assert {p: p.stat().st_mtime_ns for p in complete} == before
    assert again.fingerprint == first.fingerprint
    for path in (tmp_path / "b").glob("*.tar"):
        assert path.read_bytes() == written[path.name]
    with pytest.raises(ValueError, match=r"which has other content from"):
        write_shards(rows[:-5], tmp_path / "b", "train", 150_000)


@pytest.mark.parametrize("content", [b"", b"x" * 2000, None])
def test_a_damaged_shard_is_not_kept(corpus, shards, content):
    """Empty, no tar file, or cut short: written again, the call names it."""
    path = shards / "train-000000.tar"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(ValueError, match=r"000000.tar must be a whole shard"):
        write_shards(rows_of(corpus), shards, "train")


def corrected(rows, corpus):
    return [row | {"wrd": f"{row['wrd']} MORE"} for row in rows]


def lengthened(rows, corpus):
    signal = make_signal(30000).numpy()
    for row in rows:
        soundfile.write(row["wav"], signal, 16000)
    return [row | {"duration": "1.875"} for row in rows]


def recorded_anew(rows, corpus):
    for number, row in enumerate(rows):
        samples = soundfile.info(row["wav"]).frames
        signal = make_signal(samples, 100 + number).numpy()
        soundfile.write(row["wav"], 0.5 * signal, 16000)
    return rows


@pytest.mark.parametrize("change", [corrected, lengthened, recorded_anew])
def test_shards_of_what_has_changed_are_not_kept(change, corpus, tmp_path):
    """Transcripts or audio: the first shard is named."""
    copied = tmp_path / "corpus"
    shutil.copytree(corpus, copied)
    folder = tmp_path / "shards"
    write_shards(rows_of(copied), folder, "train", 150_000)
    with pytest.raises(ValueError, match=r"^folder must be .*-000000.tar, w"):
        write_shards(change(rows_of(copied), copied), folder, "train", 150_000)


def test_a_shard_with_more_than_utterances_is_not_kept(corpus, tmp_path):
    """One file behind the last utterance."""
    write_shards(rows_of(corpus), tmp_path, "train", 150_000)
    first, *others = sorted(tmp_path.glob("*.tar"))
    for path in others:
        path.unlink()
    with tarfile.open(first, "a") as archive:
        last = archive.getnames()[-1].split(".")[0]
        archive.addfile(tarfile.TarInfo(f"{last}.txt"))
    with pytest.raises(ValueError, match=rf"000000.tar, which .* {last}.txt"):
        write_shards(rows_of(corpus), tmp_path, "train", 150_000)


def test_shards_that_are_left_over_are_named(corpus, tmp_path, caplog):
    """Smaller ones of before: they are in no index, but in ``train-*.tar``."""
    write_shards(rows_of(corpus), tmp_path, "train", 150_000)
    first, *others = sorted(tmp_path.glob("*.tar"))
    first.unlink()
    with caplog.at_level("WARNING"):
        write_shards(rows_of(corpus), tmp_path, "train")
    for path in others:
        assert f"{path} is of an earlier call, and in no index" in caplog.text


def test_a_shard_in_the_place_of_another_is_named(shards):
    """Of the same size, and so whole."""
    index = read_index(shards, ["train"])
    sizes = Counter(index.file_bytes)
    size, _ = sizes.most_common(1)[0]
    one, other, *_ = (
        file
        for file, found in zip(index.files, index.file_bytes, strict=True)
        if found == size
    )
    other.write_bytes(one.read_bytes())
    faults, _ = shard.check_shards(shards, ["train"])
    assert len(faults) >= index.counts[index.files.index(other)] - 1
    assert all(other.name in fault for fault in faults)


@pytest.mark.parametrize(
    "entries",
    [
        {"wrd": None},
        {"wrd": ["A"]},
        {"spk_id": 1},
        {"duration": "nan"},
        {"duration": 0},
        {"duration": 10**400},
        {"duration": None},
        "[" * 100_000,
    ],
    ids=lambda entries: str(entries)[:20],
)
def test_a_bad_description_is_named(entries):
    """Never taken for what it could be turned into."""
    content = entries
    if isinstance(entries, dict):
        described = {"duration": 1.0, "spk_id": "1", "wrd": "A"} | entries
        content = json.dumps(described)
    chunk = io.BytesIO()
    with tarfile.open(fileobj=chunk, mode="w") as archive:
        for name, data in (("a.json", content.encode()), ("a.flac", b"")):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    with pytest.raises(ValueError, match=r"."):
        parse_utterance(chunk.getvalue())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("durations", 0.0),
        ("durations", np.nan),
        ("durations", -1.0),
        ("offsets", -512),
        ("sizes", 10**15),
        ("sizes", 0),
    ],
)
def test_bad_numbers_in_an_index(name, value, shards):
    path = shards / "train.index.npz"
    with np.load(path) as saved:
        arrays = dict(saved)
    arrays[name][7] = value
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=r"places in the shards, .*ance 7$"):
        read_index(shards, ["train"])


def test_no_utterance_comes_twice(shards):
    """By a split that is named twice, or two that share utterances."""
    with pytest.raises(ValueError, match=r"^splits must be of different utt"):
        read_index(shards, ["train", "train"])


def test_the_layout_is_that_of_webdataset(written, corpus):
    """Whose reader gives each utterance, with description and audio."""
    webdataset = pytest.importorskip("webdataset")
    index = read_index(written, ["train"])
    samples = list(
        webdataset.WebDataset(
            [str(file) for file in index.files], shardshuffle=False
        )
    )
    rows = {row["ID"]: row for row in rows_of(corpus)}
    assert [sample["__key__"] for sample in samples] == [
        ShardedDataset(index)[number]["id"] for number in range(COUNT)
    ]
    for sample in samples:
        row = rows[sample["__key__"]]
        assert json.loads(sample["json"])["wrd"] == row["wrd"]
        assert sample["flac"] == Path(row["wav"]).read_bytes()


def test_the_command(corpus, tmp_path, capsys):
    """Writes from a folder in LibriSpeech layout, and reads what it wrote."""
    folder = tmp_path / "shards"
    line = ["--shard_folder", str(folder), "--splits", "train"]
    assert shard.main([*line, "--data_folder", str(corpus)]) == 0
    item = ShardedDataset(read_index(folder, ["train"]))[0]
    assert item["wrd"].startswith("WORD ") and item["spk_id"] == "1"
    assert shard.main([*line, "--check"]) == 0
    assert capsys.readouterr().out.startswith("0 faults; ")
    (path,) = folder.glob("*.tar")
    path.write_bytes(path.read_bytes()[:1000])
    assert shard.main([*line, "--check"]) == 1
    assert path.name in capsys.readouterr().out
    with pytest.raises(SystemExit):
        shard.main(line)


ROW = {"ID": "a", "duration": 1, "spk_id": "1", "wrd": "A"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "rows must be at least one utterance"),
        ([{"ID": "a"}, {"ID": "a"}], "rows must be of different IDs"),
        ([{"ID": "a.b"}], "ID must be a file name without a dot"),
        ([{"ID": "a/b"}], "ID must be a file name without a dot"),
        ([{"ID": "a\n"}], "ID must be a file name without a dot"),
        ([ROW | {"wav": "no.flac"}], "audio of a must be a file that can be"),
    ],
)
def test_bad_rows(tmp_path, rows, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        write_shards(rows, tmp_path, "train")
    assert not list(tmp_path.glob("*.tar"))


@pytest.mark.parametrize("split", ["", "a/b", "../a", "a\n"])
def test_bad_names_of_splits(tmp_path, split):
    with pytest.raises(ValueError, match=r"^split must be a file name, got"):
        write_shards([ROW], tmp_path, split)


def test_audio_without_a_suffix(tmp_path):
    path = tmp_path / "audio"
    path.write_bytes(b"RIFF")
    with pytest.raises(ValueError, match="its name has no suffix"):
        write_shards([ROW | {"wav": path}], tmp_path / "shards", "train")


def test_bad_indexes(shards):
    with pytest.raises(FileNotFoundError, match=r"^shards must be a folder"):
        read_index(shards, ["other"])
    arrays = shards / "train.index.npz"
    content = arrays.read_bytes()
    for damaged in (b"", content[:100], content[:-100]):
        arrays.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"train.index.npz must be an in"):
            read_index(shards, ["train"])
    kept = io.BytesIO()
    np.savez(
        kept, **{n: a[1:] for n, a in np.load(io.BytesIO(content)).items()}
    )
    arrays.write_bytes(kept.getvalue())
    with pytest.raises(ValueError, match=r"^train.index.npz must be of 60"):
        read_index(shards, ["train"])
    arrays.write_bytes(content)
    listed = shards / "train.shards.json"
    for old, new in (
        ('"format": 2', '"format": 1'),
        ("train-", "../train-"),
        ("train-", r"\u0000train-"),
    ):
        text = listed.read_text()
        listed.write_text(text.replace(old, new))
        with pytest.raises(ValueError, match=r"^train.shards.json must be a"):
            read_index(shards, ["train"])
        listed.write_text(text)
    with pytest.raises(ValueError, match=r"."):
        parse_utterance(b"nothing")
