"""Plain values of a YAML file for HyperPyYAML, of which nothing is run."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from speechbrain_llsa_runtime.utils.errors import must_be, reason

LARGEST_FILE_BYTES = 1 << 20

_REFERENCE = re.compile(r"<(\w+)>")
_TUPLE = re.compile(r"\(.*\)", re.DOTALL)
_DEEPEST = 50


def read_arguments(path: Path, class_name: str) -> dict[str, Any]:
    """Reads the arguments with which a file builds an object of a class.

    Nothing is built, imported or computed: what is not a plain value, or a
    reference to one, is left out.

    Arguments
    ---------
    path : pathlib.Path
        The file, as a recipe of SpeechBrain keeps it.
    class_name : str
        The class, without its module.

    Returns
    -------
    dict
        Numbers, text, ``True``, ``False`` and lists of these by name, tuples
        as lists; names of classes as text, without their module.

    Raises
    ------
    ValueError
        If it is no such file, or does not build exactly one such object.

    Example
    -------
    >>> path = getfixture("tmp_path") / "hyperparams.yaml"
    >>> _ = path.write_text(
    ...     "features: 8\\n"
    ...     "layer: !new:torch.nn.Linear\\n"
    ...     "    in_features: !ref <features>\\n"
    ...     "    out_features: 4\\n"
    ... )
    >>> read_arguments(path, "Linear")
    {'in_features': 8, 'out_features': 4}
    """
    root = _compose(path)
    entries = dict(_items(root))
    found = _find(root, class_name, {})
    if len(found) != 1:
        raise ValueError(
            must_be(path.name, f"one that builds one {class_name}", len(found))
        )
    (node,) = found
    if not isinstance(node, MappingNode):
        return {}
    arguments = {}
    for key, value in _items(node):
        try:
            arguments[key] = _plain(value, entries, 0)
        except _NotPlain:
            continue
    return arguments


class _NotPlain(Exception):
    """Raised for an entry that would have to be run."""


def _compose(path: Path) -> MappingNode:
    try:
        if path.stat().st_size > LARGEST_FILE_BYTES:
            raise ValueError(f"it has more than {LARGEST_FILE_BYTES} bytes")
        text = path.read_text(encoding="utf-8")
        root = YAML(typ="safe", pure=True).compose(text)
    except Exception as error:  # readers of damaged files raise anything
        raise ValueError(must_be(path.name, "YAML", reason(error))) from error
    if not isinstance(root, MappingNode):
        raise ValueError(must_be(path.name, "entries with names", "others"))
    return root


def _items(node: MappingNode) -> list[tuple[str, Node]]:
    """The entries whose names are text."""
    return [
        (key.value, value)
        for key, value in node.value
        if isinstance(key, ScalarNode)
    ]


def _find(node: Node, class_name: str, seen: dict[int, Node]) -> list[Node]:
    """The nodes that build objects of a class, each once."""
    if id(node) in seen:
        return []
    seen[id(node)] = node
    tag = node.tag or ""
    if tag.startswith("!new:") and tag.endswith(f".{class_name}"):
        return [node]
    if isinstance(node, MappingNode):
        below = [value for _, value in node.value]
    elif isinstance(node, SequenceNode):
        below = node.value
    else:
        below = []
    return [found for each in below for found in _find(each, class_name, seen)]


def _plain(node: Node, entries: dict[str, Node], depth: int) -> Any:
    if depth > _DEEPEST:
        raise _NotPlain
    if isinstance(node, SequenceNode):
        return [_plain(each, entries, depth + 1) for each in node.value]
    if not isinstance(node, ScalarNode):
        raise _NotPlain
    tag = node.tag or ""
    if tag.startswith("!name:"):
        return tag.rpartition(".")[2]
    if tag == "!ref":
        reference = _REFERENCE.fullmatch(node.value)
        if reference is None or reference[1] not in entries:
            raise _NotPlain
        return _plain(entries[reference[1]], entries, depth + 1)
    if tag == "!tuple" or (not node.style and _TUPLE.fullmatch(node.value)):
        return _tuple(node.value)
    if tag.startswith("!"):
        raise _NotPlain
    try:
        return YAML(typ="safe", pure=True).constructor.construct_object(node)
    except (ValueError, YAMLError) as error:
        raise _NotPlain from error


def _tuple(text: str) -> list[Any]:
    """HyperPyYAML's tuples, which are Python's; of plain values alone."""
    try:
        values = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        raise _NotPlain from error
    if not isinstance(values, tuple):
        raise _NotPlain
    return list(values)
