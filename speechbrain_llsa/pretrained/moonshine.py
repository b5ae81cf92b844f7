"""Encoders of Moonshine (arXiv 2410.15608): raw waveforms, three convolutions,
layers with partial rotary positions, 41.7 frames a second."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from speechbrain_llsa.lobes.wav2vec2 import StreamingEncoderWrapper
from speechbrain_llsa.nnet.convolutional_front_end import (
    ConvolutionalFrontEnd,
)
from speechbrain_llsa.nnet.encoder import StreamingTransformerEncoder
from speechbrain_llsa.pretrained.copying import (
    copy_weights,
    named_parameters,
)
from speechbrain_llsa.pretrained.imported import ImportedModel
from speechbrain_llsa_runtime.utils.checks import check_integer


@dataclass(frozen=True)
class MoonshineSizes:
    """Sizes of a Moonshine encoder; by default those of the tiny model.

    Example
    -------
    >>> MoonshineSizes().rotary_features
    32
    """

    features: int = 288
    """Features of a frame."""

    heads: int = 8
    """Attention heads."""

    layers: int = 6
    """Encoder layers."""

    hidden: int = 1152
    """Hidden size of the feed-forward networks."""

    rotary_features: int = 32
    """Features of a head that are rotated by positions."""


def from_moonshine(weights, sizes=None):
    """Builds an encoder from the weights of a Moonshine model.

    Arguments
    ---------
    weights : dict of str to torch.Tensor
        State dict of transformers' ``MoonshineEncoder``: ``conv1.weight``,
        ``layers.0.self_attn.q_proj.weight`` and so on.
    sizes : MoonshineSizes, optional
        Sizes that the weights do not show; by default those of the tiny model.

    Returns
    -------
    ImportedModel
        With ``attention="aa"``: it gives what the source gives, in the type
        of its weights.

    Raises
    ------
    ValueError
        If a weight is missing, unknown or of another shape; the first is
        named.
    """
    sizes = MoonshineSizes() if sizes is None else sizes
    check_integer("rotary_features", sizes.rotary_features, 2)
    extractor = ConvolutionalFrontEnd(
        out_channels=[sizes.features, 2 * sizes.features, sizes.features],
        kernel_sizes=[127, 7, 3],
        strides=[64, 3, 2],
        biases=[False, True, True],
        functions=[["tanh", "group_norm"], ["gelu"], ["gelu"]],
        closing_norm=False,
    )
    encoder = StreamingTransformerEncoder(
        num_layers=sizes.layers,
        nhead=sizes.heads,
        d_ffn=sizes.hidden,
        d_model=sizes.features,
        attention="aa",
        activation=nn.GELU,
        rotary_features=sizes.rotary_features,
        attention_bias=False,
        norm_eps=1e-5,
    )
    wrapper = StreamingEncoderWrapper(sizes.features, sizes.features, encoder)
    dtype = next((each.dtype for each in weights.values()), torch.float32)
    extractor, wrapper = extractor.to(dtype), wrapper.to(dtype)
    with torch.no_grad():
        nn.init.eye_(wrapper.input_projector.weight)
        nn.init.zeros_(wrapper.input_projector.bias)
        nn.init.zeros_(wrapper.mask_emb)
    copy_weights(
        {name: _apart(name, weight, sizes) for name, weight in weights.items()},
        {**_front_end_targets(extractor), **_encoder_targets(encoder)},
        "Moonshine's encoder",
    )
    return ImportedModel(
        extractor.eval(),
        wrapper.eval(),
        notes=[
            "the projection, which Moonshine has not, is the identity",
            "pairs of rotary features lie apart, where they were neighbours",
        ],
    )


def _front_end_targets(extractor):
    """The front end's parameters by Moonshine's names."""
    targets = {}
    for number, convolution in enumerate(extractor.convolutions, start=1):
        targets |= named_parameters(f"conv{number}", convolution)
    _, norm = extractor.following[0]
    return {**targets, **named_parameters("groupnorm", norm)}


def _encoder_targets(encoder):
    """The encoder's parameters by Moonshine's names. Its norms have no bias:
    ours stays 0."""
    targets = {"layer_norm.weight": encoder.norm.norm.weight}
    for number, layer in enumerate(encoder.layers):
        name = f"layers.{number}"
        first, second = (
            part for part in layer.pos_ffn.ffn if isinstance(part, nn.Linear)
        )
        targets |= named_parameters(f"{name}.mlp.fc1", first)
        targets |= named_parameters(f"{name}.mlp.fc2", second)
        attention, norms = layer.self_att, (layer.norm1, layer.norm2)
        # (3 * features, features) -> a view for each of query, key and value
        products = [*attention.in_proj.weight.chunk(3)]
        products.append(attention.out_proj.weight)
        for part, product in zip("qkvo", products, strict=True):
            targets[f"{name}.self_attn.{part}_proj.weight"] = product
        for part, norm in zip(("input", "post_attention"), norms, strict=True):
            targets[f"{name}.{part}_layernorm.weight"] = norm.norm.weight
    return targets


def _apart(name, weight, sizes):
    """Reorders the outputs of the projections to queries and keys: Moonshine
    rotates features 2 i and 2 i + 1 together, this package i and i + n / 2.
    Products of queries and keys do not change where both are reordered."""
    square = sizes.features, sizes.features
    if not name.endswith(("q_proj.weight", "k_proj.weight")):
        return weight
    if tuple(weight.shape) != square:
        return weight  # which is refused by name
    number = torch.arange(sizes.features // sizes.heads, device=weight.device)
    rotated, rest = number.tensor_split([sizes.rotary_features])
    order = torch.cat([rotated[0::2], rotated[1::2], rest])
    # (heads * head dimension, in) -> (heads, head dimension, in), and back
    return weight.unflatten(0, (sizes.heads, -1))[:, order].flatten(0, 1)
