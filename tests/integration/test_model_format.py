"""The format is a promise: folders in the repository, written by earlier
releases, give the numbers that they gave then."""

import json

import numpy as np
import pytest
import torch
from speechbrain.inference.ASR import StreamingASR as OfSpeechBrain
from speechbrain.utils.dynamic_chunk_training import DynChunkTrainConfig

from model_data import KINDS, expected, model_folder, signal
from speechbrain_llsa import OnnxStreamingASR, StreamingASR, StreamingEncoder
from speechbrain_llsa.__main__ import main
from speechbrain_llsa.lobes.wav2vec2 import StreamingEncoderWrapper
from speechbrain_llsa.model_folder.convert import convert_folder
from speechbrain_llsa.model_folder.hyperparameters import hyperparameters_of
from speechbrain_llsa.model_folder.load import load_pretrained_weights
from speechbrain_llsa.model_folder.write import (
    write_encoder_folder,
    write_streaming_folder,
)
from speechbrain_llsa_runtime.model_folder.description import read_description

WAVS = torch.from_numpy(signal())[None]


@pytest.fixture(params=[0, 1], ids=["converted", "version 1"])
def folder_of(request, tmp_path):
    """Gives a folder of a kind: one of version 1, or one that is converted."""

    def folder_of(kind):
        folder = model_folder(request.param, kind, tmp_path / kind)
        if request.param == 0:
            folder = convert_folder(folder, tmp_path / "new")
        return folder

    return folder_of


@pytest.mark.parametrize("kind", ["ctc", "pieces"])
@torch.no_grad()
def test_models(kind, folder_of):
    """Outputs, text and fingerprint, so that snapshots of before go on."""
    asr, then = StreamingASR.from_hparams(folder_of(kind)), expected(kind)
    given = asr.model(WAVS)[0][0].numpy()
    assert np.abs(given - then["outputs"]).max() < 1e-4
    assert asr.transcribe_batch(WAVS) == [then["text"]]
    assert asr.model.fingerprint() == then["fingerprint"]
    assert (asr.endpointer is not None) == (kind == "ctc")


@torch.no_grad()
def test_encoders(folder_of):
    """The embeddings of a pre-trained encoder."""
    encoder = StreamingEncoder.from_hparams(folder_of("encoder"))
    given = encoder(WAVS)[0][0].numpy()
    assert np.abs(given - expected("encoder")["outputs"]).max() < 1e-4


def test_exported_models(folder_of):
    """The graph, its text and its fingerprint."""
    pytest.importorskip("onnxruntime")
    asr = OnnxStreamingASR.from_folder(folder_of("onnx"))
    then = expected("onnx")
    context = asr.model.make_streaming_context()
    given, _ = asr.model.stream(signal(), context, final=True)
    assert np.abs(given - then["outputs"]).max() < 1e-4
    session = asr.session()
    session.push(signal())
    session.finish()
    assert session.text == then["text"]
    assert asr.model.fingerprint() == then["fingerprint"]


@pytest.mark.parametrize("kind", ["ctc", "pieces"])
@torch.no_grad()
def test_speechbrain_reads_the_same(kind, tmp_path):
    """Its own class, by hyperparams.yaml, gives exactly what ours gives by
    model.json, from the same files of weights."""
    folder = model_folder(1, kind, tmp_path / "a")
    ours = StreamingASR.from_hparams(folder)
    theirs = OfSpeechBrain.from_hparams(source=str(folder))
    given, expected = (each.hparams.model for each in (theirs, ours))
    assert torch.equal(given(WAVS)[0], expected(WAVS)[0])
    assert given.fingerprint() == expected.fingerprint()
    config = DynChunkTrainConfig(2)
    texts = []
    for each in (theirs, ours):
        context = each.make_streaming_context(config)
        chunks = WAVS.split(each.get_chunk_size_frames(config), dim=1)
        pushes = [each.transcribe_chunk(context, chunk) for chunk in chunks]
        texts.append("".join(text for (text,) in pushes))
    assert texts[0] == texts[1] != ""
    assert len(list(folder.glob("*.safetensors"))) == 3


@pytest.mark.parametrize("kind", ["ctc", "pieces", "encoder"])
def test_hyperparameters_are_generated(kind, tmp_path):
    """hyperparams.yaml follows from model.json, byte by byte."""
    folder = model_folder(1, kind, tmp_path / "a")
    description = read_description(folder / "model.json", ("ctc", "encoder"))
    text = (folder / "hyperparams.yaml").read_text(encoding="utf-8")
    assert hyperparameters_of(description) == text


