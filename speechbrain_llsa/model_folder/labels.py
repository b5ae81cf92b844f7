"""The tokenizer of a model folder: characters in ``model.json``, or pieces in a
SentencePiece file."""

from pathlib import Path

from sentencepiece import SentencePieceProcessor
from speechbrain.dataio.encoder import CTCTextEncoder

from speechbrain_llsa_runtime.model_folder.description import (
    COMPLETE,
    read_description,
)
from speechbrain_llsa_runtime.utils.errors import must_be, reason

LARGEST_FILE_BYTES = 16 << 20

SENTENCEPIECE_FILE = "tokenizer.model"
SPECIAL_LABELS = ("blank_label", "unk_label", "bos_label", "eos_label")

TOKENIZERS = {
    "characters": CTCTextEncoder,
    "sentencepiece": SentencePieceProcessor,
}


def describe_tokenizer(tokenizer):
    """Describes a tokenizer.

    Arguments
    ---------
    tokenizer : CTCTextEncoder or SentencePieceProcessor
        The tokenizer.

    Returns
    -------
    dict
        The section ``tokenizer``; for SentencePiece without the checksum.
    bytes or None
        The content of its file, if it has one.

    Raises
    ------
    TypeError
        If it is another kind of tokenizer, or has a label that is not text.

    Example
    -------
    >>> tokenizer = CTCTextEncoder()
    >>> tokenizer.insert_blank(index=0)
    >>> tokenizer.add_label("A")
    1
    >>> section, _ = describe_tokenizer(tokenizer)
    >>> section["labels"], section["special_labels"]
    (['<blank>', 'A'], {'blank_label': '<blank>'})
    """
    if isinstance(tokenizer, SentencePieceProcessor):
        section = {"kind": "sentencepiece", "file": SENTENCEPIECE_FILE}
        return section, tokenizer.serialized_model_proto()
    if not isinstance(tokenizer, CTCTextEncoder):
        raise TypeError(
            must_be(
                "tokenizer",
                "a CTCTextEncoder or a SentencePieceProcessor",
                type(tokenizer).__name__,
            )
        )
    labels = [tokenizer.ind2lab[i] for i in range(len(tokenizer.ind2lab))]
    for label in labels:
        if not isinstance(label, str):
            raise TypeError(must_be("labels of the tokenizer", "text", label))
    special = {
        name: getattr(tokenizer, name)
        for name in SPECIAL_LABELS
        if hasattr(tokenizer, name)
    }
    section = {
        "kind": "characters",
        "labels": labels,
        "special_labels": special,
    }
    return section, None


def load_tokenizer(tokenizer, path):
    """Loads the labels of a tokenizer.

    Arguments
    ---------
    tokenizer : CTCTextEncoder or SentencePieceProcessor
        The tokenizer to load into.
    path : str or pathlib.Path
        A ``model.json`` for characters, SentencePiece's file for pieces.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged, or of another kind.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            must_be("path", "an existing file of labels", repr(str(path)))
        )
    if isinstance(tokenizer, SentencePieceProcessor):
        _load_sentencepiece(tokenizer, path)
        return
    section = read_description(path, COMPLETE)["tokenizer"]
    if section["kind"] != "characters":
        raise ValueError("model.json: tokenizer.kind must be 'characters'")
    set_characters(tokenizer, section)


def set_characters(tokenizer, section):
    """Sets the labels of a tokenizer.

    Arguments
    ---------
    tokenizer : CTCTextEncoder
        The tokenizer to change.
    section : dict
        The checked section ``tokenizer``, of the kind "characters".
    """
    tokenizer.lab2ind = {
        label: index for index, label in enumerate(section["labels"])
    }
    tokenizer.ind2lab = dict(enumerate(section["labels"]))
    for name, label in section["special_labels"].items():
        setattr(tokenizer, name, label)


def _load_sentencepiece(tokenizer, path):
    try:
        if path.stat().st_size > LARGEST_FILE_BYTES:
            raise ValueError(f"it has more than {LARGEST_FILE_BYTES} bytes")
        tokenizer.load(str(path))
    except MemoryError:
        raise
    except Exception as error:  # readers of damaged bytes raise anything
        raise ValueError(
            f"{path.name} is damaged, or not of SentencePiece: {reason(error)}"
        ) from error
