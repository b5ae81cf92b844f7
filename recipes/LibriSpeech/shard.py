"""Shards of LibriSpeech, or of any folder in its layout: few large files
instead of many small ones.

    python shard.py --data_folder LibriSpeech --shard_folder shards \\
        --splits train-clean-100 train-clean-360

writes SPLIT-000000.tar and so on in WebDataset's layout, with the audio as it
is, and their index. The same command again goes on where it was stopped.

    python shard.py --shard_folder shards --splits train-clean-100 --check

reads all of them, names the shards that are damaged, and says how fast it was.
"""

import argparse
import csv
import logging
import time
from pathlib import Path

from librispeech_prepare import prepare_librispeech
from speechbrain_llsa.training.shard_batches import ShardedDataset
from speechbrain_llsa.training.shards import read_index, write_shards
from speechbrain_llsa_runtime.utils.parser import OneLineParser
from speechbrain_llsa_runtime.utils.printing import all_characters


def shard_librispeech(
    data_folder,
    shard_folder,
    splits,
    shard_megabytes=1000,
    seed=0,
    on_bad_file="error",
    progress=False,
):
    """Writes the shards of splits.

    Arguments
    ---------
    data_folder : str or path
        As for ``prepare_librispeech``.
    shard_folder : str or path
        Where to write; created if necessary.
    splits : list of str
        Names of folders, for example train-clean-100.
    shard_megabytes : int
        Size of a shard.
    seed : int
        Determines the order of the utterances.
    on_bad_file : str
        As for ``prepare_librispeech``.
    progress : bool
        Whether to show progress bars.

    Returns
    -------
    dict of str to ShardIndex
        The index of each split.
    """
    manifests = prepare_librispeech(
        data_folder,
        Path(shard_folder, "manifests"),
        splits,
        on_bad_file=on_bad_file,
        progress=progress,
    )
    written = {}
    for split in splits:
        with open(manifests[split], newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        written[split] = write_shards(
            rows, shard_folder, split, shard_megabytes * 1_000_000, seed
        )
    return written


def check_shards(shard_folder, splits):
    """Reads all utterances of shards.

    Arguments
    ---------
    shard_folder : str or path
        Their folder.
    splits : list of str
        The splits.

    Returns
    -------
    list of str
        What is wrong, with the names of the shards.
    float
        Hours of audio read in a second.
    """
    index = read_index(shard_folder, splits)
    damaged = index.damage()
    faults = list(damaged.values())
    dataset, begin, seconds = ShardedDataset(index), time.perf_counter(), 0.0
    for number in range(len(index)):
        if index.shards[number] in damaged:
            continue
        item = dataset[number]
        seconds += len(item["sig"]) / dataset.sample_rate
        if item["fault"]:
            faults.append(f"{item['wav']}: {item['id']} {item['fault']}")
    return faults, seconds / 3600 / (time.perf_counter() - begin)


@all_characters()
def main(arguments=None):
    """Command line; see `--help`.

    Arguments
    ---------
    arguments : list of str, optional
        sys.argv[1:] by default.

    Returns
    -------
    int
        The exit status: 1 if a shard is damaged.
    """
    parser = OneLineParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--data_folder",
        help="folder of the splits, or the one that holds LibriSpeech/",
    )
    parser.add_argument(
        "--shard_folder", required=True, help="folder of the shards"
    )
    parser.add_argument(
        "--splits",
        nargs="+",
        required=True,
        metavar="SPLIT",
        help="names of folders, for example train-clean-100",
    )
    parser.add_argument(
        "--shard_megabytes",
        type=int,
        default=1000,
        help="size of a shard (default: 1000)",
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of the order of utterances"
    )
    parser.add_argument(
        "--on_bad_file",
        choices=("error", "skip"),
        default="error",
        help="what to do about bad files (default: error)",
    )
    parser.add_argument(
        "--check", action="store_true", help="read what was written"
    )
    options = vars(parser.parse_args(arguments))
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    is_check = options.pop("check")
    if bool(options["data_folder"]) == is_check:
        parser.error("either --data_folder or --check must be given")
    try:
        if not is_check:
            shard_librispeech(**options, progress=True)
            return 0
        faults, speed = check_shards(options["shard_folder"], options["splits"])
    except (ValueError, OSError) as error:
        parser.error(error)
    for fault in faults:
        print(fault)
    print(f"{len(faults)} faults; {speed:.3g} hours of audio a second")
    return int(bool(faults))


if __name__ == "__main__":
    raise SystemExit(main())
