"""Utterances that cannot be used are left out and counted, or an error."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import finetune_ctc
import pretrain
from recipe_process import command_line, damage
from speechbrain_llsa.training.bad_utterances import (
    BadUtteranceError,
    BadUtterances,
    UtteranceBatch,
)
from speechbrain_llsa.training.data import RankBatchSampler, read_or_fault

RUNS = {"pretrain": pretrain, "finetune_ctc": finetune_ctc}


@pytest.fixture(scope="module", autouse=True)
def no_environment():
    """Listing the installed packages takes seconds for each run, and so do
    pictures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "speechbrain.utils.logger.get_environment_description", str
        )
        patch.setattr(
            "speechbrain_llsa.training.brain.draw_curves",
            lambda entries, path: None,
        )
        yield


@pytest.fixture
def corpus(digits_corpus, tmp_path):
    """A copy of the corpus, to be damaged."""
    return Path(shutil.copytree(digits_corpus, tmp_path / "corpus"))


def files(corpus, split="train"):
    return sorted((corpus / split).rglob("*.flac"))


def set_transcript(path, words):
    """Changes the transcript of an audio file."""
    speaker, chapter, _ = path.stem.split("-")
    transcripts = path.with_name(f"{speaker}-{chapter}.trans.txt")
    lines = [
        f"{path.stem} {words}" if line.startswith(path.stem) else line
        for line in transcripts.read_text().splitlines()
    ]
    transcripts.write_text("\n".join(lines) + "\n")


def run(recipe, corpus, output, **overrides):
    overrides = {"optimizer_step_limit": 4, **overrides}
    return RUNS[recipe].main(command_line(recipe, corpus, output, **overrides))


def log(output):
    return (output / "log.txt").read_text()


