"""CTC fine-tuning end to end through its command line, at toy size."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from speechbrain.inference.ASR import StreamingASR as SpeechBrainStreamingASR
from speechbrain.utils.dynamic_chunk_training import DynChunkTrainConfig

import finetune_ctc
import pretrain
from model_data import model_folder
from speechbrain_llsa.decoders.beam_search import BeamSearch
from speechbrain_llsa.evaluation import word_events
from speechbrain_llsa.inference.asr import StreamingASR
from speechbrain_llsa.model_folder.write import write_encoder_folder
from speechbrain_llsa.training.data import load_manifests
from speechbrain_llsa.training.units import encode, make_tokenizer
from speechbrain_llsa_runtime.transcripts.endpointer import Endpointer
from speechbrain_llsa_runtime.transcripts.transcript import Transcript, Word
from speechbrain_llsa_runtime.transcripts.words import WordOffsets
from tiny_model import IMPORTED, make_front_end, make_model
from toy_recipe import MODEL

ROOT = Path(__file__).parents[2]

SMALL = str(ROOT / "hparams" / "finetune_small.yaml")
TOY = {
    **MODEL,
    "number_of_epochs": 2,
    "seconds_per_batch": 20,
    "num_buckets": 1,
    "log_interval": 1,
    "warmup": 2,
}


def run(recipe, hparams, corpus, output, **overrides):
    """Runs a recipe as its command line does."""
    options = {
        "data_folder": corpus,
        "output_folder": output,
        "device": "cpu",
        **overrides,
    }
    line = [hparams, "--noprogressbar"]
    for name, value in options.items():
        line += [f"--{name}", str(value)]
    return recipe.main(line)


def finetune(corpus, output, **overrides):
    return run(finetune_ctc, SMALL, corpus, output, **{**TOY, **overrides})


def finetune_pretrained(corpus, output, **overrides):
    options = {
        "hparams": str(ROOT / "hparams" / "finetune_pretrained.yaml"),
        "train_splits": "[train]",
        "valid_splits": "[valid]",
        "test_splits": "[test]",
        "optimizer_step_limit": 3,
        "seconds_per_batch": 20,
        "num_buckets": 1,
        "warmup": 1,
        "log_interval": 1,
    }
    options = {**options, **overrides, "corpus": corpus, "output": output}
    return run(finetune_ctc, **options)


def curve(output, split, name):
    lines = (Path(output) / "curves.jsonl").read_text().splitlines()
    entries = [json.loads(line) for line in lines]
    return [entry[name] for entry in entries if entry["split"] == split]


@pytest.fixture(scope="module")
def trained(digits_corpus, tmp_path_factory):
    """A toy training from scratch: its output folder and its Brain."""
    output = tmp_path_factory.mktemp("finetune")
    rules = "{maximum_length: {length_seconds: 0.2}}"
    brain = finetune(
        digits_corpus, output, lr=0.01, endpoints=True, endpoint_rules=rules
    )
    return output, brain


def test_offline_and_streamed_side_by_side(trained):
    """Both error rates of every split, and no text that differs."""
    output, _ = trained
    error_rates = json.loads((output / "error_rates.json").read_text())
    assert set(error_rates) == {"valid", "test"}
    for result in error_rates.values():
        assert result["different_texts"] == 0
        assert result["streamed"]["wer"] == result["offline"]["wer"]
        assert result["streamed"]["cer"] == result["offline"]["cer"]
    assert error_rates["test"]["utterances"] == 4
    assert "WER" in (output / "errors_test.txt").read_text()
    assert (output / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_everything_trained_is_in_the_streaming_folder(trained):
    """The head too: the written model gives what the trained one gives."""
    output, brain = trained
    asr = StreamingASR.from_hparams(output / "streaming")
    model = brain.hparams.model.eval()
    for name, weights in model.state_dict().items():
        assert asr.model.state_dict()[name].equal(weights), name
    waveform = torch.randn(1, 16000)
    with torch.no_grad():
        expected, _ = model(waveform)
        actual, _ = asr.model(waveform)
    assert (expected - actual).abs().max() < 1e-6


def test_endpoint_rules_are_in_the_streaming_folder(trained):
    """As the YAML file says; without words that are right there are no
    offsets."""
    output, _ = trained
    asr = StreamingASR.from_hparams(output / "streaming")
    rules = {"maximum_length": {"length_seconds": 0.2}}
    assert asr.endpointer.to_dict() == Endpointer(**rules).to_dict()
    assert asr.word_offsets is None


def test_word_offsets_are_found(trained, digits_corpus, monkeypatch):
    """A model that says all words, 60 ms behind their starts and 100 ms before
    their ends, gets just these offsets; its endpointer stays."""
    output, _ = trained
    asr = StreamingASR.from_hparams(output / "streaming")
    endpointer, dataset = (
        asr.endpointer,
        load_manifests([output / "manifests" / "valid.csv"]),
    )

    def say(path, endpointer):
        assert endpointer is False
        return Transcript(
            "",
            words=tuple(
                Word(word, start + 0.06, end - 0.1, 1.0)
                for word, start, end in word_events.find_words(path)
            ),
        )

    monkeypatch.setattr(asr, "transcript_offline", say)
    monkeypatch.setattr(word_events, "FEWEST_WORDS", 5)
    offsets = finetune_ctc.find_word_offsets(asr, dataset)
    assert offsets == WordOffsets(-0.06, 0.1)
    assert asr.endpointer is endpointer


def test_the_host_streams_the_folder(trained, digits_corpus):
    """SpeechBrain's own class, unmodified, gives the text of the session."""
    output, _ = trained
    folder = str(output / "streaming")
    path = str(next((digits_corpus / "test").rglob("*.flac")))
    ours = StreamingASR.from_hparams(folder)
    speechbrain_asr = SpeechBrainStreamingASR.from_hparams(source=folder)
    text = speechbrain_asr.transcribe_file(
        path, DynChunkTrainConfig(16), use_torchaudio_streaming=False
    )
    assert text == ours.transcribe_file(path)
    assert text == ours.transcribe_file_offline(path)


