"""Fine-tuning of a transducer end to end through its command line, at toy
size."""

import json
from pathlib import Path

import pytest
import torch
from speechbrain.inference.ASR import StreamingASR as SpeechBrainStreamingASR
from speechbrain.utils.dynamic_chunk_training import DynChunkTrainConfig

import finetune_ctc
import finetune_transducer
from model_data import model_folder
from speechbrain_llsa.decoders.transducer_beam_search import (
    TransducerBeamSearch,
)
from speechbrain_llsa.inference.asr import StreamingASR
from speechbrain_llsa.model_folder.write import write_encoder_folder
from tiny_model import IMPORTED, make_front_end, make_model
from toy_recipe import MODEL

ROOT = Path(__file__).parents[2]
TOY = {
    **MODEL,
    "joiner_dim": 12,
    "number_of_epochs": 2,
    "seconds_per_batch": 20,
    "num_buckets": 1,
    "log_interval": 1,
    "warmup": 2,
}


def run(hparams, corpus, output, **overrides):
    """Runs the recipe as its command line does."""
    options = {
        "data_folder": corpus,
        "output_folder": output,
        "device": "cpu",
        **overrides,
    }
    line = [str(ROOT / "hparams" / hparams), "--noprogressbar"]
    for name, value in options.items():
        line += [f"--{name}", str(value)]
    return finetune_transducer.main(line)


def finetune(corpus, output, **overrides):
    yaml = "finetune_transducer_small.yaml"
    return run(yaml, corpus, output, **{**TOY, **overrides})


def finetune_pretrained(corpus, output, **overrides):
    options = {
        "train_splits": "[train]",
        "valid_splits": "[valid]",
        "test_splits": "[test]",
        "optimizer_step_limit": 3,
        "seconds_per_batch": 20,
        "num_buckets": 1,
        "warmup": 1,
        "log_interval": 1,
        "joiner_dim": 12,
        **overrides,
    }
    return run("finetune_transducer.yaml", corpus, output, **options)


