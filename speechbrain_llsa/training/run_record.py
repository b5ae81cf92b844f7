"""Record of the settings that an output folder was started with.

Without it, checkpoints and tokenizers would silently be reused under different
settings.
"""

import hashlib
import json
from pathlib import Path

from speechbrain_llsa.training.checkpoints import COMPLETE
from speechbrain_llsa_runtime.utils.atomic_files import write_atomically
from speechbrain_llsa_runtime.utils.text_files import read_text

TRAINING_FILE = "training.json"

_FIXED_SETTINGS = (
    "seed",
    "attention",
    "look_back",
    "look_ahead",
    "hop",
    "train_splits",
    "transcript_case",
    "extractor_kernels",
    "extractor_strides",
    "extractor_channels",
    "num_layers",
    "embedding_dim",
    "d_ffn",
    "nhead",
    "encoder_module",
    "macaron",
    "conv_look_back",
    "conv_look_ahead",
    "final_dim",
    "num_vars",
    "head_lr_factor",
    "layer_lr_decay",
)
"""Entries of YAML files that cannot change in the course of a training."""


def read_record(path):
    """Reads the settings that a folder was started with.

    Arguments
    ---------
    path : pathlib.Path
        The file of the record.

    Returns
    -------
    dict
        Settings by name; empty if there is no file, as in folders of earlier
        versions.

    Raises
    ------
    ValueError
        If the file is damaged.
    """
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(read_text(path)))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{path} must be as a recipe wrote it, got {error}"
        ) from error


def write_record(path, settings):
    """Writes the settings that a folder is started with.

    Arguments
    ---------
    path : pathlib.Path
        The file.
    settings : dict
        Plain values by name.
    """
    write_atomically(path, json.dumps(settings, indent=2) + "\n")


def check_settings(folder, recorded, settings):
    """Rejects a folder that was started with different settings.

    Arguments
    ---------
    folder : pathlib.Path
        The folder.
    recorded : dict
        The settings that it was started with.
    settings : dict
        The settings to continue with. Only names in both are compared.

    Raises
    ------
    ValueError
        If any differ; all that do are named.

    Example
    -------
    >>> check_settings("out", {"hop": 8}, {"hop": 4, "lr": 0.1})
    Traceback (most recent call last):
    ...
    ValueError: output_folder must be new, or go on with the settings that it \
was begun with, got out, where hop is 8 there, 4 now
    """
    reject_differences(
        folder,
        [
            f"{name} is {recorded[name]!r} there, {value!r} now"
            for name, value in json.loads(json.dumps(settings)).items()
            if name in recorded and recorded[name] != value
        ],
    )


def reject_differences(folder, differences):
    """Raises an error that lists all differences, if there are any.

    Arguments
    ---------
    folder : pathlib.Path
        The folder.
    differences : list of str
        Each says what the folder holds, and what it should hold.

    Raises
    ------
    ValueError
        If the list is not empty.
    """
    if differences:
        raise ValueError(
            "output_folder must be new, or go on with the settings that it "
            f"was begun with, got {folder}, where {'; '.join(differences)}"
        )


def record_training(hparams, **more):
    """Records the settings of a training in its output folder, or rejects a
    folder that holds checkpoints of a different training.

    Arguments
    ---------
    hparams : dict
        The hyperparameters, as loaded from the YAML file.
    **more : object
        Further settings, plain values.

    Raises
    ------
    ValueError
        If settings differ; all that do are named.
    """
    folder = Path(hparams["save_folder"])
    settings = {
        name: hparams[name] for name in _FIXED_SETTINGS if name in hparams
    }
    settings.update(more)
    if any(folder.glob(f"CKPT+*/{COMPLETE}")):
        check_settings(folder, read_record(folder / TRAINING_FILE), settings)
        if (folder / TRAINING_FILE).is_file():
            return
    write_record(folder / TRAINING_FILE, settings)


def digest(*chunks):
    """Hashes byte strings to a short hexadecimal digest.

    Arguments
    ---------
    *chunks : bytes
        The content. Where one chunk ends and the next begins counts as well.

    Returns
    -------
    str
        16 hexadecimal digits.

    Example
    -------
    >>> digest(b"A", b"B") == digest(b"AB")
    False
    """
    hashed = hashlib.blake2b(digest_size=8)
    for chunk in chunks:
        hashed.update(len(chunk).to_bytes(8, "little") + chunk)
    return hashed.hexdigest()
