"""wav2vec 2.0, HuBERT and their fine-tuned forms, from torchaudio and
transformers."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torchaudio.models import Wav2Vec2Model

from speechbrain_llsa.lobes.wav2vec2 import StreamingEncoderWrapper
from speechbrain_llsa.nnet.convolutional_front_end import ConvolutionalFrontEnd
from speechbrain_llsa.nnet.encoder import StreamingTransformerEncoder
from speechbrain_llsa.pretrained.copying import (
    copy_weights,
    named_parameters,
)
from speechbrain_llsa.pretrained.imported import ImportedModel
from speechbrain_llsa_runtime.utils.checks import check_type
from speechbrain_llsa_runtime.utils.errors import must_be, reason

NORM_EPS = 1e-5
"""Epsilon of all norms of the family."""

BLANK_LABEL = "<blank>"
"""What the blank is called here."""

NORMALIZES = (
    "the source normalises each waveform to zero mean and unit variance; this "
    "model takes it as it is"
)
"""What changes where the source has a norm before its front end."""

_PRE_TRAINING = ("quantizer.", "project_hid.", "project_q.")
"""What transformers' models for pre-training have around the encoder."""

KINDS = ("wav2vec2", "hubert")
"""What ``model_type`` of a configuration may be."""


@dataclass
class _Layout:
    """Sizes and options of a source."""

    out_channels: list[int]
    kernel_sizes: list[int]
    strides: list[int]
    biases: list[bool]
    functions: list[list[str]]
    closing_norm: bool
    embedding_dim: int
    num_layers: int
    nhead: int
    d_ffn: int
    taps: int
    groups: int
    normalize_before: bool
    positional_norm: bool


def from_torchaudio(model):
    """Imports a wav2vec 2.0 or HuBERT model of torchaudio.

    Arguments
    ---------
    model : torchaudio.models.Wav2Vec2Model
        The model, or what ``get_model`` of a bundle of
        ``torchaudio.pipelines`` returns. It is copied.

    Returns
    -------
    ImportedModel
        With ``attention="aa"``, which gives what the source gives; the labels
        of a bundle are not in its model, and so ``None``.

    Raises
    ------
    TypeError
        If it is no such model.
    ValueError
        If it is WavLM, or a weight does not fit.

    Example
    -------
    >>> source = getfixture("tiny_wav2vec2")
    >>> imported = from_torchaudio(source)
    >>> waveform = torch.randn(1, 800)
    >>> with torch.no_grad():
    ...     latents = imported.extractor(waveform)
    ...     embeddings = imported.encoder_wrapper(latents)["embeddings"]
    ...     logits = imported.head(embeddings)
    ...     expected, _ = source(waveform)
    >>> torch.allclose(logits, expected, atol=1e-5)
    True
    """
    notes = []
    if not isinstance(model, Wav2Vec2Model):
        if getattr(model, "normalize_waveform", False):
            notes.append(NORMALIZES)
        if getattr(model, "append_star", False):
            notes.append("the star label behind the others is left out")
        model = getattr(model, "model", model)
    check_type("model", model, Wav2Vec2Model)
    transformer = model.encoder.transformer
    attention = type(transformer.layers[0].attention).__name__
    if attention != "SelfAttention":
        raise ValueError(
            must_be(
                "model",
                "wav2vec 2.0 or HuBERT, whose attention has no bias of "
                "positions",
                "WavLM" if "WavLM" in attention else f"one with {attention}",
            )
        )
    blocks = model.feature_extractor.conv_layers
    projection = model.encoder.feature_projection.projection
    positions = transformer.pos_conv_embed
    first = transformer.layers[0]
    layout = _Layout(
        out_channels=[block.conv.out_channels for block in blocks],
        kernel_sizes=[block.kernel_size for block in blocks],
        strides=[block.stride for block in blocks],
        biases=[block.conv.bias is not None for block in blocks],
        functions=[_torchaudio_functions(block.layer_norm) for block in blocks],
        closing_norm=True,
        embedding_dim=projection.out_features,
        num_layers=len(transformer.layers),
        nhead=first.attention.num_heads,
        d_ffn=first.feed_forward.intermediate_dense.out_features,
        taps=positions.kernel_size,
        groups=positions.conv.groups,
        normalize_before=first.layer_norm_first,
        # torchaudio gives the transformer the opposite of what a layer has
        positional_norm=transformer.layer_norm_first,
    )
    weights, head = {}, {}
    for name, weight in model.state_dict().items():
        if name.startswith("aux."):
            head[name.removeprefix("aux.")] = weight
        else:
            name = name.replace("encoder.feature_pro", "feature_pro", 1)
            name = name.replace("encoder.transformer.", "encoder.", 1)
            weights[name] = weight
    return _build(layout, weights, head, None, notes)


