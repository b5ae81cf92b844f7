"""Encoders that SpeechBrain's own recipe for wav2vec 2.0 pre-trained."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, TypeAlias

import torch

from speechbrain_llsa.lobes.wav2vec2 import StreamingEncoderWrapper
from speechbrain_llsa.model_folder.parts import ACTIVATIONS
from speechbrain_llsa.model_folder.version_0 import read_torch_weights
from speechbrain_llsa.nnet.encoder import StreamingTransformerEncoder
from speechbrain_llsa.nnet.frontend import StreamingLatentExtractor
from speechbrain_llsa.pretrained.copying import copy_weights
from speechbrain_llsa.pretrained.hyperparameter_file import read_arguments
from speechbrain_llsa.pretrained.imported import ImportedModel
from speechbrain_llsa.pretrained.wav2vec2_family import NORMALIZES
from speechbrain_llsa_runtime.utils.errors import must_be

Weights: TypeAlias = dict[str, torch.Tensor]

EXTRACTOR_FILE = "latent_extractor.ckpt"
ENCODER_FILE = "latent_encoder.ckpt"
HYPERPARAMETERS = "hyperparams.yaml"

_ATTENTION = re.compile(r"\.self_att\.att\.(in_proj_|out_proj\.)")
_TABLE = "positional_encoding.pe"


def find_checkpoint(
    folder: str | Path, file: str = ENCODER_FILE
) -> Path | None:
    """Finds the newest checkpoint of a training of SpeechBrain.

    Arguments
    ---------
    folder : str or pathlib.Path
        The folder of the experiment, its ``save`` or a ``CKPT+`` in it.
    file : str
        A file that it has: by default one of the pre-training.

    Returns
    -------
    pathlib.Path or None
        The folder with the weights, by its name the newest; ``None`` if there
        is none.

    Example
    -------
    >>> find_checkpoint(getfixture("tmp_path")) is None
    True
    """
    folder = Path(folder)
    files = [
        path
        for pattern in ("", "CKPT*/", "save/CKPT*/")
        for path in folder.glob(f"{pattern}{file}")
    ]
    return max((path.parent for path in files), default=None)


def from_speechbrain(folder: str | Path) -> ImportedModel:
    """Imports an encoder that SpeechBrain's recipe for wav2vec 2.0
    (``LibriSpeech/self-supervised-learning/wav2vec2``) pre-trained.

    Its front end and its layers stay as they are; its sinusoidal positions are
    left out, and the attention has rotary ones instead. Sizes come from the
    weights; strides, heads, activation and the place of the norms come from
    ``hyperparams.yaml``, of which nothing is run.

    Arguments
    ---------
    folder : str or pathlib.Path
        The folder of the experiment, its ``save`` or a ``CKPT+`` in it. The
        newest checkpoint is read.

    Returns
    -------
    ImportedModel
        With ``attention="aa"``, without a head.

    Raises
    ------
    FileNotFoundError
        If there is no checkpoint, or no ``hyperparams.yaml`` beside or above
        it.
    ValueError
        If a file is damaged, or the weights are those of another model.

    Example
    -------
    >>> from_speechbrain("missing")
    Traceback (most recent call last):
    ...
    FileNotFoundError: folder must be one with a latent_encoder.ckpt of \
