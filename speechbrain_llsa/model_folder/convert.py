"""Converts model folders of the previous version to the current format.

``model_folder.version_0`` validates and reads their files.
"""

import json
import shutil
from contextlib import contextmanager
from pathlib import Path

from ruamel.yaml import YAMLError

from speechbrain_llsa.decoders.tokenizers import pieces
from speechbrain_llsa.model_folder.labels import (
    SENTENCEPIECE_FILE,
    describe_tokenizer,
)
from speechbrain_llsa.model_folder.load import load_parts
from speechbrain_llsa.model_folder.version_0 import (
    check_hyperparameters,
    check_tokenizer_size,
    read_entries,
    read_hyperparameters,
    read_labels,
    read_torch_weights,
)
from speechbrain_llsa.model_folder.write import write_description, write_files
from speechbrain_llsa_runtime.model_folder.description import (
    FORMAT,
    FORMAT_BEFORE,
    FORMAT_VERSION,
    HPARAMS_FILE,
    LARGEST_MODEL_FILE,
    MODEL_FILE,
    check_description,
)
from speechbrain_llsa_runtime.utils.atomic_files import (
    check_replaceable,
    written_atomically,
)
from speechbrain_llsa_runtime.utils.errors import must_be, reason

OLDEST_RUNTIME = "1.29"
"""The oldest ONNX Runtime that runs the graphs of earlier versions."""

_HEADS = {
    "torch.nn.Linear": ("linear", "in_features", "out_features"),
    "torch.nn.modules.linear.Linear": (
        "linear",
        "in_features",
        "out_features",
    ),
    "speechbrain.nnet.linear.Linear": (
        "speechbrain_linear",
        "input_size",
        "n_neurons",
    ),
}
"""Kind of each class of head, and its names for the sizes."""


def convert_folder(folder, new_folder):
    """Converts a folder of the previous version to the current format.

    The new folder is complete or absent: it is loaded before it is moved to its
    final path. The old one is not modified.

    Arguments
    ---------
    folder : str or pathlib.Path
        A ``streaming/``, ``pretrained/`` or exported folder.
    new_folder : str or pathlib.Path
        Path of the new folder.

    Returns
    -------
    pathlib.Path
        The new folder.

    Raises
    ------
    FileNotFoundError
        If a file of the old folder is missing.
    FileExistsError
        If something else already exists at the new path.
    ValueError
        If a file of the old folder is damaged, would do anything but describe a
        model, or already has the current format.
    """
    folder = Path(folder)
    exported = (folder / MODEL_FILE).is_file()
    marker = MODEL_FILE if exported else HPARAMS_FILE
    if not (folder / marker).is_file():
        raise FileNotFoundError(
            must_be(
                "folder",
                f"a model folder with a {HPARAMS_FILE} or a {MODEL_FILE}",
                repr(str(folder)),
            )
        )
    new_folder = check_replaceable(new_folder, marker)
    if new_folder.exists() and new_folder.samefile(folder):
        raise FileExistsError(
            must_be("new_folder", "other than folder", repr(str(folder)))
        )
    read = _read_exported if exported else _read_model
    with _naming_folder(folder):
        write = read(folder)
    with written_atomically(new_folder) as scratch, _naming_folder(folder):
        write(scratch)
    return new_folder


@contextmanager
def _naming_folder(folder):
    """Makes errors about files of a folder name that folder."""
    try:
        yield
    except (TypeError, ValueError, YAMLError, LookupError) as error:
        raise ValueError(
            must_be(
                "folder",
                "a folder of format version 0",
                f"{str(folder)!r}: {reason(error)}",
            )
        ) from error