def losses(output):
    lines = (output / "curves.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    return [entry["loss"] for entry in entries if "loss" in entry]


@pytest.mark.parametrize("recipe", RUNS)
def test_unreadable_audio_is_left_out_named_once_and_counted(
    recipe, corpus, tmp_path
):
    """Two epochs meet a damaged file twice; the log names it once, and says
    after each epoch what was left out."""
    bad = files(corpus)[3]
    damage(bad)
    options = {"optimizer_step_limit": 100, "number_of_epochs": 2}
    options["num_buckets"] = 1
    brain = run(recipe, corpus, tmp_path / "out", **options)
    text = log(tmp_path / "out")
    assert text.count(f"Leaving out utterance {bad.stem} ({bad}): it ") == 1
    assert brain.epoch == 2
    for epoch in range(1, brain.epoch + 1):
        assert f"Epoch {epoch} left out 1 bad utterances and " in text
    assert np.isfinite(losses(tmp_path / "out")).all()


@pytest.mark.parametrize("recipe", RUNS)
def test_unreadable_audio_can_be_an_error(recipe, corpus, tmp_path):
    """The error names the utterance, the file and what is wrong."""
    bad = files(corpus)[3]
    damage(bad)
    with pytest.raises(BadUtteranceError, match=r"cannot be read") as error:
        run(
            recipe,
            corpus,
            tmp_path / "out",
            on_bad_utterance="error",
            seconds_per_batch=120,
            num_buckets=1,
        )
    assert str(bad) in str(error.value)


@pytest.mark.parametrize("recipe", RUNS)
def test_a_header_without_audio_is_named_before_training(
    recipe, corpus, tmp_path
):
    """Preparation follows the same option."""
    bad = files(corpus)[0]
    bad.write_bytes(bad.read_bytes()[:100])
    with pytest.raises(ValueError, match="got 1 bad") as error:
        run(recipe, corpus, tmp_path / "error", on_bad_utterance="error")
    assert str(bad) in str(error.value)
    run(recipe, corpus, tmp_path / "skip", optimizer_step_limit=1)
    assert str(bad) in log(tmp_path / "skip")


@pytest.mark.parametrize("recipe", RUNS)
def test_batches_of_bad_utterances_alone_are_left_out(recipe, corpus, tmp_path):
    """With one utterance in a batch: the steps of bad ones change nothing, are
    counted, and training and validation go on."""
    for path in files(corpus)[:6] + files(corpus, "valid")[:1]:
        damage(path)
    brain = run(
        recipe,
        corpus,
        tmp_path / "out",
        seconds_per_batch=1,
        valid_batch_size=1,
        optimizer_step_limit=12,
    )
    assert brain.optimizer_step == 12
    text = log(tmp_path / "out")
    assert "Epoch 1 left out 7 bad utterances and 6 optimiser steps" in text
    for parameter in brain.modules.parameters():
        assert torch.isfinite(parameter).all()


def test_resuming_counts_on(corpus, tmp_path):
    """Stopped within an epoch: the count and the curve are those of a run that
    was not stopped."""
    for path in files(corpus)[:6]:
        damage(path)
    options = {"seconds_per_batch": 1, "ckpt_interval_steps": 1}

    class Interrupted(Exception):
        pass

    def forward(self, batch, stage):
        if self.optimizer_step >= 7 and stage.name == "TRAIN":
            raise Interrupted
        return compute_forward(self, batch, stage)

    compute_forward = pretrain.PretrainBrain.compute_forward
    limit = {"optimizer_step_limit": 12}
    run("pretrain", corpus, tmp_path / "whole", **options, **limit)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretrain.PretrainBrain, "compute_forward", forward)
        with pytest.raises(Interrupted):
            run("pretrain", corpus, tmp_path / "cut", **options, **limit)
    run("pretrain", corpus, tmp_path / "cut", **options, **limit)
    for output in ("whole", "cut"):
        assert "Epoch 1 left out 6 bad utterances and 6 opt" in log(
            tmp_path / output
        )
    whole, cut = (
        (tmp_path / output / "curves.jsonl").read_text()
        for output in ("whole", "cut")
    )
    assert whole == cut


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ("", "has no transcript"),
        ("NINE " * 60, r"has \d+ frames for a transcript that needs \d+"),
    ],
)
def test_transcripts_that_cannot_be_learned(words, fault, corpus, tmp_path):
    """An empty one, and one with more units than CTC has frames for: named and
    left out, or an error, before training."""
    bad = files(corpus)[2]
    set_transcript(bad, words)
    run("finetune_ctc", corpus, tmp_path / "skip", optimizer_step_limit=1)
    assert f"Leaving out utterance {bad.stem} ({bad}): it " in log(
        tmp_path / "skip"
    )
    assert "Left out 1 of 12 utterances" in log(tmp_path / "skip")
    with pytest.raises(BadUtteranceError, match=fault) as error:
        run("finetune_ctc", corpus, tmp_path / "e", on_bad_utterance="error")
    assert bad.stem in str(error.value)


def test_transcripts_of_another_form(corpus, tmp_path):
    """Curly apostrophes, decomposed accents and small letters become units;
    as do those of validation and test. Nothing is left out."""
    for split in ("train", "valid", "test"):
        for path in files(corpus, split):
            set_transcript(path, "don’t cafe\u0301")
    options = {
        "characters": "' ''ACDEFNOTÉ'",
        "output_units": 12,
        "on_bad_utterance": "error",
        "transcript_case": "upper",
    }
    run("finetune_ctc", corpus, tmp_path, optimizer_step_limit=1, **options)
    errors = (tmp_path / "errors_test.txt").read_text()
    assert "DON'T ;  CAFÉ" in errors
    assert "no units" not in log(tmp_path)


@pytest.fixture
def foreign(corpus):
    """A corpus with characters that are no units, in three utterances to
    train with, one to validate and one to test with."""
    for path, words in zip(
        files(corpus), ("CAFÉ ÉTÉ", "ONE—TWO", "É"), strict=False
    ):
        set_transcript(path, words)
    for split in ("valid", "test"):
        set_transcript(files(corpus, split)[0], "NAÏVE")
    return corpus


