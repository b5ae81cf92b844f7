"""Trainings that start from a model folder: weights, units, head."""

import pytest
import torch

from speechbrain_llsa.inference.asr import StreamingASR
from speechbrain_llsa.lobes.ctc import StreamingCTC
from speechbrain_llsa.model_folder.finetuning import build_for_finetuning
from speechbrain_llsa.model_folder.load import load_pretrained_weights
from speechbrain_llsa.model_folder.write import (
    write_encoder_folder,
    write_streaming_folder,
)
from speechbrain_llsa.training.units import TOKENIZER_FILES, make_tokenizer
from speechbrain_llsa.training.warm_start import (
    adopt_tokenizer,
    kind_of_units,
    load_pretrained,
)
from tiny_model import CONFORMER, LABELS, make_model, make_signal
from tiny_model import make_tokenizer as make_characters

PIECES = 12
SENTENCES = ["A BAD CAB", "DAB A DAD", "A CAD BADE A BAD DAB"] * 4


def make_pieces(folder):
    return make_tokenizer(folder, "sentencepiece", PIECES, "", SENTENCES)


@pytest.fixture(params=["character", "sentencepiece"])
def pretrained(request, tmp_path):
    """A model folder, its model, its tokenizer and the kind of its units."""
    tokenizer, model = make_characters(), make_model()
    if request.param == "sentencepiece":
        tokenizer = make_pieces(tmp_path / "units")
        model = make_model(labels=PIECES)
    folder = write_streaming_folder(tmp_path / "model", model, tokenizer)
    return folder, model, tokenizer, request.param


def test_units_of_the_folder(pretrained, tmp_path):
    """Their kind is the folder's, their file is copied once."""
    folder, _, _, kind = pretrained
    assert kind_of_units("pretrained", folder) == kind
    adopt_tokenizer(tmp_path / "save", "pretrained", folder)
    copied = tmp_path / "save" / TOKENIZER_FILES[kind]
    content = copied.read_bytes()
    if kind == "sentencepiece":
        assert content == (tmp_path / "units" / copied.name).read_bytes()
    copied.write_bytes(b"of a training that is resumed")
    adopt_tokenizer(tmp_path / "save", "pretrained", folder)
    assert copied.read_bytes() == b"of a training that is resumed"


def test_other_units_are_left_alone(pretrained, tmp_path):
    folder, *_ = pretrained
    assert kind_of_units("character", folder) == "character"
    adopt_tokenizer(tmp_path / "save", "character", folder)
    assert not (tmp_path / "save").exists()


def test_the_head_starts_where_units_are_the_same(pretrained):
    folder, model, tokenizer, _ = pretrained
    other = make_model(labels=model.labels)
    torch.nn.init.zeros_(other.head.weight)
    load_pretrained(
        folder, other.extractor, other.encoder_wrapper, other.head, tokenizer
    )
    for name, weight in other.state_dict().items():
        assert torch.equal(weight, model.state_dict()[name]), name


def test_the_head_starts_anew_for_other_units(pretrained, tmp_path):
    """As many of them even: other pieces are other classes."""
    folder, model, tokenizer, kind = pretrained
    other = make_model(labels=model.labels)
    before = other.head.weight.detach().clone()
    if kind == "character":
        labels = [tokenizer.ind2lab[i] for i in range(model.labels)]
        tokenizer = type(tokenizer)()
        tokenizer.insert_blank(index=0)
        for label in reversed(labels[1:]):
            tokenizer.add_label(label)
    else:
        tokenizer = make_tokenizer(
            tmp_path / "other",
            "sentencepiece",
            PIECES,
            "",
            [each.replace("D", "F") for each in SENTENCES],
        )
    load_pretrained(
        folder, other.extractor, other.encoder_wrapper, other.head, tokenizer
    )
    assert torch.equal(other.head.weight, before)
    trained = model.encoder_wrapper.state_dict()
    for name, weight in other.encoder_wrapper.state_dict().items():
        assert torch.equal(weight, trained[name]), name


def test_units_that_no_folder_has(tmp_path):
    model = make_model()
    folder = write_encoder_folder(
        tmp_path / "encoder", model.extractor, model.encoder_wrapper
    )
    for pretrained in (None, folder):
        for call in (
            lambda start: kind_of_units("pretrained", start),
            lambda start: adopt_tokenizer(tmp_path, "pretrained", start),
        ):
            with pytest.raises(ValueError, match="a model folder with units"):
                call(pretrained)


@pytest.mark.parametrize("attention", ["llsa", "sa"])
def test_new_convolutions_begin_as_nothing(attention, tmp_path):
    """The model computes what the folder's does, until a step of training,
    whose gradient reaches the convolutions; what is written then has them."""
    model, tokenizer = make_model(attention), make_characters()
    folder = write_streaming_folder(tmp_path / "model", model, tokenizer)
    geometry = model.geometries.default
    parts = build_for_finetuning(
        folder,
        attention,
        geometry.look_back,
        geometry.look_ahead,
        geometry.hop,
        conv_look_back=3,
        conv_look_ahead=1,
    )
    encoder, head = parts.pop("encoder"), torch.nn.Linear(16, LABELS)
    load_pretrained(folder, **parts, head=head, tokenizer=tokenizer)
    new = StreamingCTC(parts["extractor"], parts["encoder_wrapper"], head)
    signal = make_signal(9000)[None]
    expected, _ = model.eval()(signal)
    assert torch.equal(new.eval()(signal)[0], expected)
    optimizer = torch.optim.SGD(new.parameters(), lr=1e-2)
    for _ in range(2):
        optimizer.zero_grad()
        new(signal)[0][..., 1].sum().backward()
        optimizer.step()
    weight = encoder.layers[0].convolution.conv.weight
    assert weight.grad.abs().max() > 0
    changed = new(signal)[0].detach()
    assert not torch.allclose(changed, expected, atol=1e-4)
    again = write_streaming_folder(tmp_path / "new", new, tokenizer)
    read = StreamingASR.from_hparams(again).model
    assert torch.allclose(read(signal)[0], changed, atol=1e-6)
    with pytest.raises(ValueError, match=r"lacks tensor .*convolution"):
        load_pretrained_weights(folder, encoder_wrapper=read.encoder_wrapper)


def test_convolutions_that_cannot_be_new(tmp_path):
    tokenizer = make_characters()
    folder = write_streaming_folder(
        tmp_path / "model", make_model(**CONFORMER), tokenizer
    )
    with pytest.raises(
        ValueError,
        match="conv_look_back and conv_look_ahead must be 0 where the folder's"
        " layers have convolutions, got 3 and 0",
    ):
        build_for_finetuning(folder, conv_look_back=3)
    plain = write_streaming_folder(tmp_path / "plain", make_model(), tokenizer)
    for wrong in (-1, 1.5, 5000):
        with pytest.raises(ValueError, match="conv_look_back must be"):
            build_for_finetuning(plain, conv_look_back=wrong)
