"""Output units of a CTC model: characters or SentencePiece pieces."""

import io
import itertools
import unicodedata
from pathlib import Path

import sentencepiece
import torch
from speechbrain.dataio.encoder import CTCTextEncoder
from speechbrain.utils.logger import get_logger

from speechbrain_llsa.decoders.tokenizers import WORD_START
from speechbrain_llsa.training.run_record import (
    check_settings,
    digest,
    read_record,
    reject_differences,
    write_record,
)
from speechbrain_llsa_runtime.utils.atomic_files import (
    write_atomically,
    written_atomically,
)
from speechbrain_llsa_runtime.utils.errors import must_be, reason

logger = get_logger(__name__)

_BLANK = 0

RECORD_FILE = "tokenizer.json"
"""Record of the settings that the tokenizer of a folder was made with."""

TOKENIZER_FILES = {
    "character": "label_encoder.txt",
    "sentencepiece": "tokenizer.model",
}
"""File of the tokenizer, by kind of units."""


def make_tokenizer(folder, units, output_units, characters, transcripts):
    """Makes the tokenizer of a training, or loads the one it started with.

    Arguments
    ---------
    folder : str or pathlib.Path
        Folder of the tokenizer. One that exists there is loaded, so that a
        resumed training keeps its own, provided that it was made with the same
        settings.
    units : str
        "character" or "sentencepiece".
    output_units : int
        Number of units including the blank: the outputs of the model's head.
    characters : str
        The characters that transcripts may hold, including the space.
    transcripts : iterable of str
        Text that SentencePiece learns its pieces from.

    Returns
    -------
    CTCTextEncoder or sentencepiece.SentencePieceProcessor
        With the blank at 0.

    Raises
    ------
    ValueError
        If the kind of units is unknown, if their number is not
        ``output_units``, or if they differ from those of the existing
        tokenizer.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> tokenizer = make_tokenizer(folder, "character", 4, " AB", [])
    >>> encode(tokenizer, "AB A").tolist()
    [2, 3, 1, 2]
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    transcripts = list(transcripts)
    settings = {"units": units, "output_units": output_units}
    if units == "sentencepiece":
        settings["transcripts"] = digest(*map(str.encode, transcripts))
    check_tokenizer(folder, characters, **settings)
    if units == "character":
        tokenizer = _make_characters(
            folder / TOKENIZER_FILES[units], characters
        )
        count = len(tokenizer)
    elif units == "sentencepiece":
        tokenizer = _make_sentencepieces(
            folder / TOKENIZER_FILES[units], output_units, transcripts
        )
        count = tokenizer.get_piece_size()
    else:
        raise ValueError(
            must_be("units", "'character' or 'sentencepiece'", repr(units))
        )
    if count != output_units:
        raise ValueError(
            must_be(
                "output_units",
                (
                    f"{count}, the units of the tokenizer in {folder} "
                    "with the blank"
                ),
                output_units,
            )
        )
    if not (folder / TOKENIZER_FILES[units]).is_file():
        save_tokenizer(folder, tokenizer)
    if not (folder / RECORD_FILE).is_file():
        write_record(folder / RECORD_FILE, settings)
    return tokenizer


def kind_of_tokenizer(tokenizer):
    """Says which units a tokenizer has.

    Arguments
    ---------
    tokenizer : CTCTextEncoder or sentencepiece.SentencePieceProcessor
        The tokenizer.

    Returns
    -------
    str
        "character" or "sentencepiece".
    """
    is_character = isinstance(tokenizer, CTCTextEncoder)
    return "character" if is_character else "sentencepiece"


def save_tokenizer(folder, tokenizer):
    """Saves a tokenizer where :func:`make_tokenizer` finds it.

    Arguments
    ---------
    folder : str or pathlib.Path
        Folder of the tokenizer, which is created.
    tokenizer : CTCTextEncoder or sentencepiece.SentencePieceProcessor
        The tokenizer.
    """
    kind = kind_of_tokenizer(tokenizer)
    path = Path(folder, TOKENIZER_FILES[kind])
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "character":
        with written_atomically(path) as scratch:
            tokenizer.save(scratch)
    else:
        write_atomically(path, tokenizer.serialized_model_proto())


def check_tokenizer(folder, characters, **settings):
    """Rejects a folder that holds a different tokenizer.

    Arguments
    ---------
    folder : str or pathlib.Path
        Folder of the tokenizer.
    characters : str
        The characters that transcripts may hold.
    **settings : object
        ``units`` and ``output_units``, and ``transcripts``, a digest of the
        text that SentencePiece learns from, where that is known.

    Raises
    ------
    ValueError
        If it is a different one; the differences are named.
    """
    folder = Path(folder)
    recorded = read_record(folder / RECORD_FILE)
    for units, name in TOKENIZER_FILES.items():
        if (folder / name).is_file():
            recorded.setdefault("units", units)
    if recorded.get("units") == settings["units"] == "character":
        reject_differences(folder, _find_first_difference(folder, characters))
    check_settings(folder, recorded, settings)


def _find_first_difference(folder, characters):
    """Describes the first unit that differs; empty if none does."""
    path = folder / TOKENIZER_FILES["character"]
    if not path.is_file():
        return []
    kept = _load_characters(path)
    labels = [kept.ind2lab[index] for index in range(1, len(kept))]
    units = itertools.zip_longest(labels, characters)
    return [
        f"unit {number} is {_quoted(kept_unit)} there, {_quoted(new_unit)} now"
        for number, (kept_unit, new_unit) in enumerate(units, start=1)
        if kept_unit != new_unit
    ][:1]


def _quoted(unit):
    return "none" if unit is None else repr(unit)


def encode(tokenizer, transcript):
    """Encodes a transcript as units.

    Arguments
    ---------
    tokenizer : CTCTextEncoder or sentencepiece.SentencePieceProcessor
        The result of :func:`make_tokenizer`.
    transcript : str
        The words of an utterance.

    Returns
    -------
    torch.Tensor
        Units, int64 (units,).

    Raises
    ------
    ValueError
        If the transcript holds a character that no unit covers.
    """
    unknown = unknown_characters(tokenizer, transcript)
    if unknown:
        raise ValueError(
            f"transcript must be made of units, got {transcript!r} with "
            f"{''.join(unknown)!r}"
        )
    if not isinstance(tokenizer, CTCTextEncoder):
        return torch.tensor(tokenizer.encode(transcript), dtype=torch.int64)
    return tokenizer.encode_sequence_torch(transcript)


def unknown_characters(tokenizer, transcript):
    """Finds the characters of a transcript that no unit covers.

    Arguments
    ---------
    tokenizer : CTCTextEncoder or sentencepiece.SentencePieceProcessor
        The result of :func:`make_tokenizer`.
    transcript : str
        The words of an utterance.

    Returns
    -------
    list of str
        One entry per occurrence.
    """
    if isinstance(tokenizer, CTCTextEncoder):
        return [each for each in transcript if each not in tokenizer.lab2ind]
    labels = tokenizer.encode(transcript, out_type=int)
    pieces = tokenizer.encode(transcript, out_type=str)
    return [
        character
        for label, piece in zip(labels, pieces, strict=True)
        if label == tokenizer.unk_id()
        for character in piece.replace(WORD_START, "")
    ]


def _make_characters(path, characters):
    if path.is_file():
        tokenizer = _load_characters(path)
    else:
        _check_characters(characters)
        tokenizer = CTCTextEncoder()
        tokenizer.insert_blank(index=_BLANK)
        for character in characters:
            tokenizer.add_label(character)
    tokenizer.expect_len(len(tokenizer))
    return tokenizer


def _load_characters(path):
    tokenizer = CTCTextEncoder()
    try:
        tokenizer.load(path)
    except (ValueError, SyntaxError) as error:
        raise ValueError(
            must_be(path, "as a recipe wrote it", reason(error))
        ) from error
    return tokenizer


def _check_characters(characters):
    """Rejects repeated characters, and those that are not in Unicode form NFC,
    as transcripts are."""
    for index, character in enumerate(characters):
        pair = characters[max(0, index - 1) : index + 1]
        if not unicodedata.is_normalized("NFC", pair):
            raise ValueError(
                f"characters must be in Unicode's form NFC, got {pair!r}"
            )
        if character in characters[:index]:
            raise ValueError(f"characters must differ, got {character!r} twice")


def _make_sentencepieces(path, output_units, transcripts):
    if not path.exists():
        model = io.BytesIO()
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(transcripts),
                model_writer=model,
                vocab_size=output_units,
                character_coverage=1.0,
                pad_id=_BLANK,
                pad_piece="<blank>",
                unk_id=1,
                bos_id=-1,
                eos_id=-1,
                minloglevel=2,
            )
        except RuntimeError as error:
            raise ValueError(
                "output_units must be as many pieces as SentencePiece can "
                f"learn from the transcripts, got {output_units}: {error}"
            ) from error
        logger.info(f"Trained a SentencePiece model of {output_units} pieces")
        return sentencepiece.SentencePieceProcessor(
            model_proto=model.getvalue()
        )
    return sentencepiece.SentencePieceProcessor(model_file=str(path))
