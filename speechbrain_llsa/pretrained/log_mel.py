"""The front end of SpeechBrain's Conformer transducers, with their weights.

What it gives is what SpeechBrain's ``Fbank``, ``InputNormalization`` (with
global statistics, in ``eval``) and ``ConvolutionFrontEnd`` give one after the
other, frame k for frame k, wherever the samples that a frame depends on lie
within the utterance. It is something else

- in the first frame: SpeechBrain's convolutions reflect frames at the borders
  of what they are given; here an utterance begins with zeros;
- in the last frame, and where there is one more the last two: they depend on
  samples past the end, which SpeechBrain reflects or takes for zeros. A stream
  cannot wait for an end, and these frames do not exist here;
- where energies lie more than ``top_db``, 80 dB, below the loudest of the
  utterance: SpeechBrain raises them to that. Here the floor is fixed at
  ``floor_db``: -100 dB, SpeechBrain's own, for digital silence.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from speechbrain_llsa.model_folder.version_0 import read_torch_weights
from speechbrain_llsa.nnet.log_mel_front_end import LogMelFrontEnd
from speechbrain_llsa.pretrained.copying import copy_weights
from speechbrain_llsa.pretrained.hyperparameter_file import read_arguments
from speechbrain_llsa.pretrained.speechbrain_checkpoint import (
    find_checkpoint,
    find_hyperparameters,
)
from speechbrain_llsa_runtime.geometry import SAMPLE_RATE
from speechbrain_llsa_runtime.utils.errors import must_be, reason

MODEL_FILE = "model.ckpt"
NORMALIZER_FILE = "normalizer.ckpt"

_BLOCK = re.compile(r"(?:.*\.)?(convblock_\d+\..*)")
_MILLISECOND = SAMPLE_RATE // 1000
_FEATURES = {
    "n_fft": 400,
    "n_mels": 40,
    "win_length": 25,
    "hop_length": 10,
    "f_min": 0,
    "f_max": None,
}
"""What ``Fbank`` takes, with its defaults."""


def log_mel_from_speechbrain(folder: str | Path) -> LogMelFrontEnd:
    """Builds the front end of a model that SpeechBrain's recipe for
    transducers (``LibriSpeech/ASR/transducer``) trained.

    Arguments
    ---------
    folder : str or pathlib.Path
        The folder of the experiment, its ``save`` or a ``CKPT+`` in it, of
        which the newest is read; or the folder of a published model. It holds
        ``model.ckpt`` and ``normalizer.ckpt``, and beside or above them
        ``hyperparams.yaml``, of which nothing is run.

    Returns
    -------
    LogMelFrontEnd

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    ValueError
        If a file is damaged, or of another model.

    Example
    -------
    >>> log_mel_from_speechbrain("missing")
    Traceback (most recent call last):
    ...
    FileNotFoundError: folder must be one with a normalizer.ckpt of \