def test_the_loss_falls(trained):
    """Two epochs at a high rate lower the training loss."""
    output, _ = trained
    losses = curve(output, "train", "loss")
    assert len(losses) > 2
    assert losses[-1] < losses[0]


def test_resuming_is_going_on(trained, digits_corpus, tmp_path):
    """Stopped after an epoch and started again: the same losses."""
    output, _ = trained
    expected = curve(output, "train", "loss")
    finetune(digits_corpus, tmp_path, lr=0.01, number_of_epochs=1)
    assert len(curve(tmp_path, "train", "loss")) < len(expected)
    finetune(digits_corpus, tmp_path, lr=0.01)
    assert curve(tmp_path, "train", "loss") == pytest.approx(expected, rel=1e-5)


def test_levels_and_silence_are_resumed(digits_corpus, tmp_path, monkeypatch):
    """With a gain for each utterance and silence around those of each batch:
    cut off within an epoch, the training goes on as if it had not been, bit by
    bit."""
    options = {
        "silence_prob": 1.0,
        "silence_seconds": 1.0,
        "seconds_per_batch": 8,
        "ckpt_interval_steps": 1,
        "optimizer_step_limit": 4,
        "streamed_count": 0,
    }
    whole = finetune(digits_corpus, tmp_path / "whole", **options)
    losses = curve(tmp_path / "whole", "train", "loss")
    assert len(losses) == 4 and np.isfinite(losses).all()
    compute_forward = finetune_ctc.FinetuneBrain.compute_forward

    def interrupted(self, batch, stage):
        if self.optimizer_step == 2:
            raise KeyboardInterrupt
        return compute_forward(self, batch, stage)

    with monkeypatch.context() as patch:
        patch.setattr(
            finetune_ctc.FinetuneBrain, "compute_forward", interrupted
        )
        with pytest.raises(KeyboardInterrupt):
            finetune(digits_corpus, tmp_path / "cut", **options)
    resumed = finetune(digits_corpus, tmp_path / "cut", **options)
    assert curve(tmp_path / "cut", "train", "loss")[-1] == losses[-1]
    for name, parameter in whole.modules.named_parameters():
        assert torch.equal(parameter, resumed.modules.get_parameter(name))


