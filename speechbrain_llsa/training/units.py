"""The output units of a CTC model: characters, or pieces of SentencePiece."""

import io
import itertools
import unicodedata
from pathlib import Path

import sentencepiece
import torch
from speechbrain.dataio.encoder import CTCTextEncoder
from speechbrain.utils.logger import get_logger

from speechbrain_llsa.decoders.tokenizers import WORD_START
from speechbrain_llsa.training.claims import (
    check_same,
    digest,
    read_claim,
    refuse,
    write_claim,
)
from speechbrain_llsa_runtime.utils.atomic_files import (
    write_atomically,
    written_atomically,
)
from speechbrain_llsa_runtime.utils.errors import must_be, reason

logger = get_logger(__name__)

_BLANK = 0

RECORD = "tokenizer.json"
"""What the tokenizer of a folder was made of."""

FILES = {"character": "label_encoder.txt", "sentencepiece": "tokenizer.model"}
"""Where it is, by its units."""


def make_tokenizer(folder, units, output_units, characters, transcripts):
    """Makes the tokenizer of a training, or loads the one it began with.

    Arguments
    ---------
    folder : str or pathlib.Path
        Where the tokenizer is kept. One that lies there is loaded, so that a
        training that resumes goes on with its own, if it was made of the same.
    units : str
        "character" or "sentencepiece".
    output_units : int
        Units with the blank, as the head of the model has outputs.
    characters : str
        The characters that transcripts may hold, the space among them.
    transcripts : iterable of str
        What SentencePiece learns its pieces from.

    Returns
    -------
    CTCTextEncoder or sentencepiece.SentencePieceProcessor
        With the blank at 0.

    Raises
    ------
    ValueError
        If the units are unknown, are not ``output_units``, or are others than
        those of the tokenizer that lies there.

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
        tokenizer = _characters(folder / FILES[units], characters)
        count = len(tokenizer)
    elif units == "sentencepiece":
        tokenizer = _sentencepieces(
            folder / FILES[units], output_units, transcripts
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
    if units == "character" and not (folder / FILES[units]).is_file():
        with written_atomically(folder / FILES[units]) as scratch:
            tokenizer.save(scratch)
    if not (folder / RECORD).is_file():
        write_claim(folder / RECORD, settings)
    return tokenizer


def check_tokenizer(folder, characters, **settings):
    """Refuses a folder that holds another tokenizer.

    Arguments
    ---------
    folder : str or pathlib.Path
        Where the tokenizer is kept.
    characters : str
        The characters that transcripts may hold.
    **settings : object
        ``units`` and ``output_units``, and ``transcripts``, a digest of what
        SentencePiece learns from, where that is known.

    Raises
    ------
    ValueError
        If it is another one: what differs is named.
    """
    folder = Path(folder)
    found = read_claim(folder / RECORD)
    for units, name in FILES.items():
        if (folder / name).is_file():
            found.setdefault("units", units)
    if found.get("units") == settings["units"] == "character":
        refuse(folder, _first_difference(folder, characters))
    check_same(folder, found, settings)


def _first_difference(folder, characters):
    """The first unit that is another one, in words, if there is one."""
    path = folder / FILES["character"]
    if not path.is_file():
        return []
    kept = _load_characters(path)
    labels = [kept.ind2lab[index] for index in range(1, len(kept))]
    units = itertools.zip_longest(labels, characters)
    return [
        f"unit {number} is {_named(there)} there, {_named(now)} now"
        for number, (there, now) in enumerate(units, start=1)
        if there != now
    ][:1]


def _named(unit):
    return "none" if unit is None else repr(unit)


def encode(tokenizer, transcript):
    """Turns a transcript into units.

    Arguments
    ---------
    tokenizer : CTCTextEncoder or sentencepiece.SentencePieceProcessor
        As :func:`make_tokenizer` gives it.
    transcript : str
        The words of an utterance.

    Returns
    -------
    torch.Tensor
        Units, int64 (units,).

    Raises
    ------
    ValueError
        If the transcript holds a character that is no unit.
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
    """Finds the characters of a transcript that no unit stands for.

    Arguments
    ---------
    tokenizer : CTCTextEncoder or sentencepiece.SentencePieceProcessor
        As :func:`make_tokenizer` gives it.
    transcript : str
        The words of an utterance.

    Returns
    -------
    list of str
        Each as often as it comes.
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


def _characters(path, characters):
    if path.is_file():
        tokenizer = _load_characters(path)
    else:
        _check_form(characters)
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


def _check_form(characters):
    """Refuses characters that no transcript holds, or that come twice."""
    for index, character in enumerate(characters):
        pair = characters[max(0, index - 1) : index + 1]
        if not unicodedata.is_normalized("NFC", pair):
            raise ValueError(
                f"characters must be in Unicode's form NFC, got {pair!r}"
            )
        if character in characters[:index]:
            raise ValueError(f"characters must differ, got {character!r} twice")


def _sentencepieces(path, output_units, transcripts):
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
        write_atomically(path, model.getvalue())
        logger.info(f"Trained a SentencePiece model of {output_units} pieces")
    return sentencepiece.SentencePieceProcessor(model_file=str(path))