SpeechBrain's training, got 'missing'
    """
    checkpoint = find_checkpoint(folder, NORMALIZER_FILE)
    if checkpoint is None:
        raise FileNotFoundError(
            must_be(
                "folder",
                f"one with a {NORMALIZER_FILE} of SpeechBrain's training",
                repr(str(folder)),
            )
        )
    yaml = find_hyperparameters(checkpoint, NORMALIZER_FILE)
    return build_log_mel(
        read_torch_weights(checkpoint / MODEL_FILE),
        read_normalizer(checkpoint / NORMALIZER_FILE),
        features=read_arguments(yaml, "Fbank"),
        convolutions=read_arguments(yaml, "ConvolutionFrontEnd"),
    )


def build_log_mel(
    weights: dict[str, torch.Tensor],
    statistics: dict[str, Any],
    features: dict[str, Any],
    convolutions: dict[str, Any],
) -> LogMelFrontEnd:
    """Builds the front end from SpeechBrain's weights and arguments.

    Arguments
    ---------
    weights : dict of str to torch.Tensor
        The state dict of a ``ConvolutionFrontEnd``, or of something that holds
        one.
    statistics : dict
        What ``InputNormalization`` saves: ``count``, ``glob_mean`` and
        ``glob_std``.
    features : dict
        The arguments of ``Fbank``.
    convolutions : dict
        The arguments of ``ConvolutionFrontEnd``.

    Returns
    -------
    LogMelFrontEnd

    Raises
    ------
    ValueError
        If they are of a model with other parts.
    """
    _check_features(features)
    _check_convolutions(convolutions)
    known = {**_FEATURES, **features}
    blocks = {
        match[1]: weight
        for name, weight in weights.items()
        if (match := _BLOCK.fullmatch(name))
    }
    kernels = [
        blocks[name]
        for name in sorted(blocks, key=_number_of)
        if re.fullmatch(r"convblock_\d+\.convs\.conv_0\.conv\.weight", name)
    ]
    if not kernels:
        raise ValueError(
            must_be(
                "weights",
                "those of a ConvolutionFrontEnd",
                "those of another model",
            )
        )
    front_end = LogMelFrontEnd(
        n_mels=known["n_mels"],
        n_fft=known["n_fft"],
        window_samples=round(known["win_length"] * _MILLISECOND),
        hop_samples=round(known["hop_length"] * _MILLISECOND),
        f_min=known["f_min"],
        f_max=known["f_max"] or SAMPLE_RATE / 2,
        cnn_channels=[kernel.shape[0] for kernel in kernels],
        cnn_kernel_sizes=[kernel.shape[2] for kernel in kernels],
        cnn_strides=convolutions["strides"][: len(kernels)],
    )
    copy_weights(blocks, _targets(front_end), "a ConvolutionFrontEnd")
    front_end.log_mel.set_statistics(
        statistics["glob_mean"],
        statistics["glob_std"],
        max(1, int(statistics["count"])),
    )
    return front_end.eval()


def _number_of(name):
    return int(re.match(r"convblock_(\d+)", name)[1])


def _targets(front_end):
    """The parameter for each name of SpeechBrain's, in its shape."""
    targets = {}
    for index, (convolution, norm) in enumerate(
        zip(front_end.convolutions, front_end.norms, strict=True)
    ):
        block = f"convblock_{index}.convs"
        shape = convolution.out_bands, convolution.conv.out_channels
        for name in ("weight", "bias"):
            targets[f"{block}.conv_0.conv.{name}"] = getattr(
                convolution.conv, name
            )
            targets[f"{block}.norm_0.norm.{name}"] = getattr(norm, name).view(
                shape
            )
    return targets


def _check_features(arguments):
    """Rejects features that are more than log-mel energies."""
    for name, expected in (
        ("sample_rate", SAMPLE_RATE),
        ("deltas", False),
        ("context", False),
        ("filter_shape", "triangular"),
    ):
        if arguments.get(name, expected) != expected:
            raise ValueError(
                must_be(f"{name} of Fbank", expected, arguments[name])
            )


def _check_convolutions(arguments):
    """Rejects what ``LogMelFrontEnd`` has no counterpart of, and strides that
    are not said, which no weight shows."""
    residuals = arguments.get("residuals", [True])
    for name, fits in (
        ("strides", isinstance(arguments.get("strides"), list)),
        ("num_layers_per_block", arguments.get("num_layers_per_block", 5) == 1),
        ("residuals", isinstance(residuals, list) and not any(residuals)),
        ("norm", arguments.get("norm", "LayerNorm") == "LayerNorm"),
        ("activation", arguments.get("activation", "LeakyReLU") == "LeakyReLU"),
        ("padding", arguments.get("padding", "same") == "same"),
    ):
        if not fits:
            raise ValueError(
                must_be(
                    f"{name} of ConvolutionFrontEnd",
                    "as in SpeechBrain's conformer_transducer.yaml",
                    arguments.get(name, "the default"),
                )
            )


def read_normalizer(path: str | Path) -> dict[str, Any]:
    """Reads what SpeechBrain's ``InputNormalization`` saves.

    Arguments
    ---------
    path : str or pathlib.Path
        The file.

    Returns
    -------
    dict
        ``count``, ``glob_mean`` and ``glob_std``.

    Raises
    ------
    ValueError
        If it is damaged, or holds no global statistics.
    """
    path = Path(path)
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        statistics = {
            name: saved[name] for name in ("count", "glob_mean", "glob_std")
        }
        if not isinstance(statistics["count"], (int, float)):
            raise TypeError("its count is no number")
        for name in ("glob_mean", "glob_std"):
            if not isinstance(statistics[name], torch.Tensor):
                raise TypeError(f"its {name} is no tensor")
    except MemoryError:
        raise
    except Exception as error:  # readers of damaged bytes raise anything
        raise ValueError(
            must_be(path.name, "global statistics", reason(error))
        ) from error
    return statistics
