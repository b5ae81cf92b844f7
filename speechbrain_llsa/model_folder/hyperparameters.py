"""Hyperparameter files of strangers: checked before anything is built.

HyperPyYAML builds any class and calls any function that a file names,
evaluates arithmetic in its references, and reads text in round brackets with
a loader that runs code. So the files of ``write_streaming_folder`` are told
from all others: only the classes and functions that it writes, as entries at
the top, with plain values, and with references to entries above them.
"""

import re
from pathlib import Path

import torch
from ruamel.yaml import YAML
from ruamel.yaml.events import AliasEvent, DocumentStartEvent
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from speechbrain_llsa.utils.text_files import decode_text

LARGEST_FILE_BYTES = 1 << 16
MOST_NODES = 1000
DEEPEST_NESTING = 10

LARGEST_INTEGERS = {
    "num_layers": 512,
    "look_back": 10_000,
    "look_ahead": 1_000,
    "hop": 1_000,
    "beam_size": 1_000,
    "most_provisional_frames": 100_000,
}
"""Largest value of what costs time or memory without weights in a file."""

LISTED_INTEGERS = {"look_ahead", "hop"}
"""Those of which a model may be trained for several."""

MOST_LISTED = 64
"""Longest list of them."""

_PACKAGE = "speechbrain_llsa.hparams."

CLASSES = {
    _PACKAGE + "StreamingLatentExtractor",
    _PACKAGE + "StreamingTransformerEncoder",
    _PACKAGE + "StreamingEncoderWrapper",
    _PACKAGE + "StreamingCTC",
    _PACKAGE + "ChunkFeatureExtractor",
    _PACKAGE + "ChunkEncoder",
    _PACKAGE + "ChunkHead",
    _PACKAGE + "ChunkText",
    _PACKAGE + "FolderPretrainer",
    _PACKAGE + "BeamSearchOptions",
    _PACKAGE + "Endpointer",
    _PACKAGE + "WordOffsets",
    "torch.nn.Linear",
    "torch.nn.modules.linear.Linear",
    "speechbrain.nnet.linear.Linear",
    "speechbrain.dataio.encoder.CTCTextEncoder",
    "sentencepiece.SentencePieceProcessor",
}
"""What ``!new:`` may build."""

ACTIVATIONS = {
    f"{home}.{name}"
    for name in torch.nn.modules.activation.__all__
    if name != "MultiheadAttention"
    for home in ("torch.nn", "torch.nn.modules.activation")
} | {"speechbrain.nnet.activations.Swish"}

NAMES = ACTIVATIONS | {
    _PACKAGE + "decode_chunk",
    _PACKAGE + "CTCGreedyState",
    _PACKAGE + "TextState",
}
"""What ``!name:`` may name."""