def _torchaudio_functions(norm):
    if norm is None:
        return ["gelu"]
    if isinstance(norm, torch.nn.GroupNorm):
        return ["instance_norm", "gelu"]
    return ["layer_norm", "gelu"]


def from_transformers(model_or_folder):
    """Imports a wav2vec 2.0 or HuBERT model of transformers.

    Arguments
    ---------
    model_or_folder : torch.nn.Module or str or pathlib.Path
        A ``Wav2Vec2Model``, ``HubertModel``, ``Wav2Vec2ForCTC`` or
        ``HubertForCTC``, which is copied, or a folder that transformers'
        ``from_pretrained`` loads. Nothing is downloaded.

    Returns
    -------
    ImportedModel
        With ``attention="aa"``, which gives what the source gives. The labels
        are those of a folder's ``vocab.json``, with the blank moved to the
        front.

    Raises
    ------
    ImportError
        If a folder is given, and transformers is not installed.
    FileNotFoundError
        If there is no such folder.
    TypeError
        If it is no such model.
    ValueError
        If it is of another family, has adapters or other options that do not
        fit, or a weight does not fit.

    Example
    -------
    >>> from_transformers("missing")
    Traceback (most recent call last):
    ...
    FileNotFoundError: model_or_folder must be a folder with a config.json, \
got 'missing'
    """
    labels, notes, model = None, [], model_or_folder
    folder = normalizes = None
    if isinstance(model, (str, os.PathLike)):
        folder = Path(model)
        model, notes = _load_transformers(folder)
        normalizes = _read_json(folder / "preprocessor_config.json").get(
            "do_normalize"
        )
    config = getattr(model, "config", None)
    if not isinstance(model, torch.nn.Module) or config is None:
        raise TypeError(
            must_be(
                "model_or_folder",
                "a folder, or a model of transformers",
                type(model).__name__,
            )
        )
    layout = _transformers_layout(config)
    weights, head = {}, {}
    for name, weight in model.state_dict().items():
        top, _, rest = name.partition(".")
        if top == "lm_head":
            head[rest] = weight
        elif top == config.model_type:
            weights[rest] = weight
        elif name.startswith(_PRE_TRAINING):
            notes.append(f"weight {name} is left out")
        else:
            weights[name] = weight
    if folder is not None and head:
        labels = _read_labels(folder, len(head["weight"]))
    if normalizes is None:
        normalizes = config.feat_extract_norm == "layer"
    if normalizes:
        notes.append(NORMALIZES)
    blank = config.pad_token_id if head else None
    if head and blank is None:
        raise ValueError(
            must_be("pad_token_id", "the number of the blank", None)
        )
    imported = _build(layout, weights, head, labels, notes)
    if blank:
        _move_blank(imported, blank)
    if imported.labels is not None:
        imported.labels[0] = BLANK_LABEL
    return imported


def _transformers_layout(config):
    _check_config(config)
    layers = len(config.conv_dim)
    norms = ["layer_norm"] * layers
    if config.feat_extract_norm == "group":
        norms = ["instance_norm"] + [None] * (layers - 1)
    return _Layout(
        out_channels=list(config.conv_dim),
        kernel_sizes=list(config.conv_kernel),
        strides=list(config.conv_stride),
        biases=[config.conv_bias] * layers,
        functions=[[norm, "gelu"] if norm else ["gelu"] for norm in norms],
        closing_norm=getattr(config, "feat_proj_layer_norm", True),
        embedding_dim=config.hidden_size,
        num_layers=config.num_hidden_layers,
        nhead=config.num_attention_heads,
        d_ffn=config.intermediate_size,
        taps=config.num_conv_pos_embeddings,
        groups=config.num_conv_pos_embedding_groups,
        normalize_before=config.do_stable_layer_norm,
        positional_norm=not config.do_stable_layer_norm,
    )


