"""Pre-training end to end through its command line, at toy size."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from speechbrain.utils.checkpoints import Checkpointer
from speechbrain.utils.parameter_transfer import Pretrainer

import pretrain
from speechbrain_llsa.hparams import load_part
from speechbrain_llsa.inference.streaming_encoder import (
    StreamingEncoder,
)
from speechbrain_llsa.training.arguments import load_hparams, parse_arguments
from toy_recipe import MODEL

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "recipes" / "LibriSpeech"

SMALL = str(ROOT / "hparams" / "pretrain_small.yaml")
BASE = str(ROOT / "hparams" / "pretrain_base.yaml")
TOY = {
    **MODEL,
    "final_dim": 8,
    "num_vars": 8,
    "num_negatives": 5,
    "seconds_per_batch": 3,
    "num_buckets": 2,
    "log_interval": 1,
    "warmup": 2,
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
def corpus(tmp_path_factory):
    """Twelve seconds of tones to train on, in LibriSpeech layout; the
    validation has utterances without any frame and of one frame."""
    folder = tmp_path_factory.mktemp("tones")
    draw = np.random.default_rng(0)
    seconds = {"train": [1.0, 1.3, 0.8, 1.6, 1.1, 0.9, 1.4, 1.2, 1.0, 0.3]}
    seconds["valid"] = [0.9, 0.25, 0.05, 0.01]
    for split, durations in seconds.items():
        chapter = folder / split / "1" / "2"
        chapter.mkdir(parents=True)
        lines = []
        for number, duration in enumerate(durations):
            samples = np.arange(int(duration * 16000)) / 16000
            pitches = draw.integers(100, 2000, len(samples) // 3200 + 1)
            tones = np.sin(
                2 * np.pi * samples * np.repeat(pitches, 3200)[: len(samples)]
            )
            noise = draw.normal(0, 0.02, len(samples))
            name = f"1-2-{number:04d}"
            soundfile.write(
                chapter / f"{name}.flac", 0.3 * tones + noise, 16000
            )
            lines.append(f"{name} TONES\n")
        (chapter / "1-2.trans.txt").write_text("".join(lines))
    return folder


def command(corpus, output, hparams=SMALL, **overrides):
    options = {
        **TOY,
        "data_folder": corpus,
        "output_folder": output,
        "device": "cpu",
        **overrides,
    }
    line = [hparams, "--noprogressbar"]
    for name, value in options.items():
        line += [f"--{name}", str(value)]
    return line


def run(*args, **overrides):
    return pretrain.main(command(*args, **overrides))


def curves(output):
    lines = (Path(output) / "curves.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    """The output folder of a whole toy training, and its Brain."""
    output = tmp_path_factory.mktemp("output")
    torch.manual_seed(99)  # must not matter
    brain = run(corpus, output, optimizer_step_limit=10, lr=0.003)
    return output, brain


def test_it_trains_and_logs(trained):
    """All steps are done, logged with every value, and drawn."""
    output, brain = trained
    entries = curves(output)
    train = [entry for entry in entries if entry["split"] == "train"]
    valid = [entry for entry in entries if entry["split"] == "valid"]
    assert [entry["step"] for entry in train] == list(range(1, 11))
    assert brain.optimizer_step == 10
    for name in ("loss", "accuracy", "code_perplexity", "temperature"):
        assert all(np.isfinite(entry[name]) for entry in train)
    assert all(np.isfinite(entry["loss"]) for entry in valid)
    losses = [entry["loss"] for entry in train]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
    assert (output / "curves.png").read_bytes().startswith(b"\x89PNG")
    for name in ("train_steps_log.txt", "train_stage_log.txt"):
        assert "accuracy" in (output / name).read_text()


def test_learning_rate_and_temperature_follow_the_step(trained):
    """The first step warms up; temperatures begin at the start value."""
    output, brain = trained
    train = [entry for entry in curves(output) if entry["split"] == "train"]
    assert train[0]["learning_rate"] == pytest.approx(0.0015)
    assert train[1]["learning_rate"] == pytest.approx(0.003)
    assert train[-1]["learning_rate"] == pytest.approx(0)
    start, decay = (
        brain.hparams.temperature_start,
        brain.hparams.temperature_decay,
    )
    for entry in train:
        expected = start * decay ** (entry["step"] - 1)
        assert entry["temperature"] == pytest.approx(expected)


def test_all_trained_modules_are_saved(trained):
    """A checkpoint has every trained module and what resuming needs."""
    output, brain = trained
    checkpoint = Checkpointer(output / "save").find_checkpoint()
    names = set(checkpoint.paramfiles)
    assert names >= {
        "latent_extractor",
        "latent_encoder",
        "feat_proj",
        "target_quantiser",
        "optimizer",
        "brain",
        "counter",
        "dataloader-TRAIN",
    }
    saved = torch.load(checkpoint.paramfiles["feat_proj"])
    assert torch.equal(saved["weight"], brain.modules.feat_proj.weight)


def test_the_host_loads_the_pretrained_weights(trained, corpus, tmp_path):
    """pretrained/ fits freshly built modules through a Pretrainer."""
    output, _ = trained
    _, _, overrides = parse_arguments(command(corpus, tmp_path, seed=7))
    hparams = load_hparams(SMALL, overrides)
    folder = output / "pretrained"
    names = ("extractor", "encoder_wrapper")
    pretrainer = Pretrainer(
        collect_in=tmp_path / "collected",
        loadables={name: hparams[name] for name in names},
        paths={name: str(folder / f"{name}.safetensors") for name in names},
        custom_hooks=dict.fromkeys(names, load_part),
    )
    before = hparams["encoder_wrapper"].mask_emb.clone()
    pretrainer.collect_files()
    pretrainer.load_collected()
    assert not torch.equal(hparams["encoder_wrapper"].mask_emb, before)
    best = Checkpointer(output / "save").find_checkpoint(max_key="accuracy")
    saved = torch.load(best.paramfiles["latent_encoder"])
    assert torch.equal(saved["mask_emb"], hparams["encoder_wrapper"].mask_emb)


def test_the_pretrained_encoder_streams(trained):
    """pretrained/ loads as a source of features."""
    output, _ = trained
    encoder = StreamingEncoder.from_hparams(output / "pretrained", layer="all")
    weights = encoder.extractor.state_dict()
    best = Checkpointer(output / "save").find_checkpoint(max_key="accuracy")
    expected = torch.load(best.paramfiles["latent_extractor"])
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    layers = encoder.num_layers + 1
    frames = encoder.session().push(torch.randn(16000))
    assert frames.shape[1:] == (layers, encoder.features) and len(frames)


def test_running_again_does_nothing_more(trained, corpus):
    """A finished training is not validated or saved again."""
    output, _ = trained
    before = (output / "curves.jsonl").read_text()
    brain = run(corpus, output, optimizer_step_limit=10, lr=0.003)
    assert brain.optimizer_step == 10
    assert (output / "curves.jsonl").read_text() == before


class Interrupted(Exception):
    """Stands for a power cut."""


@pytest.mark.parametrize("crash_step", [2, 6])
def test_resuming_gives_the_curve_of_an_uninterrupted_training(
    trained, corpus, tmp_path, monkeypatch, crash_step
):
    """Cut off in an epoch, resumed: same values at every step, same weights."""
    expected, whole = trained
    options = {
        "optimizer_step_limit": 10,
        "lr": 0.003,
        "ckpt_interval_steps": 2,
    }
    compute_forward = pretrain.PretrainBrain.compute_forward

    def interrupted(self, batch, stage):
        if self.optimizer_step == crash_step + 1:
            raise Interrupted
        return compute_forward(self, batch, stage)

    with monkeypatch.context() as patch:
        patch.setattr(pretrain.PretrainBrain, "compute_forward", interrupted)
        with pytest.raises(Interrupted):
            run(corpus, tmp_path, **options)
    assert curves(tmp_path)[-1]["step"] == crash_step + 1
    resumed = run(corpus, tmp_path, **options)
    assert curves(tmp_path) == curves(expected)
    for name, parameter in whole.modules.named_parameters():
        assert torch.equal(parameter, resumed.modules.get_parameter(name))


def test_an_unfinished_checkpoint_is_passed_over(corpus, tmp_path):
    """A crash while saving does not stop the next run."""
    run(corpus, tmp_path, optimizer_step_limit=2)
    checkpoint = Checkpointer(tmp_path / "save").find_checkpoint()
    (checkpoint.path / "COMPLETE").unlink()
    checkpoint.paramfiles["latent_encoder"].write_bytes(b"half a fi")
    brain = run(corpus, tmp_path, optimizer_step_limit=2)
    assert brain.optimizer_step == 2


@pytest.mark.parametrize("attention", ["aa", "maa", "sa"])
def test_attention_is_swapped_on_the_command_line(corpus, tmp_path, attention):
    """--attention changes the encoder's attention, and it trains."""
    brain = run(corpus, tmp_path, optimizer_step_limit=1, attention=attention)
    assert brain.hparams.encoder.attention == attention
    assert brain.optimizer_step == 1


