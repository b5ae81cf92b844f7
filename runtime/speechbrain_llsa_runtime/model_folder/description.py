"""Reads ``model.json``, which describes a model folder, and validates every
entry.

``docs/model-format.md`` says what each entry means. Nothing is imported or
built from a description here; PyTorch is not needed.
"""

import json
from pathlib import Path

from speechbrain_llsa_runtime.geometry import (
    ATTENTIONS,
    ENCODER_MODULES,
    SAMPLE_RATE,
)
from speechbrain_llsa_runtime.model_folder.fields import (
    absent_or,
    boolean,
    built_by,
    by_kind,
    checksum,
    fields,
    file_name,
    integer,
    listed,
    number,
    one_of,
    one_or_listed,
    optional,
    release,
    shown,
    text,
)
from speechbrain_llsa_runtime.transcripts.endpointer import Endpointer
from speechbrain_llsa_runtime.transcripts.words import WordOffsets
from speechbrain_llsa_runtime.utils.errors import must_be, reason
from speechbrain_llsa_runtime.utils.text_files import decode_text

MODEL_FILE = "model.json"
HPARAMS_FILE = "hyperparams.yaml"

FORMAT = "speechbrain_llsa"
FORMAT_VERSION = 1
"""Format version; raised whenever an older reader would misread a folder."""

FORMAT_BEFORE = "speechbrain_llsa streaming step"
"""Format of exported folders before all kinds of folders shared one."""

PRECISIONS = ("int8", "fp32")
"""The graphs that an exported folder may hold, best first."""

LARGEST_MODEL_FILE = 16 << 20
"""Maximum size of ``model.json`` in bytes."""

MOST_LABELS = 1 << 20
MOST_CONTEXT_SIZE = 16
MOST_SYMBOLS = 100

FRONT_END_FUNCTIONS = (
    "layer_norm",
    "instance_norm",
    "group_norm",
    "gelu",
    "tanh",
)
"""What may follow a convolution of a front end."""

_SIZE = integer(1, 1 << 20)
_EXPORTED_NUMBER = integer(0, 1 << 20)
_LINEAR = {"in_features": _SIZE, "out_features": _SIZE, "bias": boolean}
_FILE = fields(file=file_name, sha256=checksum)

