"""Encoders of SpeechBrain's own Conformers, from weights of recognizers."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from speechbrain.nnet.activations import Swish

from speechbrain_llsa.model_folder.parts import build_parts, describe_part
from speechbrain_llsa.nnet.encoder import (
    CONFORMER_NORMS,
    StreamingTransformerEncoder,
)
from speechbrain_llsa.pretrained.copying import copy_weights
from speechbrain_llsa_runtime.geometry import check_attention
from speechbrain_llsa_runtime.utils.checks import check_integer
from speechbrain_llsa_runtime.utils.errors import must_be

Weights: TypeAlias = dict[str, torch.Tensor]

RELATIVE = ("linear_pos.weight", "pos_bias_u", "pos_bias_v")
"""What only ``RelPosMHAXL`` has, and nothing here stands for."""

_FIRST = re.compile(r"(.*?)layers\.0\.convolution_module\.conv\.weight")
_NAMES = (
    (r"\.convolution_module\.", ".convolution."),
    (r"\.ffn_module1\.0\.", ".macaron_norm.norm."),
    (r"\.ffn_module1\.1\.", ".macaron_ffn."),
    (r"\.norm2\.", ".closing_norm."),
    (r"\.ffn_module2\.0\.", ".norm2.norm."),
    (r"\.ffn_module2\.1\.", ".pos_ffn."),
    (r"\.mha_layer\.(?:att\.)?in_proj_", ".self_att.in_proj."),
    (r"\.mha_layer\.(?:att\.)?out_proj\.", ".self_att.out_proj."),
)
"""SpeechBrain's names and ours, to be replaced in this order."""

_CONVOLUTION_BIASES = ("bottleneck.0.bias", "conv.bias", "after_conv.2.bias")


@dataclass
class ImportedEncoder:
    """An encoder that was trained elsewhere, in evaluation mode."""

    encoder: StreamingTransformerEncoder
    """The encoder. Its weights load into any of the same sizes, such as that
    of a ``StreamingTransformerASR``."""

    notes: list[str] = field(default_factory=list)
    """What was left out of the source, or differs from it."""

    def streaming(
        self,
        attention: str = "llsa",
        look_back: int = 64,
        look_ahead: int | list[int] = 8,
        hop: int | list[int] = 8,
        conv_look_ahead: int | None = None,
    ) -> ImportedEncoder:
        """Makes an encoder with the same weights and another attention.

        Its results differ from those of the source, which sees whole
        utterances, so that it needs fine-tuning.

        Arguments
        ---------
        attention : str
            aa, maa, sa or llsa.
        look_back : int
            Frames that a layer sees behind a frame.
        look_ahead : int or list of int
            Frames that a layer sees ahead, as for the encoder.
        hop : int or list of int
            Frames that llsa commits at once, as for the encoder.
        conv_look_ahead : int, optional
            Frames that the convolutions go on to see ahead; their taps further
            ahead are left out. By default all with aa and llsa, whose
            look-ahead they do not touch, and none with maa and sa.

        Returns
        -------
        ImportedEncoder
            The new encoder, which shares nothing with this one.

        Raises
        ------
        TypeError
            If a size is not an integer.
        ValueError
            If a size is out of range, there is no such attention, or the
            convolutions do not see that far.

        Example
        -------
        >>> from speechbrain.lobes.models.transformer.Conformer import (
        ...     ConformerEncoder,
        ... )
        >>> source = ConformerEncoder(
        ...     2, 16, 32, 4, kernel_size=7, attention_type="RoPEMHA"
        ... )
        >>> imported = from_speechbrain_conformer(source.state_dict(), nhead=4)
        >>> imported.streaming("sa", look_ahead=2).notes[-1]
        'the convolutions see 0 of their 3 frames ahead'
        """
        check_attention(attention)
        ahead = self.encoder.conv_look_ahead
        if conv_look_ahead is None:
            conv_look_ahead = 0 if attention in ("maa", "sa") else ahead
        check_integer("conv_look_ahead", conv_look_ahead, 0)
        if conv_look_ahead > ahead:
            raise ValueError(
                must_be(
                    "conv_look_ahead",
                    f"at most {ahead}, the frames that the source sees ahead",
                    conv_look_ahead,
                )
            )
        section = {
            **describe_part("encoder", self.encoder),
            "attention": attention,
            "look_back": look_back,
            "look_ahead": look_ahead,
            "hop": hop,
            "conv_look_ahead": conv_look_ahead,
        }
        encoder = build_parts({"encoder": section}, ("encoder",))["encoder"]
        taps = self.encoder.conv_look_back + 1 + conv_look_ahead
        weights = {
            name: weight[..., :taps] if name.endswith("conv.weight") else weight
            for name, weight in self.encoder.state_dict().items()
        }
        encoder.to(next(self.encoder.parameters()))
        encoder.load_state_dict(weights)
        notes = [f"attention {attention} in place of {self.encoder.attention}"]
        if conv_look_ahead < ahead:
            notes.append(
                f"the convolutions see {conv_look_ahead} of their {ahead} "
                "frames ahead"
            )
        return ImportedEncoder(encoder.eval(), [*self.notes, *notes])