@pytest.mark.slow
def test_from_pretrained_with_sentencepiece(digits_corpus, tmp_path):
    """pretrain.py, then fine-tuning of its weights on pieces; the front end
    is frozen and stays as pre-trained. The search of the YAML file is that of
    the written model."""
    run(
        pretrain,
        str(ROOT / "hparams" / "pretrain_small.yaml"),
        digits_corpus,
        tmp_path / "pretrain",
        **MODEL,
        optimizer_step_limit=2,
        seconds_per_batch=8,
        num_buckets=2,
        final_dim=8,
        num_vars=8,
        num_negatives=5,
        warmup=1,
    )
    brain = finetune(
        digits_corpus,
        tmp_path / "finetune",
        pretrained_folder=tmp_path / "pretrain" / "pretrained",
        units="sentencepiece",
        output_units=24,
        freeze_extractor=True,
        freeze_encoder_steps=2,
        attention="sa",
        search="beam",
        beam_search="{beam_size: 3}",
    )
    weights = load_file(
        tmp_path / "pretrain" / "pretrained" / "extractor.safetensors"
    )
    for name, value in brain.hparams.extractor.state_dict().items():
        assert value.equal(weights[name]), name
    result = json.loads(
        (tmp_path / "finetune" / "error_rates.json").read_text()
    )
    assert result["test"]["different_texts"] == 0
    asr = StreamingASR.from_hparams(tmp_path / "finetune" / "streaming")
    assert isinstance(asr.search, BeamSearch)
    assert asr.hparams.search.arguments == {"beam_size": 3}


@pytest.mark.slow
def test_parts_learn_at_rates_of_their_own(digits_corpus, tmp_path):
    """Where nothing before the last layer learns, the front end stays as it
    is; a resumed training keeps the rates."""
    brain = finetune(
        digits_corpus,
        tmp_path,
        number_of_epochs=1,
        head_lr_factor=3,
        layer_lr_decay=0,
        streamed_count=0,
    )
    rates = [group["lr"] for group in brain.optimizer.param_groups]
    assert rates[-1] == pytest.approx(3 * rates[0]) and rates[0] > 0
    assert set(rates[2:-1]) == {0.0}
    again = finetune(
        digits_corpus,
        tmp_path,
        number_of_epochs=2,
        head_lr_factor=3,
        layer_lr_decay=0,
        streamed_count=0,
    )
    assert again.optimizer_step > brain.optimizer_step
    before = brain.hparams.extractor.state_dict()
    for name, weight in again.hparams.extractor.state_dict().items():
        assert torch.equal(weight, before[name])
    assert not torch.equal(again.hparams.head.weight, brain.hparams.head.weight)


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["aa", "llsa"])
def test_an_encoder_trained_elsewhere(attention, digits_corpus, tmp_path):
    """Of a folder whose sizes no YAML file says, with frames of 24 ms and
    convolutional positions: fine-tuned with any attention, and streamed."""
    source = make_model("aa", extractor=make_front_end(), **IMPORTED)
    folder = write_encoder_folder(
        tmp_path / "source", source.extractor, source.encoder_wrapper
    )
    brain = finetune_pretrained(
        digits_corpus,
        tmp_path / "out",
        pretrained_folder=folder,
        attention=attention,
        hop=3,
        look_ahead=4,
        output_units=20,
        streamed_count=3,
    )
    trained = brain.hparams.extractor.state_dict()
    for name, weight in source.extractor.state_dict().items():
        assert torch.equal(trained[name], weight), "the front end is frozen"
    rates = json.loads((tmp_path / "out" / "error_rates.json").read_text())
    asr = StreamingASR.from_hparams(tmp_path / "out" / "streaming")
    assert asr.model.frame_seconds == 0.024
    if attention == "llsa":
        assert all(rate["different_texts"] == 0 for rate in rates.values())


@pytest.mark.slow
def test_a_conformer(digits_corpus, tmp_path):
    """Trained from scratch with entries of the YAML file, streamed, and
    fine-tuned from its folder with another attention."""
    finetune(
        digits_corpus,
        tmp_path / "out",
        encoder_module="conformer",
        conv_look_back=3,
        conv_look_ahead=1,
        optimizer_step_limit=1,
        streamed_count=2,
    )
    folder = tmp_path / "out" / "streaming"
    brain = finetune_pretrained(
        digits_corpus,
        tmp_path / "again",
        pretrained_folder=folder,
        attention="sa",
        look_ahead=1,
        units="pretrained",
        output_units=29,
        optimizer_step_limit=1,
        streamed_count=2,
    )
    encoder = brain.hparams.encoder
    assert encoder.latency_report().declared_latency.look_ahead == 1 + 1
    for output in ("out", "again"):
        text = (tmp_path / output / "error_rates.json").read_text()
        rates = json.loads(text).values()
        assert all(rate["different_texts"] == 0 for rate in rates)
    with pytest.raises(ValueError, match="conv_look_back is 3 there, 4 now"):
        finetune(
            digits_corpus,
            tmp_path / "out",
            encoder_module="conformer",
            conv_look_back=4,
            conv_look_ahead=1,
        )