def _check_config(config):
    """Rejects families and options that have no counterpart here."""
    kind = getattr(config, "model_type", None)
    if kind not in KINDS:
        raise ValueError(must_be("model_type", " or ".join(KINDS), repr(kind)))
    for name, expected in (
        ("add_adapter", False),
        ("adapter_attn_dim", None),
        ("conv_pos_batch_norm", False),
        ("hidden_act", "gelu"),
        ("feat_extract_activation", "gelu"),
        ("layer_norm_eps", NORM_EPS),
    ):
        value = getattr(config, name, expected)
        if value != expected:
            raise ValueError(must_be(name, repr(expected), repr(value)))
    if config.feat_extract_norm not in ("group", "layer"):
        raise ValueError(
            must_be(
                "feat_extract_norm",
                "'group' or 'layer'",
                repr(config.feat_extract_norm),
            )
        )


def _load_transformers(folder):
    """Loads the model of a folder, and names the weights that it leaves."""
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(
            must_be(
                "model_or_folder",
                "a folder with a config.json",
                repr(str(folder)),
            )
        )
    try:
        import transformers
    except ImportError as error:
        raise ImportError(
            must_be(
                "transformers",
                "installed (pip install 'speechbrain-llsa[transformers]')",
                "none",
            )
        ) from error
    options = {"local_files_only": True, "trust_remote_code": False}
    with _named_errors(folder):
        config = transformers.AutoConfig.from_pretrained(folder, **options)
    _check_config(config)
    is_ctc = any("ForCTC" in name for name in config.architectures or ())
    family = transformers.AutoModelForCTC if is_ctc else transformers.AutoModel
    with _named_errors(folder):
        model, report = family.from_pretrained(
            folder, output_loading_info=True, **options
        )
    missing = set(report["missing_keys"])
    missing = {name for name in missing if "masked_spec_embed" not in name}
    if missing:
        raise ValueError(
            must_be("weights", "those of config.json", f"no {min(missing)}")
        )
    left = sorted(report["unexpected_keys"])
    return model, [f"weight {name} is left out" for name in left]


@contextmanager
def _named_errors(folder):
    """Says which folder it is that transformers cannot load."""
    try:
        yield
    except Exception as error:
        raise ValueError(
            must_be(
                "model_or_folder",
                "a folder that transformers loads",
                f"{str(folder)!r}: {reason(error)}",
            )
        ) from error


def _read_json(path):
    """Reads an object; one without entries if there is no such file."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(must_be(path.name, "JSON", reason(error))) from error
    check_type(path.name, content, dict)
    return content


def _read_labels(folder, count):
    """Labels of a vocabulary in the order of their numbers; ``None`` if there
    is none. What a tokenizer adds to it, such as ``<s>``, lies beside, and may
    be among the ``count`` labels of the head."""
    path = folder / "vocab.json"
    numbers = _read_json(path)
    if not numbers:
        return None
    if len(numbers) < count:
        numbers = _read_json(folder / "added_tokens.json") | numbers
    by_number = {str(number): label for label, number in numbers.items()}
    try:
        labels = [by_number[str(index)] for index in range(len(numbers))]
    except KeyError as error:
        raise ValueError(
            must_be(
                path.name,
                "labels with their numbers, from 0",
                f"none with {error}",
            )
        ) from error
    labels = [" " if label == "|" else label for label in labels]
    if labels.count(" ") > 1:
        raise ValueError(
            must_be(path.name, "of one label for spaces", "'|' and ' '")
        )
    return labels


def _move_blank(imported, blank):
    """Puts the blank's row of the head, and its label, first."""
    order = list(range(imported.head.out_features))
    if not 0 <= blank < len(order):
        raise ValueError(
            must_be("pad_token_id", f"below {len(order)}, the labels", blank)
        )
    order.insert(0, order.pop(blank))
    with torch.no_grad():
        for parameter in imported.head.parameters():
            parameter.copy_(parameter[order].clone())
    if imported.labels is not None:
        imported.labels[:] = [imported.labels[index] for index in order]
    imported.notes.append(f"the blank is label 0, in the source {blank}")