def curve(output, split, name):
    lines = (Path(output) / "curves.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    return [entry[name] for entry in entries if entry["split"] == split]


@pytest.fixture(scope="module")
def trained(digits_corpus, tmp_path_factory):
    """A toy training from scratch: its output folder and its Brain."""
    output = tmp_path_factory.mktemp("finetune")
    return output, finetune(digits_corpus, output, lr=0.01)


def test_offline_and_streamed_side_by_side(trained):
    """Both error rates of every split, and no text that differs."""
    output, _ = trained
    error_rates = json.loads((output / "error_rates.json").read_text())
    assert set(error_rates) == {"valid", "test"}
    for result in error_rates.values():
        assert result["different_texts"] == 0
        assert result["streamed"]["cer"] == result["offline"]["cer"]
    assert "WER" in (output / "errors_test.txt").read_text()


def test_the_loss_falls(trained):
    output, _ = trained
    losses = curve(output, "train", "loss")
    assert len(losses) > 2
    assert losses[-1] < losses[0]
    assert curve(output, "valid", "wer")


def test_everything_trained_is_in_the_streaming_folder(trained):
    """Predictor and joiner too, which the optimiser moves: the written model
    gives what the trained one gives."""
    output, brain = trained
    asr = StreamingASR.from_hparams(output / "streaming")
    model = brain.hparams.model.eval()
    written = asr.model.state_dict()
    for name, weights in model.state_dict().items():
        assert written[name].equal(weights), name
    torch.manual_seed(0)
    waveform = torch.randn(1, 16000)
    with torch.no_grad():
        expected, _ = model(waveform)
        actual, _ = asr.model(waveform)
    assert (expected - actual).abs().max() < 1e-6
    for name, parameter in model.decoder.named_parameters():
        assert brain.optimizer.state[parameter]["exp_avg"].any(), name


def test_a_head_for_ctc_learns_beside_it(trained):
    """It goes with checkpoints, and into no model folder."""
    output, brain = trained
    head = brain.hparams.ctc_head
    for name, parameter in head.named_parameters():
        assert brain.optimizer.state[parameter]["exp_avg"].any(), name
    assert list((output / "save").glob("CKPT*/ctc_head.ckpt"))
    assert not list((output / "streaming").glob("*ctc*"))


@pytest.mark.parametrize("weight", [0.3, 1.0])
def test_both_losses_have_their_part(weight, trained, monkeypatch):
    _, brain = trained
    monkeypatch.setattr(brain.hparams, "ctc_weight", weight)
    torch.manual_seed(0)
    lengths, shares = torch.tensor([9, 6]), torch.tensor([1.0, 0.5])
    tokens = torch.tensor([[1, 2, 2, 3], [4, 5, 0, 0]])
    logits = torch.randn(2, 9, 5, 29)
    log_probs = torch.randn(2, 9, 29).log_softmax(-1)
    arguments = lengths, tokens, shares
    loss = brain.losses((None, logits, log_probs), *arguments)
    alone = brain.losses((None, logits, None), *arguments)
    ctc = finetune_ctc.FinetuneBrain.losses(brain, log_probs, *arguments)
    expected = (1 - weight) * alone + weight * ctc
    assert (loss - expected).abs().max() < 1e-5
    assert (alone - ctc).abs().min() > 0.1


def test_the_host_streams_the_folder(trained, digits_corpus):
    """SpeechBrain's own class, unmodified, gives the text of the session."""
    output, _ = trained
    path = str(next((digits_corpus / "test").rglob("*.flac")))
    ours = StreamingASR.from_hparams(output / "streaming")
    theirs = SpeechBrainStreamingASR.from_hparams(
        source=str(output / "streaming")
    )
    text = theirs.transcribe_file(
        path, DynChunkTrainConfig(16), use_torchaudio_streaming=False
    )
    assert text == ours.transcribe_file(path)
    assert text == ours.transcribe_file_offline(path)


def test_resuming_is_going_on(trained, digits_corpus, tmp_path):
    """Stopped after an epoch and started again: the same losses."""
    output, _ = trained
    expected = curve(output, "train", "loss")
    finetune(digits_corpus, tmp_path, lr=0.01, number_of_epochs=1)
    assert len(curve(tmp_path, "train", "loss")) < len(expected)
    finetune(digits_corpus, tmp_path, lr=0.01)
    assert curve(tmp_path, "train", "loss") == pytest.approx(expected, rel=1e-4)


def test_fast_emit_learns_something_else(trained, digits_corpus, tmp_path):
    """From its second step on."""
    output, _ = trained
    finetune(digits_corpus, tmp_path, lr=0.01, fast_emit=0.5, streamed_count=0)
    plain, fast = (curve(each, "train", "loss") for each in (output, tmp_path))
    assert plain[0] == pytest.approx(fast[0], rel=1e-5)
    assert plain[-1] != pytest.approx(fast[-1], rel=1e-3)


def test_a_folder_that_searches_with_beams(digits_corpus, tmp_path):
    """As the YAML file says, and streamed as offline."""
    finetune(
        digits_corpus,
        tmp_path,
        lr=0.01,
        number_of_epochs=1,
        search="beam",
        beam_search="{beam_size: 3}",
        test_splits="[]",
        streamed_count=2,
    )
    asr = StreamingASR.from_hparams(tmp_path / "streaming")
    assert isinstance(asr.search, TransducerBeamSearch)
    assert asr.search.to_dict()["beam_size"] == 3
    rates = json.loads((tmp_path / "error_rates.json").read_text())
    assert rates["valid"]["different_texts"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["aa", "llsa"])
def test_an_encoder_trained_elsewhere(attention, digits_corpus, tmp_path):
    """Of a folder whose sizes no YAML file says, with frames of 24 ms and
    convolutional positions."""
    source = make_model("aa", extractor=make_front_end(), **IMPORTED)
    folder = write_encoder_folder(
        tmp_path / "source", source.extractor, source.encoder_wrapper
    )
    finetune_pretrained(
        digits_corpus,
        tmp_path / "out",
        pretrained_folder=folder,
        attention=attention,
        hop=3,
        look_ahead=4,
        output_units=20,
        streamed_count=3,
    )
    rates = json.loads((tmp_path / "out" / "error_rates.json").read_text())
    asr = StreamingASR.from_hparams(tmp_path / "out" / "streaming")
    assert asr.model.frame_seconds == 0.024
    if attention == "llsa":
        assert all(rate["different_texts"] == 0 for rate in rates.values())


def test_a_transducer_of_other_sizes_gives_its_encoder(
    trained, digits_corpus, tmp_path
):
    """Head, predictor and joiner begin anew."""
    folder = trained[0] / "streaming"
    finetune_pretrained(
        digits_corpus,
        tmp_path / "out",
        pretrained_folder=folder,
        units="pretrained",
        output_units=29,
        context_size=3,
        streamed_count=0,
        optimizer_step_limit=1,
        precision="fp32",
    )
    log = (tmp_path / "out" / "log.txt").read_text()
    assert f"Loaded weights of {folder}: encoder\n" in log


@pytest.mark.parametrize("recipe", [finetune_ctc, finetune_transducer])
def test_the_script_of_another_model_is_refused(
    recipe, digits_corpus, tmp_path
):
    """By a sentence that names both, before any training."""
    yaml = "finetune_small.yaml"
    if recipe is finetune_ctc:
        yaml = "finetune_transducer_small.yaml"
    line = [
        *(str(ROOT / "hparams" / yaml), "--data_folder", str(digits_corpus)),
        *("--output_folder", str(tmp_path), "--device", "cpu"),
    ]
    with pytest.raises(ValueError, match=r"model must be a StreamingCTC for"):
        recipe.prepare(line)


def test_a_part_of_ctc_needs_a_head(digits_corpus, tmp_path):
    yaml = tmp_path / "headless.yaml"
    source = ROOT / "hparams" / "finetune_transducer_small.yaml"
    text = source.read_text().replace("    ctc_head: !ref <ctc_head>\n", "", 1)
    yaml.write_text(text)
    with pytest.raises(ValueError, match=r"modules must be with a ctc_head"):
        run(yaml, digits_corpus, tmp_path / "out", **TOY)


def test_a_transducer_has_no_teacher(digits_corpus, tmp_path):
    yaml = tmp_path / "taught.yaml"
    source = ROOT / "hparams" / "finetune_transducer_small.yaml"
    yaml.write_text(source.read_text() + "\nteacher: somewhere\n")
    with pytest.raises(ValueError, match=r"teacher must be null for a tr"):
        run(yaml, digits_corpus, tmp_path / "out", **TOY)


@pytest.mark.parametrize("kind", ["transducer", "ctc"])
def test_it_begins_with_what_fits(kind, trained, digits_corpus, tmp_path):
    """All of a transducer of the same units; of a CTC model the encoder."""
    folder = trained[0] / "streaming"
    if kind == "ctc":
        folder = model_folder(1, "ctc", tmp_path / "ctc")
    brain = finetune_pretrained(
        digits_corpus,
        tmp_path / "out",
        pretrained_folder=folder,
        units="pretrained" if kind == "transducer" else "character",
        output_units=29,
        lr=1e-8,
        weight_decay=0,
        hop=8 if kind == "transducer" else 2,
        streamed_count=0,
        optimizer_step_limit=1,
        precision="fp32",
    )
    log = (tmp_path / "out" / "log.txt").read_text()
    parts = "encoder and head" if kind == "transducer" else "encoder\n"
    assert f"Loaded weights of {folder}: {parts}" in log
    if kind == "transducer":
        before = trained[1].hparams.model.state_dict()
        for name, weight in brain.hparams.model.state_dict().items():
            assert (weight - before[name]).abs().max() < 1e-5, name


@pytest.mark.parametrize(
    ("overrides", "error", "words"),
    [
        ({"fast_emit": -1}, ValueError, "fast_emit must be .*got -1"),
        ({"ctc_weight": 2}, ValueError, "ctc_weight must be .*got 2"),
        ({"context_size": 0}, ValueError, "context_size must be .*got 0"),
        ({"max_symbols": 0}, ValueError, "max_symbols must be .*got 0"),
    ],
)
def test_bad_input_is_named(overrides, error, words, digits_corpus, tmp_path):
    """One sentence, before any training."""
    with pytest.raises(error, match=words):
        finetune(digits_corpus, tmp_path, **overrides)
    assert not (tmp_path / "curves.jsonl").exists()
