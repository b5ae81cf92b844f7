"""What the recipes share: command line, data, curves, the training loop."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import speechbrain as sb
import torch
from speechbrain.dataio.dataset import DynamicItemDataset

from comparison.plan import read_entries, read_plan
from headers import UNKNOWN_LENGTHS, encoded, with_number
from speechbrain_llsa.training.arguments import (
    check_max_grad_norm,
    check_optimizer_step_limit,
    load_hparams,
    parse_arguments,
)
from speechbrain_llsa.training.brain import Averages, StreamingBrain, seed_step
from speechbrain_llsa.training.curves import CurveLog, draw_curves
from speechbrain_llsa.training.data import (
    keep_durations,
    load_manifests,
    read_or_fault,
    train_loader_options,
)
from speechbrain_llsa.training.resuming import restart_reason

RECIPES = Path(__file__).parents[2] / "recipes" / "LibriSpeech"

YAML = """
seed: 1
lr: 0.1
attention: llsa
skip_prep: False
splits: [train]
max_grad_norm: 100.0
optimizer_step_limit: 400
ckpt_interval_minutes: 15
warmup: !ref <optimizer_step_limit> / 4
"""


@pytest.fixture
def hparams_file(tmp_path):
    """A small YAML file."""
    path = tmp_path / "train.yaml"
    path.write_text(YAML)
    return str(path)


def parse(hparams_file, *arguments):
    _, run_options, overrides = parse_arguments([hparams_file, *arguments])
    return run_options, overrides


def test_defaults_of_run_options_do_not_reach_the_yaml(hparams_file):
    """What was not typed leaves the YAML file as it is: 100, not 5."""
    run_options, overrides = parse(hparams_file, "--device", "cpu")
    assert overrides == {}
    hparams = load_hparams(hparams_file, overrides)
    assert hparams["max_grad_norm"] == 100.0
    assert hparams["optimizer_step_limit"] == 400
    assert run_options.overridden_args == {"device"}


def test_typed_run_options_reach_the_yaml_and_what_refers_to_it(hparams_file):
    """--optimizer_step_limit is an integer, and the schedule follows."""
    run_options, overrides = parse(
        hparams_file, "--optimizer_step_limit", "80", "--max_grad_norm=0.5"
    )
    assert run_options.optimizer_step_limit == 80
    hparams = load_hparams(hparams_file, overrides)
    assert hparams["optimizer_step_limit"] == 80
    assert hparams["warmup"] == 20
    assert hparams["max_grad_norm"] == 0.5


def test_the_last_of_equal_names_counts(hparams_file):
    """A repeated override is no error (SpeechBrain: DuplicateKeyError)."""
    _, overrides = parse(hparams_file, "--seed", "3", "--seed=5")
    assert overrides == {"seed": 5}


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-4", 1e-4), ("2", 2), ("5.0e-05", 5e-5), ("-1.5", -1.5)],
)
def test_numbers_are_numbers(hparams_file, text, value):
    """1e-4 reaches the hyper-parameters as a number, not as text."""
    _, overrides = parse(hparams_file, "--lr", text)
    assert load_hparams(hparams_file, overrides)["lr"] == value


def test_lists_and_values_with_signs(hparams_file):
    """Lists are YAML; a value may contain = and spaces."""
    _, overrides = parse(
        hparams_file, "--splits=[a, b]", "--attention", "x=1 y"
    )
    hparams = load_hparams(hparams_file, overrides)
    assert hparams["splits"] == ["a", "b"]
    assert hparams["attention"] == "x=1 y"


def test_flags_take_no_value(hparams_file):
    """A run option without a value does not swallow what follows."""
    run_options, overrides = parse(
        hparams_file, "--debug", "--noprogressbar", "--seed", "2"
    )
    assert run_options.debug and run_options.noprogressbar
    assert overrides == {"seed": 2}


def test_names_are_not_abbreviated(hparams_file):
    """A prefix of a run option is not taken for it."""
    with pytest.raises(ValueError, match=r"--optimizer_step must .*step_limit"):
        parse(hparams_file, "--optimizer_step", "3")


def test_typed_checkpoint_interval_replaces_that_of_the_yaml(hparams_file):
    """SpeechBrain leaves the program if both intervals are set."""
    run_options, overrides = parse(hparams_file, "--ckpt_interval_steps", "5")
    assert overrides == {"ckpt_interval_minutes": 0}
    assert run_options.ckpt_interval_steps == 5


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        (["--seed", "abc"], TypeError, r"--seed must be int.*got 'abc'"),
        (["--seed", "1.5"], TypeError, r"--seed must .*got 1.5"),
        (["--seed", "True"], TypeError, r"--seed must .*got True"),
        (
            ["--skip_prep", "1"],
            TypeError,
            r"--skip_prep must .*got 1",
        ),
        (["--lr", "fast"], TypeError, r"--lr must be float.*got 'fast'"),
        (
            ["--atention", "sa"],
            ValueError,
            "--atention must .*near.* attention",
        ),
        (["--seed"], ValueError, r"--seed must .*have a value"),
        (["--splits", "[a"], ValueError, r"--splits must .*got '\[a'"),
        (
            ["--optimizer_step_limit", "many"],
            ValueError,
            r"optimizer_step_limit must .*got 'many'",
        ),
        (["--optimizer_step_limit", "0"], ValueError, "got '0'"),
        (
            ["--max_grad_norm", "nan"],
            ValueError,
            r"max_grad_norm must .*got NaN",
        ),
    ],
)
def test_bad_overrides_are_named(hparams_file, arguments, error, match):
    """Unknown names, missing values and wrong types are one clear sentence."""
    with pytest.raises(error, match=match):
        parse(hparams_file, *arguments)


def test_missing_yaml_is_named():
    """A YAML file that does not exist is named."""
    with pytest.raises(
        FileNotFoundError, match=r"param_file must .*got 'no\.yaml'"
    ):
        parse("no.yaml")


def test_a_yaml_file_of_another_editor(hparams_file):
    """A byte order mark and carriage returns change nothing; other encodings
    are named."""
    mark, path = b"\xef\xbb\xbf", Path(hparams_file)
    path.write_bytes(mark + YAML.replace("\n", "\r\n").encode())
    _, overrides = parse(hparams_file, "--lr", "0.5")
    assert load_hparams(hparams_file, overrides)["splits"] == ["train"]
    path.write_bytes((YAML + "# É\n").encode("latin-1"))
    for read in (parse, read_plan):
        with pytest.raises(ValueError, match=r"must be UTF-8, .* in line 11"):
            read(hparams_file)


def test_a_plan_of_another_editor(tmp_path):
    """As for any YAML file; hparams that it names as well."""
    text = (RECIPES.parents[1] / "hparams" / "compare_small.yaml").read_bytes()
    plans = []
    for name, content in (
        ("a", text),
        ("b", b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n")),
    ):
        (tmp_path / name).write_bytes(content)
        plans.append(read_entries(tmp_path / name))
    assert plans[0] == plans[1]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, None), (0, None), (-1.0, None), (2, 2.0), (float("inf"),) * 2],
)
def test_max_grad_norm_says_what_it_means(value, expected):
    """0 and below: no clipping, neither frozen nor upside down."""
    assert check_max_grad_norm(value) == expected


@pytest.mark.parametrize("value", ["5.0", True])
def test_max_grad_norm_is_a_number(value):
    """Text and booleans are refused."""
    with pytest.raises(TypeError, match=r"max_grad_norm must .*got"):
        check_max_grad_norm(value)


@pytest.mark.parametrize("value", [0, -3, 2.5, "x", True])
def test_bad_step_limits_are_refused(value):
    """Only integers from 1 on, also as text, and None."""
    with pytest.raises(ValueError, match=r"optimizer_step_limit must .*got"):
        check_optimizer_step_limit(value)


def write_manifest(path, names, folder):
    lines = ["ID,duration,wav,spk_id,wrd"]
    for name, rate in names:
        wav = folder / f"{name}.wav"
        soundfile.write(wav, [[0.5, 0.1]] * rate, rate)
        lines.append(f"{name},1.0,{wav},1,A B")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_manifests_give_waveforms_at_one_rate(tmp_path):
    """Stereo and other rates arrive as one channel at 16 kHz, not scaled."""
    one = write_manifest(tmp_path / "1.csv", [("a", 8000)], tmp_path)
    two = write_manifest(tmp_path / "2.csv", [("b", 16000)], tmp_path)
    dataset = load_manifests([one, two])
    assert [item["id"] for item in dataset] == ["a", "b"]
    for item in dataset:
        assert item["sig"].shape == (16000,)
        assert abs(float(item["sig"].median()) - 0.3) < 1e-2
    with pytest.raises(ValueError, match=r"paths must .*got 'a' again"):
        load_manifests([one, one])


@pytest.mark.parametrize("row", UNKNOWN_LENGTHS, ids=str)
def test_waveforms_of_a_length_that_was_not_known(tmp_path, row):
    """Whole, and the same as with a header that says it."""
    format, *change = row
    content = encoded(np.sin(np.arange(16000) / 9)[:, None] * [0.5, 0], format)
    path = tmp_path / "a.wav"
    path.write_bytes(content)
    expected, fault = read_or_fault(path, 1.0)
    assert fault == "" and len(expected) == 16000
    path.write_bytes(with_number(content, *change))
    waveform, fault = read_or_fault(path, 1.0)
    assert fault == "" and torch.equal(waveform, expected)


def make_dataset(durations):
    return DynamicItemDataset(
        {
            f"{number:03d}": {"duration": duration}
            for number, duration in enumerate(durations)
        }
    )


def test_nothing_left_is_an_error():
    """Dropping every utterance is said at once."""
    with pytest.raises(ValueError, match=r"shorter than 2 s or longer than 3"):
        keep_durations(make_dataset([1.0]), 2.0, 3.0)


def test_batches_differ_from_epoch_to_epoch_and_are_seeded():
    """The sampler is told the epoch, or batches would be the same for ever."""
    dataset = make_dataset([1.0 + 0.01 * number for number in range(60)])

    def batches(seed, epoch):
        sampler = train_loader_options(
            dataset, seed=seed, max_batch_length=10, num_buckets=3
        )["batch_sampler"]
        sampler.set_epoch(epoch)
        return list(sampler)

    assert batches(1, 1) == batches(1, 1)
    assert batches(1, 1) != batches(1, 2)
    assert batches(1, 1) != batches(2, 1)


def test_first_epochs_go_from_short_to_long():
    """In sorted epochs batches are in order of length; later they are not."""
    lengths = [1.0 + 0.01 * number for number in range(60)]
    dataset = make_dataset(lengths)
    sampler = train_loader_options(
        dataset, seed=1, max_batch_length=10, num_buckets=3, sorted_epochs=2
    )["batch_sampler"]

    def longest_of_batches(epoch):
        sampler.set_epoch(epoch)
        return [max(lengths[row] for row in batch) for batch in sampler]

    assert longest_of_batches(1) == sorted(longest_of_batches(1))
    assert longest_of_batches(2) == sorted(longest_of_batches(2))
    assert longest_of_batches(3) != sorted(longest_of_batches(3))
    assert set(longest_of_batches(3)) <= set(lengths)


def test_seed_step_decides_all_three_generators():
    """Python, NumPy and PyTorch follow the numbers, and only them."""
    import random

    import numpy as np

    def draw(*numbers):
        seed_step(*numbers)
        return random.random(), np.random.rand(), float(torch.rand(()))

    assert draw(1, 0, 2, 3) == draw(1, 0, 2, 3)
    others = [draw(1, 0, 2, 4), draw(1, 1, 2, 3), draw(2, 0, 2, 3)]
    for other in others:
        assert all(a != b for a, b in zip(draw(1, 0, 2, 3), other, strict=True))


def test_averages_are_weighted():
    """Weights count, tensors with gradients are fine, no weight is NaN."""
    averages = Averages()
    averages.add(weight=1, loss=torch.tensor(4.0, requires_grad=True))
    averages.add(weight=3, loss=0.0)
    averages.add(weight=0, accuracy=1.0)
    values = averages.read()
    assert values["loss"] == 1.0
    assert values["accuracy"] != values["accuracy"]
    assert Averages().read() == {}


def test_curves_survive_a_crash_and_a_rewind(tmp_path):
    """A line cut short is left out, later steps are forgotten."""
    log = CurveLog(tmp_path / "new" / "curves.jsonl")
    assert log.read() == []
    log.rewind(3)
    for step in range(1, 6):
        log.append("train", step, loss=1.0 / step)
    with open(log.path, "a") as stream:
        stream.write('{"split": "train", "st')
    assert len(log.read()) == 5
    log.rewind(3)
    assert [entry["step"] for entry in log.read()] == [1, 2, 3]


def test_curves_are_drawn(tmp_path):
    """One panel per measured value; NaN and single points are fine."""
    entries = [
        {"split": "train", "step": 1, "loss": float("nan"), "epoch": 1},
        {"split": "train", "step": 2, "loss": 0.5, "learning_rate": 0.1},
        {"split": "valid", "step": 2, "wer": 50.0, "other_value": 1},
    ]
    path = tmp_path / "curves.png"
    names = draw_curves(entries, path)
    assert names == ["loss", "wer", "learning_rate", "other_value"]
    assert path.read_bytes().startswith(b"\x89PNG")
    assert draw_curves([], tmp_path / "none.png") == []
    assert not (tmp_path / "none.png").exists()


class LineBrain(StreamingBrain):
    """Learns y = w x; a batch may hold a value that is not finite."""

    def compute_forward(self, batch, stage):
        return self.modules.line(batch[0])

    def compute_objectives(self, outputs, batch, stage):
        loss = (outputs - 1.0).pow(2).mean()
        self.measure(stage, loss=loss)
        return loss


def make_brain(tmp_path, **hparams):
    torch.manual_seed(0)
    hparams = {
        "seed": 3,
        "log_interval": 1,
        "output_folder": str(tmp_path),
        "max_grad_norm": 0,
        **hparams,
    }
    return LineBrain(
        modules={"line": torch.nn.Linear(2, 1)},
        opt_class=lambda parameters: torch.optim.SGD(parameters, lr=0.1),
        hparams=hparams,
        run_opts={"device": "cpu", "noprogressbar": True},
    )


def test_a_step_that_is_not_finite_is_left_out(tmp_path):
    """NaN in a batch leaves the weights finite, up to the patience."""
    good, bad = torch.ones(4, 2), torch.full((4, 2), float("nan"))
    brain = make_brain(tmp_path, nonfinite_patience=2)
    brain.fit(range(1, 2), [[good], [bad], [good], [bad]])
    assert brain.optimizer_step == 4
    assert torch.isfinite(brain.modules.line.weight).all()
    with pytest.raises(ValueError, match=r"gradients must .*got 3 steps"):
        brain.fit(range(1, 2), [[bad]] * 3)


def test_the_learning_rate_is_set_before_the_step(tmp_path):
    """Step 1 uses the schedule's value for step 1 (SpeechBrain: the peak)."""
    seen = []

    def schedule(optimizer, step):
        optimizer.param_groups[0]["lr"] = rate = step / 1000
        seen.append(rate)

    brain = make_brain(tmp_path, lr_scheduler=schedule)
    before = brain.modules.line.bias.item()
    brain.fit(range(1, 2), [[torch.zeros(1, 2)]])
    assert seen == [0.001]
    change = brain.modules.line.bias.item() - before
    assert change == pytest.approx(0.001 * 2 * (1 - before), rel=1e-3)