def _build(layout, weights, head, labels, notes):
    """Builds our modules and gives them the weights of a source.

    The weights have transformers' names without the model's prefix. Half
    precision becomes single.
    """
    double = all(each.dtype == torch.float64 for each in weights.values())
    dtype = torch.float64 if double else torch.float32
    weights = _with_folded_positions(
        {name: each.detach().to("cpu", dtype) for name, each in weights.items()}
    )
    extractor = ConvolutionalFrontEnd(
        out_channels=layout.out_channels,
        kernel_sizes=layout.kernel_sizes,
        strides=layout.strides,
        biases=layout.biases,
        functions=layout.functions,
        closing_norm=layout.closing_norm,
    ).to(dtype)
    look_back = layout.taps // 2
    encoder = StreamingTransformerEncoder(
        num_layers=layout.num_layers,
        nhead=layout.nhead,
        d_ffn=layout.d_ffn,
        d_model=layout.embedding_dim,
        attention="aa",
        positional_encoding="convolution",
        positional_look_back=look_back,
        positional_look_ahead=layout.taps - 1 - look_back,
        positional_groups=layout.groups,
        positional_norm=layout.positional_norm,
        normalize_before=layout.normalize_before,
        closing_norm=not layout.positional_norm,
        norm_eps=NORM_EPS,
    )
    wrapper = StreamingEncoderWrapper(
        layout.out_channels[-1], layout.embedding_dim, encoder
    ).to(dtype)
    targets = dict(_front_end_targets(extractor))
    targets.update(_encoder_targets(wrapper))
    if "masked_spec_embed" in weights:
        targets["masked_spec_embed"] = wrapper.mask_emb
    else:
        notes.append("the mask embedding is new: the source has none")
    linear = None
    if head:
        labelled = head["weight"].shape[0]
        if labels is not None and len(labels) != labelled:
            raise ValueError(
                must_be("vocab.json", f"of {labelled} labels", len(labels))
            )
        linear = torch.nn.Linear(
            layout.embedding_dim, labelled, bias="bias" in head
        ).to(dtype)
        targets.update(named_parameters("head", linear))
        weights.update((f"head.{name}", each) for name, each in head.items())
    copy_weights(weights, targets, "wav2vec 2.0 or HuBERT")
    return ImportedModel(
        extractor.eval(),
        wrapper.eval(),
        linear if linear is None else linear.eval(),
        labels if head else None,
        notes,
        NORMALIZES in notes,
    )


def _with_folded_positions(weights):
    """Multiplies out the weight norm of the positional convolution, under the
    names that older and newer versions of PyTorch give its two tensors."""
    prefix = "encoder.pos_conv_embed.conv."
    for gain_name, direction_name in (
        ("weight_g", "weight_v"),
        (
            "parametrizations.weight.original0",
            "parametrizations.weight.original1",
        ),
    ):
        names = prefix + gain_name, prefix + direction_name
        if all(name in weights for name in names):
            gain, direction = (weights.pop(name) for name in names)
            # gain: (1, 1, taps); direction: (out, in of a group, taps)
            reduced = [axis for axis in range(3) if gain.shape[axis] == 1]
            length = direction.square().sum(reduced, keepdim=True).sqrt()
            weights[f"{prefix}weight"] = direction * (gain / length)
    return weights


def _front_end_targets(extractor):
    """The front end's parameters by the source's names."""
    for index, (convolution, functions) in enumerate(extractor.blocks()):
        prefix = f"feature_extractor.conv_layers.{index}"
        yield from named_parameters(f"{prefix}.conv", convolution).items()
        for function in functions:
            yield from named_parameters(
                f"{prefix}.layer_norm", function
            ).items()
    yield from named_parameters(
        "feature_projection.layer_norm", extractor.norm
    ).items()


def _encoder_targets(wrapper):
    """The encoder's parameters by the source's names."""
    encoder = wrapper.latent_encoder
    modules = {
        "feature_projection.projection": wrapper.input_projector,
        "encoder.pos_conv_embed.conv": encoder.positions.conv,
        "encoder.layer_norm": (encoder.positions.norm or encoder.norm).norm,
    }
    for index, layer in enumerate(encoder.layers):
        prefix = f"encoder.layers.{index}"
        first, _, _, second = layer.pos_ffn.ffn
        modules |= {
            f"{prefix}.attention.out_proj": layer.self_att.out_proj,
            f"{prefix}.layer_norm": layer.norm1.norm,
            f"{prefix}.feed_forward.intermediate_dense": first,
            f"{prefix}.feed_forward.output_dense": second,
            f"{prefix}.final_layer_norm": layer.norm2.norm,
        }
        # (3 * features, ...) -> a view for each of query, key and value
        for key, parameter in layer.self_att.in_proj.named_parameters():
            for name, part in zip("qkv", parameter.chunk(3), strict=True):
                yield f"{prefix}.attention.{name}_proj.{key}", part
    for name, module in modules.items():
        yield from named_parameters(name, module).items()
