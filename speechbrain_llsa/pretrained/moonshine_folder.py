"""Moonshine models in folders of transformers, which is not needed to read
them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from speechbrain_llsa.pretrained.imported import ImportedModel
from speechbrain_llsa.pretrained.moonshine import (
    MoonshineSizes,
    from_moonshine,
)
from speechbrain_llsa_runtime.utils.checks import (
    check_integer,
    check_number,
    check_type,
)
from speechbrain_llsa_runtime.utils.errors import must_be, reason

WEIGHTS_FILE = "model.safetensors"

_PREFIXES = ("model.encoder.", "encoder.")
"""What stands before the encoder's names in a whole model."""


def read_moonshine_folder(
    folder: str | Path, config: dict[str, Any]
) -> ImportedModel:
    """Imports the encoder of a Moonshine model.

    Arguments
    ---------
    folder : str or pathlib.Path
        A folder with a ``model.safetensors``.
    config : dict
        The content of its ``config.json``.

    Returns
    -------
    ImportedModel
        As of :func:`speechbrain_llsa.pretrained.from_moonshine`.

    Raises
    ------
    FileNotFoundError
        If there are no such weights.
    ValueError
        If they are damaged or do not fit, or an option has no counterpart.
    """
    path = Path(folder) / WEIGHTS_FILE
    if not path.is_file():
        raise FileNotFoundError(
            must_be(
                "SOURCE", f"a folder with a {WEIGHTS_FILE}", repr(str(folder))
            )
        )
    sizes = read_sizes(config)
    try:
        weights = load_file(path)
    except (SafetensorError, ValueError) as error:
        raise ValueError(
            must_be(WEIGHTS_FILE, "one that safetensors reads", reason(error))
        ) from error
    for prefix in _PREFIXES:
        of_encoder = {
            name.removeprefix(prefix): weight
            for name, weight in weights.items()
            if name.startswith(prefix)
        }
        if of_encoder:
            break
    return from_moonshine(
        {name: each.float() for name, each in (of_encoder or weights).items()},
        sizes,
    )


def read_sizes(config: dict[str, Any]) -> MoonshineSizes:
    """Reads the sizes of a configuration.

    Arguments
    ---------
    config : dict
        The content of ``config.json``.

    Returns
    -------
    MoonshineSizes

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is out of range, or an option has no counterpart here.

    Example
    -------
    >>> read_sizes({"partial_rotary_factor": 0.9}) == MoonshineSizes()
    True
    """
    sizes = {}
    for name, key in (
        ("features", "hidden_size"),
        ("heads", "encoder_num_attention_heads"),
        ("layers", "encoder_num_hidden_layers"),
        ("hidden", "intermediate_size"),
    ):
        sizes[name] = config.get(key, getattr(MoonshineSizes, name))
        check_integer(key, sizes[name], 1)
    positions = config.get("rope_parameters") or config
    check_type("rope_parameters", positions, dict)
    for name, expected, section in (
        ("encoder_hidden_act", "gelu", config),
        ("attention_bias", False, config),
        ("encoder_num_key_value_heads", sizes["heads"], config),
        ("rope_theta", 10000.0, positions),
        ("rope_type", "default", positions),
    ):
        value = section.get(name)
        if value is not None and value != expected:
            raise ValueError(must_be(name, repr(expected), repr(value)))
    part = positions.get("partial_rotary_factor", 0.9)
    check_number("partial_rotary_factor", part, 0, 1)
    head = sizes["features"] // sizes["heads"]
    return MoonshineSizes(**sizes, rotary_features=int(head * part))