UNKNOWN = (
    "'É' (U+00C9 LATIN CAPITAL LETTER E WITH ACUTE) 4 times in 2 utterances",
    "'—' (U+2014 EM DASH) 1 times in 1 utterances",
    "'Ï' (U+00CF LATIN CAPITAL LETTER I WITH DIAERESIS) 2 times in 2 utter",
)


@pytest.mark.parametrize("units", ["character", "sentencepiece"])
def test_unknown_characters_are_reported_before_training(
    foreign, tmp_path, units
):
    """All of them, once, with how often and where; their utterances are left
    out, but where error rates are counted, which they are errors in."""
    options = {"optimizer_step_limit": 1, "units": units}
    unknown = UNKNOWN
    if units == "sentencepiece":
        # the others are pieces, learned from what there is to train with
        unknown, options["output_units"] = UNKNOWN[2:], 30
    brain = run("finetune_ctc", foreign, tmp_path, **options)
    text = log(tmp_path)
    for line in unknown:
        assert text.count(line) == 1, line
    assert "such as " in text
    to_train = {"character": 3, "sentencepiece": 0}[units]
    assert text.count("has characters that are no units") == to_train + 1
    assert brain.optimizer_step == 1
    rates = json.loads((tmp_path / "error_rates.json").read_text())
    for split in ("valid", "test"):
        assert rates[split]["utterances"] == len(files(foreign, split))


def test_unknown_characters_can_be_an_error(foreign, tmp_path):
    """Which names them all, before training."""
    with pytest.raises(BadUtteranceError) as caught:
        run("finetune_ctc", foreign, tmp_path, on_bad_utterance="error")
    for line in UNKNOWN:
        assert line in str(caught.value)
    assert not (tmp_path / "curves.jsonl").exists()


@pytest.mark.parametrize("mode", ["skip", "error"])
def test_small_letters_are_refused_with_the_remedy(corpus, tmp_path, mode):
    """Nothing would be left to train with."""
    for split in ("train", "valid", "test"):
        for path in files(corpus, split):
            set_transcript(path, "one two")
    with pytest.raises(BadUtteranceError, match="transcript_case upper") as e:
        run("finetune_ctc", corpus, tmp_path, on_bad_utterance=mode)
    assert "'o' (U+006F LATIN SMALL LETTER O) " in str(e.value)
    assert not (tmp_path / "curves.jsonl").exists()


