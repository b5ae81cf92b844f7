"""Model folders that lie in the repository, and changes to folders."""

import json
import shutil
from pathlib import Path

import numpy as np

from speechbrain_llsa_runtime.model_folder.description import MODEL_FILE
from speechbrain_llsa_runtime.utils.checksums import file_checksum

DATA = Path(__file__).parent / "data" / "model_folders"

KINDS = ("ctc", "pieces", "encoder", "onnx")

SHARED = {
    0: {"extractor.ckpt", "encoder_wrapper.ckpt"},
    1: {"extractor.safetensors", "encoder_wrapper.safetensors"},
}
"""Weights of ``ctc`` that ``pieces`` and ``encoder`` have as well, and that
lie there once."""


def model_folder(version, kind, place):
    """Copies a folder that a version of the format wrote.

    ``version_0`` was written by the release before the format, ``version_1``
    by the first one that had it, and both of the same weights.
    """
    source = DATA / f"version_{version}"
    shutil.copytree(source / kind, place)
    if kind in ("pieces", "encoder"):
        for name in SHARED[version]:
            to = name
            if (version, kind) == (0, "encoder"):
                to = f"latent_{name.removesuffix('_wrapper.ckpt')}"
                to = f"{to.removesuffix('.ckpt')}.ckpt"
            shutil.copy(source / "ctc" / name, place / to)
    return place


def expected(kind):
    """What the release before the format gave for :func:`signal`."""
    return json.loads((DATA / "expected.json").read_text())[kind]


def signal():
    """A tone that rises, float32 (6000,)."""
    phase = 0.05 * np.arange(6000.0) ** 1.2
    return (0.1 * np.sin(phase)).astype(np.float32)


def change_description(folder, section=None, **values):
    """Writes other values into ``model.json``, or into a section of it."""
    path = folder / MODEL_FILE
    description = json.loads(path.read_text(encoding="utf-8"))
    (description if section is None else description[section]).update(values)
    path.write_text(json.dumps(description), encoding="utf-8")


def reseal(folder):
    """Writes the checksums of the files as they are now, as whoever makes an
    untrusted folder would."""
    path = folder / MODEL_FILE
    description = json.loads(path.read_text(encoding="utf-8"))
    files = list(description.get("weights", {}).values())
    if "transducer" in description:
        files.append(description["transducer"])
    if "file" in description.get("tokenizer", {}):
        files.append(description["tokenizer"])
    for each in files:
        each["sha256"] = file_checksum(folder / each["file"])
    path.write_text(json.dumps(description), encoding="utf-8")
