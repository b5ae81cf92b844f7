"""Tiny wav2vec 2.0 models of torchaudio with random weights."""

import torch
import torchaudio
from torchaudio.models import wav2vec2_model

CONVOLUTIONS = [(8, 10, 5), (8, 4, 4), (12, 2, 2)]


def disturb(module):
    """Draws all weights, those that begin at one or zero too."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return module.eval()


TORCHAUDIO = {
    "extractor_conv_layer_config": CONVOLUTIONS,
    "encoder_embed_dim": 16,
    "encoder_projection_dropout": 0.1,
    "encoder_pos_conv_groups": 4,
    "encoder_num_layers": 3,
    "encoder_num_heads": 2,
    "encoder_attention_dropout": 0.1,
    "encoder_ff_interm_features": 24,
    "encoder_ff_interm_dropout": 0.1,
    "encoder_dropout": 0.1,
    "encoder_layer_drop": 0.1,
    "aux_num_out": 5,
}


def make_torchaudio(large, taps=8, mode=None, **options):
    """A tiny model of torchaudio with the layout of BASE or LARGE."""
    torch.manual_seed(0)
    model = wav2vec2_model(
        extractor_mode=mode or ("layer_norm" if large else "group_norm"),
        extractor_conv_bias=large,
        encoder_layer_norm_first=large,
        encoder_pos_conv_kernel=taps,
        **{**TORCHAUDIO, **options},
    )
    return disturb(model)


def fake_bundle(monkeypatch, name, model, labels=None):
    """Puts a bundle with a model into torchaudio, which downloads none."""
    pipelines = torchaudio.pipelines
    kind = pipelines.Wav2Vec2Bundle
    if labels is not None:
        kind = pipelines.Wav2Vec2ASRBundle

    class Bundle(kind):
        def __init__(self):
            pass

        def get_model(self):
            return model

        def get_labels(self):
            return tuple(labels)

    monkeypatch.setattr(pipelines, name, Bundle(), raising=False)