@pytest.mark.slow
def test_a_student_of_a_fine_tuned_model(trained, digits_corpus, tmp_path):
    """It begins with the units and the head of a folder, follows a teacher,
    and streams."""
    output, _ = trained
    folder = output / "streaming"
    finetune_pretrained(
        digits_corpus,
        tmp_path,
        pretrained_folder=folder,
        teacher=folder,
        units="pretrained",
        output_units=29,
        hop=2,
        streamed_count=2,
    )
    distances = curve(tmp_path, "train", "distance_from_teacher")
    assert all(0 < distance < 100 for distance in distances)
    log = (tmp_path / "log.txt").read_text()
    assert f"Loaded weights of {folder}: encoder and head" in log
    rates = json.loads((tmp_path / "error_rates.json").read_text())
    assert all(rate["different_texts"] == 0 for rate in rates.values())


@pytest.mark.slow
def test_speech_without_text_is_learned_from_a_teacher(
    trained, digits_corpus, tmp_path
):
    """Where no transcript is known, the teacher moves the encoder, and the
    CTC loss has nothing to say; without a teacher such speech is left out."""
    output, _ = trained
    corpus = tmp_path / "corpus"
    shutil.copytree(digits_corpus, corpus)
    for path in (corpus / "train").glob("*/*/*.trans.txt"):
        path.unlink()
    options = {
        "pretrained_folder": output / "streaming",
        "units": "pretrained",
        "output_units": 29,
        "streamed_count": 0,
    }
    brain = finetune_pretrained(
        corpus,
        tmp_path / "taught",
        teacher=output / "streaming",
        **options,
    )
    (loss, *_) = curve(tmp_path / "taught", "train", "loss")
    assert np.isnan(loss)
    assert curve(tmp_path / "taught", "train", "distance_from_teacher")[0] > 0
    trained_weights = load_file(
        output / "streaming" / "encoder_wrapper.safetensors"
    )
    moved = brain.hparams.encoder_wrapper.state_dict()
    assert any(
        not weight.equal(moved[name])
        for name, weight in trained_weights.items()
    )
    with pytest.raises(ValueError, match="must have a good utterance"):
        finetune_pretrained(corpus, tmp_path / "alone", **options)


def test_acausal_is_measured_offline(digits_corpus, tmp_path):
    """aa cannot stream, and its report says so."""
    finetune(digits_corpus, tmp_path, attention="aa", number_of_epochs=1)
    result = json.loads((tmp_path / "error_rates.json").read_text())["test"]
    assert result["streamed"] is None
    assert result["offline"]["wer"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("streamed_count", [0, 1])
def test_some_are_streamed(streamed_count, digits_corpus, tmp_path, capsys):
    """All are transcribed at once, so many streamed, and where these are not
    all, the alignments are those of all."""
    finetune(
        digits_corpus,
        tmp_path,
        number_of_epochs=1,
        test_splits="[]",
        streamed_count=streamed_count,
    )
    result = json.loads((tmp_path / "error_rates.json").read_text())["valid"]
    assert result["offline"]["utterances"] == result["utterances"] > 1
    streamed = result["streamed"] or {"utterances": 0}
    assert streamed["utterances"] == streamed_count
    assert result["different_texts"] == (0 if streamed_count else None)
    assert f" {'0 of 1' if streamed_count else '-'} " in capsys.readouterr().out
    aligned = (tmp_path / "errors_valid.txt").read_text()
    assert f"Scored {result['utterances']} sentences" in aligned


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "epoch"), [("wer", 2), ("cer", 3)])
def test_what_chooses_the_epoch(
    rate, epoch, digits_corpus, tmp_path, monkeypatch
):
    """The weights are those of the epoch whose rate is least, which need be
    neither the last nor that of the other rate."""
    rates = {"wer": [3.0, 1.0, 2.0, 2.0], "cer": [2.0, 4.0, 1.0, 3.0]}
    measure = finetune_ctc.FinetuneBrain.measure

    def as_given(brain, stage, **values):
        for name in values.keys() & rates.keys():
            values[name] = rates[name][brain.epoch - 1]
        measure(brain, stage, **values)

    monkeypatch.setattr(finetune_ctc.FinetuneBrain, "measure", as_given)
    brain = finetune(
        digits_corpus,
        tmp_path,
        epoch_chosen_by=rate,
        number_of_epochs=4,
        test_splits="[]",
    )
    assert brain.hparams.epoch_counter.current == epoch


