"""Validates untrusted files of the previous version, and reads them as plain
values.

They are a ``hyperparams.yaml`` for HyperPyYAML, which builds any class and
calls any function that a file names, evaluates arithmetic in its references,
and reads text in round brackets with a loader that runs code; weights of
``torch.save``, whose reader trusts the sizes that a file declares; and the
labels of SpeechBrain's encoders. Only ``model_folder.convert`` reads them, and
nothing is built from them.
"""

import pickletools
import re
import zipfile
from pathlib import Path

import torch
from ruamel.yaml import YAML
from ruamel.yaml.events import AliasEvent, DocumentStartEvent
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode
from speechbrain.dataio.encoder import CTCTextEncoder

from speechbrain_llsa_runtime.utils.errors import must_be, reason

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
"""Upper limits of values that cost time or memory without weights in a file."""

LISTED_INTEGERS = {"look_ahead", "hop"}
"""Values of which a model may be trained for several."""

MOST_LISTED = 64
"""Maximum length of their lists."""


_PACKAGE = "speechbrain_llsa."
CLASSES = {
    _PACKAGE + "nnet.frontend.StreamingLatentExtractor",
    _PACKAGE + "nnet.encoder.StreamingTransformerEncoder",
    _PACKAGE + "lobes.wav2vec2.StreamingEncoderWrapper",
    _PACKAGE + "lobes.ctc.StreamingCTC",
    _PACKAGE + "inference.host.HostFeatureExtractor",
    _PACKAGE + "inference.host.HostEncoder",
    _PACKAGE + "inference.host.HostHead",
    _PACKAGE + "inference.host.HostText",
    _PACKAGE + "inference.folder.FolderPretrainer",
    _PACKAGE + "inference.search.BeamSearchOptions",
    _PACKAGE + "inference.endpointer.Endpointer",
    _PACKAGE + "inference.words.WordOffsets",
    "torch.nn.Linear",
    "torch.nn.modules.linear.Linear",
    "speechbrain.nnet.linear.Linear",
    "speechbrain.dataio.encoder.CTCTextEncoder",
    "sentencepiece.SentencePieceProcessor",
}
"""Classes that ``!new:`` may name."""

ACTIVATIONS = {
    f"{home}.{name}"
    for name in torch.nn.modules.activation.__all__
    if name != "MultiheadAttention"
    for home in ("torch.nn", "torch.nn.modules.activation")
} | {"speechbrain.nnet.activations.Swish"}

NAMES = ACTIVATIONS | {
    _PACKAGE + "inference.host.decode_push",
    _PACKAGE + "lobes.decoding.CTCGreedyState",
    _PACKAGE + "lobes.decoding.TextState",
}
"""Classes that ``!name:`` may name."""

LARGEST_INDEX_BYTES = 16 << 20
"""Maximum size of the record that names the tensors of a weights file."""

_GLOBALS = {
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
}

LARGEST_TOKENIZER_BYTES = 16 << 20
LONGEST_LINE = 1000

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
    return content.decode("utf-8")


def check_hyperparameters(text):
    """Rejects a hyperparameter file that could do anything but describe a
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
    ValueError: line 1 must have the classes and functions that \
write_streaming_folder writes, got the tag '!new:os.system'
    """
    _check_limits(text)
    root = YAML().compose(text)
    if not isinstance(root, MappingNode):
        raise ValueError("it must have a mapping of names, got no entries")
    above = set()
    for key, value in root.value:
        _check_key(key)
        _check_node(value, above, top=True)
        above.add(key.value)


def _check_limits(text):
    """Reads the file as a stream of events, so that neither its depth nor its
    size can cost more than the limits."""
    nodes = depth = 0
    for event in YAML().parse(text):
        if isinstance(event, DocumentStartEvent) and (
            event.version or event.tags
        ):
            _refuse(event, "a directive", "no directives")
        if isinstance(event, AliasEvent) or getattr(event, "anchor", None):
            _refuse(event, "an anchor or alias", "no anchors or aliases")
        nodes += hasattr(event, "anchor")
        kind = type(event).__name__
        depth += kind in ("MappingStartEvent", "SequenceStartEvent")
        depth -= kind in ("MappingEndEvent", "SequenceEndEvent")
        if nodes > MOST_NODES:
            _refuse(event, "more", f"at most {MOST_NODES} values")
        if depth > DEEPEST_NESTING:
            _refuse(
                event, "a deeper", f"a nesting of at most {DEEPEST_NESTING}"
            )


def _check_key(key):
    plain = isinstance(key, ScalarNode) and key.tag in _PLAIN_TAGS
    if not plain or not _PLAIN_TEXT.fullmatch(key.value):
        _refuse(key, "an odd name of an entry", "letters, digits and .+-_")


