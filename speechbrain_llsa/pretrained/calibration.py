"""Replaces norms over whole utterances by fixed ones, so that a front end can
stream."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import torch

from speechbrain_llsa.nnet.convolutional_front_end import (
    ConvolutionalFrontEnd,
    NormOverTime,
)
from speechbrain_llsa.pretrained.imported import ImportedModel
from speechbrain_llsa_runtime.utils.checks import check_type
from speechbrain_llsa_runtime.utils.errors import must_be


@dataclass
class _Block:
    """A convolution, and the names and modules of what follows it."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    following: list


def calibrate(model, audio):
    """Fixes the statistics of norms over time, and folds them into weights.

    Such a norm takes mean and deviation of a whole utterance. Both are measured
    for each utterance and averaged; the norm is then a fixed factor and offset
    for each channel, which become part of the convolution before or behind it.
    From then on the level of the audio matters, which the norm took out: draw
    gains in fine-tuning.

    Arguments
    ---------
    model : ImportedModel
        A model whose front end has norms over time.
    audio : iterable of torch.Tensor or numpy.ndarray
        Utterances at 16 kHz, (samples,) each, scaled as the source expects
        them: some minutes of speech of the kind to be recognised.

    Returns
    -------
    ImportedModel
        The new model, which shares nothing with this one; its front end
        streams.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If the front end has no norm over time, or one in a place where it
        cannot become part of a convolution; or if there is no audio, or an
        utterance is too short, silent or not finite.

    Example
    -------
    >>> from speechbrain_llsa.lobes.wav2vec2 import StreamingEncoderWrapper
    >>> from speechbrain_llsa.nnet.encoder import StreamingTransformerEncoder
    >>> front_end = ConvolutionalFrontEnd(
    ...     out_channels=[4, 8],
    ...     kernel_sizes=[10, 3],
    ...     strides=[5, 2],
    ...     biases=[False, False],
    ...     functions=[["instance_norm", "gelu"], ["gelu"]],
    ... ).eval()
    >>> encoder = StreamingTransformerEncoder(
    ...     num_layers=1, nhead=2, d_ffn=32, d_model=16
    ... )
    >>> wrapper = StreamingEncoderWrapper(8, 16, encoder).eval()
    >>> waveform = torch.randn(4000)
    >>> model = calibrate(ImportedModel(front_end, wrapper), [waveform])
    >>> model.extractor.norms_over_time
    []
    >>> with torch.no_grad():
    ...     offline = front_end(waveform[None])
    ...     fixed = model.extractor(waveform[None])
    >>> torch.allclose(offline, fixed, atol=1e-4)
    True
    """
    check_type("model", model, ImportedModel)
    front_end = model.extractor
    names = front_end.norms_over_time
    if not names:
        raise ValueError(
            must_be("front end", "one with norms over time", "one without")
        )
    _check_places(front_end)
    statistics, utterances = _measure(front_end, audio)
    calibrated = replace(
        copy.deepcopy(model), extractor=_fold(front_end, statistics)
    )
    calibrated.notes.append(
        f"{', '.join(names)} of the front end: fixed mean and deviation, "
        f"averages of {utterances} utterances"
    )
    return calibrated


def _check_places(front_end):
    """Rejects norms that stand neither right behind a convolution nor right
    before one."""
    for index, names in enumerate(front_end.functions):
        norms = [name in ("instance_norm", "group_norm") for name in names]
        while norms and norms[0]:
            norms.pop(0)
        if index + 1 < len(front_end.functions):
            while norms and norms[-1]:
                norms.pop()
        if any(norms):
            raise ValueError(
                must_be(
                    f"functions of convolution {index}",
                    "such that a norm over time stands next to a convolution",
                    names,
                )
            )


@torch.no_grad()
def _measure(front_end, audio):
    """Averages the statistics of utterances.

    Returns the mean and deviation of each norm by its name, float64,
    (2, groups), and the number of utterances."""
    weight = next(front_end.parameters())
    sums, utterances = {}, 0

    def make_hook(name):
        def add(module, inputs):
            # (1, frames, channels) -> (groups, channels of a group * frames)
            values = inputs[0][0].double().t().reshape(module.num_groups, -1)
            deviation = (values.var(1, correction=0) + module.eps).sqrt()
            measured = torch.stack([values.mean(1), deviation])
            sums[name] = sums.get(name, 0) + measured

        return add

    hooks = [
        module.register_forward_pre_hook(make_hook(name))
        for name, module in front_end.named_modules()
        if isinstance(module, NormOverTime)
    ]
    try:
        for utterances, samples in enumerate(_iterate(audio), 1):
            name = f"audio[{utterances - 1}]"
            samples = checked_samples(front_end, samples, name)
            front_end(samples.to(weight)[None])
    finally:
        for hook in hooks:
            hook.remove()
    if not utterances:
        raise ValueError(must_be("audio", "at least one utterance", "none"))
    return {name: each / utterances for name, each in sums.items()}, utterances


