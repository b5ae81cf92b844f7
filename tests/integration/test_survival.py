"""Training survives: killed at any moment, it goes on as if it had not been.

The long profile writes what happened to ``survival_<recipe>.json`` in the
folder that the variable SURVIVAL_REPORT names.
"""

import json
import os
import random
import re
import shutil
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from recipe_process import (
    FULL,
    Process,
    command_line,
    run_recipe,
    run_until_full,
)
from speechbrain_llsa.inference.asr import StreamingASR
from speechbrain_llsa.inference.streaming_encoder import StreamingEncoder

INTERVAL_STEPS = 2
STEPS = {"pretrain": 12, "finetune_ctc": 9}
SPLITS = ("valid", "test")
FULL_DISK = (
    r"whole_files.WriteError: could not write /.*, where 0\.\d MB are free: "
    r"|OSError: \[Errno 28\] No space left on device"
)
WHOLE_SECONDS = 3.0
"""About as long as a run takes."""


def toy_line(recipe, corpus, output):
    return command_line(
        recipe,
        corpus,
        output,
        optimizer_step_limit=STEPS[recipe],
        ckpt_interval_steps=INTERVAL_STEPS,
    )


def start(recipe, corpus, output, **options):
    line = toy_line(recipe, corpus, output)
    log = Path(f"{output}.log")
    return Process(run_recipe, recipe, line, log=log, **options)


def finish(recipe, corpus, output, **options):
    process = start(recipe, corpus, output, **options)
    assert process.wait() == 0, process.log.read_text()[-3000:]
    return output


def curves(output):
    path = Path(output) / "curves.jsonl"
    if not path.exists():
        return []
    entries = []
    for line in path.read_text().splitlines():
        try:
            entries.append(json.loads(line))
        except json.JSONDecodeError:
            assert line == path.read_text().splitlines()[-1]
    return entries


def complete_checkpoints(output):
    """Their optimiser steps by folder, in the order in which they were made."""
    markers = (Path(output) / "save").glob("CKPT+*/COMPLETE")
    steps = {}
    for marker in sorted(markers, key=lambda path: path.stat().st_mtime_ns):
        progress = json.loads((marker.parent / "brain.ckpt").read_text())
        steps[marker.parent.name] = progress["optimizer_step"]
    return steps


def unfinished_checkpoints(output):
    folders = (Path(output) / "save").glob("CKPT+*")
    return [path for path in folders if not (path / "COMPLETE").exists()]


def exports(output):
    """What is being written after training."""
    names = (
        ".pretrained.part",
        ".streaming.part",
        ".err*.part",
        ".curves.*part",
    )
    return [path for name in names for path in Path(output).glob(name)]


def moment_comes(phase, output, begun, lines, draw):
    """A function that says whether it is time to kill."""
    output = Path(output)
    if phase == "any":
        wait = draw.uniform(0, WHOLE_SECONDS)
        return lambda: time.monotonic() - begun > wait
    if phase == "starting":
        wait = draw.uniform(0, 1)
        return lambda: time.monotonic() - begun > wait
    if phase == "training":
        more = draw.randint(1, 3)
        log = output / "curves.jsonl"
        return lambda: (
            log.exists() and log.read_bytes().count(b"\n") >= lines + more
        )
    if phase == "saving":
        before = {path.name for path in unfinished_checkpoints(output)}
        return lambda: any(
            path.name not in before for path in unfinished_checkpoints(output)
        )
    return lambda: exports(output)


def kill_at(phase, recipe, corpus, output, draw):
    """Starts a run and kills it; says where it was, ``None`` if it had
    ended before."""
    lines = len(curves(output))
    process = start(recipe, corpus, output)
    comes = moment_comes(phase, output, time.monotonic(), lines, draw)
    later = draw.uniform(0, 0.02)
    while process.is_running and not comes():
        time.sleep(0.0005)
    time.sleep(later)
    if not process.kill():
        assert process.process.exitcode == 0, process.log.read_text()[-3000:]
        return None
    if unfinished_checkpoints(output):
        return "saving"
    if exports(output):
        return "exporting"
    last = max([0, *complete_checkpoints(output).values()])
    if last == STEPS[recipe]:
        return "evaluating"
    return "training" if len(curves(output)) > lines else "starting"


