"""Trainings that start from a model folder: weights, units, head."""

import pytest
import torch

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
from tiny_model import make_model
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