@pytest.mark.parametrize(
    ("overrides", "error", "words"),
    [
        ({"units": "phoneme"}, ValueError, r"units must .*got 'phoneme'"),
        ({"output_units": 28}, ValueError, r"output_units must .*got 28"),
        (
            {"characters": "' ABCDEFGHIJKLM'", "output_units": 15},
            ValueError,
            r"transcripts must hold units of the model alone, got 'O' \(U",
        ),
        (
            {"pretrained_folder": "nowhere"},
            FileNotFoundError,
            r"pretrained_folder must be an existing .* got 'nowhere'",
        ),
        ({"test_splits": "[tset]"}, FileNotFoundError, "tset"),
        (
            {"endpoint_rules": "{after_speech: {silence: 1}}"},
            ValueError,
            r"after_speech must .*got the field 'silence'",
        ),
        ({"search": "best"}, ValueError, r"search must .*got 'best'"),
        (
            {"beam_search": "{width: 3}"},
            TypeError,
            r"arguments of the search must be among .* got 'width'",
        ),
        (
            {"search": "beam", "beam_search": "{beam_size: 0}"},
            ValueError,
            r"beam_size must .*got 0",
        ),
        ({"attention": "full"}, ValueError, r"attention must .*got 'full'"),
        ({"layer_lr_decay": 2}, ValueError, "layer_lr_decay must .*got 2"),
        ({"head_lr_factor": -1}, ValueError, "head_lr_factor must .*got -1"),
        (
            {"epoch_chosen_by": "loss"},
            ValueError,
            r"epoch_chosen_by must .*got 'loss'",
        ),
        (
            {"transcript_case": "title"},
            ValueError,
            "transcript_case must be as_is, upper, lower, got 'title'",
        ),
        (
            {"streamed_count": -1},
            ValueError,
            r"streamed_count must .*got -1",
        ),
        (
            {"streamed_count": "all"},
            TypeError,
            r"streamed_count must .*got 'all'",
        ),
    ],
)
def test_bad_input_is_named(overrides, error, words, digits_corpus, tmp_path):
    """One sentence, before any training."""
    with pytest.raises(error, match=words):
        finetune(digits_corpus, tmp_path, **overrides)
    assert not (tmp_path / "curves.jsonl").exists()


def test_weights_of_another_size_are_named(digits_corpus, tmp_path):
    """Pre-trained weights that do not fit are refused by name."""
    folder = model_folder(1, "encoder", tmp_path / "pretrained")
    with pytest.raises(ValueError, match="whose weights fit the model"):
        finetune(digits_corpus, tmp_path, pretrained_folder=folder)


def test_characters_and_pieces_have_their_blank_at_0(tmp_path):
    """Units are encoded without the blank, and the tokenizer is kept."""
    characters = make_tokenizer(tmp_path / "a", "character", 4, " AB", [])
    assert encode(characters, "A B").tolist() == [2, 1, 3]
    words = ["ONE TWO TWO", "TWO ONE ONE", "ONE TWO ONE"]
    first = make_tokenizer(tmp_path / "b", "sentencepiece", 9, "", words)
    assert 0 not in encode(first, "ONE TWO").tolist()
    again = make_tokenizer(tmp_path / "b", "sentencepiece", 9, "", words)
    assert encode(again, "ONE TWO").equal(encode(first, "ONE TWO"))
    with pytest.raises(ValueError, match=r"output_units must .*got 99"):
        make_tokenizer(tmp_path / "c", "sentencepiece", 99, "", words)


WORDS = ["ONE TWO TWO", "TWO ONE ONE", "ONE TWO ONE"]
CHARACTERS = ("character", 5, " ABC", [])
PIECES = ("sentencepiece", 9, "", WORDS)


