"""The model of hparams/finetune_small.yaml with random weights, for benchmarks
that need no training."""

import torch

from models import make_model
from speechbrain_llsa.decoders.tokenizers import TextDecoder


def make_small_model(**overrides):
    """Builds the model, and what turns its labels into text.

    Arguments
    ---------
    **overrides : dict
        Entries of the YAML file to replace.

    Returns
    -------
    StreamingCTC
        As :func:`models.make_model` builds it. The head is such that noise
        makes all labels about equally likely: the text shows every error.
    TextDecoder
    """
    model, tokenizer = make_model("finetune_small", overrides)
    with torch.no_grad():
        latents = model.extractor(make_noise(0, 32000)[None])
        embeddings = model.encoder_wrapper(latents)["embeddings"][0]
        rows = torch.randn(model.labels, embeddings.shape[1])
        rows = 2 * torch.nn.functional.normalize(rows)
        model.head.weight.copy_(rows / embeddings.std(dim=0))
        model.head.bias.copy_(-model.head.weight @ embeddings.mean(dim=0))
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
