"""Training on log-mel energies end to end through its command line, at toy
size."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from speechbrain.dataio import audio_io
from speechbrain.inference.ASR import StreamingASR as SpeechBrainStreamingASR
from speechbrain.utils.dynamic_chunk_training import DynChunkTrainConfig

import finetune_ctc
import finetune_transducer
import pretrain
from speechbrain_llsa.__main__ import main
from speechbrain_llsa.inference.asr import StreamingASR
from speechbrain_llsa.model_folder.write import write_streaming_folder
from speechbrain_llsa.training.data import load_manifests, read_waveform
from speechbrain_llsa.training.log_mel_statistics import measure_statistics
from speechbrain_llsa.training.shard_batches import load_shards
from speechbrain_llsa.training.shards import write_shards
from tiny_model import (
    make_log_mel,
    make_model,
    make_signal,
    make_tokenizer,
)
from toy_recipe import MODEL

HPARAMS = Path(__file__).parents[2] / "hparams"
TOY = {
    **{name: MODEL[name] for name in ("num_layers", "d_ffn", "nhead")},
    "embedding_dim": 16,
    "n_mels": 16,
    "cnn_channels": "[4, 2]",
    "extractor_dim": 8,
    "seconds_per_batch": 20,
    "num_buckets": 1,
    "log_interval": 1,
    "warmup": 1,
    "number_of_epochs": 1,
}


def run(recipe, hparams, corpus, output, **overrides):
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


def train(corpus, output, **overrides):
    hparams = HPARAMS / "finetune_log_mel.yaml"
    options = {**TOY, **overrides}
    return run(finetune_ctc, hparams, corpus, output, **options)


@pytest.fixture(scope="module")
def trained(digits_corpus, tmp_path_factory):
    """A toy training: its output folder and its Brain."""
    output = tmp_path_factory.mktemp("log_mel")
    return output, train(digits_corpus, output, lr=0.01)


def test_statistics_are_those_of_the_training_data(trained):
    """Of all its utterances, where there are few; measured once, and in the
    folder that is written."""
    output, brain = trained
    dataset = load_manifests([output / "manifests" / "train.csv"])
    waveforms = [
        read_waveform(dataset.data[name]["wav"]) for name in dataset.data_ids
    ]
    expected = make_log_mel(cnn_strides=[2, 2]).measure(waveforms).log_mel
    loaded = StreamingASR.from_hparams(output / "streaming").model.extractor
    for front_end in (brain.hparams.extractor, loaded):
        assert front_end.log_mel.measured == expected.measured > 1000
        for name in ("mean", "deviation"):
            actual = getattr(front_end.log_mel, name)
            assert (actual - getattr(expected, name)).abs().max() < 1e-3
    assert "statistics of" in (output / "log.txt").read_text()


def test_offline_and_streamed(trained):
    """No text differs."""
    output, _ = trained
    error_rates = json.loads((output / "error_rates.json").read_text())
    assert {rate["different_texts"] for rate in error_rates.values()} == {0}
    asr = StreamingASR.from_hparams(output / "streaming")
    assert asr.model.frame_seconds == 0.04


def test_everything_reads_the_folder(tmp_path, capsys):
    """The command and SpeechBrain's own class say the same."""
    folder = write_streaming_folder(
        tmp_path / "model",
        make_model(extractor=make_log_mel()),
        make_tokenizer(),
    )
    path = str(tmp_path / "speech.wav")
    soundfile.write(path, make_signal(30000).numpy(), 16000, subtype="FLOAT")
    text = StreamingASR.from_hparams(folder).transcribe_file_offline(path)
    assert len(text) > 5
    assert main(["transcribe", path, "--model", str(folder)]) == 0
    assert text.strip() in capsys.readouterr().out
    theirs = SpeechBrainStreamingASR.from_hparams(source=str(folder))
    config = DynChunkTrainConfig(4, 8)
    assert theirs.get_chunk_size_frames(config) == 4 * 640
    assert text == theirs.transcribe_file(
        path, config, use_torchaudio_streaming=False
    )


def test_a_resumed_training_and_a_pretrained_folder_keep_them(
    trained, digits_corpus, tmp_path
):
    """They are not measured again."""
    output, brain = trained
    again = train(digits_corpus, output, lr=0.01, number_of_epochs=2)
    assert again.optimizer_step > brain.optimizer_step
    wanted = brain.hparams.extractor.log_mel
    other = run(
        finetune_ctc,
        HPARAMS / "finetune_pretrained.yaml",
        digits_corpus,
        tmp_path,
        pretrained_folder=output / "streaming",
        train_splits="[valid]",
        valid_splits="[valid]",
        test_splits="[]",
        units="character",
        output_units=29,
        optimizer_step_limit=2,
        warmup=1,
        num_buckets=1,
        streamed_count=0,
    )
    for each in (again, other):
        log_mel = each.hparams.extractor.log_mel
        assert log_mel.measured == wanted.measured
        assert torch.equal(log_mel.mean, wanted.mean)


