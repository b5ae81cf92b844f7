"""Several ranks train as one process does on their batches joined, and fail
together.

Ranks are processes with gloo on the CPU, in the environment that ``torchrun``
gives them.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from joined_training import (
    RANKS,
    run_ranks,
    start_ranks,
    train,
    train_with_an_infinite_loss,
    write_gradients,
)
from recipe_process import (
    FULL,
    RECIPES,
    Process,
    command_line,
    damage,
    run_recipe,
    run_until_full,
)
from source_files import PYTHON_PATH

BOTH = ("pretrain", "finetune_ctc")
ALL = (*BOTH, "finetune_transducer")
LAUNCHER = (
    *(sys.executable, "-m", "torch.distributed.run"),
    *("--standalone", "--nproc_per_node=2"),
)
TOLERANCES = {
    "loss": 1e-5,
    "wer": 1e-5,
    "accuracy": 1e-5,
    "gradient_norm": 1e-4,  # of many small rounding errors
}


@pytest.fixture
def corpus(digits_corpus, tmp_path):
    """A copy of the corpus, to be damaged."""
    return Path(shutil.copytree(digits_corpus, tmp_path / "corpus"))


def files(corpus):
    return sorted((corpus / "train").rglob("*.flac"))


def line(recipe, corpus, output, **overrides):
    return command_line(
        recipe, corpus, output, distributed_backend="gloo", **overrides
    )


def run_alone(function, *arguments, log, timeout=240):
    process = Process(function, *arguments, log=log)
    assert process.wait(timeout) == 0, process.log.read_text()[-3000:]


def curves(output):
    lines = (output / "curves.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def train_both(recipe, corpus, folder, ranks=RANKS, timeout=240, **overrides):
    """The output folders of a training of several ranks, and of one process on
    their batches joined; and what the ranks printed."""
    several, alone = folder / "ranks", folder / "alone"
    status, logs = run_ranks(
        train,
        recipe,
        line(recipe, corpus, several, **overrides),
        log=folder / "log",
        ranks=ranks,
        timeout=timeout,
    )
    assert status == [0] * ranks, logs
    run_alone(
        train,
        recipe,
        line(recipe, corpus, alone, **overrides),
        ranks,
        log=folder / "log",
        timeout=timeout,
    )
    return several, alone, logs


def lines_of(path):
    return path.read_text().splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ALL)
def test_gradients_are_those_of_the_joined_batch(recipe, corpus, tmp_path):
    """To 1e-5: where ranks have batches of other sizes, where one of them has
    only bad utterances, and where gradients of several batches add up."""
    damage(files(corpus)[5])
    # for each optimiser step: its batches, the utterances of each rank
    of_ranks = [
        [([0, 1], [2, 3])],
        [([0, 1, 2, 3], [4])],
        [([6], [5])],
        [([0, 1, 2], [3]), ([5], [4, 6, 7])],
    ]
    joined = [[([*a, *b],) for a, b in batches] for batches in of_ranks]
    status, logs = run_ranks(
        write_gradients,
        recipe,
        line(recipe, corpus, tmp_path / "ranks"),
        of_ranks,
        tmp_path / "ranks.pt",
        log=tmp_path / "log",
    )
    assert status == [0, 0], logs
    run_alone(
        write_gradients,
        recipe,
        line(recipe, corpus, tmp_path / "alone"),
        joined,
        tmp_path / "alone.pt",
        log=tmp_path / "log",
    )
    steps = torch.load(tmp_path / "ranks.pt")
    expected_steps = torch.load(tmp_path / "alone.pt")
    assert len(steps) == len(expected_steps) == len(of_ranks)
    for step, expected in zip(steps, expected_steps, strict=True):
        assert step.keys() == expected.keys()
        assert max(float(grad.abs().max()) for grad in expected.values()) > 0.1
        for name, gradient in expected.items():
            assert (step[name] - gradient).abs().max() <= 1e-5, name


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ALL)
def test_the_curve_is_that_of_one_process_on_joined_batches(
    recipe, digits_corpus, tmp_path
):
    """From the command line to the results: the same loss curve, every line
    and checkpoint written once, and the same files."""
    options = {
        "optimizer_step_limit": 5,
        "seconds_per_batch": 6,
        "ckpt_interval_steps": 2,
        "lr": 0.001,
    }
    ranks, alone, logs = train_both(recipe, digits_corpus, tmp_path, **options)
    given, wanted = curves(ranks), curves(alone)
    steps = [entry["step"] for entry in given if entry["split"] == "train"]
    assert steps == [1, 2, 3, 4, 5]
    assert len(given) == len(wanted)
    for entry, expected in zip(given, wanted, strict=True):
        for name in ("split", "epoch", "step"):
            assert entry[name] == expected[name]
        for name, error in TOLERANCES.items():
            if name in expected:
                assert entry[name] == pytest.approx(expected[name], rel=error)
    for name in ("train_steps_log.txt", "train_stage_log.txt"):
        assert len(lines_of(ranks / name)) == len(lines_of(alone / name))
    for text in ("Saved an ", "Beginning experiment!"):
        given, wanted = (
            (output / "log.txt").read_text().count(text)
            for output in (ranks, alone)
        )
        assert given == wanted > 0
    given, wanted = (
        sorted(
            path.name
            for path in output.rglob("*")
            if "CKPT" not in str(path.relative_to(output))
        )
        for output in (ranks, alone)
    )
    assert given == wanted
    given, wanted = (
        len(list((output / "save").glob("CKPT+*"))) for output in (ranks, alone)
    )
    assert given == wanted > 0
    if recipe != "pretrain":
        assert "The model to stream with" in logs[0]
        assert "The model to stream with" not in logs[1]


@pytest.mark.long
@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("recipe", ALL)
def test_200_steps_of_ranks_are_those_of_one_process(
    recipe, ranks, digits_corpus, tmp_path
):
    """The losses agree to 1e-4, though rounding errors add up."""
    options = {
        "optimizer_step_limit": 200,
        "seconds_per_batch": 6,
        "log_interval": 1,
        "lr": 0.001,
    }
    several, alone, _ = train_both(
        recipe, digits_corpus, tmp_path, ranks, timeout=1800, **options
    )
    given, wanted = (
        [entry["loss"] for entry in curves(output) if entry["split"] == "train"]
        for output in (several, alone)
    )
    assert len(given) == len(wanted) == 200
    assert wanted[-1] < 0.9 * wanted[0]
    assert given == pytest.approx(wanted, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", BOTH)
def test_an_utterance_that_one_rank_cannot_read_is_left_out(
    recipe, corpus, tmp_path
):
    """Ranks stay in step, in batches with and without another utterance;
    whichever rank met them, log.txt names each once and counts them."""
    bad = files(corpus)[2:5]
    for path in bad:
        damage(path)
    options = {"optimizer_step_limit": 100, "number_of_epochs": 2}
    status, logs = run_ranks(
        run_recipe,
        recipe,
        line(
            recipe,
            corpus,
            tmp_path / "out",
            seconds_per_batch=4,
            num_buckets=1,
            **options,
        ),
        log=tmp_path / "log",
    )
    assert status == [0, 0], logs
    log = (tmp_path / "out" / "log.txt").read_text()
    for path in bad:
        assert log.count(f"Leaving out utterance {path.stem} ({path})") == 1
    for epoch in (1, 2):
        assert f"Epoch {epoch} left out 3 bad utterances and " in log
    for entry in curves(tmp_path / "out"):
        assert entry["loss"] == entry["loss"]


def fail_together(function, *arguments, log):
    """The last line of each rank, all of which must fail by themselves."""
    status, logs = run_ranks(function, *arguments, log=log)
    assert status == [1, 1], logs
    return [text.strip().splitlines()[-1] for text in logs]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", BOTH)
def test_an_utterance_that_one_rank_cannot_read_can_be_an_error(
    recipe, corpus, tmp_path
):
    """All ranks end, and name it."""
    bad = files(corpus)[3]
    damage(bad)
    options = {"on_bad_utterance": "error", "seconds_per_batch": 4}
    for text in fail_together(
        run_recipe,
        recipe,
        line(recipe, corpus, tmp_path / "out", **options),
        log=tmp_path / "log",
    ):
        assert "BadUtteranceError: utterances must be good ones" in text
        assert str(bad) in text


@pytest.mark.slow
def test_a_loss_that_is_not_finite_on_one_rank(digits_corpus, tmp_path):
    """All ranks leave the step out, and log.txt names the utterances of the
    other rank; or all end with an error that does."""
    skip, error = (
        line(
            "pretrain",
            digits_corpus,
            tmp_path / mode,
            on_bad_utterance=mode,
            optimizer_step_limit=3,
            seconds_per_batch=6,
        )
        for mode in ("skip", "error")
    )
    arguments = (train_with_an_infinite_loss, "pretrain")
    status, logs = run_ranks(*arguments, skip, 1, 1, log=tmp_path / "log")
    assert status == [0, 0], logs
    log = (tmp_path / "skip" / "log.txt").read_text()
    assert log.count("The loss of batch 2 is not finite: ") == 1
    assert "left out 0 bad utterances and 1 optimiser steps" in log
    for entry in curves(tmp_path / "skip"):
        assert entry["split"] == "train" or entry["loss"] == entry["loss"]
    for text in fail_together(*arguments, error, 1, 1, log=tmp_path / "log2"):
        assert "The loss of batch 2 is not finite: " in text
        assert ".flac" in text


@pytest.mark.slow
def test_all_ranks_end_where_one_cannot_write(digits_corpus, tmp_path):
    """The main process alone writes; where its disk is full, all name it, and
    what was saved is there to resume from."""
    output = tmp_path / "out"
    arguments = line("pretrain", digits_corpus, output, ckpt_interval_steps=2)
    for text in fail_together(
        run_until_full,
        "pretrain",
        arguments,
        "curves.jsonl",
        5,
        log=tmp_path / "log",
    ):
        assert f"WriteError: could not write {FULL}" in text
    assert list((output / "save").glob("CKPT+*/COMPLETE"))


@pytest.mark.slow
def test_all_ranks_end_where_there_is_nothing_to_read(tmp_path):
    """Manifests are made by the main process alone; all ranks say why it
    cannot."""
    for text in fail_together(
        run_recipe,
        "finetune_ctc",
        line("finetune_ctc", tmp_path / "nowhere", tmp_path / "out"),
        log=tmp_path / "log",
    ):
        assert "nowhere" in text


@pytest.mark.long
@pytest.mark.parametrize("recipe", BOTH)
def test_killed_ranks_go_on(recipe, digits_corpus, tmp_path):
    """SIGKILL to all ranks, again and again: the curve becomes that of ranks
    that were not killed."""
    options = {"optimizer_step_limit": 12, "ckpt_interval_steps": 2}
    options["seconds_per_batch"] = 6
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    arguments = line(recipe, digits_corpus, whole, **options)
    status, logs = run_ranks(
        run_recipe, recipe, arguments, log=tmp_path / "log"
    )
    assert status == [0, 0], logs
    arguments = line(recipe, digits_corpus, cut, **options)
    written = cut / "curves.jsonl"
    for step in (3, 6, 9):
        processes = start_ranks(
            run_recipe, recipe, arguments, log=tmp_path / "log"
        )
        while not written.exists() or written.read_bytes().count(b"\n") < step:
            assert all(process.is_running for process in processes)
            time.sleep(0.001)
        # a rank that outlives the other for a moment may fail by itself
        assert True in [process.kill() for process in processes]
    status, logs = run_ranks(
        run_recipe, recipe, arguments, log=tmp_path / "log"
    )
    assert status == [0, 0], logs
    given, wanted = curves(cut), curves(whole)
    assert len(given) == len(wanted)
    for entry, expected in zip(given, wanted, strict=True):
        assert entry.pop("split") == expected.pop("split")
        assert entry == pytest.approx(expected, rel=1e-5, nan_ok=True)


EXCHANGES = """
import sys, torch
from speechbrain_llsa.training.recipe import end_recipe
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