SpeechBrain's pre-training, got 'missing'
    """
    checkpoint = find_checkpoint(folder)
    if checkpoint is None:
        raise FileNotFoundError(
            must_be(
                "folder",
                f"one with a {ENCODER_FILE} of SpeechBrain's pre-training",
                repr(str(folder)),
            )
        )
    if not (checkpoint / EXTRACTOR_FILE).is_file():
        raise FileNotFoundError(
            must_be(
                "folder",
                f"one with a {EXTRACTOR_FILE} beside {ENCODER_FILE}",
                repr(str(checkpoint)),
            )
        )
    yaml = find_hyperparameters(checkpoint)
    extractor = _build_extractor(
        read_torch_weights(checkpoint / EXTRACTOR_FILE),
        read_arguments(yaml, "W2VLatentExtractor"),
    )
    wrapper = _build_wrapper(
        read_torch_weights(checkpoint / ENCODER_FILE),
        read_arguments(yaml, "TransformerEncoder"),
    )
    return ImportedModel(
        extractor.eval(),
        wrapper.eval(),
        notes=[
            f"the weights are those of {checkpoint.name}",
            "SpeechBrain's sinusoidal positions are left out; the attention "
            "has rotary ones, which the weights do not know yet",
            NORMALIZES,
        ],
        normalizes_waveforms=True,
    )


def find_hyperparameters(checkpoint: Path, file: str = ENCODER_FILE) -> Path:
    """Finds ``hyperparams.yaml`` of a checkpoint: in the folder of the
    experiment, two above, or nearer.

    Arguments
    ---------
    checkpoint : pathlib.Path
        The folder of the checkpoint.
    file : str
        A file that it has, for error messages.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    checkpoint = checkpoint.resolve()
    for folder in (checkpoint, *checkpoint.parents[:2]):
        if (folder / HYPERPARAMETERS).is_file():
            return folder / HYPERPARAMETERS
    raise FileNotFoundError(
        must_be(
            "folder",
            f"one with a {HYPERPARAMETERS} beside or above {file}",
            repr(str(checkpoint)),
        )
    )


def _build_extractor(
    weights: Weights, arguments: dict[str, Any]
) -> StreamingLatentExtractor:
    kernels = _by_number(weights, r"\.convblock_(\d+)\..*conv\.weight", 3)
    options = {}
    if "strides" in arguments:
        options["strides"] = arguments["strides"]
    extractor = StreamingLatentExtractor(
        out_channels=[kernel.shape[0] for kernel in kernels],
        kernel_sizes=[kernel.shape[2] for kernel in kernels],
        **options,
    )
    copy_weights(weights, extractor.state_dict(), "W2VLatentExtractor")
    return extractor


def _build_wrapper(
    weights: Weights, arguments: dict[str, Any]
) -> StreamingEncoderWrapper:
    kind = arguments.get("attention_type", "regularMHA")
    if kind != "regularMHA":
        raise ValueError(must_be("attention_type", "'regularMHA'", repr(kind)))
    activation = arguments.get("activation", "ReLU")
    if activation not in ACTIVATIONS:
        raise ValueError(
            must_be(
                "activation",
                "one of torch.nn, or SpeechBrain's Swish",
                repr(activation),
            )
        )
    if "nhead" not in arguments:
        raise ValueError(
            must_be("nhead", f"a number in {HYPERPARAMETERS}", "none")
        )
    weights = {
        _ATTENTION.sub(_joined, name): weight
        for name, weight in weights.items()
        if name != _TABLE
    }
    first = _by_number(weights, r"\.layers\.(\d+)\.pos_ffn\.ffn\.0\.weight", 2)
    projector = weights.get("input_projector.weight")
    if projector is None or projector.ndim != 2:
        raise ValueError(
            must_be("weights", "those of EncoderWrapper", "no input_projector")
        )
    embedding_dim, in_dim = projector.shape
    encoder = StreamingTransformerEncoder(
        num_layers=len(first),
        nhead=arguments["nhead"],
        d_ffn=first[0].shape[0],
        d_model=embedding_dim,
        attention="aa",
        activation=ACTIVATIONS[activation],
        normalize_before=arguments.get("normalize_before", False),
    )
    wrapper = StreamingEncoderWrapper(in_dim, embedding_dim, encoder)
    targets = wrapper.state_dict()
    del targets[_TABLE]
    copy_weights(weights, targets, "EncoderWrapper")
    return wrapper


def _joined(match: re.Match[str]) -> str:
    """SpeechBrain's name of a weight of the attention, as ours."""
    return f".self_att.{match[1].removesuffix('_').removesuffix('.')}."


def _by_number(weights: Weights, pattern: str, axes: int) -> list[torch.Tensor]:
    """The weights whose names match, in the order of their numbers."""
    found = {}
    for name, weight in weights.items():
        match = re.search(pattern, name)
        if match and weight.ndim == axes:
            found[int(match[1])] = weight
    if not found:
        raise ValueError(
            must_be(
                "weights",
                "those of SpeechBrain's pre-training",
                "those of another model",
            )
        )
    return [found[number] for number in sorted(found)]
