"""Text of a tokenizer's labels, and decoding of labels to text."""

from sentencepiece import SentencePieceProcessor
from speechbrain.dataio.encoder import CTCTextEncoder

from speechbrain_llsa_runtime.decoders.greedy import (
    CTCGreedyState,
    GreedySearch,
    PieceDecoder,
    TextState,
    ctc_greedy_decode_streaming,
)
from speechbrain_llsa_runtime.utils.errors import must_be

__all__ = [
    "CTCGreedyState",
    "GreedySearch",
    "TextDecoder",
    "TextState",
    "ctc_greedy_decode_streaming",
    "pieces",
]

WORD_START = "\u2581"
"""SentencePiece's mark for a space before a piece."""


def pieces(tokenizer: CTCTextEncoder | SentencePieceProcessor) -> list[str]:
    """Returns the text of each label of a tokenizer.

    Arguments
    ---------
    tokenizer : CTCTextEncoder or SentencePieceProcessor
        Labels of characters, or of pieces of words.

    Returns
    -------
    list of str
        One for each label; empty for the blank and for control labels.

    Raises
    ------
    TypeError
        If it is another kind of tokenizer.
    ValueError
        If labels of the tokenizer stand for bytes, not for characters.

    Example
    -------
    >>> tokenizer = CTCTextEncoder()
    >>> tokenizer.update_from_iterable("AB ")
    >>> tokenizer.insert_blank(index=0)
    >>> sorted(pieces(tokenizer))
    ['', ' ', 'A', 'B']
    """
    if isinstance(tokenizer, CTCTextEncoder):
        blank = getattr(tokenizer, "blank_label", None)
        table = tokenizer.ind2lab
        if table.keys() != set(range(len(table))):
            raise ValueError(
                must_be(
                    "tokenizer",
                    f"one with the labels 0 to {len(table) - 1}",
                    "gaps between them",
                )
            )
        labels = (table[index] for index in range(len(table)))
        return ["" if label == blank else str(label) for label in labels]
    if isinstance(tokenizer, SentencePieceProcessor):
        return [
            _sentencepiece_text(tokenizer, label)
            for label in range(tokenizer.get_piece_size())
        ]
    raise TypeError(
        must_be(
            "tokenizer",
            "a CTCTextEncoder or a SentencePieceProcessor",
            type(tokenizer).__name__,
        )
    )


def _sentencepiece_text(tokenizer: SentencePieceProcessor, label: int) -> str:
    try:
        return _piece_text(tokenizer, label)
    except UnicodeDecodeError as error:
        raise ValueError(
            must_be(
                "tokenizer",
                "one whose pieces are text in UTF-8",
                f"a SentencePiece model with another piece {label}: {error}",
            )
        ) from error


def _piece_text(tokenizer: SentencePieceProcessor, label: int) -> str:
    if tokenizer.is_byte(label):
        raise ValueError(
            must_be(
                "tokenizer",
                "one whose pieces are whole characters",
                "a SentencePiece model with byte_fallback",
            )
        )
    if tokenizer.is_unknown(label):
        return tokenizer.decode([label])
    if tokenizer.is_control(label):
        return ""
    return tokenizer.id_to_piece(label).replace(WORD_START, " ")


class TextDecoder(PieceDecoder):
    """Converts labels to text, all at once or push by push.

    The concatenated texts of all pushes are the text of all labels: the plain
    sequence for characters, and for SentencePiece the result of its own
    ``decode``, which drops the space before the first word.

    Arguments
    ---------
    tokenizer : CTCTextEncoder or SentencePieceProcessor
        Labels of characters, or of pieces of words.

    Raises
    ------
    TypeError
        If it is another kind of tokenizer.

    Example
    -------
    >>> tokenizer = CTCTextEncoder()
    >>> tokenizer.update_from_iterable(["A", "B", " "])
    >>> tokenizer.insert_blank(index=0)
    >>> decoder = TextDecoder(tokenizer)
    >>> labels = tokenizer.encode_sequence(list("AB BA"))
    >>> decoder.decode(labels)
    'AB BA'
    >>> state = TextState()
    >>> decoder.decode_streaming(labels[:3], state)
    'AB '
    >>> decoder.decode_streaming(labels[3:], state)
    'BA'
    """

    def __init__(
        self, tokenizer: CTCTextEncoder | SentencePieceProcessor
    ) -> None:
        first_pieces = None
        table = pieces(tokenizer)
        if isinstance(tokenizer, SentencePieceProcessor):
            first_pieces = [
                tokenizer.decode([label]) for label in range(len(table))
            ]
        super().__init__(table, first_pieces)
