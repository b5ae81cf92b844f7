"""A tiny experiment of SpeechBrain's own pre-training of wav2vec 2.0."""

import torch
from hyperpyyaml import load_hyperpyyaml, resolve_references
from speechbrain.utils.checkpoints import Checkpointer

HYPERPARAMETERS = """\
embedding_dim: 16
kernels: [11, 3, 3]
strides: [5, 2, 2]

extractor: !new:speechbrain.lobes.models.wav2vec.W2VLatentExtractor
   kernel_sizes: !ref <kernels>
   strides: !ref <strides>
   out_channels: [8, 8, 12]

encoder: !new:speechbrain.lobes.models.transformer.Transformer.TransformerEncoder
   d_model: !ref <embedding_dim>
   num_layers: 2
   nhead: 2
   d_ffn: !ref <embedding_dim> * 2
   dropout: 0.1
   normalize_before: True
   activation: !name:torch.nn.GELU

encoder_wrapper: !new:speechbrain.lobes.models.wav2vec.EncoderWrapper
   in_dim: 12
   embedding_dim: !ref <embedding_dim>
   latent_encoder: !ref <encoder>

modules:
   latent_extractor: !ref <extractor>
   latent_encoder: !ref <encoder_wrapper>
"""  # noqa: E501
"""The entries of SpeechBrain's ``wav2vec2_base.yaml`` that make the model."""


def load():
    """The modules that its checkpoints keep, by name."""
    torch.manual_seed(0)
    modules = load_hyperpyyaml(HYPERPARAMETERS)["modules"]
    for module in modules.values():
        for parameter in module.parameters():
            parameter.data.add_(torch.randn_like(parameter) * 0.1)
    return modules


def write_experiment(folder):
    """Writes a checkpoint and the hyperparameters as SpeechBrain does.

    Returns the folder, and the modules."""
    folder.mkdir()
    resolved = resolve_references(HYPERPARAMETERS).read()
    (folder / "hyperparams.yaml").write_text(resolved)
    modules = load()
    Checkpointer(folder / "save", modules).save_checkpoint(name="tiny")
    return folder, modules