def test_gradients_are_accumulated_and_the_limit_holds(tmp_path):
    """Logs count optimiser steps; training stops at the limit."""
    batches = [[torch.randn(4, 2)] for _ in range(20)]
    brain = make_brain(
        tmp_path, grad_accumulation_factor=2, optimizer_step_limit=3
    )
    brain.fit(range(1, 9), batches)
    assert brain.optimizer_step == 3
    steps = [entry["step"] for entry in brain.curve_log.read()]
    assert steps == [1, 2, 3]


def test_training_draws_do_not_depend_on_what_came_before(tmp_path):
    """The random numbers of a step follow seed, epoch and step alone."""
    brain = make_brain(tmp_path)
    brain.epoch, brain.step = 2, 5
    brain.optimizer = SimpleNamespace(param_groups=[{"lr": 0.0}])
    brain.on_fit_batch_start(None, True)
    first = torch.rand(3)
    torch.rand(100)
    brain.on_fit_batch_start(None, True)
    assert torch.equal(first, torch.rand(3))
    assert brain.stage_averages.keys() == set(sb.Stage)


def test_an_epoch_goes_on_or_begins_anew():
    """By ranks and batches; checkpoints of earlier versions do not say."""
    plan = {"ranks": 1, "batches": "a"}
    assert restart_reason(plan, plan) is None
    assert restart_reason({}, plan) is None
    assert restart_reason({"ranks": 1, "batches": None}, plan) is None
    why = restart_reason(
        {"ranks": 1, "batches": "a"}, {"ranks": 2, "batches": "a"}
    )
    assert why == "it was begun on 1 ranks, and there are 2 now"
    why = restart_reason({"ranks": 2, "batches": "b"}, plan)
    assert "on 2 ranks, and there are 1 now" in why
    assert "other utterances" in why


def test_what_decides_the_batches():
    """All that does but the epoch, and nothing else."""
    dataset = make_dataset([1.0, 2.0, 3.0])
    options = {"seed": 1, "num_buckets": 2, "max_batch_length": 4}

    def fingerprint(dataset=dataset, **changes):
        options_now = {**options, **changes}
        return train_loader_options(dataset, **options_now)[
            "batch_sampler"
        ].fingerprint

    first = fingerprint()
    for changes in (
        {"seed": 2},
        {"num_buckets": 1},
        {"max_batch_length": 5},
        {"sorted_epochs": 1},
        {"dataset": make_dataset([1.0, 2.0])},
        {"dataset": make_dataset([1.0, 2.0, 3.5])},
    ):
        assert fingerprint(**changes) != first, changes
    assert fingerprint(num_workers=2) == first
    assert fingerprint(make_dataset([1.0, 2.0, 3.0])) == first
