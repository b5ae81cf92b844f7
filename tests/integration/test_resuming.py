"""Killed within an epoch, and resumed otherwise: each utterance once in that
epoch, or a warning and all of them."""

import json
from collections import Counter

import pytest

import pretrain
from joined_training import run_ranks, train_and_note
from recipe_process import Process, command_line

KILLED_AT = 3
OPTIONS = {
    "seconds_per_batch": 4,
    "num_buckets": 1,
    "number_of_epochs": 1,
    "ckpt_interval_steps": 2,
    "optimizer_step_limit": 100,
}


def line(corpus, output, **overrides):
    options = {**OPTIONS, **overrides}
    return command_line("pretrain", corpus, output, **options)


def names(corpus):
    return Counter(path.stem for path in (corpus / "train").rglob("*.flac"))


@pytest.fixture
def cut(digits_corpus, tmp_path, monkeypatch):
    """A training that ended in the middle of its first epoch: its folder, and
    the names of the utterances that it had seen when it was saved."""
    seen = note(monkeypatch, lambda brain: brain.optimizer_step == KILLED_AT)
    with pytest.raises(Interrupted):
        pretrain.main(line(digits_corpus, tmp_path))
    monkeypatch.undo()
    return tmp_path, sum(seen[:2], Counter())


class Interrupted(Exception):
    pass


def note(monkeypatch, ends=lambda brain: False):
    """The names of the utterances of each step to come."""
    fit_batch = pretrain.PretrainBrain.fit_batch
    seen = []

    def noting(brain, batch):
        if ends(brain):
            raise Interrupted
        seen.append(Counter(batch.id))
        return fit_batch(brain, batch)

    monkeypatch.setattr(pretrain.PretrainBrain, "fit_batch", noting)
    return seen


@pytest.mark.parametrize(
    "changes",
    [
        {"seconds_per_batch": 6},
        {"num_buckets": 3},
        {"avoid_if_shorter_than": 1.5},
    ],
)
def test_other_batches_begin_the_epoch_anew(
    cut, digits_corpus, monkeypatch, changes
):
    """With a warning that says so; the steps that are done stay done."""
    output, _ = cut
    seen = note(monkeypatch)
    brain = pretrain.main(line(digits_corpus, output, **changes))
    after = sum(seen, Counter())
    assert set(after.values()) == {1}
    if "avoid_if_shorter_than" not in changes:
        assert after == names(digits_corpus)
    assert brain.optimizer_step == 2 + len(seen)
    text = (output / "log.txt").read_text()
    assert text.count("The epoch begins anew: ") == 1


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_workers": 1},
        {"grad_accumulation_factor": 2},
        {"lr": 0.001},
        {"an earlier version": True},
    ],
)
def test_the_same_batches_go_on(cut, digits_corpus, monkeypatch, changes):
    """Each utterance once, before and after."""
    output, before = cut
    if changes == {"an earlier version": True}:
        changes = {}
        for path in (output / "save").glob("CKPT+*/brain.ckpt"):
            progress = json.loads(path.read_text())
            size = path.stat().st_size
            del progress["plan"]
            path.write_text(json.dumps(progress).ljust(size))
    seen = note(monkeypatch)
    pretrain.main(line(digits_corpus, output, **changes))
    assert before + sum(seen, Counter()) == names(digits_corpus)
    assert "begins anew" not in (output / "log.txt").read_text()


def test_what_has_only_its_validation_left_is_not_begun_anew(
    cut, digits_corpus, monkeypatch
):
    """Where the limit of steps is reached."""
    output, _ = cut
    seen = note(monkeypatch)
    options = {"optimizer_step_limit": 2, "seconds_per_batch": 6}
    brain = pretrain.main(line(digits_corpus, output, **options))
    assert (brain.optimizer_step, seen) == (2, [])
    assert (output / "pretrained" / "model.json").exists()


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"attention": "sa"}, "attention is 'llsa' there, 'sa' now"),
        ({"seed": 2}, "seed is 1986 there, 2 now"),
        ({"num_vars": 4}, "num_vars is 8 there, 4 now"),
        ({"train_splits": "[valid]"}, r"train_splits is \['train'\] there"),
    ],
)
def test_another_training_is_named(cut, digits_corpus, change, difference):
    """Where there are checkpoints; nothing is written."""
    output, _ = cut
    before = times_of_files(output)
    with pytest.raises(ValueError, match=difference) as caught:
        pretrain.main(line(digits_corpus, output, **change))
    assert f"got {output / 'save'}, where " in str(caught.value)
    assert before == times_of_files(output)


def times_of_files(folder):
    """But of the log, which is still open for the training that was cut."""
    return {
        path: path.stat().st_mtime_ns
        for path in folder.rglob("*")
        if path.is_file() and path.name != "log.txt"
    }


def test_a_training_without_checkpoints_begins_anew(
    digits_corpus, tmp_path, monkeypatch
):
    """With whatever settings: there is nothing that could go on."""
    note(monkeypatch, lambda brain: True)
    for attention in ("llsa", "sa"):
        with pytest.raises(Interrupted):
            pretrain.main(line(digits_corpus, tmp_path, attention=attention))
    found = json.loads((tmp_path / "save" / "training.json").read_text())
    assert found["attention"] == "sa"


@pytest.mark.slow
@pytest.mark.parametrize(("ranks_before", "ranks_after"), [(1, 2), (2, 1)])
def test_another_number_of_ranks(
    digits_corpus, tmp_path, ranks_before, ranks_after
):
    """Killed by SIGKILL: the epoch begins anew, and its utterances are all
    there, but for batches that are dealt twice to come out even."""
    output = tmp_path / "out"
    arguments = line(digits_corpus, output, distributed_backend="gloo")

    def run(ranks, kill_at=None):
        notes = tmp_path / f"notes_{ranks}"
        call = (train_and_note, "pretrain", arguments, str(notes), kill_at)
        if ranks == 2:
            status, _ = run_ranks(*call, log=tmp_path / f"log_{ranks}")
        else:
            process = Process(*call, log=tmp_path / f"log_{ranks}")
            status = [process.wait()]
        texts = [path.read_text() for path in tmp_path.glob(f"{notes.name}.*")]
        return status, Counter("".join(texts).split())

    status, _ = run(ranks_before, KILLED_AT)
    assert any(status)
    status, seen = run(ranks_after)
    assert not any(status)
    assert seen.keys() == names(digits_corpus).keys()
    if ranks_after == 1:
        assert set(seen.values()) == {1}
    text = (output / "log.txt").read_text()
    assert text.count("The epoch begins anew: it was begun on ") == 1