def check_whole(output):
    """Everything in the folder is complete, or is not there."""
    output = Path(output)
    for name in complete_checkpoints(output):
        for path in (output / "save" / name).iterdir():
            content = path.read_bytes()
            assert content, path
            if content.startswith(b"PK"):
                torch.load(path, weights_only=True)
            elif path.name in ("brain.ckpt", "COMPLETE"):
                json.loads(content)
    pretrained = output / "pretrained"
    if pretrained.exists():
        StreamingEncoder.from_hparams(pretrained)
    if (output / "streaming").exists():
        StreamingASR.from_hparams(output / "streaming")
    if (output / "error_rates.json").exists():
        rates = json.loads((output / "error_rates.json").read_text())
        assert set(rates) == set(SPLITS)
    for split in SPLITS:
        path = output / f"errors_{split}.txt"
        assert not path.exists() or "WER" in path.read_text()
    picture = output / "curves.png"
    if picture.exists():
        assert picture.read_bytes().endswith(b"IEND\xaeB`\x82")


def check_same(output, expected):
    """Curves and weights are those of the uninterrupted run, to 1e-5; gives
    the largest difference of a value in the curves."""
    given, wanted = curves(output), curves(expected)
    assert len(given) == len(wanted)
    largest = 0.0
    for entry, other in zip(given, wanted, strict=True):
        assert entry.pop("split") == other.pop("split")
        assert entry == pytest.approx(other, rel=1e-5, nan_ok=True)
        largest = max(
            [largest, *(abs(entry[name] - other[name]) for name in other)]
        )
    name, _ = list(complete_checkpoints(output).items())[-1]
    other, _ = list(complete_checkpoints(expected).items())[-1]
    pairs = [
        (path, Path(expected) / "save" / other / path.name)
        for path in (Path(output) / "save" / name).glob("*.ckpt")
        if path.name.startswith(("latent", "feat", "target", "enc", "ext", "h"))
    ]
    pairs += [
        (path, Path(expected) / "pretrained" / path.name)
        for path in (Path(output) / "pretrained").glob("*.safetensors")
    ]
    assert len(pairs) >= 3
    for path, reference in pairs:
        weights = read_weights(path)
        for key, value in read_weights(reference).items():
            error = (weights[key] - value).abs().max()
            assert error <= 1e-5, (path, key)
    if (Path(expected) / "error_rates.json").exists():
        for split, result in error_rates(expected).items():
            for mode in ("offline", "streamed"):
                given = error_rates(output)[split][mode]
                assert given["wer"] == result[mode]["wer"]
    return largest


def read_weights(path):
    """Of a checkpoint, or of a model folder."""
    if path.suffix == ".safetensors":
        return load_file(path)
    return torch.load(path, weights_only=True)


def error_rates(output):
    return json.loads((Path(output) / "error_rates.json").read_text())


def survive(recipe, corpus, folder, expected, kills, seed):
    """Kills runs until there were so many kills; says when each came, and how
    many steps it cost."""
    draw = random.Random(seed)
    phases = ["training", "saving", "exporting"]
    others = ["starting", "training", "saving", "any", "any"]
    report, differences, attempts, rounds = [], [], 0, 0
    while len(report) < kills:
        rounds += 1
        output = folder / f"round{rounds}"
        while len(report) < kills:
            phase = phases[attempts] if attempts < 3 else draw.choice(others)
            if attempts >= 3 and complete_checkpoints(output):
                phase = draw.choice([*others, "exporting"])
            attempts += 1
            assert attempts < 4 * kills + 9
            where = kill_at(phase, recipe, corpus, output, draw)
            check_whole(output)
            if where is None:
                break
            saved = max([0, *complete_checkpoints(output).values()])
            done = [e["step"] for e in curves(output) if e["split"] == "train"]
            lost = max([saved, *done]) - saved
            assert lost <= INTERVAL_STEPS, (phase, where)
            report.append(
                {"asked": phase, "killed": where, "saved": saved, "lost": lost}
            )
        finish(recipe, corpus, output)
        check_whole(output)
        differences.append(check_same(output, expected))
        assert not unfinished_checkpoints(output)
        assert not exports(output)
    return report, max(differences)


