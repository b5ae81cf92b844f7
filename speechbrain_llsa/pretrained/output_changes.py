"""How far the outputs of an imported model move on its way to a streaming
one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch.nn import functional as F

from speechbrain_llsa.pretrained.imported import ImportedModel
from speechbrain_llsa.utils.precision import full_float32

Step: TypeAlias = tuple[str, Callable[[int], ImportedModel]]
"""A name, and what makes the model for utterances of a number of frames."""


@dataclass(frozen=True)
class OutputChange:
    """What one step changes, with all steps before it."""

    step: str
    """Name of the step."""

    mean: float
    """Relative difference from the exact model, mean over utterances."""

    maximum: float
    """The largest of an utterance."""


def streaming_steps(
    exact: ImportedModel, calibrated: ImportedModel, options: dict[str, Any]
) -> list[Step]:
    """Lists the steps from an imported model to a streaming one.

    Arguments
    ---------
    exact : ImportedModel
        The imported model, with ``attention="aa"``.
    calibrated : ImportedModel
        The result of :func:`speechbrain_llsa.pretrained.calibrate`, or the
        same model where nothing has to be calibrated.
    options : dict
        The arguments of ``ImportedModel.streaming``.

    Returns
    -------
    list of tuple
        The name of each step, and what makes its model for utterances of a
        number of frames. Steps that change nothing are left out.

    Example
    -------
    >>> from speechbrain_llsa.pretrained import from_torchaudio
    >>> model = from_torchaudio(getfixture("tiny_wav2vec2"))
    >>> options = {
    ...     "attention": "sa",
    ...     "look_back": 8,
    ...     "look_ahead": 2,
    ...     "hop": 1,
    ...     "positional_look_ahead": 0,
    ... }
    >>> for name, make_model in streaming_steps(model, model, options):
    ...     print(name, make_model(9).encoder_wrapper.latent_encoder.attention)
    cut positions aa
    look_back 8 maa
    sa, look_ahead 2 sa
    """
    positions = {"positional_look_ahead": options["positional_look_ahead"]}
    encoder = exact.encoder_wrapper.latent_encoder
    steps: list[Step] = []
    if exact.normalizes_waveforms:
        steps.append(("waveforms as they are", lambda frames: exact))
    if calibrated is not exact:
        steps.append(("fixed norms", lambda frames: calibrated))
    if positions["positional_look_ahead"] < encoder.positional_look_ahead:
        steps.append(
            (
                "cut positions",
                lambda frames: calibrated.streaming("aa", **positions),
            )
        )
    attention, look_back = options["attention"], options["look_back"]
    if attention == "aa":
        return steps
    final = f"{attention}, look_ahead {options['look_ahead']}"
    if attention == "llsa":
        final = f"{final}, hop {options['hop']}"
    return [
        *steps,
        (
            f"look_back {look_back}",
            lambda frames: calibrated.streaming(
                "maa", look_back, max(1, frames), **positions
            ),
        ),
        (final, lambda frames: calibrated.streaming(**options)),
    ]


def measure_changes(
    exact: ImportedModel, steps: list[Step], signals: list[torch.Tensor]
) -> Iterator[OutputChange]:
    """Measures how far the last layer's output moves with each step.

    Arguments
    ---------
    exact : ImportedModel
        The imported model. Waveforms are normalised for it where its source
        does so.
    steps : list of tuple
        The result of :func:`streaming_steps`.
    signals : list of torch.Tensor
        Utterances at 16 kHz, (samples,) each.

    Yields
    ------
    OutputChange
        For each step, the norm of the difference relative to the norm of the
        exact output.
    """
    expected = [
        _output(
            exact,
            F.layer_norm(signal, signal.shape)
            if exact.normalizes_waveforms
            else signal,
        )
        for signal in signals
    ]
    frames = max(len(output) for output in expected)
    for name, make_model in steps:
        model = make_model(frames)
        changes = torch.stack(
            [
                (_output(model, signal) - output).norm() / output.norm()
                for signal, output in zip(signals, expected, strict=True)
            ]
        )
        yield OutputChange(name, changes.mean().item(), changes.max().item())


@torch.no_grad()
@full_float32()
def _output(model: ImportedModel, signal: torch.Tensor) -> torch.Tensor:
    """The last layer's output, (frames, features)."""
    latents = model.extractor(signal[None])
    return model.encoder_wrapper(latents)["embeddings"][0]
