"""The comparison end to end through its command line, at toy size."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import ruamel.yaml

from model_data import model_folder
from recipe_process import RECIPES, Process, run_recipe
from source_files import PYTHON_PATH
from speechbrain_llsa.model_folder.write import write_streaming_folder
from speechbrain_llsa_runtime.utils.atomic_files import write_atomically
from tiny_model import make_model, make_tokenizer

ROOT = Path(__file__).parents[2]
SCRIPT = RECIPES / "compare.py"
PLANS = sorted((ROOT / "hparams").glob("compare_*.yaml"))
MODEL = {
    "num_layers": 1,
    "embedding_dim": 16,
    "nhead": 2,
    "d_ffn": 32,
    "extractor_channels": [8, 8, 8, 8, 8, 8, 8],
    "extractor_dim": 8,
}
SIZE = {
    **MODEL,
    "seconds_per_batch": 20,
    "num_buckets": 1,
    "log_interval": 1,
    "warmup": 1,
    "lr": 0.01,
}
PRETRAIN = {"final_dim": 8, "num_vars": 8, "num_negatives": 5}
TOY = {
    "title": "Toys",
    "pretrain": str(ROOT / "hparams" / "pretrain_small.yaml"),
    "finetune": str(ROOT / "hparams" / "finetune_small.yaml"),
    "test_split": "test",
    "timing_seconds": 4.0,
    "seeds": [1],
    "overrides": SIZE,
    "pretrain_overrides": {**PRETRAIN, "optimizer_step_limit": 2},
    "finetune_overrides": {"optimizer_step_limit": 4},
    "rows": [
        {"name": "maa", "weights_of": "sa", "overrides": {"attention": "maa"}},
        {"name": "sa", "overrides": {"attention": "sa", "look_ahead": 2}},
        {"name": "aa", "overrides": {"attention": "aa"}},
    ],
    "comparisons": [["sa", "aa"]],
}


def write_plan(path, **changes):
    entries = {**TOY, **changes}
    entries = {name: each for name, each in entries.items() if each is not None}
    with open(path, "w", encoding="utf-8") as stream:
        ruamel.yaml.YAML().dump(entries, stream)
    return path


def command(plan, corpus, output, *options):
    return [
        sys.executable,
        str(SCRIPT),
        str(plan),
        "--data_folder",
        str(corpus),
        "--output_folder",
        str(output),
        *options,
    ]


def compare(plan, corpus, output, *options):
    """Runs the command: its exit status, and what it says."""
    done = subprocess.run(
        command(plan, corpus, output, *options),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": PYTHON_PATH},
    )
    return done.returncode, done.stdout


def table(output):
    """The cells of the rows by name, without those that are measured times
    and memory."""
    rows = {}
    text = (output / "RESULTS.md").read_text()
    _, _, body = text.partition("| --- |")
    for line in body.splitlines()[1:]:
        if not line.startswith("|"):
            break
        name, *cells = [cell.strip() for cell in line.strip("|").split("|")]
        rows[name] = cells[:8] + cells[11:]
    return rows


def losses(output, row, recipe):
    path = output / "rows" / row / "seed_1" / recipe / "curves.jsonl"
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    return [(e["step"], e["loss"]) for e in entries if e["split"] == "train"]


@pytest.fixture(scope="module")
def done(digits_corpus, tmp_path_factory):
    """A comparison that nobody disturbed: its plan and its folder."""
    folder = tmp_path_factory.mktemp("compare")
    plan = write_plan(folder / "plan.yaml")
    status, said = compare(plan, digits_corpus, folder / "out")
    assert status == 0, said
    return plan, folder / "out"


@pytest.mark.slow
def test_table(done):
    """Each row has its latency, its rates and its cost; what shares weights
    says so, and gives the same; aa does not stream; pictures are there."""
    _, output = done
    rows = table(output)
    assert list(rows) == ["maa", "sa", "aa"]
    assert rows["maa"] == rows["sa"]
    assert rows["sa"][0] == "0.04"
    assert rows["aa"][0] == "utterance"
    for name, (_, _, streamed, offline, _, _, differ, *_) in rows.items():
        assert re.fullmatch(r"[\d.]+ \([\d.]+ to [\d.]+\)", offline)
        assert streamed == (offline if name != "aa" else "-")
        assert differ == ("0" if name != "aa" else "-")
    text = (output / "RESULTS.md").read_text()
    assert "the training is that of *sa*" in text
    assert "| sa | aa |" in text
    assert "hparams/plan.yaml --data_folder DATA" in text
    assert "Seeds: 1." in text
    for name in ("error_rates.png", "pretraining.png"):
        assert (output / name).read_bytes().startswith(b"\x89PNG")
    plain = json.loads((output / "results.json").read_text())
    for row in plain["rows"]:
        costs = row["seeds"]["1"]["costs"]
        assert set(costs) == {"pretrain", "finetune"}
        for cost in costs.values():
            assert cost["cpu_seconds"] > 0.5
            assert cost["peak_memory_bytes"] > 2**26
        assert 0 <= row["seeds"]["1"]["pretraining_accuracy"] <= 1


@pytest.mark.slow
def test_what_is_done_is_not_redone(done, digits_corpus):
    """The command again trains nothing, and writes the same table."""
    plan, output = done
    before = table(output)
    logs = {path: path.stat().st_mtime_ns for path in output.rglob("*.log")}
    status, said = compare(plan, digits_corpus, output)
    assert status == 0, said
    assert "pretrain" not in said
    assert table(output) == before
    assert logs == {
        path: path.stat().st_mtime_ns for path in output.rglob("*.log")
    }


@pytest.mark.slow
def test_machines_are_those_of_the_rows(done, digits_corpus, tmp_path):
    """A report that is written elsewhere names those that measured, once
    each; a row of an earlier version names none."""
    plan, output = done
    copy = shutil.copytree(output, tmp_path / "out")
    for row in ("maa", "aa"):
        path = copy / "rows" / row / "seed_1" / "measured.json"
        found = json.loads(path.read_text())
        own = found.pop("machine")
        if row == "aa":
            found["machine"] = "a slide rule"
        path.write_text(json.dumps(found))
    status, said = compare(plan, digits_corpus, copy, "--report")
    assert status == 0, said
    line = f" Measured on: {own}; a slide rule.\n"
    assert line in (copy / "RESULTS.md").read_text()


@pytest.mark.slow
def test_killed_in_the_midst(done, digits_corpus, tmp_path):
    """Command and recipe are killed in the fine-tuning, without a chance to
    tidy up; the command again gives the row of an undisturbed one."""
    _, output = done
    only = next(row for row in TOY["rows"] if row["name"] == "sa")
    plan = write_plan(tmp_path / "plan.yaml", rows=[only], comparisons=[])
    process = subprocess.Popen(
        command(plan, digits_corpus, tmp_path / "out"),
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": PYTHON_PATH},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    begun = tmp_path / "out" / "rows" / "sa" / "seed_1" / "finetune.json"
    while not begun.exists():
        assert process.poll() is None
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    status, said = compare(plan, digits_corpus, tmp_path / "out")
    assert status == 0, said
    assert "sa, seed 1: pretrain" not in said
    assert table(tmp_path / "out")["sa"] == table(output)["sa"]
    for recipe in ("pretrain", "finetune"):
        assert losses(tmp_path / "out", "sa", recipe) == losses(
            output, "sa", recipe
        )


@pytest.mark.slow
def test_other_settings_are_refused(done, digits_corpus):
    """A row that was trained with other settings is named, not mixed in."""
    plan, output = done
    changed = write_plan(
        plan.with_name("changed.yaml"), overrides={**SIZE, "lr": 0.02}
    )
    status, said = compare(changed, digits_corpus, output)
    assert status == 2
    assert "holds a pretrain of other settings" in said
    assert "0.01" in said and "0.02" in said


BAD = {
    "no rows": ({"rows": []}, "the entry 'rows'"),
    "an unknown entry": ({"sedes": [1]}, "'sedes'"),
    "an entry of another type": ({"seeds": 1}, "seeds of plan"),
    "no seeds": ({"seeds": []}, r"seeds of row 'sa' must"),
    "a row without a name": ({"rows": [{"overrides": {}}]}, "with a name"),
    "a typing error": (
        {"rows": [{"name": "a", "overrides": {"look_ahaed": 4}}]},
        r"row 'a': pretrain: --look_ahaed.*look_ahead",
    ),
    "a wrong type": (
        {"rows": [{"name": "a", "overrides": {"lr": "much"}}]},
        "row 'a': pretrain: --lr",
    ),
    "an unknown attention": (
        {"rows": [{"name": "a", "overrides": {"attention": "xa"}}]},
        "row 'a': attention",
    ),
    "the seed among overrides": (
        {"rows": [{"name": "a", "overrides": {"seed": 3}}]},
        r"overrides of row 'a' must leave seed",
    ),
    "one name twice": (
        {"rows": [{"name": "a, b"}, {"name": "A b"}]},
        "'A b' and 'a, b'",
    ),
    "weights of nobody": (
        {"rows": [{"name": "a", "weights_of": "b"}]},
        r"weights_of of row 'a' must .*got 'b'",
    ),
    "another model with the weights": (
        {
            "rows": [
                {"name": "b"},
                {"name": "a", "weights_of": "b", "overrides": {"nhead": 2}},
            ]
        },
        r"row 'a' must .*got nhead",
    ),
    "a geometry that the weights are not trained for": (
        {
            "rows": [
                {"name": "b", "overrides": {"hop": [8, 2]}},
                {"name": "a", "weights_of": "b", "overrides": {"hop": 1}},
            ]
        },
        r"hop of row 'a' must be one of \[8, 2\].*got 1",
    ),
    "a start from nobody": (
        {"pretrain": None, "rows": [{"name": "a", "starts_from": "b"}]},
        r"starts_from of row 'a' must .*got 'b'",
    ),
    "a teacher that needs another row": (
        {
            "pretrain": None,
            "rows": [
                {"name": "a"},
                {"name": "b", "starts_from": "a"},
                {"name": "c", "teacher": "b"},
            ],
        },
        r"teacher of row 'c' must .*got 'b'",
    ),
    "a start without the seed": (
        {
            "pretrain": None,
            "rows": [
                {"name": "a", "seeds": [1]},
                {"name": "b", "starts_from": "a", "seeds": [1, 2]},
            ],
        },
        r"seeds of row 'b' must be among those of 'a', \[1\], got \[1, 2\]",
    ),
    "a start where rows are pre-trained": (
        {"rows": [{"name": "a"}, {"name": "b", "starts_from": "a"}]},
        r"starts_from of row 'b' must be left out",
    ),
    "a teacher for a recipe that has none": (
        {
            "pretrain": None,
            "rows": [{"name": "a"}, {"name": "b", "teacher": "a"}],
        },
        r"finetune of row 'b' must be .*got finetune_small.yaml",
    ),
    "a comparison with nobody": ({"comparisons": [["sa", "b"]]}, "'b'"),
    "nothing to stream": (
        {"streamed_count": 0},
        r"plan: streamed_count must .*got 0",
    ),
    "a push of nothing": (
        {"push_seconds": 0},
        r"plan: push_seconds must .*got 0",
    ),
    "no such recipe": ({"pretrain": "none.yaml"}, "none.yaml"),
}


@pytest.mark.parametrize("changes, message", BAD.values(), ids=BAD)
def test_bad_plans(tmp_path, changes, message):
    """What is wrong is named, with its row, before anything is trained."""
    from comparison.plan import read_plan

    plan = write_plan(tmp_path / "plan.yaml", **changes)
    with pytest.raises((ValueError, TypeError, FileNotFoundError)) as error:
        read_plan(plan)
    assert re.search(message, str(error.value)), error.value


@pytest.fixture
def chain(tmp_path):
    """A comparison in which one row starts from another, which comes later, and
    a third has the weights of the first."""
    from compare import Comparison
    from comparison.plan import read_plan

    model_folder(1, "ctc", tmp_path / "start")

    def make(lr=0.5, start=tmp_path / "start"):
        rows = [
            {"name": "b", "starts_from": "a"},
            {"name": "a", "overrides": {"lr": lr}},
            {"name": "c", "weights_of": "b", "overrides": {"attention": "maa"}},
        ]
        plan = write_plan(
            tmp_path / "plan.yaml", pretrain=None, rows=rows, comparisons=[]
        )
        return Comparison(read_plan(plan), tmp_path, tmp_path / "out", start)

    return make


def test_a_start_belongs_to_the_settings(chain, tmp_path):
    """Its weights do: what began with others is not mixed in."""
    comparison = chain()
    row = comparison.plan.row("a")
    train, _ = comparison.stages(row, 1)
    train.folder.mkdir(parents=True)
    train.record_path.write_text(json.dumps(train.record))
    comparison.check()
    moved = (tmp_path / "start").rename(tmp_path / "moved")
    chain(start=moved).check()
    other = write_streaming_folder(
        tmp_path / "other", make_model("aa"), make_tokenizer()
    )
    with pytest.raises(ValueError, match="pretrained_folder 'weights "):
        chain(start=other).check()


@pytest.mark.parametrize("content", ["{", "{}", '{"settings": 1}', "[]"])
def test_a_damaged_record_is_named(content, chain):
    comparison = chain()
    train, _ = comparison.stages(comparison.plan.row("a"), 1)
    train.folder.mkdir(parents=True)
    train.record_path.write_text(content)
    with pytest.raises(ValueError, match=r"finetune\.json must be as compare"):
        comparison.check()


def test_a_row_starts_from_the_model_of_another(chain):
    """Its training is another one if that of the other row is."""
    comparison = chain()
    first, second, _ = comparison.plan.rows
    starts = [
        stages[0].command[stages[0].command.index("--pretrained_folder") + 1]
        for stages in (comparison.stages(row, 1) for row in (first, second))
    ]
    assert starts == [
        str(comparison.folder(second, 1) / "finetune" / "streaming"),
        str(comparison.pretrained_folder),
    ]
    (before, *_), (after, *_) = (
        made.stages(made.plan.rows[0], 1) for made in (comparison, chain(0.25))
    )
    settings = [each.record["settings"] for each in (before, after)]
    assert settings[0] != settings[1]


def test_what_needs_a_row_that_failed_is_left_out(chain, monkeypatch):
    """And named."""
    from comparison.stages import StageError

    comparison, said = chain(), []

    def fail(row, *_):
        raise StageError(f"{row.name} fails")

    monkeypatch.setattr(comparison, "_run_row", fail)
    monkeypatch.setattr(comparison, "report", lambda: None)
    failures = comparison.run(said.append)
    assert failures == ["a, seed 1", "b, seed 1", "c, seed 1"]
    assert said[1:] == ["b, seed 1: left out", "c, seed 1: left out"]


def test_a_plan_says_where_it_differs_from_its_base(tmp_path):
    """Overrides are replaced one by one, all else as a whole."""
    from comparison.plan import read_plan

    write_plan(tmp_path / "base.yaml")
    plan = tmp_path / "plan.yaml"
    plan.write_text("base: base.yaml\nseeds: [4, 5]\noverrides: {lr: 0.5}\n")
    expected = write_plan(
        tmp_path / "whole.yaml", seeds=[4, 5], overrides={**SIZE, "lr": 0.5}
    )
    found, expected = read_plan(plan), read_plan(expected)
    assert found.rows == expected.rows
    assert found.comparisons == expected.comparisons
    assert found.rows[1].overrides["pretrain"]["lr"] == 0.5
    plan.write_text("base: none.yaml\n")
    with pytest.raises(FileNotFoundError, match=r"none\.yaml"):
        read_plan(plan)
    plan.write_text("base: plan.yaml\n")
    with pytest.raises(ValueError, match=r"entries of base must .*got 'base'"):
        read_plan(plan)


def test_bad_command_line(tmp_path, capsys):
    """A missing plan or folder, or one too many, ends the program with one
    line."""
    import compare

    plan = write_plan(tmp_path / "plan.yaml")
    warm = write_plan(tmp_path / "warm.yaml", pretrain=None)
    for arguments, message in (
        ([str(warm), "--data_folder", "x"], "pretrained_folder .*got None"),
        (
            [str(plan), "--data_folder", "x", "--pretrained_folder", "here"],
            "pretrained_folder .*got 'here'",
        ),
        (["none.yaml", "--data_folder", "x"], "none.yaml"),
        (
            [str(warm), "--estimate", "--pretrained_folder", "nowhere"],
            "pretrained_folder must be an existing .* got 'nowhere'",
        ),
        ([str(plan)], "--data_folder"),
        (
            [
                *[str(plan), "--data_folder", str(tmp_path / "none")],
                *["--output_folder", str(tmp_path / "out")],
            ],
            "none",
        ),
    ):
        with pytest.raises(SystemExit) as stop:
            compare.main(arguments)
        assert stop.value.code == 2
        said = capsys.readouterr().err.strip()
        assert re.search(message, said) and "\n" not in said


def test_a_failed_stage_says_why(tmp_path):
    """The end of what the process said is part of the error."""
    from comparison.stages import Stage, StageError, locked

    script = "import sys; print('no room left'); sys.exit(3)"
    stage = Stage("train", tmp_path, [sys.executable, "-c", script], {})
    with locked(tmp_path) as lock, pytest.raises(StageError) as error:
        stage.run(lock, threads=1)
    assert "ended with 3" in str(error.value)
    assert "no room left" in str(error.value)
    assert not stage.ended


def test_attempts_add_up(tmp_path):
    """A stage that fails, then ends well, costs both attempts and is run no
    more."""
    from comparison.stages import Stage, StageError, locked

    marker = tmp_path / "marker"
    script = (
        "import pathlib, sys, time\n"
        f"marker = pathlib.Path({str(marker)!r})\n"
        "begin = time.process_time()\n"
        "while time.process_time() - begin < 0.05: pass\n"
        "sys.exit(0 if marker.exists() else marker.touch() or 1)"
    )
    parts = ("train", tmp_path, [sys.executable, "-c", script], {})
    with locked(tmp_path) as lock:
        with pytest.raises(StageError):
            Stage(*parts).run(lock, threads=1)
        Stage(*parts).run(lock, threads=1)
        marker.unlink()
        Stage(*parts).run(lock, threads=1)
    assert not marker.exists()
    cost = Stage(*parts).cost
    assert cost.attempts == 2
    assert cost.cpu_seconds >= 0.1


def test_a_process_that_lives_on_keeps_the_lock(tmp_path):
    """Whoever started the recipe is gone, the recipe is not: nobody else may
    train in its folder until it has ended."""
    from comparison.stages import locked

    with locked(tmp_path) as lock:
        process = subprocess.Popen(
            [sys.executable, "-c", "input()"],
            stdin=subprocess.PIPE,
            pass_fds=[lock],
        )
    with locked(tmp_path) as lock:
        assert lock is None
    process.communicate(b"\n")
    with locked(tmp_path) as lock:
        assert lock is not None


def row_result(name, words_right):
    """A row of one seed, each utterance with so many of four words right;
    speakers have two utterances each."""
    from comparison.results import RowResult

    texts = [
        {
            "identity": f"{number // 2}-1-{number % 2:04d}",
            "transcript": "ONE TWO THREE FOUR",
            "offline": " ".join(["ONE", "TWO", "THREE", "FOUR"][:right]),
            "streamed": None,
        }
        for number, right in enumerate(words_right)
    ]
    measured = {1: {"offline": {"any": 1}, "streamed": None, "texts": texts}}
    return RowResult(
        name=name,
        weights_of=None,
        starts_from=None,
        teacher=None,
        note="",
        seeds=(1,),
        measured=measured,
    )


def test_speakers_have_rates_of_their_own():
    """Over all their utterances and seeds."""
    row = row_result("a", [4, 2, 0, 0, 4, 4])
    assert row.speakers() == {"0": 25.0, "1": 100.0, "2": 0.0}
    row.measured[2] = row_result("a", [4, 4, 0, 0, 4, 4]).measured[1]
    assert row.speakers() == {"0": 12.5, "1": 100.0, "2": 0.0}
    row.measured.clear()
    assert row.speakers() == {}


def test_rates_are_of_all_utterances():
    """Of a row that was streamed in part they are those offline."""
    row = row_result("a", [4, 2, 0, 4])
    texts = row.measured[1]["texts"]
    for each in texts:
        each["streamed"] = "ONE TWO THREE FOUR"
    assert row.mode == "streamed"
    assert row.rate("streamed", "words").percent == 0.0
    texts[3]["streamed"] = None
    assert row.mode == "offline"
    assert row.rate("streamed", "words") is None
    assert row.speakers() == {"0": 25.0, "1": 50.0}


def test_differences_are_paired():
    """Errors that two rows share cancel: equal rows differ by 0 exactly; one
    that is worse in each utterance differs by more than chance."""
    from comparison.results import _difference

    row = row_result
    right = np.random.default_rng(0).integers(1, 4, 60)
    same = _difference(row("a", right), row("b", right))
    assert (same.percent, same.low, same.high) == (0.0, 0.0, 0.0)
    both, one = row("a", right), row("b", right)
    both.measured[2] = row("a", right - 1).measured[1]
    assert _difference(both, one).percent == 0.0
    worse = _difference(row("a", right - 1), row("b", right))
    assert worse.percent == pytest.approx(25.0)
    assert worse.low == pytest.approx(25.0)


def test_speakers_make_intervals_wider():
    """Where one speaker of two makes all errors, drawing speakers may leave
    that one out, or take it alone."""
    from comparison.results import _difference

    found = _difference(
        row_result("a", [4, 4, 0, 0]), row_result("b", [4, 4, 4, 4])
    )
    assert found.percent == 50.0
    assert (found.speakers_low, found.speakers_high) == (0.0, 100.0)
    one = _difference(row_result("a", [3, 1]), row_result("b", [4, 4]))
    assert one.low < one.percent == one.speakers_low == one.speakers_high


def test_differences_of_characters():
    """Of 18 characters, spaces too, one row has lost " FOUR"."""
    from comparison.results import _difference

    found = _difference(
        row_result("a", [3]), row_result("b", [4]), "characters"
    )
    assert found.unit == "characters"
    assert found.percent == pytest.approx(100 * 5 / 18)


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_shipped_plans_are_read(path):
    """Every row of the plans that ship fits the recipes."""
    from comparison.plan import read_plan

    plan = read_plan(path)
    assert len(plan.rows) > 5
    assert plan.comparisons


@pytest.fixture
def forked_stages(monkeypatch):
    """Stages run in processes that have imported everything at their start."""
    from comparison.stages import Stage

    def run(stage, lock, threads):
        if stage.ended:
            return
        _, script, *arguments = stage.command
        module = Path(script).relative_to(RECIPES).with_suffix("")
        process = Process(
            run_recipe, ".".join(module.parts), arguments, log=stage.log_path
        )
        ended = process.wait()
        assert ended == 0, stage.log_path.read_text()[-3000:]
        cost = {"seconds": 1.0, "cpu_seconds": 1.0, "peak_memory_bytes": 1}
        stage.record["attempts"].append({"ended": ended, **cost})
        write_atomically(stage.record_path, json.dumps(stage.record))

    monkeypatch.setattr(Stage, "run", run)


def others(row):
    """The rows that a row of a plan needs."""
    entries = {"weights_of", "starts_from", "teacher"} & row.keys()
    return {row[entry] for entry in entries}


@pytest.mark.slow
@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_shipped_plans_run(path, done, digits_corpus, tmp_path, forked_stages):
    """The row of each that needs most others, for their weights or as its
    teacher, and those, at toy size on the CPU; where none needs any, the last
    row of each recipe. Only two of four utterances are streamed. A plan that
    pre-trains none starts from a folder, whose sizes and units it has."""
    from compare import main
    from comparison.plan import read_entries

    entries = read_entries(path)
    size, units, start = SIZE, {"units": "character", "output_units": 29}, ()
    if "pretrain" not in entries:
        size = {name: SIZE[name] for name in SIZE.keys() - MODEL.keys()}
        model = done[1] / "rows" / "sa" / "seed_1" / "finetune" / "streaming"
        units, start = {"output_units": 29}, ("--pretrained_folder", model)
    for recipe in {"pretrain", "finetune"} & entries.keys():
        entries[recipe] = str(path.parent / entries[recipe])
        overrides = entries.setdefault(f"{recipe}_overrides", {})
        overrides.update(
            train_splits=["train"],
            optimizer_step_limit=2,
            **(PRETRAIN if recipe == "pretrain" else {}),
        )
        for name in {*SIZE, "grad_accumulation_factor"} & overrides.keys():
            del overrides[name]
    entries["finetune_overrides"].update(units)
    entries["overrides"].update(
        size, precision="fp32", valid_splits=["valid"], num_workers=0
    )
    needed = max((others(row) for row in entries["rows"]), key=len)
    if not needed:
        # one of each recipe
        of_recipes = {row.get("finetune"): row for row in entries["rows"]}
        rows = list(of_recipes.values())
        assert len(rows) == 2
    else:
        rows = [
            row
            for row in entries["rows"]
            if row["name"] in needed or others(row) == needed
        ]
    for row in rows:
        if "finetune" in row:
            row["finetune"] = str(path.parent / row["finetune"])
        if "weights_of" not in row:
            row.update(seeds=[1])
            row["finetune_overrides"] = {"optimizer_step_limit": 2}
    entries["rows"] = rows
    entries.update(
        comparisons=[],
        test_split="test",
        device="cpu",
        streamed_count=2,
        timing_seconds=1.0,
    )
    plan = write_plan(tmp_path / "plan.yaml", **{"pretrain": None, **entries})
    arguments = command(plan, digits_corpus, tmp_path, *map(str, start))[2:]
    assert main(arguments) == 0
    rows = table(tmp_path)
    assert list(rows) == [row["name"] for row in entries["rows"]]
    for cells in rows.values():
        # offline alone counts, and each streamed text is that one
        assert cells[2] == "-"
        assert cells[6] == ("-" if cells[0] == "utterance" else "0 of 2")
        assert cells[3] != "-"