@pytest.fixture(scope="module")
def expected(digits_corpus, tmp_path_factory):
    """The output folder of an uninterrupted run, by recipe."""
    folder = tmp_path_factory.mktemp("expected")
    done = {}

    def run(recipe):
        if recipe not in done:
            done[recipe] = finish(recipe, digits_corpus, folder / recipe)
        return done[recipe]

    return run


@pytest.mark.slow
@pytest.mark.parametrize("recipe", STEPS)
def test_killed_it_goes_on(recipe, digits_corpus, expected, tmp_path):
    """SIGKILL while training, saving and writing results: nothing is half
    there, at most the work since the last checkpoint is lost, and curves and
    weights become those of the uninterrupted run."""
    report, _ = survive(
        recipe, digits_corpus, tmp_path, expected(recipe), kills=3, seed=1
    )
    assert len(report) == 3


@pytest.mark.long
@pytest.mark.parametrize("recipe", STEPS)
def test_killed_very_often_it_goes_on(
    recipe, digits_corpus, expected, tmp_path
):
    """The same with 24 kills, at random moments of every phase."""
    report, difference = survive(
        recipe, digits_corpus, tmp_path, expected(recipe), kills=24, seed=2
    )
    phases = Counter(entry["killed"] for entry in report)
    assert {"training", "saving"} <= set(phases)
    summary = {
        "kills": len(report),
        "largest_difference_of_the_curves": difference,
        "phases": phases,
        "lost_steps": Counter(str(entry["lost"]) for entry in report),
        "each": report,
    }
    print(json.dumps(summary))
    if "SURVIVAL_REPORT" in os.environ:
        path = Path(os.environ["SURVIVAL_REPORT"], f"survival_{recipe}.json")
        path.write_text(json.dumps(summary, indent=2))


def test_a_checkpoint_cut_short_in_any_file_is_passed_over(
    expected, tmp_path, caplog
):
    """Each file of the newest checkpoint in turn: emptied, halved or gone; the
    one before is found, and a warning says why."""
    from speechbrain.utils.checkpoints import Checkpointer

    from speechbrain_llsa.training.checkpoints import (
        is_complete,
        set_incomplete_aside,
    )

    source = expected("pretrain") / "save"
    *_, older, newest = complete_checkpoints(expected("pretrain"))
    names = sorted(path.name for path in (source / newest).iterdir())
    assert {"CKPT.yaml", "COMPLETE", "optimizer.ckpt"} <= set(names)
    for name in names:
        for cut in ("empty", "half", "gone"):
            save = tmp_path / f"{name}-{cut}"
            shutil.copytree(source, save)
            path = save / newest / name
            content = path.read_bytes()
            if cut == "gone":
                path.unlink()
            else:
                path.write_bytes(content[: len(content) // 2 * (cut == "half")])
            caplog.clear()
            checkpointer = Checkpointer(save)
            set_incomplete_aside(checkpointer)
            found = checkpointer.find_checkpoint(ckpt_predicate=is_complete)
            assert found.path.name == older, (name, cut)
            assert newest in caplog.text and "Passing over" in caplog.text


@pytest.mark.slow
def test_a_training_resumes_before_a_checkpoint_cut_short(
    digits_corpus, expected, tmp_path
):
    """All files of the newest checkpoint halved: the run goes on from the one
    before, to the same weights."""
    output = tmp_path / "output"
    shutil.copytree(expected("pretrain"), output)
    newest = list(complete_checkpoints(output))[-1]
    for path in (output / "save" / newest).iterdir():
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])
    finish("pretrain", digits_corpus, output)
    assert "Passing over the checkpoint" in (output / "log.txt").read_text()
    check_same(output, expected("pretrain"))