def with_log_mel(name, path):
    """A YAML file of another front end, with log-mel energies, and options of
    a toy training with it."""
    text = (HPARAMS / name).read_text()
    before, rest = text.split("extractor: !new:")
    _, behind = rest.split("encoder: !new:", 1)
    path.write_text(
        before
        + "extractor: !new:speechbrain_llsa.hparams.LogMelFrontEnd\n"
        + "    n_mels: 16\n    cnn_channels: [4, 2]\n\n"
        + "encoder: !new:"
        + behind
    )
    return path, {
        name: value
        for name, value in TOY.items()
        if name not in ("n_mels", "cnn_channels")
    }


@pytest.mark.slow
def test_a_transducer(digits_corpus, tmp_path):
    """What SpeechBrain's recipe for transducers trains: log-mel energies, a
    Conformer, a transducer. It streams what it computes offline."""
    path, options = with_log_mel(
        "finetune_transducer_small.yaml", tmp_path / "transducer.yaml"
    )
    run(
        finetune_transducer,
        path,
        digits_corpus,
        tmp_path / "out",
        **options,
        encoder_module="conformer",
        hop=2,
        look_ahead=2,
    )
    rates = json.loads((tmp_path / "out" / "error_rates.json").read_text())
    assert {rate["different_texts"] for rate in rates.values()} == {0}
    model = StreamingASR.from_hparams(tmp_path / "out" / "streaming").model
    assert model.frame_seconds == 0.04 and model.extractor.is_measured


@pytest.mark.slow
def test_pre_training_runs(digits_corpus, tmp_path):
    """Also that of wav2vec 2.0, whatever it learns."""
    path, options = with_log_mel(
        "pretrain_small.yaml", tmp_path / "pretrain.yaml"
    )
    run(
        pretrain,
        path,
        digits_corpus,
        tmp_path / "out",
        **options,
        final_dim=8,
        num_vars=8,
        num_negatives=5,
    )
    lines = (tmp_path / "out" / "curves.jsonl").read_text().splitlines()
    losses = [json.loads(line).get("loss") for line in lines]
    assert losses and np.isfinite([loss for loss in losses if loss]).all()
    model = json.loads((tmp_path / "out/pretrained/model.json").read_text())
    assert model["extractor"]["kind"] == "log_mel"


def test_utterances_that_are_not_trained_on_do_not_count(tmp_path):
    """Of shards those that are too long, though they lie there."""
    rows, signals = [], {}
    for name, seconds in (("a", 1.0), ("b", 1.2), ("c", 5.0)):
        samples = torch.randn(1, int(16000 * seconds)) / 9
        audio_io.save(tmp_path / f"{name}.wav", samples, 16000)
        signals[name] = audio_io.load(tmp_path / f"{name}.wav")[0][0]
        row = {"ID": name, "wav": tmp_path / f"{name}.wav", "wrd": "HELLO"}
        rows.append(row | {"duration": seconds, "spk_id": "1"})
    write_shards(rows, tmp_path / "shards", "train")
    dataset = load_shards(
        *(tmp_path / "shards", ["train"], "skip"), longest_seconds=2.0
    )
    assert len(dataset) == 3 and len(dataset.index.used) == 2
    front_end = make_log_mel()
    front_end.log_mel.measured.zero_()
    measure_statistics(front_end, dataset)
    expected = make_log_mel().measure([signals["a"], signals["b"]]).log_mel
    assert front_end.log_mel.measured == expected.measured
    assert torch.allclose(front_end.log_mel.mean, expected.mean, atol=1e-5)


def test_utterances_that_cannot_be_read_do_not_count():
    """And a front end without statistics is left alone."""
    front_end = make_log_mel()
    front_end.log_mel.measured.zero_()
    signal = torch.randn(16000)

    class Dataset(list):
        def output_keys_as(self, keys):
            return torch.no_grad()

    items = [{"sig": signal, "fault": ""}, {"sig": signal * 9, "fault": "bad"}]
    measure_statistics(front_end, Dataset(items))
    expected = make_log_mel().measure([signal]).log_mel
    assert torch.equal(front_end.log_mel.mean, expected.mean)
    measure_statistics(torch.nn.Identity(), None)
    with pytest.raises(ValueError, match=r"^statistics_utterances must be"):
        measure_statistics(front_end, Dataset(items), utterances=0)
