"""The output units of a CTC model: characters, or pieces of SentencePiece."""

import io
from pathlib import Path

import sentencepiece
import torch
from speechbrain.dataio.encoder import CTCTextEncoder
from speechbrain.utils.logger import get_logger

from speechbrain_llsa.utils.atomic_files import write_atomically

logger = get_logger(__name__)

_BLANK = 0


def make_tokenizer(folder, units, output_units, characters, transcripts):
    """Makes the tokenizer of a training, or loads the one it began with.

    Arguments
    ---------
    folder : str or pathlib.Path
        Where the tokenizer is kept. One that lies there is loaded, so that a
        training that resumes goes on with its own.
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
        If the units are unknown, or are not ``output_units``.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> tokenizer = make_tokenizer(folder, "character", 4, " AB", [])
    >>> encode(tokenizer, "AB A").tolist()
    [2, 3, 1, 2]
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if units == "character":
        tokenizer = _characters(folder / "label_encoder.txt", characters)
        count = len(tokenizer)
    elif units == "sentencepiece":
        tokenizer = _sentencepieces(
            folder / "tokenizer.model", output_units, transcripts
        )
        count = tokenizer.get_piece_size()
    else:
        raise ValueError(
            f"units: got {units!r}, allowed is 'character' or 'sentencepiece'"
        )
    if count != output_units:
        raise ValueError(
            f"output_units: got {output_units}, allowed is {count}, the units "
            f"of the tokenizer in {folder} with the blank"
        )
    return tokenizer


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
    if not isinstance(tokenizer, CTCTextEncoder):
        return torch.tensor(tokenizer.encode(transcript), dtype=torch.int64)
    unknown = sorted(set(transcript) - set(tokenizer.lab2ind))
    if unknown:
        raise ValueError(
            f"transcript: got {transcript!r} with {''.join(unknown)!r}, "
            "allowed are the characters of the YAML file's entry 'characters'"
        )
    return tokenizer.encode_sequence_torch(transcript)


def _characters(path, characters):
    tokenizer = CTCTextEncoder()
    if not tokenizer.load_if_possible(path):
        tokenizer.insert_blank(index=_BLANK)
        for character in characters:
            tokenizer.add_label(character)
        tokenizer.save(path)
    tokenizer.expect_len(len(tokenizer))
    return tokenizer


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
                f"output_units: got {output_units} pieces to learn from the "
                f"transcripts, and SentencePiece says: {error}"
            ) from error
        write_atomically(path, model.getvalue())
        logger.info(f"Trained a SentencePiece model of {output_units} pieces")
    return sentencepiece.SentencePieceProcessor(model_file=str(path))