SECTIONS = {
    "extractor": by_kind(
        convolutions={
            "out_channels": listed(_SIZE, 1),
            "kernel_sizes": listed(integer(1, 1 << 12), 1),
            "strides": listed(integer(1, 1 << 12), 1),
        },
        front_end={
            "out_channels": listed(_SIZE, 1),
            "kernel_sizes": listed(integer(1, 1 << 12), 1),
            "strides": listed(integer(1, 1 << 12), 1),
            "biases": listed(boolean, 1),
            "functions": listed(listed(one_of(*FRONT_END_FUNCTIONS)), 1),
            "closing_norm": boolean,
        },
        log_mel={
            "n_mels": _SIZE,
            "n_fft": integer(2, 1 << 12),
            "window_samples": integer(1, 1 << 12),
            "hop_samples": integer(1, 1 << 12),
            "f_min": number(0, SAMPLE_RATE / 2),
            "f_max": number(0, SAMPLE_RATE / 2),
            "floor_db": number(-1000, 1000),
            "cnn_channels": listed(_SIZE, 1),
            "cnn_kernel_sizes": listed(integer(1, 99), 1),
            "cnn_strides": listed(integer(1, 99), 1),
        },
    ),
    "encoder": by_kind(
        transformer={
            "num_layers": integer(1, 512),
            "nhead": _SIZE,
            "d_ffn": _SIZE,
            "d_model": _SIZE,
            "attention": one_of(*ATTENTIONS),
            "look_back": integer(0, 10_000),
            "look_ahead": one_or_listed(integer(0, 1000)),
            "hop": one_or_listed(integer(1, 1000)),
            "positional_encoding": one_of("rope", "convolution", None),
            "normalize_before": boolean,
            "activation": text,
            "attention_bias": absent_or(boolean),
            "closing_norm": absent_or(boolean),
            "norm_eps": absent_or(number(0, 1)),
            "rotary_features": absent_or(_SIZE),
            "positional_look_back": absent_or(integer(0, 1000)),
            "positional_look_ahead": absent_or(integer(0, 1000)),
            "positional_groups": absent_or(_SIZE),
            "positional_norm": absent_or(boolean),
            "closing_norm_eps": absent_or(number(0, 1)),
            "encoder_module": absent_or(one_of(*ENCODER_MODULES)),
            "macaron": absent_or(boolean),
            "conv_look_back": absent_or(integer(0, 1000)),
            "conv_look_ahead": absent_or(integer(0, 1000)),
        }
    ),
    "encoder_wrapper": by_kind(
        wav2vec2={"in_dim": _SIZE, "embedding_dim": _SIZE}
    ),
    "head": by_kind(linear=_LINEAR, speechbrain_linear=_LINEAR),
    "decoder": by_kind(
        stateless={
            "labels": integer(2, MOST_LABELS),
            "features": _SIZE,
            "embedding_dim": _SIZE,
            "context_size": integer(1, MOST_CONTEXT_SIZE),
            "max_symbols": integer(1, MOST_SYMBOLS),
        }
    ),
    "tokenizer": by_kind(
        characters={
            "labels": listed(text, 1, MOST_LABELS),
            "special_labels": fields(
                required=(),
                blank_label=text,
                unk_label=text,
                bos_label=text,
                eos_label=text,
            ),
        },
        sentencepiece={"file": file_name, "sha256": checksum},
    ),
    "endpointer": optional(built_by(Endpointer)),
    "word_offsets": optional(built_by(WordOffsets)),
    "search": optional(
        fields(
            required=(),
            beam_size=integer(1, 1000),
            beam_prune_logp=number(),
            token_prune_min_logp=number(),
            language_model=optional(file_name),
            alpha=number(),
            beta=number(),
            unk_score_offset=number(),
            hotwords=listed(text, 0, 1 << 16),
            hotword_weight=number(),
            most_provisional_frames=integer(1, 100_000),
            blank_index=one_of(0),
        )
    ),
}
"""Checks of each section. A new kind of a section needs a row here, and a
constructor in ``model_folder.parts``."""

ENCODER_PARTS = ("extractor", "encoder_wrapper")
CTC_PARTS = (*ENCODER_PARTS, "head")
TRANSDUCER_PARTS = (*CTC_PARTS, "decoder")
"""Parts of a model with a weights file each."""

PARTS_OF = {
    "ctc": CTC_PARTS,
    "transducer": TRANSDUCER_PARTS,
    "encoder": ENCODER_PARTS,
}
"""Those of each kind of folder."""

COMPLETE = ("ctc", "transducer")
"""Kinds of folders with a model that gives text."""

_ENCODER_SECTIONS = ("extractor", "encoder", "encoder_wrapper")
_CTC_SECTIONS = tuple(name for name in SECTIONS if name != "decoder")
_HEADER = {
    "format": one_of(FORMAT),
    "format_version": one_of(FORMAT_VERSION),
    "sample_rate": one_of(SAMPLE_RATE),
}

