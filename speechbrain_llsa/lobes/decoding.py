"""From frame-wise label probabilities to text, push by push.

Greedy CTC decoding and the joining of pieces to text both need to remember
a little of what came before: the last label, and whether there is any text.
"""

from dataclasses import dataclass, replace

import torch
from sentencepiece import SentencePieceProcessor
from speechbrain.dataio.encoder import CTCTextEncoder

WORD_START = "\u2581"
"""The mark of SentencePiece for a space before a piece."""


@dataclass
class CTCGreedyState:
    """What greedy CTC decoding remembers of one session, or of a batch."""

    last: torch.Tensor | None = None
    """Label of the last frame of each row, blank included, int64 (batch,);
    -1 for rows without any frame yet. ``None`` before the first push."""

    def fork(self):
        """An independent copy, which shares the tensor.

        Returns
        -------
        CTCGreedyState
        """
        return replace(self)


def ctc_greedy_decode_streaming(log_probs, state, lengths=None, blank_index=0):
    """Decodes the next frames: best label of each frame, repeats collapsed
    (also those of the last frame of the push before), blanks dropped.

    The labels of all pushes together are those that the host's
    ``ctc_greedy_decode`` gives for all frames at once.

    Arguments
    ---------
    log_probs : torch.Tensor
        Log-probabilities of the next frames, (batch, frames, labels).
    state : CTCGreedyState
        What lies behind them. It is brought up to date.
    lengths : torch.Tensor, optional
        Frames of each row that count, int64 (batch,). All by default.
    blank_index : int
        The label that stands for blank.

    Returns
    -------
    list of list of int
        The new labels of each row.

    Raises
    ------
    ValueError
        If the shapes do not fit each other or the state.

    Example
    -------
    >>> labels = torch.tensor([[3, 3, 0, 3, 5, 5, 0]])
    >>> log_probs = torch.nn.functional.one_hot(labels).float()
    >>> state = CTCGreedyState()
    >>> ctc_greedy_decode_streaming(log_probs[:, :5], state)
    [[3, 3, 5]]
    >>> ctc_greedy_decode_streaming(log_probs[:, 5:], state)
    [[]]
    """
    if log_probs.ndim != 3:
        raise ValueError(
            f"log_probs: got shape {tuple(log_probs.shape)}, allowed is "
            "(batch, frames, labels)"
        )
    rows, frames, _ = log_probs.shape
    last = state.last
    if last is None:
        last = log_probs.new_full((rows,), -1, dtype=torch.int64)
    if lengths is None:
        lengths = log_probs.new_full((rows,), frames, dtype=torch.int64)
    for name, tensor in (("state", last), ("lengths", lengths)):
        if tensor.shape != (rows,):
            raise ValueError(
                f"{name}: got shape {tuple(tensor.shape)}, allowed is "
                f"(batch,), here ({rows},)"
            )
    best = log_probs.max(dim=2).indices
    best = torch.cat([last[:, None], best], dim=1)
    counts = torch.arange(frames, device=best.device) < lengths[:, None]
    new = (best[:, 1:] != best[:, :-1]) & (best[:, 1:] != blank_index) & counts
    state.last = best.gather(1, lengths[:, None].clamp(0, frames)).squeeze(1)
    return [
        row[kept].tolist() for row, kept in zip(best[:, 1:], new, strict=True)
    ]


def pieces(tokenizer):
    """The text that each label of a tokenizer stands for.

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
                f"tokenizer: got labels with gaps between their numbers, "
                f"allowed are 0 to {len(table) - 1}"
            )
        labels = (table[index] for index in range(len(table)))
        return ["" if label == blank else str(label) for label in labels]
    if isinstance(tokenizer, SentencePieceProcessor):
        return [
            _sentencepiece_text(tokenizer, label)
            for label in range(tokenizer.get_piece_size())
        ]
    raise TypeError(
        f"tokenizer: got {type(tokenizer).__name__}, allowed is "
        "CTCTextEncoder or SentencePieceProcessor"
    )


def _sentencepiece_text(tokenizer, label):
    try:
        return _piece_text(tokenizer, label)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"tokenizer: got a SentencePiece model whose piece {label} is not "
            f"text, allowed are pieces in UTF-8: {error}"
        ) from error


def _piece_text(tokenizer, label):
    if tokenizer.is_byte(label):
        raise ValueError(
            "tokenizer: got a SentencePiece model with byte_fallback, allowed "
            "is one whose pieces are whole characters"
        )
    if tokenizer.is_unknown(label):
        return tokenizer.decode([label])
    if tokenizer.is_control(label):
        return ""
    return tokenizer.id_to_piece(label).replace(WORD_START, " ")


@dataclass
class TextState:
    """What the joining of pieces remembers of one session."""

    started: bool = False
    """Whether there has been any text."""

    def fork(self):
        """An independent copy.

        Returns
        -------
        TextState
        """
        return replace(self)


class TextDecoder:
    """Turns labels into text, all at once or push by push.

    The texts of all pushes together are the text of all labels: for
    characters their plain sequence, for SentencePiece what its own
    ``decode`` gives, which drops the space before the first word.

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

    def __init__(self, tokenizer):
        self.pieces = pieces(tokenizer)
        self.first_pieces = self.pieces
        if isinstance(tokenizer, SentencePieceProcessor):
            self.first_pieces = [
                tokenizer.decode([label]) for label in range(len(self.pieces))
            ]

    def decode(self, labels):
        """The text of a whole utterance.

        Arguments
        ---------
        labels : iterable of int
            Its labels.

        Returns
        -------
        str
        """
        return self.decode_streaming(labels, TextState())

    def decode_streaming(self, labels, state):
        """The text that the next labels add.

        Arguments
        ---------
        labels : iterable of int
            The next labels.
        state : TextState
            What lies behind them. It is brought up to date.

        Returns
        -------
        str
            To be appended to the text so far.

        Raises
        ------
        ValueError
            If there is no such label.
        """
        text = ""
        for label in labels:
            table = self.pieces if state.started else self.first_pieces
            if not 0 <= label < len(table):
                raise ValueError(
                    f"labels: got {label}, allowed is 0 to {len(table) - 1}"
                )
            piece = table[label]
            text += piece
            state.started = state.started or bool(piece)
        return text
