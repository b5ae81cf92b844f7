"""Training of one model for many latencies, end to end at toy size."""

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import speechbrain as sb
import torch

import finetune_ctc
import pretrain
from speechbrain_llsa.inference.asr import StreamingASR
from speechbrain_llsa.lobes.ctc import StreamingCTC
from speechbrain_llsa.training.brain import StreamingBrain
from speechbrain_llsa.training.error_rates import compare_offline_and_streamed

ROOT = Path(__file__).parents[2]

HOPS, LOOK_AHEADS = [4, 1, 3], [5, 0]
PAIRS = [(hop, ahead) for hop in HOPS for ahead in LOOK_AHEADS]
TOY = {
    "num_layers": 1,
    "embedding_dim": 16,
    "nhead": 2,
    "d_ffn": 32,
    "extractor_channels": "[8, 8, 8, 8, 8, 8, 8]",
    "extractor_dim": 8,
    "log_interval": 1,
    "warmup": 1,
    "num_buckets": 1,
    "optimizer_step_limit": 12,
}
PRETRAIN = {
    **TOY,
    "final_dim": 8,
    "num_vars": 8,
    "num_negatives": 5,
    "seconds_per_batch": 8,
}
FINETUNE = {**TOY, "lr": 0.01, "seconds_per_batch": 10}
LISTS = {"hop": HOPS, "look_ahead": LOOK_AHEADS}