_CHECK = by_kind(
    ctc={
        **_HEADER,
        **{name: SECTIONS[name] for name in _CTC_SECTIONS},
        "weights": fields(**dict.fromkeys(CTC_PARTS, _FILE)),
    },
    transducer={
        **_HEADER,
        **SECTIONS,
        "weights": fields(**dict.fromkeys(TRANSDUCER_PARTS, _FILE)),
    },
    encoder={
        **_HEADER,
        **{name: SECTIONS[name] for name in _ENCODER_SECTIONS},
        "weights": fields(**dict.fromkeys(ENCODER_PARTS, _FILE)),
    },
    onnx={
        **_HEADER,
        "onnxruntime": release,
        "graphs": fields(required=(), **dict.fromkeys(PRECISIONS, file_name)),
        "attention": one_of(*ATTENTIONS),
        "look_back": _EXPORTED_NUMBER,
        "look_ahead": _EXPORTED_NUMBER,
        "hop": _EXPORTED_NUMBER,
        "num_layers": _EXPORTED_NUMBER,
        "step_frames": _EXPORTED_NUMBER,
        "receptive_field_samples": _EXPORTED_NUMBER,
        "stride_samples": integer(1, 1 << 20),
        "positional_look_ahead": absent_or(integer(0, 1000)),
        "conv_look_ahead": absent_or(integer(0, 1000)),
        "padding_samples": absent_or(_EXPORTED_NUMBER),
        # these follow from those above
        "step_samples": integer(0, 1 << 40),
        "leading_samples": integer(0, 1 << 40),
        "first_frame": integer(-(1 << 40), 0),
        "delay_frames": integer(0, 1 << 40),
        "never": one_of((1 << 63) - 1),
        "blank_index": one_of(0),
        "transducer": absent_or(
            fields(
                file=file_name,
                sha256=checksum,
                predictor=file_name,
                joiner=file_name,
                context_size=integer(1, MOST_CONTEXT_SIZE),
                max_symbols=integer(1, MOST_SYMBOLS),
            )
        ),
        "state": listed(
            fields(
                name=text,
                shape=listed(
                    lambda name, value: (
                        None
                        if value == "batch"
                        else integer(0, 1 << 28)(name, value)
                    ),
                    1,
                ),
                type=one_of("float32"),
            ),
            1,
            1 << 16,
        ),
        "pieces": listed(text, 1, MOST_LABELS),
        "first_pieces": listed(text, 1, MOST_LABELS),
        "endpointer": SECTIONS["endpointer"],
        "word_offsets": built_by(WordOffsets),
    },
)


