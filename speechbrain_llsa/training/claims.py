"""What an output folder was begun with. Its checkpoints and its tokenizer
would go on with other settings as if nothing had happened."""

import hashlib
import json
from pathlib import Path

from speechbrain_llsa.training.checkpoints import COMPLETE
from speechbrain_llsa_runtime.utils.atomic_files import write_atomically
from speechbrain_llsa_runtime.utils.text_files import read_text

TRAINING = "training.json"

_MUST_STAY = (
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
    "final_dim",
    "num_vars",
)
"""Entries of YAML files that a training cannot change on its way."""


def read_claim(path):
    """Reads what a folder was begun with.

    Arguments
    ---------
    path : pathlib.Path
        The file that says so.

    Returns
    -------
    dict
        Settings by name; empty without a file, as of earlier versions.

    Raises
    ------
    ValueError
        If it is damaged.
    """
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(read_text(path)))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{path} must be as a recipe wrote it, got {error}"
        ) from error


def write_claim(path, settings):
    """Writes what a folder is begun with.

    Arguments
    ---------
    path : pathlib.Path
        The file.
    settings : dict
        Plain values by name.
    """
    write_atomically(path, json.dumps(settings, indent=2) + "\n")


def check_same(folder, found, settings):
    """Refuses a folder that was begun with other settings.

    Arguments
    ---------
    folder : pathlib.Path
        The folder.
    found : dict
        What it was begun with.
    settings : dict
        What it is to go on with. What only one of the two names does not
        count.

    Raises
    ------
    ValueError
        If some differ: all are named.

    Example
    -------
    >>> check_same("out", {"hop": 8}, {"hop": 4, "lr": 0.1})
    Traceback (most recent call last):
    ...
    ValueError: output_folder must be new, or go on with the settings that it \
was begun with, got out, where hop is 8 there, 4 now
    """
    refuse(
        folder,
        [
            f"{name} is {found[name]!r} there, {value!r} now"
            for name, value in json.loads(json.dumps(settings)).items()
            if name in found and found[name] != value
        ],
    )


def refuse(folder, differences):
    """Refuses a folder for what is different, if anything is.

    Arguments
    ---------
    folder : pathlib.Path
        The folder.
    differences : list of str
        What is there, and what is wanted.

    Raises
    ------
    ValueError
        If there are any.
    """
    if differences:
        raise ValueError(
            "output_folder must be new, or go on with the settings that it "
            f"was begun with, got {folder}, where {'; '.join(differences)}"
        )


def claim_training(hparams, **more):
    """Refuses a folder with checkpoints of another training. Otherwise its
    settings are recorded.

    Arguments
    ---------
    hparams : dict
        What the YAML file describes.
    **more : object
        Further settings, plain values.

    Raises
    ------
    ValueError
        If settings differ: all are named.
    """
    folder = Path(hparams["save_folder"])
    settings = {name: hparams[name] for name in _MUST_STAY if name in hparams}
    settings.update(more)
    if any(folder.glob(f"CKPT+*/{COMPLETE}")):
        check_same(folder, read_claim(folder / TRAINING), settings)
        if (folder / TRAINING).is_file():
            return
    write_claim(folder / TRAINING, settings)


def digest(*chunks):
    """A short name of some content.

    Arguments
    ---------
    *chunks : bytes
        The content.

    Returns
    -------
    str

    Example
    -------
    >>> digest(b"A", b"B") == digest(b"AB")
    False
    """
    hashed = hashlib.blake2b(digest_size=8)
    for chunk in chunks:
        hashed.update(len(chunk).to_bytes(8, "little") + chunk)
    return hashed.hexdigest()