_PLAIN_TAGS = {
    f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool")
} | {"tag:yaml.org,2002:null"}
_COLLECTION_TAGS = {"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}

# Nothing that YAML or HyperPyYAML, which reads a file twice, gives a meaning.
_PLAIN_TEXT = re.compile(r"~|[A-Za-z0-9_.+ -]*")
_REFERENCE = re.compile(r"<([A-Za-z_][A-Za-z0-9_]*)>")
_INTEGER = re.compile(r"[0-9]{1,9}")


def read_hyperparameters(path):
    """Reads a hyperparameter file.

    Arguments
    ---------
    path : str or pathlib.Path
        The file.

    Returns
    -------
    str
        Its text.

    Raises
    ------
    ValueError
        If it is larger than such a file can be, or is not UTF-8.
    """
    with open(path, "rb") as stream:
        content = stream.read(LARGEST_FILE_BYTES + 1)
    if len(content) > LARGEST_FILE_BYTES:
        raise ValueError(
            f"{Path(path).name} has more than {LARGEST_FILE_BYTES} bytes"
        )
    try:
        return decode_text(content)
    except ValueError as error:
        raise ValueError(f"{Path(path).name} {error}") from None


def check_hyperparameters(text):
    """Refuses a hyperparameter file that could do anything but describe a
    streaming CTC model. Nothing is built or imported.

    Arguments
    ---------
    text : str
        Content of the file.

    Raises
    ------
    ValueError
        If it holds a tag, a reference, a text or a number that
        ``write_streaming_folder`` would not write. It says which, and where.
    ruamel.yaml.YAMLError
        If it is not YAML.

    Example
    -------
    >>> check_hyperparameters("look_ahead: 8")
    >>> check_hyperparameters("a: !new:os.system [ls]")
    Traceback (most recent call last):
    ...
    ValueError: line 1: got the tag '!new:os.system', allowed without trust \
are the classes and functions that write_streaming_folder writes
    """
    _check_limits(text)
    root = YAML().compose(text)
    if not isinstance(root, MappingNode):
        raise ValueError("got no entries, allowed is a mapping of names")
    above = set()
    for key, value in root.value:
        _check_key(key)
        _check_node(value, above, top=True)
        above.add(key.value)


def check_overrides(overrides):
    """Refuses overrides of entries that are not plain values.

    Arguments
    ---------
    overrides : dict
        Values by name of the entry, possibly nested.

    Raises
    ------
    TypeError
        If a value is something else.
    ValueError
        If a text has a meaning for HyperPyYAML.

    Example
    -------
    >>> check_overrides({"encoder": {"hop": 4}})
    """
    if hasattr(overrides, "tag"):
        _refuse_override(overrides.tag)
    if isinstance(overrides, dict):
        for name, value in overrides.items():
            check_overrides(name)
            check_overrides(value)
    elif isinstance(overrides, (list, tuple)):
        for value in overrides:
            check_overrides(value)
    elif isinstance(overrides, str):
        if not _PLAIN_TEXT.fullmatch(overrides):
            raise ValueError(
                f"overrides: got the text {overrides[:80]!r}, allowed without "
                "trust are letters, digits and .+-_"
            )
    elif not isinstance(overrides, (int, float, type(None))):
        _refuse_override(type(overrides).__name__)


def _refuse_override(kind):
    raise TypeError(
        f"overrides: got {kind}, allowed without trust is a dict of plain "
        "values"
    )


def _check_limits(text):
    """Reads the file as a stream of events, so that neither its depth nor its
    size can cost more than the limits."""
    nodes = depth = 0
    for event in YAML().parse(text):
        if isinstance(event, DocumentStartEvent) and (
            event.version or event.tags
        ):
            _refuse(event, "a directive", "none")
        if isinstance(event, AliasEvent) or getattr(event, "anchor", None):
            _refuse(event, "an anchor or alias", "none")
        nodes += hasattr(event, "anchor")
        kind = type(event).__name__
        depth += kind in ("MappingStartEvent", "SequenceStartEvent")
        depth -= kind in ("MappingEndEvent", "SequenceEndEvent")
        if nodes > MOST_NODES:
            _refuse(event, "more", f"{MOST_NODES} values")
        if depth > DEEPEST_NESTING:
            _refuse(event, "a deeper", f"a nesting of {DEEPEST_NESTING}")


def _check_key(key):
    plain = isinstance(key, ScalarNode) and key.tag in _PLAIN_TAGS
    if not plain or not _PLAIN_TEXT.fullmatch(key.value):
        _refuse(key, "an odd name of an entry", "letters, digits and .+-_")


def _check_node(node, above, top=False):
    """Checks a value; ``above`` names the entries that it may refer to."""
    tag = node.tag or ""
    if tag.startswith("!new:") and top:
        if tag.removeprefix("!new:") not in CLASSES:
            _refuse_tag(node, tag)
        if not isinstance(node, MappingNode) and node.value:
            _refuse(node, f"arguments of {tag} without names", "named ones")
    elif tag.startswith("!name:"):
        if tag.removeprefix("!name:") not in NAMES:
            _refuse_tag(node, tag)
        if not isinstance(node, ScalarNode) or node.value:
            _refuse(node, f"arguments of {tag}", "none")
        return
    elif tag == "!ref":
        found = isinstance(node, ScalarNode) and _REFERENCE.fullmatch(
            node.value
        )
        if not found or found[1] not in above:
            value = node.value if isinstance(node, ScalarNode) else "a list"
            _refuse(
                node,
                f"the reference {value[:80]!r}",
                "<name> of an entry above it",
            )
        return
    elif isinstance(node, ScalarNode):
        if tag not in _PLAIN_TAGS:
            _refuse_tag(node, tag)
    elif tag not in _COLLECTION_TAGS:
        _refuse_tag(node, tag)
    if isinstance(node, MappingNode):
        for key, value in node.value:
            _check_key(key)
            _check_integers(key.value, value)
            _check_node(value, above)
    elif isinstance(node, ScalarNode):
        if not _PLAIN_TEXT.fullmatch(node.value):
            _refuse(
                node,
                f"the text {node.value[:80]!r}",
                "letters, digits, blanks and .+-_",
            )
    else:
        for value in node.value:
            _check_node(value, above)


def _check_integers(name, node):
    if name not in LARGEST_INTEGERS:
        return
    nodes = [node]
    if isinstance(node, SequenceNode) and name in LISTED_INTEGERS:
        nodes = node.value
    if not 1 <= len(nodes) <= MOST_LISTED:
        raise ValueError(
            f"{name}: got a list of {len(nodes)}, allowed without trust is an "
            f"integer, or a list of up to {MOST_LISTED}"
        )
    for each in nodes:
        _check_integer(name, each, LARGEST_INTEGERS[name])


def _check_integer(name, node, largest):
    value = node.value if isinstance(node, ScalarNode) else "something else"
    if not _INTEGER.fullmatch(value) or int(value) > largest:
        raise ValueError(
            f"{name}: got {value[:80]!r}, allowed without trust is an integer "
            f"up to {largest}"
        )


def _refuse_tag(node, tag):
    _refuse(
        node,
        f"the tag {tag!r}",
        "the classes and functions that write_streaming_folder writes",
    )


def _refuse(place, got, allowed):
    line = place.start_mark.line + 1
    verb = "are" if allowed.startswith(("the", "letters", "named")) else "is"
    raise ValueError(
        f"line {line}: got {got}, allowed without trust {verb} {allowed}"
    )
