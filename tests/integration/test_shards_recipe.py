"""Pre-training from shards, at toy size: resumed within an epoch, and with a
damaged shard."""

import csv
import json
from collections import Counter
from pathlib import Path

import pytest
import torch

import finetune_ctc
import pretrain
from joined_training import run_ranks, train_and_note
from librispeech_prepare import prepare_librispeech
from recipe_process import command_line
from speechbrain_llsa.training.shards import read_index, write_shards
from toy_recipe import MODEL

SMALL = Path(__file__).parents[2] / "hparams" / "pretrain_small.yaml"
TOY = {
    **MODEL,
    "final_dim": 8,
    "num_vars": 8,
    "num_negatives": 5,
    "seconds_per_batch": 4,
    "num_buckets": 2,
    "shuffle_buffer": 4,
    "log_interval": 1,
    "warmup": 2,
    "number_of_epochs": 2,
    "device": "cpu",
}


@pytest.fixture(scope="module", autouse=True)
def no_environment():
    """Listing the installed packages takes seconds for each run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "speechbrain.utils.logger.get_environment_description", str
        )
        yield


@pytest.fixture(scope="module")
def shards(digits_corpus, tmp_path_factory):
    """Of the split train, of two or three utterances each."""
    folder = tmp_path_factory.mktemp("shards")
    manifests = prepare_librispeech(digits_corpus, folder / "m", ["train"])
    with open(manifests["train"], newline="") as file:
        rows = list(csv.DictReader(file))
    index = write_shards(rows, folder, "train", shard_bytes=100_000)
    assert len(index.files) > 3
    return folder


@pytest.fixture
def seen(monkeypatch):
    """The names of the utterances of each step."""
    fit_batch = pretrain.PretrainBrain.fit_batch
    noted = []

    def noting(brain, batch):
        noted.append(list(batch.id))
        return fit_batch(brain, batch)

    monkeypatch.setattr(pretrain.PretrainBrain, "fit_batch", noting)
    return noted


def run(corpus, shards, output, **overrides):
    options = {
        **TOY,
        "data_folder": corpus,
        "train_shards": shards,
        "output_folder": output,
        **overrides,
    }
    line = [str(SMALL), "--noprogressbar"]
    for name, value in options.items():
        line += [f"--{name}", str(value)]
    return pretrain.main(line)


def curves(output):
    lines = (output / "curves.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


class Interrupted(Exception):
    """Stands for a power cut."""


@pytest.mark.parametrize("workers", [0, 2])
def test_resumed_within_an_epoch(
    digits_corpus, shards, tmp_path, monkeypatch, seen, workers
):
    """The same batches, the same curve, the same weights; no manifest of the
    training data is made."""
    options = {"num_workers": workers, "ckpt_interval_steps": 2}
    whole = run(digits_corpus, shards, tmp_path / "whole", **options)
    steps, cut = len(seen), 4
    assert len(Counter(name for names in seen for name in names)) == 12
    expected = list(seen)
    seen.clear()
    fit_batch = pretrain.PretrainBrain.fit_batch

    def failing(brain, batch):
        if brain.optimizer_step == cut + 1:
            raise Interrupted
        return fit_batch(brain, batch)

    output = tmp_path / "cut"
    with monkeypatch.context() as patch:
        patch.setattr(pretrain.PretrainBrain, "fit_batch", failing)
        with pytest.raises(Interrupted):
            run(digits_corpus, shards, output, **options)
    assert seen == expected[: cut + 1]
    assert cut % (steps // 2), "within an epoch"
    seen.clear()
    resumed = run(digits_corpus, shards, output, **options)
    assert seen == expected[cut:]
    assert curves(output) == curves(tmp_path / "whole")
    for name, parameter in whole.modules.named_parameters():
        assert torch.equal(parameter, resumed.modules.get_parameter(name))
    manifests = [path.name for path in (output / "manifests").glob("*.csv")]
    assert manifests == ["valid.csv"]


@pytest.mark.slow
def test_two_ranks(digits_corpus, shards, tmp_path):
    """Share the utterances; those that are dealt twice make the ranks even."""
    arguments = command_line(
        "pretrain",
        digits_corpus,
        tmp_path / "out",
        train_shards=shards,
        seconds_per_batch=4,
        number_of_epochs=1,
        distributed_backend="gloo",
    )
    notes = tmp_path / "notes"
    status, logs = run_ranks(
        train_and_note,
        "pretrain",
        arguments,
        str(notes),
        log=tmp_path / "log",
    )
    assert not any(status), logs
    ranks = [
        set(Path(f"{notes}.{rank}").read_text().split()) for rank in range(2)
    ]
    assert len(ranks[0] | ranks[1]) == 12
    assert not ranks[0] & ranks[1]


def test_a_damaged_shard(digits_corpus, shards, tmp_path, seen):
    """Is left out and named, or ends the training before it begins."""
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in shards.glob("train*"):
        (copy / path.name).write_bytes(path.read_bytes())
    index = read_index(copy, ["train"])
    index.files[1].write_bytes(b"")
    options = {"number_of_epochs": 1}
    with pytest.raises(ValueError, match=index.files[1].name):
        run(
            digits_corpus,
            copy,
            tmp_path / "a",
            on_bad_utterance="error",
            **options,
        )
    assert not seen
    run(digits_corpus, copy, tmp_path / "b", **options)
    used = {name for names in seen for name in names}
    assert len(used) == 12 - index.counts[1]
    log = (tmp_path / "b" / "log.txt").read_text()
    assert f"Leaving out a shard: {index.files[1]}" in log


def test_fine_tuning(digits_corpus, shards, tmp_path, monkeypatch):
    """Its batches have the units of the same transcripts as the folder's, and
    what cannot be learned is left out by name; then it is evaluated."""
    fit_batch = finetune_ctc.FinetuneBrain.fit_batch
    learned = {}

    def noting(brain, batch):
        tokens, lengths = batch.tokens
        counts = (lengths * tokens.shape[1]).round().int().tolist()
        for name, row, count in zip(batch.id, tokens, counts, strict=True):
            learned[name] = row[:count].tolist()
        return fit_batch(brain, batch)

    monkeypatch.setattr(finetune_ctc.FinetuneBrain, "fit_batch", noting)

    def run_finetuning(output, **overrides):
        options = {
            "data_folder": digits_corpus,
            "output_folder": tmp_path / output,
            "device": "cpu",
            **MODEL,
            "seconds_per_batch": 8,
            "num_buckets": 2,
            "sorted_epochs": 0,
            "number_of_epochs": 1,
            "log_interval": 1,
            "warmup": 2,
            "streamed_count": 0,
            **overrides,
        }
        line = [str(SMALL.with_name("finetune_small.yaml")), "--noprogressbar"]
        for name, value in options.items():
            line += [f"--{name}", str(value)]
        return finetune_ctc.main(line)

    run_finetuning("folder")
    of_folder = dict(learned)
    learned.clear()
    run_finetuning("shards", train_shards=shards)
    assert learned == of_folder and len(learned) == 12
    assert (tmp_path / "shards/error_rates.json").is_file()
    learned.clear()
    # without the X of SIX
    run_finetuning(
        "fewer",
        train_shards=shards,
        characters='"\' ABCDEFGHIJKLMNOPQRSTUVWYZ"',
        output_units=28,
    )
    log = (tmp_path / "fewer" / "log.txt").read_text()
    assert 0 < len(learned) < 12
    for name in of_folder.keys() - learned.keys():
        assert f"Leaving out utterance {name} ({shards}/train-0" in log
    learned.clear()
    run_finetuning(
        "pieces",
        train_shards=shards,
        units="sentencepiece",
        output_units=20,
    )
    assert len(learned) == 12


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"sorted_epochs": 1}, "sorted_epochs must be 0"),
        ({"shuffle_buffer": 0}, "shuffle_buffer must be"),
        ({"num_buckets": 0}, "num_buckets must be"),
        ({"num_workers": 100}, "shards must be of at least 100"),
        ({"grad_accumulation_factor": 99}, "grad_accumulation_factor must be"),
    ],
)
def test_what_cannot_be_planned_is_refused(
    overrides, message, digits_corpus, shards, tmp_path
):
    """Before the training."""
    with pytest.raises(ValueError, match=f"^{message}"):
        run(digits_corpus, shards, tmp_path, **overrides)
    assert not (tmp_path / "curves.jsonl").exists()
