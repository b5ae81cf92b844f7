"""The model of hparams/finetune_small.yaml with random weights, for benchmarks
that need no training."""

from pathlib import Path

import torch
from hyperpyyaml import load_hyperpyyaml
from speechbrain.dataio.encoder import CTCTextEncoder

import _paths  # noqa: F401
from speechbrain_llsa.decoders.tokenizers import TextDecoder

ROOT = Path(__file__).resolve().parents[1]

YAML = ROOT / "hparams" / "finetune_small.yaml"


def make_small_model(**overrides):
    """Builds the model, and what turns its labels into text.

    Arguments
    ---------
    **overrides : dict
        Entries of the YAML file to replace.

    Returns
    -------
    StreamingCTC
        In evaluation mode. The head is such that noise makes all labels about
        equally likely: the text shows every error.
    TextDecoder
    """
    overrides = {"data_folder": "none", **overrides}
    with open(YAML, encoding="utf-8") as file:
        hparams = load_hyperpyyaml(file, overrides)
    model = hparams["model"].eval()
    characters = hparams["characters"]
    with torch.no_grad():
        latents = model.extractor(make_noise(0, 32000)[None])
        embeddings = model.encoder_wrapper(latents)["embeddings"][0]
        rows = torch.randn(model.labels, embeddings.shape[1])
        rows = 2 * torch.nn.functional.normalize(rows)
        model.head.weight.copy_(rows / embeddings.std(dim=0))
        model.head.bias.copy_(-model.head.weight @ embeddings.mean(dim=0))
    tokenizer = CTCTextEncoder()
    tokenizer.update_from_iterable(characters)
    tokenizer.insert_blank(index=0)
    return model, TextDecoder(tokenizer)


def make_noise(seed, *shape):
    """Noise at a tenth of full scale.

    Arguments
    ---------
    seed : int
        The same seed gives the same noise.
    *shape : int
        Its shape.

    Returns
    -------
    torch.Tensor
        float32, of that shape.
    """
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(*shape, generator=generator)