def _iterate(audio):
    if isinstance(audio, (str, bytes)) or not hasattr(audio, "__iter__"):
        raise TypeError(
            must_be("audio", "an iterable of utterances", type(audio).__name__)
        )
    return audio


def checked_samples(front_end, samples, name):
    """Rejects what is no utterance.

    Arguments
    ---------
    front_end : StreamingFrontEnd
        The front end that is to take it.
    samples : torch.Tensor or numpy.ndarray
        The utterance.
    name : str
        Its name, for errors.

    Returns
    -------
    torch.Tensor
        (samples,), on the CPU.

    Raises
    ------
    TypeError
        If it is something else, or not of floating point.
    ValueError
        If it is too short, silent, not finite or of another shape.
    """
    try:
        samples = torch.as_tensor(samples, device="cpu")
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            must_be(name, "a tensor or an array", type(samples).__name__)
        ) from error
    if not samples.is_floating_point():
        raise TypeError(must_be(name, "of floating point", samples.dtype))
    if samples.ndim != 1:
        raise ValueError(
            must_be(name, "of shape (samples,)", tuple(samples.shape))
        )
    shortest = front_end.receptive_field_samples
    if len(samples) < shortest:
        raise ValueError(
            must_be(name, f"at least {shortest} samples", len(samples))
        )
    if not samples.isfinite().all():
        raise ValueError(must_be(name, "finite", "infinity or not a number"))
    if samples.min() == samples.max():
        raise ValueError(
            must_be(name, "speech", f"{len(samples)} equal samples")
        )
    return samples


@torch.no_grad()
def _fold(front_end, statistics):
    """Makes a front end without norms over time, whose convolutions do what
    they did with these statistics."""
    blocks = [
        _Block(
            convolution.weight.double(),
            None if convolution.bias is None else convolution.bias.double(),
            [
                (f"following.{index}.{position}", function)
                for position, function in enumerate(functions)
            ],
        )
        for index, (convolution, functions) in enumerate(front_end.blocks())
    ]
    functions = [list(names) for names in front_end.functions]
    for index, block in enumerate(blocks):
        while block.following and _is_norm(block.following[0]):
            name, norm = block.following.pop(0)
            functions[index].pop(0)
            factor, offset = _affine(norm, *statistics[name])
            block.weight = block.weight * factor[:, None, None]
            if block.bias is not None:
                offset = offset + block.bias * factor
            block.bias = offset
        while block.following and _is_norm(block.following[-1]):
            name, norm = block.following.pop()
            functions[index].pop()
            factor, offset = _affine(norm, *statistics[name])
            after = blocks[index + 1]
            # (out, in, taps) x (in,) -> (out,)
            added = torch.einsum("oit,i->o", after.weight, offset)
            after.bias = added if after.bias is None else after.bias + added
            after.weight = after.weight * factor[:, None]
    fixed = ConvolutionalFrontEnd(
        front_end.out_channels,
        front_end.kernel_sizes,
        front_end.strides,
        [block.bias is not None for block in blocks],
        functions,
        not isinstance(front_end.norm, torch.nn.Identity),
    ).to(next(front_end.parameters()))
    for block, (convolution, following) in zip(
        blocks, fixed.blocks(), strict=True
    ):
        convolution.weight.copy_(block.weight)
        if block.bias is not None:
            convolution.bias.copy_(block.bias)
        for (_, old), new in zip(block.following, following, strict=True):
            new.load_state_dict(old.state_dict())
    fixed.norm.load_state_dict(front_end.norm.state_dict())
    return fixed.eval()


def _is_norm(named):
    return isinstance(named[1], NormOverTime)


def _affine(norm, mean, deviation):
    """The factor and the offset of each channel that a norm comes to."""
    channels = norm.num_channels // norm.num_groups
    mean = mean.repeat_interleave(channels)
    factor = norm.weight.double() / deviation.repeat_interleave(channels)
    return factor, norm.bias.double() - mean * factor
