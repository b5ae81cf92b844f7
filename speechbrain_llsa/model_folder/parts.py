"""Builds the parts of a model from sections of ``model.json``, and describes
parts as such sections.

Each kind of a section has a row in ``PARTS``. To add a kind, write its two
functions and a row here, and the check of its entries in
``description.SECTIONS``.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from speechbrain.nnet.activations import Swish
from speechbrain.nnet.linear import Linear

from speechbrain_llsa.lobes.ctc import StreamingCTC
from speechbrain_llsa.lobes.transducer import (
    StreamingTransducer,
    TransducerDecoder,
)
from speechbrain_llsa.lobes.wav2vec2 import StreamingEncoderWrapper
from speechbrain_llsa.nnet.convolutional_front_end import (
    ConvolutionalFrontEnd,
)
from speechbrain_llsa.nnet.encoder import StreamingTransformerEncoder
from speechbrain_llsa.nnet.frontend import StreamingLatentExtractor
from speechbrain_llsa.nnet.log_mel_front_end import LogMelFrontEnd
from speechbrain_llsa_runtime.utils.errors import must_be

ACTIVATIONS = {
    name: getattr(torch.nn, name)
    for name in torch.nn.modules.activation.__all__
    if name != "MultiheadAttention"
} | {"Swish": Swish}
"""The activations that ``model.json`` may name."""


@dataclass(frozen=True)
class Part:
    """One kind of a section."""

    module: type
    """The class of the module."""

    build: Callable
    """Builds the module from the entries of the section and a dict of the parts
    before it."""

    describe: Callable
    """Returns the entries of the section for a module."""


def _build_extractor(section, parts):
    return StreamingLatentExtractor(
        out_channels=section["out_channels"],
        kernel_sizes=section["kernel_sizes"],
        strides=section["strides"],
    )


def _describe_extractor(extractor):
    return {
        "out_channels": list(extractor.out_channels),
        "kernel_sizes": list(extractor.kernel_sizes),
        "strides": list(extractor.strides),
    }


def _build_front_end(section, parts):
    return ConvolutionalFrontEnd(**_arguments(section))


def _describe_front_end(front_end):
    return {
        **_describe_extractor(front_end),
        "biases": front_end.biases,
        "functions": front_end.functions,
        "closing_norm": isinstance(front_end.norm, torch.nn.LayerNorm),
    }


def _build_log_mel(section, parts):
    return LogMelFrontEnd(**_arguments(section))


def _describe_log_mel(front_end):
    log_mel = front_end.log_mel
    return {
        "n_mels": log_mel.n_mels,
        "n_fft": log_mel.n_fft,
        "window_samples": log_mel.window_samples,
        "hop_samples": log_mel.hop_samples,
        "f_min": log_mel.f_min,
        "f_max": log_mel.f_max,
        "floor_db": log_mel.floor_db,
        "cnn_channels": front_end.cnn_channels,
        "cnn_kernel_sizes": front_end.cnn_kernel_sizes,
        "cnn_strides": front_end.cnn_strides,
    }


def _arguments(section):
    return {name: value for name, value in section.items() if name != "kind"}


def encoder_arguments(section):
    """The arguments of an encoder.

    Arguments
    ---------
    section : dict
        Its checked section of a description.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If there is no such activation.
    """
    activation = section["activation"]
    if activation not in ACTIVATIONS:
        raise ValueError(
            must_be(
                "encoder.activation",
                "the name of an activation of torch.nn, or Swish",
                repr(activation),
            )
        )
    return {**_arguments(section), "activation": ACTIVATIONS[activation]}


def _build_encoder(section, parts):
    return StreamingTransformerEncoder(**encoder_arguments(section))


def _describe_encoder(encoder):
    layer = encoder.layers[0]
    first, activation, *_ = layer.pos_ffn.ffn
    name = type(activation).__name__
    if ACTIVATIONS.get(name) is not type(activation):
        raise TypeError(
            must_be(
                "activation", "one of torch.nn, or SpeechBrain's Swish", name
            )
        )
    return {
        "num_layers": len(encoder.layers),
        "nhead": layer.self_att.nhead,
        "d_ffn": first.out_features,
        "d_model": encoder.d_model,
        "attention": encoder.attention,
        "look_back": encoder.geometry.look_back,
        "look_ahead": _one_or_list(encoder.geometries.look_ahead),
        "hop": _one_or_list(encoder.geometries.hop),
        "positional_encoding": encoder.positional_encoding,
        "normalize_before": layer.normalize_before,
        "activation": name,
        **encoder.unusual_options(),
    }


def _one_or_list(values):
    """Unwraps a tuple of one value; longer ones become lists."""
    return values[0] if len(values) == 1 else list(values)


def _build_wrapper(section, parts):
    return StreamingEncoderWrapper(
        in_dim=section["in_dim"],
        embedding_dim=section["embedding_dim"],
        latent_encoder=parts["encoder"],
    )


def _describe_wrapper(wrapper):
    projector = wrapper.input_projector
    return {
        "in_dim": projector.in_features,
        "embedding_dim": projector.out_features,
    }


def _build_linear(section, parts):
    return torch.nn.Linear(
        in_features=section["in_features"],
        out_features=section["out_features"],
        bias=section["bias"],
    )


def _describe_linear(head):
    return {
        "in_features": head.in_features,
        "out_features": head.out_features,
        "bias": head.bias is not None,
    }


def _build_speechbrain_linear(section, parts):
    return Linear(
        n_neurons=section["out_features"],
        input_size=section["in_features"],
        bias=section["bias"],
    )


def _build_decoder(section, parts):
    return TransducerDecoder(
        **{name: value for name, value in section.items() if name != "kind"}
    )


def _describe_decoder(decoder):
    return {
        "labels": decoder.labels,
        "features": decoder.features,
        "embedding_dim": decoder.embedding.embedding_dim,
        "context_size": decoder.context_size,
        "max_symbols": decoder.max_symbols,
    }


PARTS = {
    "extractor": {
        "convolutions": Part(
            StreamingLatentExtractor, _build_extractor, _describe_extractor
        ),
        "front_end": Part(
            ConvolutionalFrontEnd, _build_front_end, _describe_front_end
        ),
        "log_mel": Part(LogMelFrontEnd, _build_log_mel, _describe_log_mel),
    },
    "encoder": {
        "transformer": Part(
            StreamingTransformerEncoder, _build_encoder, _describe_encoder
        )
    },
    "encoder_wrapper": {
        "wav2vec2": Part(
            StreamingEncoderWrapper, _build_wrapper, _describe_wrapper
        )
    },
    "head": {
        "linear": Part(torch.nn.Linear, _build_linear, _describe_linear),
        "speechbrain_linear": Part(
            Linear,
            _build_speechbrain_linear,
            lambda head: _describe_linear(head.w),
        ),
    },
    "decoder": {
        "stateless": Part(TransducerDecoder, _build_decoder, _describe_decoder)
    },
}
"""Kinds of parts by section and kind; sections are built in this order."""


def build_parts(description, sections=tuple(PARTS)):
    """Builds modules with random weights.

    Arguments
    ---------
    description : dict
        A checked description.
    sections : collection of str
        The sections to build.

    Returns
    -------
    dict
        The module of each section that the description has, by name, and
        ``model`` where there is a head: a :class:`StreamingCTC`, or with a
        decoder a :class:`StreamingTransducer`.

    Raises
    ------
    ValueError
        If sizes are inconsistent.
    """
    parts = {}
    for name, kinds in PARTS.items():
        if name in sections and name in description:
            section = description[name]
            part = kinds[section["kind"]]
            try:
                parts[name] = part.build(section, parts)
            except (TypeError, ValueError, RuntimeError) as error:
                raise ValueError(f"{name}: {error}") from error
    if "head" in parts:
        modules = [
            parts[name]
            for name in ("extractor", "encoder_wrapper", "head", "decoder")
            if name in parts
        ]
        model = StreamingTransducer if "decoder" in parts else StreamingCTC
        parts["model"] = model(*modules)
    return parts


def describe_part(name, module):
    """Describes a module.

    Arguments
    ---------
    name : str
        Name of its section.
    module : torch.nn.Module
        The module.

    Returns
    -------
    dict
        The section.

    Raises
    ------
    TypeError
        If the section has no kind for the class of the module.
    """
    kinds = PARTS[name]
    for kind, part in kinds.items():
        if isinstance(module, part.module):
            return {"kind": kind, **part.describe(module)}
    allowed = " or ".join(
        f"{part.module.__module__}.{part.module.__qualname__}"
        for part in kinds.values()
    )
    raise TypeError(
        must_be(f"{name} of the model", allowed, type(module).__name__)
    )


def describe_encoder(extractor, encoder_wrapper):
    """Describes the sections that all models have.

    Arguments
    ---------
    extractor : StreamingLatentExtractor
        The front end.
    encoder_wrapper : StreamingEncoderWrapper
        The encoder.

    Returns
    -------
    dict
        The sections by name.

    Raises
    ------
    TypeError
        If one of them, or the encoder within, has an unsupported class.
    """
    return {
        "extractor": describe_part("extractor", extractor),
        "encoder": describe_part("encoder", encoder_wrapper.latent_encoder),
        "encoder_wrapper": describe_part("encoder_wrapper", encoder_wrapper),
    }
