"""Starts a training from a model folder: its weights, its units, its head."""

from pathlib import Path

from speechbrain.utils.logger import get_logger

from speechbrain_llsa.model_folder.labels import describe_tokenizer
from speechbrain_llsa.model_folder.load import (
    load_pretrained_tokenizer,
    load_pretrained_weights,
    read_pretrained,
)
from speechbrain_llsa.model_folder.parts import describe_part
from speechbrain_llsa.training.run_record import digest
from speechbrain_llsa.training.units import (
    TOKENIZER_FILES,
    kind_of_tokenizer,
    save_tokenizer,
)
from speechbrain_llsa_runtime.model_folder.description import ENCODER_PARTS
from speechbrain_llsa_runtime.utils.errors import must_be

logger = get_logger(__name__)

PRETRAINED_UNITS = "pretrained"
"""Stands for the units of the folder that a training starts from."""


def kind_of_units(units, pretrained_folder):
    """Says which units a training learns.

    Arguments
    ---------
    units : str
        "character", "sentencepiece" or "pretrained".
    pretrained_folder : str or pathlib.Path or None
        The folder that it starts from.

    Returns
    -------
    str
        "character" or "sentencepiece"; another value as it is.

    Raises
    ------
    FileNotFoundError
        If the units are to be those of a folder that does not exist.
    ValueError
        If they are to be those of a folder that has none, or is damaged.

    Example
    -------
    >>> kind_of_units("character", None)
    'character'
    """
    if units != PRETRAINED_UNITS:
        return units
    return kind_of_tokenizer(_pretrained_tokenizer(pretrained_folder))


def adopt_tokenizer(folder, units, pretrained_folder):
    """Copies the tokenizer of the pre-trained folder, if its units are to be
    learned and the training has none yet.

    Arguments
    ---------
    folder : str or pathlib.Path
        Folder of the training's tokenizer.
    units : str
        As for :func:`kind_of_units`.
    pretrained_folder : str or pathlib.Path or None
        The folder that the training starts from.

    Raises
    ------
    FileNotFoundError
        If that folder does not exist.
    ValueError
        If it has no units, or is damaged.
    """
    if units != PRETRAINED_UNITS:
        return
    tokenizer = _pretrained_tokenizer(pretrained_folder)
    file = TOKENIZER_FILES[kind_of_tokenizer(tokenizer)]
    if not Path(folder, file).is_file():
        save_tokenizer(folder, tokenizer)


def _pretrained_tokenizer(pretrained_folder):
    tokenizer = None
    if pretrained_folder is not None:
        tokenizer = load_pretrained_tokenizer(pretrained_folder)
    if tokenizer is None:
        raise ValueError(
            must_be(
                "pretrained_folder",
                f"a model folder with units, where units is {PRETRAINED_UNITS}",
                repr(None if not pretrained_folder else str(pretrained_folder)),
            )
        )
    return tokenizer


def describe_start(pretrained_folder):
    """Says which weights a training starts from, wherever they lie.

    Arguments
    ---------
    pretrained_folder : str or pathlib.Path or None
        A model folder of any kind; ``None`` for none.

    Returns
    -------
    str or None
        A digest of the weights of its front end and encoder.

    Raises
    ------
    FileNotFoundError
        If the folder, or its ``model.json``, does not exist.
    ValueError
        If that file is damaged.
    """
    if pretrained_folder is None:
        return None
    _, description = read_pretrained(pretrained_folder)
    files = (description["weights"][part] for part in ENCODER_PARTS)
    return f"weights {digest(*(file['sha256'].encode() for file in files))}"


def load_pretrained(
    pretrained_folder,
    extractor,
    encoder_wrapper,
    head,
    tokenizer,
    decoder=None,
):
    """Loads the weights of a model folder; those of its head too, where its
    units are the same. Those of a transducer's head, predictor and joiner are
    left out where their sizes differ.

    Arguments
    ---------
    pretrained_folder : str or pathlib.Path or None
        A model folder of either kind; ``None`` loads nothing.
    extractor : torch.nn.Module
        The front end, with the folder's sizes.
    encoder_wrapper : StreamingEncoderWrapper
        The encoder, with the folder's sizes; its attention may differ.
    head : torch.nn.Module
        From embeddings to the units of the tokenizer.
    tokenizer : CTCTextEncoder or SentencePieceProcessor
        The units to learn.
    decoder : TransducerDecoder, optional
        Predictor and joiner, if a transducer is learned.

    Raises
    ------
    FileNotFoundError
        If the folder does not hold the weights.
    ValueError
        If the weights do not match the modules.
    """
    if pretrained_folder is None:
        logger.info("pretrained_folder is null: training from scratch")
        return
    modules = {"extractor": extractor, "encoder_wrapper": encoder_wrapper}
    known = load_pretrained_tokenizer(pretrained_folder)
    _, description = read_pretrained(pretrained_folder)
    is_same_kind = _sizes(description.get("decoder")) == _sizes(
        decoder and describe_part("decoder", decoder)
    )
    if known is not None and is_same_kind and same_units(known, tokenizer):
        modules["head"] = head
        if decoder is not None:
            modules["decoder"] = decoder
    load_pretrained_weights(pretrained_folder, **modules)
    names = "encoder and head" if "head" in modules else "encoder"
    logger.info(f"Loaded weights of {pretrained_folder}: {names}")


def _sizes(decoder):
    """The description of a decoder without what is no size, None for none."""
    return decoder and {**decoder, "max_symbols": None}


def same_units(one, other):
    """Whether two tokenizers have the same units, in the same order.

    Arguments
    ---------
    one : CTCTextEncoder or SentencePieceProcessor
        A tokenizer.
    other : CTCTextEncoder or SentencePieceProcessor
        Another.

    Returns
    -------
    bool
    """
    return describe_tokenizer(one) == describe_tokenizer(other)
