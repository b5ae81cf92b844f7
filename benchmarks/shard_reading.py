"""Reading training data alone: shards against a folder of the same files, in
the same batches.

> python benchmarks/shard_reading.py --data_folder LibriSpeech/train-clean-100

Without a folder, audio is made: noise of changing colour and loudness. Files
are in the page cache in both cases: what a disk or a network adds is not
measured.
"""

import tempfile
import time
from pathlib import Path

import soundfile
import torch
from speechbrain.dataio.dataset import DynamicItemDataset

from common import Report, check_equal, figure, make_parser, parse
from speechbrain_llsa.training.bad_utterances import UtteranceBatch
from speechbrain_llsa.training.data import read_or_fault
from speechbrain_llsa.training.shard_batches import (
    ShardedDataset,
    shard_loader_options,
)
from speechbrain_llsa.training.shards import write_shards
from speechbrain_llsa_runtime.utils.errors import must_be

TEXT = """
Hours of audio that PyTorch's loader gives in a second, in batches of 200
seconds, decoded from FLAC and padded, with a process for each thread and
nothing else to do: from shards of 100 MB, and from a folder of one file for
each utterance, in the same batches. Medians of three turns, least and most.
"""
UTTERANCES, SECONDS = 600, 12.0
TURNS = 3
SHARD_BYTES = 100_000_000


def main(arguments=None):
    """Checks, measures and writes."""
    parser = make_parser(__doc__)
    parser.add_argument(
        "--data_folder", type=Path, help="FLAC files, at any depth"
    )
    options = parse(parser, arguments)
    paths = []
    if options.data_folder:
        paths = sorted(options.data_folder.rglob("*.flac"))
        if not paths:
            parser.error(
                must_be(
                    "--data_folder",
                    "a folder with FLAC files",
                    repr(str(options.data_folder)),
                )
            )
    report = Report("Reading from shards", TEXT, options)
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        if not paths:
            count, seconds = (
                (12, 1.0) if options.tiny else (UTTERANCES, SECONDS)
            )
            paths = make_files(scratch, count, seconds)
        rows = [describe(path) for path in paths]
        index = write_shards(rows, scratch / "shards", "train", SHARD_BYTES)
        shards = ShardedDataset(index)
        loader_options = shard_loader_options(
            shards, 0, 20, 200.0, options.threads
        )
        folder = folder_of(rows, shards)
        check_batches(loader_options["batch_sampler"], shards, folder)
        speeds = measure(
            {"shards": shards, "folder": folder},
            loader_options,
            index.durations,
            1 if options.tiny else TURNS,
        )
    (ours, theirs) = speeds.values()
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    report.add(
        f"{len(rows)} files, {index.durations.sum() / 3600:.2f} hours, "
        f"{options.threads} processes",
        spread(ours, " hours a second"),
        spread(theirs, " hours a second"),
        spread(ratios, " times"),
    )
    report.write()


def make_files(folder, count, seconds):
    """Writes noise as FLAC files."""
    samples = round(seconds * 16000)
    for number in range(count):
        noise = torch.randn(samples + 1)
        steps = samples // 640 + 1
        colour, loudness = torch.rand(2, steps).repeat_interleave(640, 1)
        signal = noise[1:] + (2 * colour[:samples] - 1) * noise[:-1]
        signal = (0.1 * loudness[:samples] ** 2 * signal).clamp(-1, 1)
        soundfile.write(folder / f"{number:04d}.flac", signal.numpy(), 16000)
    return sorted(folder.glob("*.flac"))


def describe(path):
    """The row of a manifest."""
    return {
        "ID": path.stem,
        "duration": soundfile.info(path).duration,
        "wav": str(path),
        "spk_id": "",
        "wrd": "",
    }


def folder_of(rows, shards):
    """The files, in the order of the index."""
    rows = {row["ID"]: row for row in rows}
    names = [shards[number]["id"] for number in range(len(shards))]
    dataset = DynamicItemDataset({name: rows[name] for name in names})
    dataset.add_dynamic_item(
        lambda wav, duration: iter(read_or_fault(wav, duration)),
        takes=["wav", "duration"],
        provides=["sig", "fault"],
    )
    dataset.set_output_keys(["id", "wav", "sig", "fault"])
    return dataset


def check_batches(sampler, shards, folder):
    """Exits if the batches differ."""
    for batch in list(sampler)[:10]:
        items = shards.__getitems__(batch)
        for item, number in zip(items, batch, strict=True):
            check_equal("waveform", item["sig"], folder[number]["sig"], 0)


def measure(datasets, options, durations, turns):
    """Hours a second of each dataset, in each turn."""
    sampler = options["batch_sampler"]
    speeds = {name: [] for name in datasets}
    for turn in range(turns):
        sampler.set_epoch(turn)
        seconds = sum(durations[batch].sum() for batch in sampler)
        for name, dataset in datasets.items():
            loader = torch.utils.data.DataLoader(
                dataset, **{**options, "collate_fn": UtteranceBatch}
            )
            begin = time.perf_counter()
            for batch in loader:
                if batch.faults:
                    raise SystemExit(
                        f"files must be readable, got {batch.faults}"
                    )
            passed = time.perf_counter() - begin
            speeds[name].append(seconds / 3600 / passed)
    return speeds


def spread(values, unit):
    """The median, least and most."""
    middle = sorted(values)[len(values) // 2]
    least, most = figure(min(values)), figure(max(values))
    return f"{figure(middle)}{unit} ({least} to {most})"


if __name__ == "__main__":
    main()
