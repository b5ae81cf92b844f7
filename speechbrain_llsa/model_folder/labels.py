"""Tokenizers of strangers: files of labels, loaded with care."""

from pathlib import Path

from sentencepiece import SentencePieceProcessor

from speechbrain_llsa.utils.errors import reason
from speechbrain_llsa.utils.text_files import (
    read_lines,
    without_byte_order_mark,
)

LARGEST_FILE_BYTES = 16 << 20
LONGEST_LINE = 1000


def load_tokenizer(tokenizer, path):
    """Loads a tokenizer from its file.

    Arguments
    ---------
    tokenizer : CTCTextEncoder or SentencePieceProcessor
        What is loaded into.
    path : str or pathlib.Path
        Its file.

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
            f"path: got {str(path)!r}, allowed is an existing file of labels"
        )
    try:
        if path.stat().st_size > LARGEST_FILE_BYTES:
            raise ValueError(f"it has more than {LARGEST_FILE_BYTES} bytes")
        if not isinstance(tokenizer, SentencePieceProcessor):
            _check_lines(path)
        with without_byte_order_mark(path) as plain:
            tokenizer.load(str(plain))
    except MemoryError:
        raise
    except Exception as error:  # readers of damaged bytes raise anything
        raise ValueError(
            f"path: got a damaged {path.name}, allowed is what a tokenizer "
            f"saved: {reason(error)}"
        ) from error


def _check_lines(path):
    """The host's reader parses each line as a literal of Python, whose parser
    is not made for long ones."""
    if any(len(line) > LONGEST_LINE for line in read_lines(path)):
        raise ValueError(f"a line has more than {LONGEST_LINE} characters")
