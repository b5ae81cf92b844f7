"""Weights in ``safetensors`` files: a header of names, types and shapes, then
numbers, and nothing else.

The header is compared with the module before there is memory for a tensor.
"""

from contextlib import contextmanager
from pathlib import Path

import safetensors
import safetensors.torch

from speechbrain_llsa_runtime.utils.checksums import file_checksum
from speechbrain_llsa_runtime.utils.errors import must_be, reason

LARGEST_HEADER = 16 << 20
"""Bytes of the header that are read, at most."""

_FLOATS = {"F64", "F32", "F16", "BF16"}


def write_weights(path, weights):
    """Writes tensors of any floating-point type, as they are.

    Arguments
    ---------
    path : pathlib.Path
        The file.
    weights : dict of str to torch.Tensor
        The tensors by name, on any device.
    """
    # copies: tensors that share memory cannot be written
    tensors = {
        name: tensor.detach().to("cpu", copy=True).contiguous()
        for name, tensor in weights.items()
    }
    # not save_file, which maps the file: a full disk would be a signal
    path.write_bytes(safetensors.torch.save(tensors))


def load_weights(path, module):
    """Loads a file of weights into a module, or leaves it as it was.

    Arguments
    ---------
    path : str or pathlib.Path
        The file.
    module : torch.nn.Module
        The module, which keeps its own type of numbers.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is damaged, or of another module.

    Example
    -------
    >>> import torch
    >>> path = getfixture("tmp_path") / "head.safetensors"
    >>> write_weights(path, torch.nn.Linear(4, 2).state_dict())
    >>> load_weights(path, torch.nn.Linear(4, 2))
    >>> load_weights(path, torch.nn.Linear(4, 3))
    Traceback (most recent call last):
    ...
    ValueError: head.safetensors is damaged or of another model: 'weight' \
must be of shape [3, 4], got [2, 4]
    """
    check_weights(path, module)
    with _named(path):
        module.load_state_dict(safetensors.torch.load_file(path))


def check_weights(path, module):
    """Compares the header of a file of weights with a module, which may be on
    the meta device.

    Arguments
    ---------
    path : str or pathlib.Path
        The file.
    module : torch.nn.Module
        The module.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged, or its names, shapes or types are others.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            must_be("path", "an existing file of weights", repr(str(path)))
        )
    with _named(path):
        found = _read_header(path)
        expected = module.state_dict()
        for name in sorted(found.keys() ^ expected.keys()):
            verb = "lacks" if name in expected else "has the unknown"
            raise ValueError(f"it {verb} tensor {name[:80]!r}")
        for name, tensor in expected.items():
            kind, shape = found[name]
            if shape != list(tensor.shape):
                raise ValueError(
                    must_be(repr(name), f"of shape {list(tensor.shape)}", shape)
                )
            if tensor.is_floating_point() != (kind in _FLOATS):
                raise ValueError(f"{name!r} is of the type {kind}")


def _read_header(path):
    """Type and shape of each tensor. The library refuses tensors that overlap
    or leave gaps, and sizes that are not those of the file."""
    with open(path, "rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
    if size > LARGEST_HEADER:
        raise ValueError(f"its header has {size} bytes")
    with safetensors.safe_open(path, "pt") as weights:
        return {
            name: (
                weights.get_slice(name).get_dtype(),
                weights.get_slice(name).get_shape(),
            )
            for name in weights.keys()  # noqa: SIM118
        }


@contextmanager
def _named(path):
    """Whatever a reader of damaged bytes raises becomes one sentence that
    names the file."""
    try:
        yield
    except (MemoryError, OSError):
        raise
    except Exception as error:
        raise ValueError(
            f"{Path(path).name} is damaged or of another model: {reason(error)}"
        ) from error


def check_checksum(path, expected):
    """Rejects a file that is not as it was written.

    Arguments
    ---------
    path : str or pathlib.Path
        The file.
    expected : str
        Its SHA-256.

    Raises
    ------
    ValueError
        If its SHA-256 is another.
    """
    if file_checksum(path) != expected:
        raise ValueError(
            f"{Path(path).name} is damaged, or is not the file that "
            "model.json describes: its SHA-256 is another"
        )