def test_without_clipping_weights_still_move(corpus, tmp_path):
    """--max_grad_norm 0 clips nothing, and freezes nothing."""
    brain = run(corpus, tmp_path, optimizer_step_limit=3, max_grad_norm=0.0)
    _, _, overrides = parse_arguments(command(corpus, tmp_path / "fresh"))
    fresh = load_hparams(SMALL, overrides)["feat_proj"]
    change = brain.modules.feat_proj.weight - fresh.weight
    assert 1e-4 < float(change.detach().abs().max()) < 0.1


def test_all_parameter_groups_are_clipped(corpus, tmp_path, monkeypatch):
    """With two groups (no decay for vectors) the norm counts both."""
    clipped = []
    clip = torch.nn.utils.clip_grad_norm_

    def watched(parameters, norm):
        clipped.append((len(list(parameters)), norm))
        return clip(parameters, norm)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", watched)
    line = command(corpus, tmp_path, optimizer_step_limit=1, max_grad_norm=0.1)
    brain = pretrain.main([*line, "--remove_vector_weight_decay"])
    groups = brain.optimizer.param_groups
    assert len(groups) == 2
    total = sum(len(group["params"]) for group in groups)
    assert clipped == [(total, 0.1)]


def test_short_utterances_are_left_out_and_counted(corpus, tmp_path):
    """What is too short to learn from is dropped, and the log says so."""
    run(corpus, tmp_path, optimizer_step_limit=1)
    log = (tmp_path / "log.txt").read_text()
    assert "Left out 1 of 10 utterances: shorter than 0.5 s" in log
    assert "Left out 2 of 4 utterances: shorter than 0.0800625 s" in log


