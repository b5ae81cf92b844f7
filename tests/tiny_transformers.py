"""Tiny models of transformers with random weights."""

import json

import pytest
import torch

from tiny_wav2vec2 import disturb

TRANSFORMERS = {
    "vocab_size": 5,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_dim": [8, 8, 12],
    "conv_kernel": [10, 4, 2],
    "conv_stride": [5, 4, 2],
    "num_conv_pos_embedding_groups": 4,
}


def make_transformers(name, large, taps=8, **options):
    """A tiny model of transformers with the layout of BASE or LARGE."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    family = getattr(transformers, name)
    config = family.config_class(
        do_stable_layer_norm=large,
        conv_bias=large,
        feat_extract_norm="layer" if large else "group",
        num_conv_pos_embeddings=taps,
        **{**TRANSFORMERS, **options},
    )
    return disturb(family(config))


def write_folder(folder, source, labels=None):
    """Saves a model, with a vocabulary where there are labels."""
    source.save_pretrained(folder)
    if labels is not None:
        vocabulary = {label: index for index, label in enumerate(labels)}
        (folder / "vocab.json").write_text(json.dumps(vocabulary))
    return folder