distributed.init_process_group("gloo")
module = DistributedDataParallel(torch.nn.Linear(4, 4))
module(torch.randn(3, 4)).sum().backward()
# other threads get Python's lock only where this one gives it away
sys.setswitchinterval(1000)
for _ in range(50):
    distributed.broadcast_object_list([1], 0)
distributed.barrier()
end_recipe()
"""


@pytest.mark.slow
def test_ranks_end_in_order(tmp_path):
    """Also where threads of the group still hold tensors at the end: without
    care about half of such runs abort."""
    script = tmp_path / "exchanges.py"
    script.write_text(EXCHANGES)
    for _ in range(2):
        finished = subprocess.run(
            [*LAUNCHER, str(script)],
            env={
                **os.environ,
                "PYTHONPATH": f"{RECIPES}{os.pathsep}{PYTHON_PATH}",
            },
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert finished.returncode == 0, finished.stderr[-3000:]


@pytest.mark.slow
def test_torchrun_fine_tunes(digits_corpus, tmp_path):
    """As the README says it: to the error rates and the model to stream
    with."""
    arguments = line(
        "finetune_ctc", digits_corpus, tmp_path, optimizer_step_limit=2
    )
    finished = subprocess.run(
        [*LAUNCHER, str(RECIPES / "finetune_ctc.py"), *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    steps = [entry["step"] for entry in curves(tmp_path)]
    assert steps == [1, 2, 2]
    rates = json.loads((tmp_path / "error_rates.json").read_text())
    assert set(rates) == {"valid", "test"}
    assert (tmp_path / "streaming" / "model.json").exists()