@pytest.fixture(scope="module", autouse=True)
def no_environment():
    """Listing the installed packages takes seconds for each run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "speechbrain.utils.logger.get_environment_description", str
        )
        yield


def run(recipe, hparams, corpus, output, **overrides):
    """Runs a recipe as its command line does."""
    options = {
        "data_folder": corpus,
        "output_folder": output,
        "device": "cpu",
        **overrides,
    }
    line = [str(hparams), "--noprogressbar"]
    for name, value in options.items():
        line += [f"--{name}", str(value)]
    return recipe.main(line)


def curve(output):
    lines = (Path(output) / "curves.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def named(pairs):
    return Counter(f"hop {hop} look_ahead {ahead}" for hop, ahead in pairs)


@pytest.fixture(scope="module")
def trained(digits_corpus, tmp_path_factory):
    """Fine-tuning from scratch with a YAML file that ships, with lists: the
    output folder, the Brain, and the geometry of each call of the model in
    training and in validation."""
    folder = tmp_path_factory.mktemp("latencies")
    text = (ROOT / "hparams" / "finetune_small.yaml").read_text()
    for entry, values in LISTS.items():
        assert f"\n{entry}: 8\n" in text
        text = text.replace(f"\n{entry}: 8\n", f"\n{entry}: {values}\n")
    (folder / "finetune.yaml").write_text(text)
    calls = {True: [], False: []}
    forward = StreamingCTC.forward

    def watched(
        self, wavs, wav_lens=None, masker=None, geometry=None, **options
    ):
        if geometry is not None:
            pair = geometry.hop, geometry.look_ahead
            calls[self.training].append(pair)
        return forward(self, wavs, wav_lens, masker, geometry, **options)

    def without_evaluation(*arguments):
        calls["evaluate"] = arguments

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StreamingCTC, "forward", watched)
        patch.setattr(finetune_ctc, "evaluate", without_evaluation)
        brain = run(
            finetune_ctc,
            folder / "finetune.yaml",
            digits_corpus,
            folder / "out",
            **FINETUNE,
        )
    finetune_ctc.evaluate(*calls["evaluate"])
    return folder / "out", brain, calls


def test_training_takes_all_pairs_as_often(trained):
    """Twelve batches, six pairs: each once in each half, in another order.
    Validation is with the first of each list."""
    *_, calls = trained
    drawn = calls[True]
    assert len(drawn) == 12
    assert sorted(drawn[:6]) == sorted(drawn[6:]) == sorted(PAIRS)
    assert drawn[:6] != drawn[6:]
    assert set(calls[False]) == {(HOPS[0], LOOK_AHEADS[0])}


def test_the_logs_count_the_pairs(trained):
    """Each line of the step log counts the batches so far; the epochs'
    log names each pair, and what is validated with."""
    output, _, calls = trained
    entries = [e for e in curve(output) if e["split"] == "train"]
    for entry in entries:
        expected = named(calls[True][: entry["step"]])
        assert entry["geometry_counts"] == expected
    stages = (output / "train_stage_log.txt").read_text().splitlines()
    assert "batches with hop 1 look_ahead 5: 2" in stages[-1]
    log = (output / "log.txt").read_text()
    assert "Validation is with hop 4 look_ahead 5" in log


def test_the_folder_streams_each_pair(trained, digits_corpus):
    """The lists are in the folder, which loads without trust; offline and
    streamed give the same at each pair."""
    output, brain, calls = trained
    asr = StreamingASR.from_hparams(output / "streaming")
    assert asr.model.geometries == brain.hparams.encoder.geometries
    assert asr.model.geometries.hop == tuple(HOPS)
    assert asr.model.geometries.look_ahead == tuple(LOOK_AHEADS)
    dataset = calls["evaluate"][2]["valid"]
    rates = json.loads((output / "error_rates.json").read_text())
    for hop, look_ahead in PAIRS:
        result = compare_offline_and_streamed(
            asr, dataset, 0.5, hop=hop, look_ahead=look_ahead
        )
        assert result["different_texts"] == 0
        if (hop, look_ahead) == PAIRS[0]:
            for mode in ("offline", "streamed"):
                expected = rates["valid"][mode]["cer"]
                assert result[mode]["cer"] == expected


class Interrupted(Exception):
    """Stands for a power cut."""


def test_pretraining_resumes_exactly(digits_corpus, tmp_path, monkeypatch):
    """Lists from the command line. Cut off within an epoch and resumed: the
    same values and counts at every step, the same weights."""
    hparams = ROOT / "hparams" / "pretrain_small.yaml"
    options = {**PRETRAIN, **LISTS, "optimizer_step_limit": 8}
    whole = run(pretrain, hparams, digits_corpus, tmp_path / "a", **options)
    options["ckpt_interval_steps"] = 2
    compute_forward = pretrain.PretrainBrain.compute_forward

    def interrupted(self, batch, stage):
        if self.optimizer_step == 5:
            raise Interrupted
        return compute_forward(self, batch, stage)

    with monkeypatch.context() as patch:
        patch.setattr(pretrain.PretrainBrain, "compute_forward", interrupted)
        with pytest.raises(Interrupted):
            run(pretrain, hparams, digits_corpus, tmp_path / "b", **options)
    resumed = run(pretrain, hparams, digits_corpus, tmp_path / "b", **options)
    assert curve(tmp_path / "b") == curve(tmp_path / "a")
    last = [e for e in curve(tmp_path / "b") if e["split"] == "train"][-1]
    assert sum(last["geometry_counts"].values()) == 8
    assert len(last["geometry_counts"]) == len(PAIRS)
    for name, parameter in whole.modules.named_parameters():
        assert torch.equal(parameter, resumed.modules.get_parameter(name))


def test_the_choice_follows_seed_and_step_alone(trained, monkeypatch):
    """Neither the rank nor what was drawn before matters; batches that are
    accumulated differ."""
    _, brain, calls = trained

    def draw(seed, optimizer_step, step, batches=1):
        state = SimpleNamespace(
            hparams=brain.hparams,
            seed=seed,
            optimizer_step=optimizer_step,
            step=step,
            grad_accumulation_factor=batches,
        )
        drawn = StreamingBrain.geometry(state, sb.Stage.TRAIN)
        return drawn.hop, drawn.look_ahead

    expected = [draw(brain.seed, step, 1) for step in range(12)]
    assert expected == calls[True]
    monkeypatch.setattr("speechbrain_llsa.training.brain.get_rank", lambda: 1)
    torch.manual_seed(5)
    assert expected == [draw(brain.seed, step, 7) for step in range(12)]
    assert expected != [draw(brain.seed + 1, step, 1) for step in range(12)]
    accumulated = [
        draw(brain.seed, number // 2, 1 + number, batches=2)
        for number in range(12)
    ]
    assert accumulated == expected


@pytest.mark.parametrize(
    ("overrides", "error", "words"),
    [
        ({"hop": "[4, 0]"}, ValueError, r"hop must be an integer.*got 0"),
        ({"hop": "[]"}, ValueError, r"hop must .*got \[\]"),
        (
            {"look_ahead": "[8, 8]"},
            ValueError,
            r"look_ahead must .*got \[8, 8\]",
        ),
        (
            {"look_ahead": "[8, x]"},
            TypeError,
            r"--look_ahead must .*got 'x'",
        ),
        ({"hop": "[8, 1.5]"}, TypeError, r"--hop must .*got 1.5"),
        ({"look_back": "[64, 32]"}, TypeError, "--look_back must .*got"),
    ],
)
def test_bad_lists_are_named(overrides, error, words, digits_corpus, tmp_path):
    """One sentence, before any training."""
    hparams = ROOT / "hparams" / "finetune_small.yaml"
    with pytest.raises(error, match=words):
        run(finetune_ctc, hparams, digits_corpus, tmp_path, **overrides)
    assert not (tmp_path / "curves.jsonl").exists()


def test_one_geometry_is_logged_as_before(digits_corpus, tmp_path):
    """A single hop and look-ahead are no choice, and sa has no hop."""
    hparams = ROOT / "hparams" / "finetune_small.yaml"
    options = {**FINETUNE, "optimizer_step_limit": 1, "test_splits": "[]"}
    options.update(attention="sa", hop=HOPS)
    run(finetune_ctc, hparams, digits_corpus, tmp_path, **options)
    assert not any("geometry_counts" in entry for entry in curve(tmp_path))
