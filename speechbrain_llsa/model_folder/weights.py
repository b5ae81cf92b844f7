"""Weights of strangers: damage is found before anything is made of it.

``torch.load`` with ``weights_only`` runs no code of a file, but it believes
the sizes that the file declares, and compressed or repeated records take what
memory they like. So a file is checked as the archive that it is.
"""

import pickletools
import zipfile
from pathlib import Path

import torch

from speechbrain_llsa.utils.errors import reason

LARGEST_INDEX_BYTES = 16 << 20
"""Of the record that names the tensors of a file."""

_GLOBALS = {
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
}


def load_weights(path):
    """Loads a ``state_dict`` that ``torch.save`` wrote. Its tensors stay in
    the file, which is to be read into a module.

    Arguments
    ---------
    path : str or pathlib.Path
        The file.

    Returns
    -------
    dict of str to torch.Tensor
        The tensors by name, on the CPU.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is damaged, or is something else.

    Example
    -------
    >>> path = getfixture("tmp_path") / "head.ckpt"
    >>> torch.save(torch.nn.Linear(4, 2).state_dict(), path)
    >>> load_weights(path)["weight"].shape
    torch.Size([2, 4])
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"path: got {str(path)!r}, allowed is an existing file of weights"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            _check_archive(archive, path.stat().st_size)
        weights = torch.load(
            path, map_location="cpu", weights_only=True, mmap=True
        )
        _check_tensors(weights)
    except MemoryError:
        raise
    except Exception as error:  # readers of damaged bytes raise anything
        raise ValueError(
            f"path: got a damaged {path.name}, allowed is a state_dict that "
            f"torch.save wrote: {reason(error)}"
        ) from error
    return weights


def _check_archive(archive, size):
    """Records as they are, complete and unchanged, and an index that names
    nothing but tensors."""
    records = archive.infolist()
    if any(record.compress_type != zipfile.ZIP_STORED for record in records):
        raise ValueError("its records are compressed")
    if sum(record.file_size for record in records) > size:
        raise ValueError("its records are larger than the file")
    changed = archive.testzip()
    if changed is not None:
        raise ValueError(f"its record {changed!r} has changed")
    (index,) = (r for r in records if r.filename.endswith("/data.pkl"))
    if index.file_size > LARGEST_INDEX_BYTES:
        raise ValueError("it names too many tensors")
    for operation, argument, _ in pickletools.genops(archive.read(index)):
        if "GLOBAL" in operation.name and not _is_harmless(str(argument)):
            raise ValueError(f"it holds {argument!r}")


def _is_harmless(name):
    home, _, kind = name.partition(" ")
    return name in _GLOBALS or (home == "torch" and kind.endswith("Storage"))


def _check_tensors(weights):
    if not isinstance(weights, dict):
        raise ValueError(f"it holds a {type(weights).__name__}")
    for name, tensor in weights.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise ValueError("it holds something besides tensors with names")
