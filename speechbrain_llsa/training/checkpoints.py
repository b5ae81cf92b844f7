"""Crash-safe checkpoints: an incomplete one is detected and skipped.

SpeechBrain writes a checkpoint file by file into its folder. Here a last file,
written once all others are on disk, lists them with their sizes: a checkpoint
without it, or with files of different sizes, was cut short.
"""

import json
import shutil

import torch
from speechbrain.utils.checkpoints import METAFNAME, ckpt_recency
from speechbrain.utils.logger import get_logger

from speechbrain_llsa_runtime.utils.atomic_files import (
    naming_write_errors,
    sync,
    write_atomically,
)

logger = get_logger(__name__)

COMPLETE = "COMPLETE"
"""Name of the file that lists the other files of a checkpoint."""


def write_checkpoint(checkpointer, meta, end_of_epoch=True, **keep):
    """Saves a checkpoint, marks it complete, and deletes surplus ones.

    Arguments
    ---------
    checkpointer : speechbrain.utils.checkpoints.Checkpointer
        Holds the checkpoints.
    meta : dict
        Values by which checkpoints are found and compared.
    end_of_epoch : bool
        Whether an epoch has ended.
    **keep : dict
        Which checkpoints to keep, as for :func:`delete_surplus`.

    Raises
    ------
    speechbrain_llsa_runtime.utils.atomic_files.WriteError
        If the checkpoint cannot be written, as on a full disk. Nothing of it
        remains, and earlier checkpoints are kept.
    """
    folder = checkpointer.checkpoints_dir
    before = set(folder.iterdir())
    try:
        # torch.save reports a full disk as a RuntimeError
        with naming_write_errors(folder, RuntimeError):
            checkpoint = checkpointer.save_checkpoint(
                meta=meta, end_of_epoch=end_of_epoch
            )
            mark_complete(checkpoint.path)
            remove_incomplete(checkpointer)
            delete_surplus(checkpointer, **keep)
    finally:
        for path in set(folder.glob("CKPT+*")) - before:
            if fault_of_checkpoint(path) is not None:
                shutil.rmtree(path, ignore_errors=True)


def mark_complete(folder):
    """Marks a checkpoint as saved completely.

    Arguments
    ---------
    folder : pathlib.Path
        The folder of the checkpoint.
    """
    sizes = {}
    for path in sorted(folder.iterdir()):
        sync(path)
        sizes[path.name] = path.stat().st_size
    write_atomically(folder / COMPLETE, json.dumps(sizes, indent=2) + "\n")
    sync(folder.parent)


def fault_of_checkpoint(folder):
    """Says what is wrong with a checkpoint, if anything.

    Arguments
    ---------
    folder : pathlib.Path
        The folder of the checkpoint.

    Returns
    -------
    str or None
        What is wrong with it; ``None`` if it is complete.
    """
    try:
        sizes = json.loads((folder / COMPLETE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return f"it has no file {COMPLETE}: saving was interrupted"
    except ValueError:
        return f"its file {COMPLETE} is damaged"
    for name, size in sizes.items():
        path = folder / name
        if not path.is_file():
            return f"it has no file {name}"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes instead of {size}"
    return None


def is_complete(checkpoint):
    """Whether a checkpoint of ``StreamingBrain`` was saved completely.

    Arguments
    ---------
    checkpoint : speechbrain.utils.checkpoints.Checkpoint
        The checkpoint.

    Returns
    -------
    bool
        False if saving was interrupted, or a file was cut short.
    """
    return fault_of_checkpoint(checkpoint.path) is None


def set_incomplete_aside(checkpointer):
    """Renames incomplete checkpoints, so that SpeechBrain does not find them,
    and warns about each.

    SpeechBrain reads the metadata of all checkpoints that it finds, which may
    be cut short as well.

    Arguments
    ---------
    checkpointer : speechbrain.utils.checkpoints.Checkpointer
        Holds the checkpoints.
    """
    for folder in sorted(checkpointer.checkpoints_dir.glob("CKPT+*")):
        fault = fault_of_checkpoint(folder)
        if fault is not None:
            logger.warning(f"Passing over the checkpoint {folder}: {fault}")
            aside = folder.with_name(f"incomplete+{folder.name}")
            shutil.rmtree(aside, ignore_errors=True)
            folder.rename(aside)


def remove_incomplete(checkpointer):
    """Removes what an interrupted save or deletion left behind. Checkpoints
    that were once complete and are now damaged stay set aside.

    Arguments
    ---------
    checkpointer : speechbrain.utils.checkpoints.Checkpointer
        Holds the checkpoints.
    """
    for folder in checkpointer.checkpoints_dir.glob("incomplete+CKPT+*"):
        if not (folder / COMPLETE).exists():
            shutil.rmtree(folder)
            logger.info(f"Removed {folder}")


def delete_surplus(
    checkpointer, num_to_keep=1, max_keys=(), min_keys=(), predicate=None
):
    """Deletes checkpoints that are neither among the newest nor the best.

    Like SpeechBrain's ``delete_checkpoints``, but a checkpoint whose deletion
    is interrupted no longer counts as complete.

    Arguments
    ---------
    checkpointer : speechbrain.utils.checkpoints.Checkpointer
        Holds the checkpoints.
    num_to_keep : int
        Number of checkpoints to keep: of the newest, and of the best by each
        key.
    max_keys : list of str
        Values where higher is better.
    min_keys : list of str
        Values where lower is better.
    predicate : callable, optional
        Whether a checkpoint may be deleted; by default, all may.
    """
    orders = [{"importance_key": ckpt_recency}]
    orders += [{"max_key": key} for key in max_keys]
    orders += [{"min_key": key} for key in min_keys]
    found, kept = {}, set()
    for order in orders:
        ranked = checkpointer.find_checkpoints(
            ckpt_predicate=predicate, **order
        )
        found.update((checkpoint.path, checkpoint) for checkpoint in ranked)
        kept.update(checkpoint.path for checkpoint in ranked[:num_to_keep])
    for path in found.keys() - kept:
        (path / COMPLETE).unlink()
        (path / METAFNAME).unlink()
        shutil.rmtree(path)
        logger.info(f"Deleted checkpoint in {path}")


def best_parameters(checkpointer, names, max_key=None, min_key=None):
    """Reads the trained parameters of modules from the best checkpoint.

    Arguments
    ---------
    checkpointer : speechbrain.utils.checkpoints.Checkpointer
        Holds the checkpoints.
    names : list of str
        Recoverables to read.
    max_key : str or None
        A value where higher is better.
    min_key : str or None
        A value where lower is better. Without a key, the newest is taken.

    Returns
    -------
    dict of str to dict
        The ``state_dict`` of each, on the CPU.

    Raises
    ------
    FileNotFoundError
        If there is no complete checkpoint.
    """
    checkpoint = checkpointer.find_checkpoint(
        max_key=max_key, min_key=min_key, ckpt_predicate=is_complete
    )
    if checkpoint is None:
        raise FileNotFoundError(
            f"{checkpointer.checkpoints_dir} holds no complete checkpoint"
        )
    return {
        name: torch.load(
            checkpoint.paramfiles[name], map_location="cpu", weights_only=True
        )
        for name in names
    }