def from_speechbrain_conformer(
    weights: Weights,
    nhead: int | None = None,
    activation: type = Swish,
    causal: bool = False,
) -> ImportedEncoder:
    """Builds an encoder from the weights of SpeechBrain's Conformer.

    Of ``RoPEMHA`` and of ``regularMHA`` it gives what the source gives;
    ``RelPosMHAXL`` knows positions of another kind, which are left out: rotary
    ones stand in their place.

    Arguments
    ---------
    weights : dict of str to torch.Tensor
        State dict of a ``ConformerEncoder``, or of what holds one, such as a
        ``TransformerASR`` or the list of modules that a recipe keeps: weights
        of other parts are not read.
    nhead : int, optional
        Attention heads, which only the weights of ``RelPosMHAXL`` show.
    activation : type
        Class of the activations.
    causal : bool
        Whether the source's convolutions see frames behind alone.

    Returns
    -------
    ImportedEncoder
        With ``attention="aa"``, in the type of the weights.

    Raises
    ------
    TypeError
        If ``nhead`` is not an integer.
    ValueError
        If there is no Conformer, a weight is missing, unknown or of another
        shape, or ``nhead`` is missing or does not fit.

    Example
    -------
    >>> from speechbrain.lobes.models.transformer.Conformer import (
    ...     ConformerEncoder,
    ... )
    >>> source = ConformerEncoder(
    ...     2, 16, 32, 4, kernel_size=7, attention_type="RoPEMHA"
    ... ).eval()
    >>> imported = from_speechbrain_conformer(source.state_dict(), nhead=4)
    >>> src = torch.rand(1, 20, 16)
    >>> expected, _ = source(src)
    >>> torch.allclose(imported.encoder(src)[0], expected, atol=1e-5)
    True
    """
    weights = _encoder_weights(weights)
    numbers = {int(name.split(".")[1]) for name in weights if "layers." in name}
    kind = _attention_kind(weights)
    notes = []
    if kind == "RelPosMHAXL":
        nhead = _checked_heads(weights, nhead)
        weights = {
            name: weight
            for name, weight in weights.items()
            if not name.endswith(RELATIVE)
        }
        notes.append(
            f"{', '.join(RELATIVE[:-1])} and {RELATIVE[-1]} of RelPosMHAXL are "
            f"left out in all {len(numbers)} layers; the attention has rotary "
            "positions instead, which the weights do not know yet"
        )
    if kind == "regularMHA":
        notes.append(
            "the attention has no positions: those that SpeechBrain adds to "
            "the encoder's input are no part of it"
        )
    if nhead is None:
        raise ValueError(
            must_be("nhead", "given, since these weights do not show it", None)
        )
    check_integer("nhead", nhead, 1)
    d_ffn, d_model = _shape_of(weights, "layers.0.ffn_module1.1.ffn.0.weight")
    (taps,) = _shape_of(weights, "layers.0.convolution_module.conv.weight")[2:]
    if taps == 1:
        raise ValueError(
            must_be("kernel size", "above 1, which convolves nothing", taps)
        )
    if not causal and taps % 2 == 0:
        raise ValueError(
            must_be("kernel size", "odd where it is not causal", taps)
        )
    encoder = StreamingTransformerEncoder(
        num_layers=len(numbers),
        nhead=nhead,
        d_ffn=d_ffn,
        d_model=d_model,
        attention="aa",
        positional_encoding=None if kind == "regularMHA" else "rope",
        activation=activation,
        **CONFORMER_NORMS,
        encoder_module="conformer",
        conv_look_back=taps - 1 if causal else taps // 2,
        conv_look_ahead=0 if causal else taps // 2,
    ).to(next(iter(weights.values())).dtype)
    copy_weights(
        _renamed(weights, kind, nhead, numbers),
        encoder.state_dict(),
        "SpeechBrain's Conformer encoder",
    )
    return ImportedEncoder(encoder.eval(), notes)