@pytest.mark.slow
def test_a_full_disk_is_named_and_costs_one_checkpoint(
    digits_corpus, expected, tmp_path
):
    """Where a checkpoint does not fit, the error says so, nothing half written
    stays, and with room again the training goes on as if nothing had been."""
    output = tmp_path / "output"
    process = start("pretrain", digits_corpus, output, file_bytes=30_000)
    assert process.wait() == 1
    log = process.log.read_text()
    assert f"WriteError: could not write {output / 'save'}, where " in log
    assert not unfinished_checkpoints(output)
    finish("pretrain", digits_corpus, output)
    check_same(output, expected("pretrain"))


@pytest.mark.slow
@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")
@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("curves.jsonl", 5),
        ("train_steps_log.txt", 6),
        ("train_stage_log.txt", 7),
        ("log.txt", 8),
    ],
)
def test_a_full_disk_is_named_for_each_log(
    name, step, digits_corpus, expected, tmp_path
):
    """A log that cannot be written ends the training with an error that names
    it; the checkpoints are whole, and it goes on from them."""
    output = tmp_path / "output"
    process = Process(
        run_until_full,
        "pretrain",
        toy_line("pretrain", digits_corpus, output),
        name,
        step,
        log=tmp_path / "log",
    )
    assert process.wait() == 1
    path = output / name if name == "log.txt" else FULL
    error = f"WriteError: could not write {path}, where "
    log = process.log.read_text()
    assert error in log.strip().splitlines()[-1]
    assert "No space left on device" in log.strip().splitlines()[-1]
    assert complete_checkpoints(output)
    assert not unfinished_checkpoints(output)
    check_whole(output)
    finish("pretrain", digits_corpus, output)
    check_same(output, expected("pretrain"))


@pytest.mark.long
@pytest.mark.parametrize("recipe", STEPS)
def test_a_disk_that_fills_up(recipe, digits_corpus, expected, tmp_path):
    """The same on a small file system that is really full from some moment on,
    ten times."""
    expected = expected(recipe)
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("file systems cannot be mounted here")
    draw = random.Random(3)
    ended = Counter()
    try:
        ballast = disk / "ballast"
        output = disk / "output"
        for number in range(10):
            process = Process(
                run_recipe,
                recipe,
                toy_line(recipe, digits_corpus, output),
                log=tmp_path / f"log{number}",
            )
            wait = draw.uniform(0.2, WHOLE_SECONDS)
            begun = time.monotonic()
            while process.is_running and time.monotonic() - begun < wait:
                time.sleep(0.01)
            with pytest.raises(OSError), open(ballast, "wb", 0) as stream:
                while True:
                    stream.write(bytes(256))
            status = process.wait()
            last = process.log.read_text().strip().splitlines()[-1]
            if status:
                assert re.match(FULL_DISK, last), last
            ended[(status, last.split(":")[0])] += 1
            check_whole(output)
            ballast.unlink()
            if not status:
                check_same(output, expected)
                shutil.rmtree(output)
        finish(recipe, digits_corpus, output)
        check_same(output, expected)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    print(ended)
    assert any(status for status, _ in ended)


def test_exports_replace_a_folder_as_a_whole(tmp_path):
    """What fails in the middle leaves the old folder as it was."""
    from speechbrain_llsa_runtime.utils.atomic_files import written_atomically

    folder = tmp_path / "pretrained"
    with written_atomically(folder) as scratch:
        scratch.mkdir()
        (scratch / "one").write_text("old")
    with pytest.raises(KeyError), written_atomically(folder) as scratch:
        scratch.mkdir()
        (scratch / "one").write_text("new")
        raise KeyError
    assert [path.name for path in tmp_path.iterdir()] == ["pretrained"]
    assert (folder / "one").read_text() == "old"