def test_missing_split_is_named(corpus, tmp_path):
    """A split that the folder does not have is an error that names it."""
    with pytest.raises((FileNotFoundError, ValueError), match="nowhere"):
        run(corpus, tmp_path, valid_splits="[nowhere]")


def test_base_hparams_load_and_run(corpus, tmp_path):
    """The BASE model has its published size, and takes a batch."""
    line = [BASE, "--data_folder", str(corpus)]
    line += ["--output_folder", str(tmp_path)]
    _, _, overrides = parse_arguments(line)
    hparams = load_hparams(BASE, overrides)
    encoder = hparams["encoder"].eval()
    extractor = hparams["extractor"].eval()
    wrapper = hparams["encoder_wrapper"].eval()
    assert (len(encoder.layers), encoder.d_model) == (12, 768)
    parameters = sum(p.numel() for p in wrapper.parameters())
    assert 85e6 < parameters < 95e6
    report = encoder.latency_report().declared_latency
    assert report.look_ahead_seconds == pytest.approx(0.16)
    with torch.no_grad():
        latents = extractor(torch.randn(1, 3201), normalize_signal=False)
        embeddings = wrapper(latents)["embeddings"]
    assert embeddings.shape == (1, 9, 768)
    assert torch.isfinite(embeddings).all()


@pytest.mark.slow
def test_two_processes_train_together(corpus, tmp_path):
    """DDP: all ranks get through logging, saving, validation and export, and
    through a choice of geometries."""
    line = command(
        corpus,
        tmp_path,
        optimizer_step_limit=4,
        hop="[8, 1]",
        distributed_backend="gloo",
        ckpt_interval_steps=1,
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    launcher = [sys.executable, "-m", "torch.distributed.run"]
    launcher += ["--standalone", "--nproc_per_node=2"]
    finished = subprocess.run(
        [*launcher, str(RECIPES / "pretrain.py"), *line],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    train = [e for e in curves(tmp_path) if e["split"] == "train"]
    assert [entry["step"] for entry in train] == [1, 2, 3, 4]
    counts = train[-1]["geometry_counts"]
    assert counts == {"hop 8 look_ahead 8": 2, "hop 1 look_ahead 8": 2}
    assert (tmp_path / "pretrained" / "encoder_wrapper.safetensors").exists()
