"""CTC models with the sizes of the recipes and random weights."""

import tempfile
from pathlib import Path

import torch
from hyperpyyaml import load_hyperpyyaml
from speechbrain.dataio.encoder import CTCTextEncoder

from _paths import ROOT
from common import check_equal
from speechbrain_llsa.nnet.packed import pack_linears
from speechbrain_llsa_runtime.geometry import SAMPLE_RATE

SMALL = {
    "num_layers": 2,
    "embedding_dim": 16,
    "d_ffn": 32,
    "nhead": 2,
    "extractor_dim": 8,
    "extractor_channels": [8] * 7,
}
"""Hyperparameters of --tiny."""


def make_model(name, changes):
    """A model as the recipe for CTC builds it.

    Arguments
    ---------
    name : str
        Of the hyperparameter file, such as finetune_base.
    changes : dict
        Other hyperparameters.

    Returns
    -------
    StreamingCTC
        In evaluation mode, frozen and packed, as a loaded model is.
    CTCTextEncoder
        The tokenizer of its labels.
    """
    path = ROOT / "hparams" / f"{name}.yaml"
    with tempfile.TemporaryDirectory() as folder:
        folders = {
            "data_folder": folder,
            "output_folder": str(Path(folder) / "out"),
        }
        hparams = load_hyperpyyaml(
            path.read_text(encoding="utf-8"), {**folders, **changes}
        )
    tokenizer = CTCTextEncoder()
    tokenizer.update_from_iterable(hparams["characters"])
    tokenizer.insert_blank(index=0)
    model = hparams["model"].eval().requires_grad_(False)
    pack_linears(model)
    return model, tokenizer


@torch.inference_mode()
def check_streaming(name, model, push_samples, seconds=2.0):
    """Exits if pushes do not give what the whole gives.

    Arguments
    ---------
    name : str
        What the error calls the model.
    model : StreamingCTC
        The model.
    push_samples : int
        Samples of a push.
    seconds : float
        Of audio, which is noise.

    Raises
    ------
    SystemExit
        If log-probabilities differ.
    """
    signal = noise(seconds)
    context = model.make_streaming_context()
    pieces = [
        model.forward_streaming(push[None], context)
        for push in signal.split(push_samples)
    ]
    streamed = torch.cat([*pieces, model.flush(context)], dim=1)
    check_equal(f"{name}, streamed", streamed, model(signal[None])[0])


def noise(seconds):
    """White noise at 16 kHz.

    Arguments
    ---------
    seconds : float
        How much of it.

    Returns
    -------
    torch.Tensor
        (samples,).
    """
    return 0.1 * torch.randn(round(seconds * SAMPLE_RATE))