def _read_exported(folder):
    """Reads an exported folder; returns the arguments to write it with."""
    path = folder / MODEL_FILE
    if path.stat().st_size > LARGEST_MODEL_FILE:
        raise ValueError(f"{MODEL_FILE} is larger than {LARGEST_MODEL_FILE}")
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError(f"{MODEL_FILE} is nested too deeply") from error
    found = description.get("format") if isinstance(description, dict) else None
    if found == FORMAT:
        raise ValueError("it is of this version, and needs no conversion")
    if found != FORMAT_BEFORE or description.get("format_version") != 1:
        raise ValueError(f"{MODEL_FILE} is of another format")
    description = {
        **description,
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "kind": "onnx",
    }
    # which the oldest folders do not say
    description.setdefault("onnxruntime", OLDEST_RUNTIME)
    description.setdefault("endpointer", None)
    description.setdefault("word_offsets", {})
    check_description(description, ("onnx",))
    graphs = [_present(folder, n) for n in description["graphs"].values()]

    def write(scratch):
        scratch.mkdir()
        for graph in graphs:
            shutil.copy(graph, scratch)
        write_description(scratch, description)

    return write


def _read_model(folder):
    """Reads a folder of weights; returns the arguments to write it with."""
    text = read_hyperparameters(folder / HPARAMS_FILE)
    check_hyperparameters(text)
    entries, classes = read_entries(text)
    files = entries["pretrainer"]["file_names"]
    _check_wiring(entries)
    sections = _encoder_sections(entries)
    names = ["extractor", "encoder_wrapper"]
    content = language_model = None
    if "model" in entries:
        names.append("head")
        kind, inputs, outputs = _HEADS[classes["head"]]
        head = entries["head"]
        sections["head"] = {
            "kind": kind,
            "in_features": head[inputs],
            "out_features": head[outputs],
            "bias": head.get("bias", True),
        }
        sections["tokenizer"], content = _read_tokenizer(
            _present(folder, files["tokenizer"]), classes["tokenizer"]
        )
        for name in ("endpointer", "word_offsets", "search"):
            sections[name] = entries.get(name)
        language_model = (sections["search"] or {}).get("language_model")
        if language_model is not None:
            language_model = _present(folder, language_model)
    sections["kind"] = "ctc" if "model" in entries else "encoder"
    weights = {
        name: read_torch_weights(_present(folder, files[name]))
        for name in names
    }

    def write(scratch):
        write_files(scratch, sections, weights, content, language_model)
        load_parts(
            str(scratch),
            "encoder" if sections["kind"] == "encoder" else "complete",
            trust=True,
        )

    return write


def _present(folder, file_name):
    """Path of a file directly in a folder, which must exist."""
    if not isinstance(file_name, str) or Path(file_name).name != file_name:
        raise ValueError(f"it names the file {file_name!r}, which is a path")
    path = folder / file_name
    if not path.is_file():
        raise FileNotFoundError(
            must_be(
                "folder",
                "a complete model folder",
                f"{str(folder)!r}, which holds no {file_name}",
            )
        )
    return path


def _check_wiring(entries):
    """Rejects references other than those of written files, which this
    conversion would not follow."""
    loadables = entries["pretrainer"]["loadables"]
    wired = dict(loadables)
    wired["encoder"] = entries["encoder_wrapper"]["latent_encoder"]
    if "model" in entries:
        wired.update(entries["model"])
    for name, reference in wired.items():
        if reference != f"<{name}>":
            raise ValueError(f"{name} must be '<{name}>', got {reference!r}")


def _encoder_sections(entries):
    wrapper = dict(entries["encoder_wrapper"])
    del wrapper["latent_encoder"]
    return {
        "extractor": {"kind": "convolutions", **entries["extractor"]},
        "encoder": {"kind": "transformer", **entries["encoder"]},
        "encoder_wrapper": {"kind": "wav2vec2", **wrapper},
    }


def _read_tokenizer(path, kind):
    """Returns the section of a tokenizer and the content of its file."""
    if kind == "sentencepiece.SentencePieceProcessor":
        check_tokenizer_size(path)
        section = {"kind": "sentencepiece", "file": SENTENCEPIECE_FILE}
        return section, path.read_bytes()
    tokenizer = read_labels(path)
    pieces(tokenizer)  # refuses gaps
    return describe_tokenizer(tokenizer)