def _check_node(node, above, top=False):
    """Validates a node; ``above`` names the entries that it may refer to."""
    tag = node.tag or ""
    if tag.startswith("!new:") and top:
        if tag.removeprefix("!new:") not in CLASSES:
            _refuse_tag(node, tag)
        if not isinstance(node, MappingNode) and node.value:
            _refuse(
                node, f"arguments of {tag} without names", "arguments by name"
            )
    elif tag.startswith("!name:"):
        if tag.removeprefix("!name:") not in NAMES:
            _refuse_tag(node, tag)
        if not isinstance(node, ScalarNode) or node.value:
            _refuse(node, f"arguments of {tag}", "no arguments")
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
            must_be(
                name,
                f"an integer, or a list of up to {MOST_LISTED}",
                f"a list of {len(nodes)}",
            )
        )
    for each in nodes:
        _check_integer(name, each, LARGEST_INTEGERS[name])


def _check_integer(name, node, largest):
    value = node.value if isinstance(node, ScalarNode) else "something else"
    if not _INTEGER.fullmatch(value) or int(value) > largest:
        raise ValueError(
            must_be(name, f"an integer up to {largest}", repr(value[:80]))
        )


def _refuse_tag(node, tag):
    _refuse(
        node,
        f"the tag {tag!r}",
        "the classes and functions that write_streaming_folder writes",
    )


def _refuse(place, got, allowed):
    line = place.start_mark.line + 1
    raise ValueError(f"line {line} must have {allowed}, got {got}")


def read_entries(text):
    """Reads the entries of checked hyperparameters. Nothing is built.

    Arguments
    ---------
    text : str
        Content of the file, which :func:`check_hyperparameters` accepts.

    Returns
    -------
    dict
        The arguments of each entry as plain values, by name: references as
        "<name>", named classes by the last part of their name.
    dict
        The class of each entry, by name.

    Example
    -------
    >>> read_entries("a: !new:torch.nn.Linear {bias: true}\\nb: !ref <a>")
    ({'a': {'bias': True}, 'b': '<a>'}, {'a': 'torch.nn.Linear', 'b': '!ref'})
    """
    yaml = YAML(typ="safe", pure=True)

    def plain(node):
        if isinstance(node, MappingNode):
            return {key.value: plain(value) for key, value in node.value}
        if isinstance(node, SequenceNode):
            return [plain(value) for value in node.value]
        if node.tag.startswith("!new:"):
            return {}  # without arguments
        if node.tag.startswith("!name:"):
            return node.tag.rpartition(".")[2]
        if node.tag == "!ref":
            return node.value
        return yaml.constructor.construct_object(node)

    root = yaml.compose(text)
    entries = {key.value: plain(value) for key, value in root.value}
    classes = {
        key.value: value.tag.removeprefix("!new:") for key, value in root.value
    }
    return entries, classes


def read_torch_weights(path):
    """Loads a ``state_dict`` that ``torch.save`` wrote. Its tensors stay in
    the file, which is to be read into a module.

    Arguments
    ---------
    path : pathlib.Path
        The file.

    Returns
    -------
    dict of str to torch.Tensor
        The tensors by name, on the CPU.

    Raises
    ------
    ValueError
        If it is damaged, or is something else.

    Example
    -------
    >>> path = getfixture("tmp_path") / "head.ckpt"
    >>> torch.save(torch.nn.Linear(4, 2).state_dict(), path)
    >>> read_torch_weights(path)["weight"].shape
    torch.Size([2, 4])
    """
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
            f"{path.name} is damaged, or is no state_dict that torch.save "
            f"wrote: {reason(error)}"
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


def read_labels(path):
    """Loads the labels of characters.

    Arguments
    ---------
    path : pathlib.Path
        What ``CTCTextEncoder.save`` wrote.

    Returns
    -------
    CTCTextEncoder

    Raises
    ------
    ValueError
        If the file is damaged.
    """
    tokenizer = CTCTextEncoder()
    try:
        check_tokenizer_size(path)
        _check_lines(path)
        tokenizer.load(path)
    except MemoryError:
        raise
    except Exception as error:  # readers of damaged bytes raise anything
        raise ValueError(f"{path.name} is damaged: {reason(error)}") from error
    return tokenizer


def check_tokenizer_size(path):
    """Rejects a file that is too large for a tokenizer.

    Arguments
    ---------
    path : pathlib.Path
        The file.

    Raises
    ------
    ValueError
        If it is.
    """
    if path.stat().st_size > LARGEST_TOKENIZER_BYTES:
        raise ValueError(
            f"{path.name} has more than {LARGEST_TOKENIZER_BYTES} bytes"
        )


def _check_lines(path):
    """SpeechBrain's reader parses each line as a literal of Python, whose
    parser is not made for long ones."""
    with open(path, encoding="utf-8") as stream:
        while line := stream.readline(LONGEST_LINE + 1):
            if len(line) > LONGEST_LINE:
                raise ValueError(
                    f"a line has more than {LONGEST_LINE} characters"
                )
