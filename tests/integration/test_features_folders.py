"""A StreamingEncoder loads what the recipes write."""

import pytest
import soundfile
import torch

from model_data import change_description
from speechbrain_llsa import StreamingEncoder, WeightedLayerSum
from speechbrain_llsa.model_folder.write import (
    write_encoder_folder,
    write_streaming_folder,
)
from speechbrain_llsa_runtime.model_folder.description import MODEL_FILE
from tiny_model import make_model, make_signal, make_tokenizer


@pytest.fixture(scope="module")
def model():
    """The model of both folders."""
    return make_model()


@pytest.fixture(scope="module", params=["streaming", "pretrained"])
def folder(request, model, tmp_path_factory):
    """What fine-tuning writes, and what pre-training writes."""
    folder = tmp_path_factory.mktemp("features") / request.param
    if request.param == "streaming":
        return write_streaming_folder(folder, model, make_tokenizer())
    return write_encoder_folder(folder, model.extractor, model.encoder_wrapper)


@torch.no_grad()
def test_the_encoder_is_that_of_the_model(folder, model):
    """Its output, and its layers without those above."""
    wavs = make_signal(8000)[None]
    expected = model.encoder_wrapper(model.extractor(wavs))["embeddings"]
    encoder = StreamingEncoder.from_hparams(folder)
    assert torch.equal(encoder(wavs)[0], expected)
    layers = StreamingEncoder.from_hparams(folder, layer="all")(wavs)[0]
    assert layers.shape == (1, 23, 3, 16)
    for layer in range(3):
        encoder = StreamingEncoder.from_hparams(folder, layer=layer)
        assert encoder.num_layers == max(1, layer)
        assert torch.allclose(encoder(wavs)[0], layers[:, :, layer], atol=1e-6)
    summed = StreamingEncoder.from_hparams(folder, layer=WeightedLayerSum(3))
    assert torch.allclose(summed(wavs)[0], layers.mean(dim=2), atol=1e-6)
    assert [n for n, p in summed.named_parameters() if p.requires_grad] == [
        "layer.weights"
    ]


def test_files_of_any_rate(folder, tmp_path):
    """A file at once gives what a session gives."""
    signal = make_signal(20000).view(-1, 2)
    soundfile.write(tmp_path / "a.wav", signal.numpy(), 22050, subtype="FLOAT")
    encoder = StreamingEncoder.from_hparams(folder, layer=1)
    expected = encoder.encode_file(tmp_path / "a.wav")
    session = encoder.session()
    frames = [session.push(part, 22050) for part in signal.split(999)]
    given = torch.cat([*frames, session.finish()])
    assert given.shape == expected.shape == (21, 16)
    assert (given - expected).abs().max() < 1e-4


def test_an_untrusted_folder_is_checked(folder, tmp_path):
    """By the rules of StreamingASR."""
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    change_description(tmp_path, "encoder", d_ffn=999_999)
    with pytest.raises(ValueError, match="must be of shape"):
        StreamingEncoder.from_hparams(tmp_path)
    change_description(tmp_path, "encoder", no=1)
    with pytest.raises(ValueError, match="encoder has the unknown entry 'no'"):
        StreamingEncoder.from_hparams(tmp_path)
    (tmp_path / MODEL_FILE).unlink()
    with pytest.raises(FileNotFoundError, match="source must be a model fol"):
        StreamingEncoder.from_hparams(tmp_path)


def test_bad_arguments(folder):
    """Errors name the argument."""
    with pytest.raises(ValueError, match=r"layer must .*got 3"):
        StreamingEncoder.from_hparams(folder, layer=3)
    with pytest.raises(TypeError, match="trust must be True or False, got 1"):
        StreamingEncoder.from_hparams(folder, trust=1)
    with pytest.raises(TypeError, match="got 'layers'"):
        StreamingEncoder.from_hparams(folder, layers=3)
    with pytest.raises(TypeError, match=r"run_opts must .*got str"):
        StreamingEncoder.from_hparams(folder, run_opts="cpu")