def read_description(path, kinds, overrides=None, overrides_must_match=True):
    """Reads and validates a ``model.json``.

    Arguments
    ---------
    path : str or pathlib.Path
        The file.
    kinds : tuple of str
        Allowed kinds of the folder: "ctc", "transducer", "encoder" or "onnx".
    overrides : dict, optional
        Values that replace those of the file, by name of the section and, in
        a section, of the entry.
    overrides_must_match : bool
        Whether the file must have each section that is overridden.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If the file is damaged, of another kind, format or version, or has an
        entry that is unknown, missing or out of range.
    """
    path = Path(path)
    with open(path, "rb") as stream:
        content = stream.read(LARGEST_MODEL_FILE + 1)
    if len(content) > LARGEST_MODEL_FILE:
        raise ValueError(
            f"{MODEL_FILE} must have at most {LARGEST_MODEL_FILE} bytes"
        )
    try:
        content = decode_text(content)
    except ValueError as error:
        raise ValueError(f"{MODEL_FILE} {error}") from error
    try:
        description = json.loads(
            content,
            object_pairs_hook=_without_duplicates,
            parse_constant=_refuse_constant,
        )
        if overrides:
            description = _overridden(
                description, overrides, overrides_must_match
            )
        check_description(description, kinds)
    except RecursionError as error:
        raise ValueError(f"{MODEL_FILE} is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"{MODEL_FILE}: {reason(error)}") from error
    return description


def check_description(description, kinds):
    """Validates the content of a ``model.json``.

    Arguments
    ---------
    description : dict
        The content.
    kinds : tuple of str
        Allowed kinds of the folder.

    Raises
    ------
    ValueError
        If it is of another kind, format or version, or has an entry that is
        unknown, missing or out of range.

    Example
    -------
    >>> header = {"format": "speechbrain_llsa", "format_version": 2}
    >>> check_description(header, ("ctc",))
    Traceback (most recent call last):
    ...
    ValueError: its format_version is 2 and this version of speechbrain_llsa \
reads 1: install a newer speechbrain_llsa
    """
    if not isinstance(description, dict):
        raise ValueError("it is not an object")
    _check_version(description)
    kind = description.get("kind")
    if isinstance(kind, str) and kind not in kinds:
        one_of(*kinds)("kind", kind)
    _CHECK("", description)
    if kind == "onnx":
        _check_exported(description)
    if kind in COMPLETE and description["tokenizer"]["kind"] == "characters":
        _check_characters(description["tokenizer"])


def _check_version(description):
    found = description.get("format")
    if found == FORMAT_BEFORE:
        raise ValueError(
            "an earlier version wrote it; convert the folder with "
            "'python -m speechbrain_llsa convert FOLDER NEW_FOLDER'"
        )
    if found != FORMAT:
        raise ValueError(f"format must be {FORMAT!r}, got {shown(found)}")
    version = description.get("format_version")
    if type(version) is int and version > FORMAT_VERSION:
        raise ValueError(
            f"its format_version is {shown(version)} and this version of "
            f"speechbrain_llsa reads {FORMAT_VERSION}: install a newer "
            "speechbrain_llsa"
        )


def _check_exported(description):
    if not description["graphs"]:
        raise ValueError("graphs must name at least one file, got none")
    if len(description["pieces"]) != len(description["first_pieces"]):
        raise ValueError("pieces and first_pieces must have one length")
    if description["stride_samples"] > description["receptive_field_samples"]:
        raise ValueError(
            "stride_samples must be at most receptive_field_samples, got "
            f"{description['stride_samples']}"
        )


def _check_characters(tokenizer):
    labels = set(tokenizer["labels"])
    if len(labels) < len(tokenizer["labels"]):
        raise ValueError("tokenizer.labels must be different from each other")
    for name, label in tokenizer["special_labels"].items():
        if label not in labels:
            raise ValueError(
                f"tokenizer.special_labels.{name} must be one of the labels, "
                f"got {shown(label)}"
            )


def _without_duplicates(pairs):
    entries = {}
    for name, value in pairs:
        if name in entries:
            raise ValueError(f"it has the entry {shown(name)} twice")
        entries[name] = value
    return entries


def _refuse_constant(name):
    raise ValueError(f"its numbers must be finite, got {name}")


def _overridden(description, overrides, must_match):
    """Returns the description with overrides applied."""
    if not isinstance(overrides, dict):
        raise TypeError(
            f"overrides must be a dict, got {type(overrides).__name__}"
        )
    # plain values alone, and lists for tuples
    overrides = json.loads(json.dumps(overrides))
    if not isinstance(description, dict):
        return description
    unknown = overrides.keys() - description.keys()
    if unknown and must_match:
        raise ValueError(
            must_be("overrides", "entries of the file", shown(min(unknown)))
        )
    known = {
        name: value for name, value in overrides.items() if name not in unknown
    }
    return _merged(description, known)


def _merged(old, new):
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    return {
        **old,
        **{name: _merged(old.get(name), value) for name, value in new.items()},
    }


def read_checksums(path):
    """Reads the checksums of a model folder.

    Arguments
    ---------
    path : pathlib.Path
        Its ``model.json``.

    Returns
    -------
    dict
        The SHA-256 of files, by name of the file.

    Raises
    ------
    ValueError
        If the file is damaged, or of another kind, format or version.
    """
    description = read_description(path, tuple(PARTS_OF))
    files = [
        *description["weights"].values(),
        description.get("tokenizer", {}),
    ]
    return {each["file"]: each["sha256"] for each in files if "file" in each}


def is_exported(folder):
    """Whether a folder holds an exported model, going by its ``model.json``.

    Arguments
    ---------
    folder : str or pathlib.Path
        The folder.

    Returns
    -------
    bool
        ``False`` if that file is missing or damaged, which loading reports.
    """
    try:
        read_description(Path(folder, MODEL_FILE), ("onnx",))
    except (OSError, ValueError):
        return False
    return True


def describe_missing(folder):
    """Describes a folder without ``model.json``, for an error message.

    Arguments
    ---------
    folder : str or pathlib.Path
        The folder.

    Returns
    -------
    str
    """
    if Path(folder, HPARAMS_FILE).is_file():
        return (
            f"which an earlier version wrote: convert it with 'python -m "
            f"speechbrain_llsa convert {folder} NEW_FOLDER'"
        )
    return f"which holds no {MODEL_FILE}"