def _encoder_weights(weights: Weights) -> Weights:
    """The weights of the encoder, by the names that it has for them."""
    prefixes = {
        match[1]
        for match in map(_FIRST.fullmatch, weights)
        if match and "decoder." not in match[1]
    }
    if len(prefixes) != 1:
        got = "those of several" if prefixes else "those of another model"
        raise ValueError(
            must_be("weights", "those of one Conformer encoder", got)
        )
    (prefix,) = prefixes
    return {
        name.removeprefix(prefix): weight
        for name, weight in weights.items()
        if name.startswith((f"{prefix}layers.", f"{prefix}norm."))
    }


def _attention_kind(weights: Weights) -> str:
    attention = {
        name.removeprefix("layers.0.mha_layer.")
        for name in weights
        if name.startswith("layers.0.mha_layer.")
    }
    if "pos_bias_u" in attention:
        return "RelPosMHAXL"
    if "att.in_proj_weight" in attention:
        return "regularMHA"
    if "in_proj_weight" in attention:
        return "RoPEMHA"
    raise ValueError(
        must_be(
            "attention_type",
            "RoPEMHA, regularMHA or RelPosMHAXL, with one matrix for queries, "
            "keys and values",
            "weights of another",
        )
    )


def _checked_heads(weights: Weights, nhead: int | None) -> int:
    """Attention heads of ``RelPosMHAXL``."""
    _, heads = _shape_of(weights, "layers.0.mha_layer.pos_bias_u")
    if nhead not in (None, heads):
        raise ValueError(must_be("nhead", f"{heads}, as in the weights", nhead))
    return heads


def _shape_of(weights: Weights, name: str) -> tuple[int, ...]:
    if name not in weights:
        raise ValueError(
            must_be(
                "weights",
                "those of SpeechBrain's Conformer encoder",
                f"no {name}",
            )
        )
    return tuple(weights[name].shape)


def _renamed(
    weights: Weights, kind: str, nhead: int, numbers: set[int]
) -> Weights:
    """All weights by our names, in our shapes."""
    renamed = {}
    for name, weight in weights.items():
        for theirs, ours in _NAMES:
            name = re.sub(theirs, ours, name)
        if name.endswith("bottleneck.0.weight") and weight.ndim == 3:
            weight = weight.squeeze(2)
        renamed[name] = weight
    for number in numbers:
        layer = f"layers.{number}"
        if kind != "regularMHA":
            _split_heads(renamed, f"{layer}.", kind, nhead)
        norm = renamed.get(f"{layer}.convolution.layer_norm.weight")
        for part in _CONVOLUTION_BIASES:
            bias = f"{layer}.convolution.{part}"
            if norm is not None and bias not in renamed:
                size = len(norm) * (2 if "bottleneck" in part else 1)
                renamed[bias] = norm.new_zeros(size)
    return renamed


def _split_heads(weights: Weights, layer: str, kind: str, nhead: int) -> None:
    """Reorders queries, keys and values, which SpeechBrain has head by head,
    and scales the queries: it divides scores by the root of all features, we do
    by that of a head's. Where they are rotated, SpeechBrain does so with
    neighbours, and we with features that lie half a head apart."""
    name = f"{layer}self_att.in_proj.weight"
    features = weights[name].shape[1] if name in weights else 0
    if not features or weights[name].shape != (3 * features, features):
        return  # which is refused by name
    # (heads * 3 * head dimension, in) -> (3, heads, head dimension, in)
    parts = weights[name].unflatten(0, (nhead, 3, -1)).transpose(0, 1)
    query, key, value = parts.unbind(0)
    if kind == "RoPEMHA":
        number = torch.arange(features // nhead, device=value.device)
        order = torch.cat([number[0::2], number[1::2]])
        query, key = query[:, order], key[:, order]
    query = query / nhead**0.5
    weights[name] = torch.stack([query, key, value]).flatten(0, 2)
    bias = value.new_zeros(3, features)
    value_bias = weights.pop(f"{layer}mha_layer.value_bias_weight", None)
    if value_bias is not None:
        bias[2] = value_bias
    weights[f"{layer}self_att.in_proj.bias"] = bias.flatten()