@pytest.mark.parametrize(
    ("first", "second", "difference"),
    [
        (CHARACTERS, ("character", 5, " ABD", []), "unit 4 is 'C' there, 'D' "),
        (CHARACTERS, ("character", 5, "A BC", []), "unit 1 is ' ' there, 'A' "),
        (CHARACTERS, ("character", 4, " AB", []), "unit 4 is 'C' there, none "),
        (CHARACTERS, ("sentencepiece", 5, "", WORDS), "units is 'character'"),
        (PIECES, ("character", 9, "ABCDEFGH", []), "units is 'sentencepiece'"),
        (PIECES, ("sentencepiece", 8, "", WORDS), "output_units is 9 there, 8"),
        (PIECES, ("sentencepiece", 9, "", WORDS[1:]), "transcripts is '.*' th"),
    ],
)
def test_another_tokenizer_in_a_folder_is_named(
    tmp_path, first, second, difference
):
    """With the difference; what lies there stays as it is, and goes on."""
    kept = make_tokenizer(tmp_path, *first)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=difference) as caught:
        make_tokenizer(tmp_path, *second)
    assert str(tmp_path) in str(caught.value)
    assert before == {path: path.read_bytes() for path in tmp_path.iterdir()}
    again = make_tokenizer(tmp_path, *first)
    text = "ONE" if first is PIECES else "A B"
    assert encode(again, text).equal(encode(kept, text))


@pytest.mark.parametrize("options", [CHARACTERS, PIECES])
def test_a_tokenizer_without_a_record_is_used(tmp_path, options):
    """Earlier versions wrote none; characters show their difference all the
    same."""
    make_tokenizer(tmp_path, *options)
    (tmp_path / "tokenizer.json").unlink()
    make_tokenizer(tmp_path, *options)
    (tmp_path / "tokenizer.json").unlink()
    if options is CHARACTERS:
        with pytest.raises(ValueError, match="unit 4 is 'C' there"):
            make_tokenizer(tmp_path, "character", 5, " ABD", [])


def test_characters_are_composed_and_differ(tmp_path):
    """A combining accent would be a unit of its own, which no transcript
    holds."""
    for characters, message in (
        ("AE\u0301", "in Unicode's form NFC, got 'E\u0301'"),
        ("ABA", "must differ, got 'A' twice"),
    ):
        with pytest.raises(ValueError, match=message):
            make_tokenizer(tmp_path, "character", 4, characters, [])
    assert not list(tmp_path.iterdir())


def test_a_number_of_units_that_does_not_fit_leaves_nothing(tmp_path):
    """So that the command with the right one is no other tokenizer."""
    with pytest.raises(ValueError, match=r"output_units must be 4.*got 9"):
        make_tokenizer(tmp_path, "character", 9, " AB", [])
    make_tokenizer(tmp_path, "character", 4, " AC", [])


@pytest.fixture(scope="module")
def pretrained(trained, tmp_path_factory):
    """Weights as pretrain.py would write them."""
    folder = tmp_path_factory.mktemp("pretrained")
    hparams = trained[1].hparams
    write_encoder_folder(folder, hparams.extractor, hparams.encoder_wrapper)
    return folder


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"attention": "sa"}, "attention is 'llsa' there, 'sa' now"),
        ({"hop": 4}, "hop is 8 there, 4 now"),
        ({"look_ahead": "[8, 4]"}, r"look_ahead is 8 there, \[8, 4\] now"),
        ({"d_ffn": 16}, "d_ffn is 32 there, 16 now"),
        ({"seed": 3}, "seed is 1986 there, 3 now"),
        (
            {"pretrained_folder": "PRETRAINED"},
            "pretrained_folder is None there",
        ),
        ({"characters": "' ''ABCDEFGHIJKLMNOPQRSTUVWXYÉ'"}, "unit 28 is 'Z'"),
    ],
)
def test_another_training_in_a_folder_is_named(
    trained, pretrained, digits_corpus, tmp_path, change, difference
):
    """Its checkpoints would go on as something that they are not."""
    output = shutil.copytree(trained[0], tmp_path / "out")
    before = sorted(output.rglob("*"))
    if "pretrained_folder" in change:
        change = {"pretrained_folder": pretrained}
    rules = "{maximum_length: {length_seconds: 0.2}}"
    with pytest.raises(ValueError, match=difference) as caught:
        finetune(
            digits_corpus,
            output,
            endpoints=True,
            endpoint_rules=rules,
            **change,
        )
    assert str(output / "save") in str(caught.value)
    assert sorted(output.rglob("*")) == before


def test_a_longer_training_goes_on(trained, digits_corpus, tmp_path):
    """What may differ: how long, how fast, how it is measured; and where the
    folder lies."""
    output = shutil.copytree(trained[0], tmp_path / "moved")
    brain = finetune(
        digits_corpus, output, number_of_epochs=3, lr=0.001, push_seconds=0.1
    )
    assert brain.epoch == 3