def test_speed_counts_where_frames_are_few(corpus, tmp_path):
    """What is too short only when played at the highest speed is left out as
    well: its loss would be infinite in some epochs."""
    bad = files(corpus)[2]
    frames = int(soundfile.info(bad).duration * 50)
    set_transcript(bad, "A B " * ((frames - 8) // 4))
    options = {"optimizer_step_limit": 1}
    run("finetune_ctc", corpus, tmp_path / "a", speeds="[100]", **options)
    assert "Leaving out" not in log(tmp_path / "a")
    run("finetune_ctc", corpus, tmp_path / "b", speeds="[200]", **options)
    assert f"Leaving out utterance {bad.stem}" in log(tmp_path / "b")


def test_rows_that_turn_out_too_short_do_not_count():
    """In the step itself: the loss is the mean over the rows that count."""
    items = [
        {
            "id": name,
            "wav": f"{name}.flac",
            "sig": torch.zeros(640),
            "fault": "",
            "wrd": "TEXT",
            "tokens": torch.tensor(units),
        }
        for name, units in (("a", [1, 2]), ("b", [1, 1]))
    ]
    brain = finetune_ctc.FinetuneBrain.__new__(finetune_ctc.FinetuneBrain)
    brain.device = "cpu"
    brain.skips = {"utterances": 0.0}
    brain.bad_utterances = BadUtterances("skip")
    measured = []
    brain.measure = lambda stage, **values: measured.append(values)
    log_probs = torch.randn(2, 2, 5).log_softmax(dim=2)
    stage = finetune_ctc.sb.Stage.TRAIN
    loss = brain.compute_objectives(
        (log_probs, torch.tensor([2, 2]), None), UtteranceBatch(items), stage
    )
    expected = -(log_probs[0, 0, 1] + log_probs[0, 1, 2]) / 2
    assert loss == pytest.approx(float(expected), rel=1e-5)
    assert measured[0]["weight"] == 1
    assert brain.bad_utterances.named == {"b (b.flac)"}
    assert brain.skips["utterances"] == 1
    brain.bad_utterances = BadUtterances("error")
    with pytest.raises(BadUtteranceError, match="has 2 frames"):
        brain.find_alignable(UtteranceBatch(items), torch.tensor([2, 2]))


@pytest.mark.parametrize("recipe", RUNS)
def test_a_loss_that_is_not_finite_names_its_utterances(
    recipe, corpus, tmp_path, monkeypatch
):
    """Its step is left out, and the utterances of its batch are named; or it
    is an error that names them."""
    brain_class = {
        "pretrain": pretrain.PretrainBrain,
        "finetune_ctc": finetune_ctc.FinetuneBrain,
    }[recipe]
    compute_objectives = brain_class.compute_objectives
    names = []

    def objectives(self, outputs, batch, stage):
        loss = compute_objectives(self, outputs, batch, stage)
        if stage.name == "TRAIN" and self.optimizer_step == 1:
            names[:] = batch.names
            return loss * float("inf")
        return loss

    monkeypatch.setattr(brain_class, "compute_objectives", objectives)
    brain = run(recipe, corpus, tmp_path / "skip", optimizer_step_limit=3)
    text = log(tmp_path / "skip")
    assert f"The loss of batch 2 is not finite: {', '.join(names)}" in text
    assert "Epoch 1 left out 0 bad utterances and 1 optimiser steps" in text
    for parameter in brain.modules.parameters():
        assert torch.isfinite(parameter).all()
    with pytest.raises(BadUtteranceError, match="The loss of batch 2") as error:
        run(recipe, corpus, tmp_path / "error", on_bad_utterance="error")
    assert names[0] in str(error.value)


def test_test_sets_count_what_they_leave_out(corpus, tmp_path):
    """A damaged file of the test set is no reason to lose the result."""
    damage(files(corpus, "test")[1])
    run("finetune_ctc", corpus, tmp_path, optimizer_step_limit=1)
    result = json.loads((tmp_path / "error_rates.json").read_text())["test"]
    assert (result["utterances"], result["left_out"]) == (3, 1)


def test_faults_of_audio(tmp_path):
    """Samples that are not finite, and another length than the manifest's."""
    path = tmp_path / "a.wav"
    samples = np.zeros(16000, dtype=np.float32)
    soundfile.write(path, samples, 16000, subtype="FLOAT")
    assert read_or_fault(str(path), 1.0)[1] == ""
    assert "holds 1.00 s, its manifest" in read_or_fault(str(path), 3.0)[1]
    samples[7] = np.nan
    soundfile.write(path, samples, 16000, subtype="FLOAT")
    waveform, fault = read_or_fault(str(path), 1.0)
    assert fault == "holds samples that are not finite"
    assert waveform.shape == (0,)


def test_the_option_is_checked(corpus, tmp_path):
    """Another word is refused, before training."""
    with pytest.raises(ValueError, match="on_bad"):
        run("pretrain", corpus, tmp_path / "out", on_bad_utterance="ignore")


def test_ranks_share_out_batches_in_order():
    """In the order of the sampler, each rank as many; one batch is dealt to
    all, and a rank of one batch gets it whole."""
    batches = [[number, number] for number in range(5)]

    def dealt(batches):
        samplers = [
            RankBatchSampler(batches, num_replicas=2, rank=rank)
            for rank in range(2)
        ]
        assert len(set(map(len, samplers))) == 1
        return [list(sampler) for sampler in samplers]

    assert dealt(batches) == [
        [[0, 0], [2, 2], [4, 4]],
        [[1, 1], [3, 3], [0, 0]],
    ]
    assert dealt(batches[:2]) == [[[0, 0]], [[1, 1]]]
    assert dealt(batches[:1]) == [[[0, 0]], [[0, 0]]]