@pytest.mark.parametrize("kind", ["ctc", "pieces", "encoder"])
def test_written_again_it_is_the_same(kind, tmp_path):
    """A folder that is loaded and written again has the same bytes."""
    folder = model_folder(1, kind, tmp_path / "a")
    if kind == "encoder":
        encoder = StreamingEncoder.from_hparams(folder)
        again = write_encoder_folder(
            tmp_path / "b", encoder.extractor, encoder.encoder_wrapper
        )
    else:
        asr = StreamingASR.from_hparams(folder)
        again = write_streaming_folder(
            tmp_path / "b",
            asr.model,
            asr.hparams.tokenizer,
            asr.endpointer,
            asr.word_offsets,
            asr.hparams.search,
        )
    for path in folder.iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes(), path


def test_weights_for_fine_tuning(tmp_path):
    """Those of either kind of folder load into an encoder of the same sizes;
    others leave it as it was."""
    folder = model_folder(1, "encoder", tmp_path / "a")
    trained = StreamingEncoder.from_hparams(folder)
    extractor, wrapper = trained.extractor, trained.encoder_wrapper
    weights = {k: v.clone() for k, v in wrapper.state_dict().items()}
    for kind in ("encoder", "ctc"):
        torch.nn.init.zeros_(wrapper.mask_emb)
        load_pretrained_weights(
            model_folder(1, kind, tmp_path / f"of {kind}"),
            extractor=extractor,
            encoder_wrapper=wrapper,
        )
        for name, value in wrapper.state_dict().items():
            assert torch.equal(value, weights[name])
    other = StreamingEncoderWrapper(5, 4, wrapper.latent_encoder)
    (weight, *_) = extractor.parameters()
    torch.nn.init.zeros_(weight)
    with pytest.raises(ValueError, match="pretrained_folder must be a folder"):
        load_pretrained_weights(
            folder, extractor=extractor, encoder_wrapper=other
        )
    assert not weight.any()


LOADERS = {
    "StreamingASR": StreamingASR.from_hparams,
    "StreamingEncoder": StreamingEncoder.from_hparams,
    "OnnxStreamingASR": OnnxStreamingASR.from_folder,
    "fine-tuning": load_pretrained_weights,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loader", LOADERS)
def test_old_folders_are_told_how_to_convert(loader, kind, tmp_path):
    """Whatever loader they are given to, in one sentence."""
    folder = model_folder(0, kind, tmp_path / "a")
    with pytest.raises((ValueError, FileNotFoundError)) as caught:
        LOADERS[loader](folder)
    message = str(caught.value)
    assert "'python -m speechbrain_llsa convert " in message
    assert "\n" not in message


@pytest.mark.parametrize("kind", ["ctc", "encoder", "onnx"])
def test_commands_say_so_too(kind, tmp_path, capsys):
    """One line, which names the command."""
    folder = str(model_folder(0, kind, tmp_path / "a"))
    for command in (
        ["transcribe", "--model", folder, "a.wav"],
        ["export", "--model", folder, "--out", str(tmp_path / "b")],
    ):
        assert main(command) == 2
        error = capsys.readouterr().err
        assert "speechbrain_llsa convert" in error and error.count("\n") == 1


@pytest.mark.parametrize("loader", LOADERS)
def test_newer_folders_are_refused(loader, tmp_path):
    """By a sentence that says so."""
    folder = model_folder(1, "ctc", tmp_path / "a")
    path = folder / "model.json"
    description = {**json.loads(path.read_text()), "format_version": 2}
    path.write_text(json.dumps({**description, "future": True}))
    with pytest.raises(ValueError, match="install a newer speechbrain_llsa"):
        LOADERS[loader](folder)


def test_kinds_are_told_apart(tmp_path):
    """Each loader refuses what is of another kind, by name."""
    folders = {kind: model_folder(1, kind, tmp_path / kind) for kind in KINDS}
    for loader, kind in (
        ("StreamingASR", "encoder"),
        ("StreamingASR", "onnx"),
        ("StreamingEncoder", "onnx"),
        ("OnnxStreamingASR", "ctc"),
        ("fine-tuning", "onnx"),
    ):
        kind_of = read_description(folders[kind] / "model.json", KINDS)["kind"]
        with pytest.raises(ValueError, match=f"kind must .* got '{kind_of}'"):
            LOADERS[loader](folders[kind])
