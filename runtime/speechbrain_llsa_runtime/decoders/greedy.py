"""From frame-wise label probabilities to text, push by push.

Greedy CTC decoding and the joining of pieces to text both need to remember
a little of what came before: the last label, and whether there is any text.
Needs NumPy alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechbrain_llsa_runtime.decoders.tokens import Token
from speechbrain_llsa_runtime.utils.arrays import Array
from speechbrain_llsa_runtime.utils.errors import must_be


@dataclass
class CTCGreedyState:
    """What greedy CTC decoding remembers of one session, or of a batch."""

    last: NDArray[np.int64] | None = None
    """Label of the last frame of each row, blank included, int64 (batch,);
    -1 for rows without any frame yet. ``None`` before the first push."""

    def fork(self) -> CTCGreedyState:
        """An independent copy, which shares the array.

        Returns
        -------
        CTCGreedyState
        """
        return replace(self)


def ctc_greedy_decode_streaming(
    log_probs: Array,
    state: CTCGreedyState,
    lengths: Array | None = None,
    blank_index: int = 0,
) -> list[list[int]]:
    """Decodes the next frames: best label of each frame, repeats collapsed
    (also those of the last frame of the push before), blanks dropped.

    The labels of all pushes together are those that SpeechBrain's
    ``ctc_greedy_decode`` gives for all frames at once.

    Arguments
    ---------
    log_probs : torch.Tensor or numpy.ndarray
        Log-probabilities of the next frames, (batch, frames, labels).
    state : CTCGreedyState
        What lies behind them. It is brought up to date.
    lengths : torch.Tensor or numpy.ndarray, optional
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
    >>> log_probs = np.eye(6)[[[3, 3, 0, 3, 5, 5, 0]]]
    >>> state = CTCGreedyState()
    >>> ctc_greedy_decode_streaming(log_probs[:, :5], state)
    [[3, 3, 5]]
    >>> ctc_greedy_decode_streaming(log_probs[:, 5:], state)
    [[]]
    """
    if log_probs.ndim != 3:
        raise ValueError(
            must_be(
                "log_probs",
                "of shape (batch, frames, labels)",
                tuple(log_probs.shape),
            )
        )
    rows, frames, _ = log_probs.shape
    best = _array(log_probs.argmax(2))
    last = np.full(rows, -1) if state.last is None else state.last
    lengths = np.full(rows, frames) if lengths is None else _array(lengths)
    for name, array in (("state", last), ("lengths", lengths)):
        if array.shape != (rows,):
            raise ValueError(
                must_be(
                    name,
                    f"of shape (batch,), here ({rows},)",
                    tuple(array.shape),
                )
            )
    best = np.concatenate([last[:, None], best], axis=1)
    counts = np.arange(frames) < lengths[:, None]
    new = (best[:, 1:] != best[:, :-1]) & (best[:, 1:] != blank_index) & counts
    state.last = best[np.arange(rows), lengths.clip(0, frames)]
    return [
        row[kept].tolist() for row, kept in zip(best[:, 1:], new, strict=True)
    ]


def _array(tensor: Any) -> NDArray[Any]:
    """An array of what may be a tensor, without importing PyTorch."""
    return tensor.cpu().numpy() if hasattr(tensor, "cpu") else tensor


@dataclass
class GreedySearchState:
    """What greedy search remembers of one stream."""

    frames: int = 0
    """Frames since the stream began."""

    label: int = -1
    """Label of the last frame, blank included; -1 before any frame."""

    start: int = 0
    """Frame where the run of this label began."""

    confidence: float = 0.0
    """Largest probability of the label in this run, 0 to 1; 0 where the run
    is no token: of the blank, or given already."""

    def fork(self) -> GreedySearchState:
        """An independent copy.

        Returns
        -------
        GreedySearchState
        """
        return GreedySearchState(**vars(self))


class GreedySearch:
    """The best label of each frame: a run of one label is one token, and
    blanks are none. The labels are those of SpeechBrain's
    ``ctc_greedy_decode``.

    A token is committed when its run is over, since only then its end is
    known. Its span is the run, its confidence the largest probability that its
    label has there.

    Arguments
    ---------
    blank_index : int
        The label that stands for blank.

    Example
    -------
    >>> with np.errstate(divide="ignore"):
    ...     log_probs = np.log(np.eye(6)[[3, 3, 0, 3, 5, 5]])
    >>> search = GreedySearch()
    >>> state = search.make_streaming_context()
    >>> [token.label for token in search.advance(log_probs[:5], state)]
    [3, 3]
    >>> search.advance(log_probs[5:], state, final=True)
    [Token(label=5, start=4, end=6, confidence=1.0)]
    """

    def __init__(self, blank_index: int = 0) -> None:
        self.blank_index = blank_index

    def make_streaming_context(self) -> GreedySearchState:
        """A fresh state for :meth:`advance`.

        Returns
        -------
        GreedySearchState
        """
        return GreedySearchState()

    def advance(
        self, log_probs: Array, state: GreedySearchState, final: bool = False
    ) -> list[Token]:
        """Takes the next frames.

        Arguments
        ---------
        log_probs : torch.Tensor or numpy.ndarray
            Log-probabilities of the next committed frames, (frames, labels).
        state : GreedySearchState
            What lies behind them. It is brought up to date.
        final : bool
            Whether the stream ends with them.

        Returns
        -------
        list of Token
            The tokens that are committed from now on.

        Raises
        ------
        ValueError
            If the log-probabilities have another shape.
        """
        if log_probs.ndim != 2:
            raise ValueError(
                must_be(
                    "log_probs",
                    "of shape (frames, labels)",
                    tuple(log_probs.shape),
                )
            )
        tokens, first = [], state.frames
        for index, label in enumerate(log_probs.argmax(1).tolist()):
            begins = label != state.label
            if begins:
                state.frames = first + index
                tokens += self.close(state)
                state.label, state.start = label, state.frames
            if label != self.blank_index and (begins or state.confidence):
                probability = math.exp(min(0.0, float(log_probs[index, label])))
                state.confidence = max(state.confidence, probability)
        state.frames = first + len(log_probs)
        return tokens + self.close(state) if final else tokens

    def look_ahead(
        self, log_probs: Array, state: GreedySearchState
    ) -> list[Token]:
        """What follows the committed tokens, if the stream goes on like this.

        Arguments
        ---------
        log_probs : torch.Tensor or numpy.ndarray
            Log-probabilities of provisional frames, (frames, labels).
        state : GreedySearchState
            What lies behind them. It stays as it is.

        Returns
        -------
        list of Token
        """
        return self.advance(log_probs, state.fork(), final=True)

    def close(self, state: GreedySearchState) -> list[Token]:
        """Commits all that is best now: the run that goes on ends here. What
        follows of it is no second token.

        Arguments
        ---------
        state : GreedySearchState
            The state. It is brought up to date.

        Returns
        -------
        list of Token
            One, or none.
        """
        confidence, state.confidence = state.confidence, 0.0
        if not confidence:
            return []
        return [Token(state.label, state.start, state.frames, confidence)]

    def context_form(
        self, values: Mapping[str, Any], frames: int, labels: int
    ) -> GreedySearchState:
        """The form of the state after so many frames
        (:mod:`speechbrain_llsa_runtime.snapshot`).

        Arguments
        ---------
        values : dict
            What a snapshot says of the state, by field.
        frames : int
            Frames that the search has taken.
        labels : int
            Labels that the model tells apart.

        Returns
        -------
        GreedySearchState

        Raises
        ------
        ValueError
            If a state cannot be like that.
        """
        label, start = values["label"], values["start"]
        confidence = values["confidence"]
        silent = label in (-1, self.blank_index) or not confidence
        if not (
            type(label) is type(start) is int
            and type(confidence) is float
            and (label >= 0) == (frames > 0)
            and -1 <= label < labels
            and 0 <= start <= max(0, frames - 1)
            and (confidence == 0.0 if silent else 0.0 <= confidence <= 1.0)
        ):
            raise ValueError(
                f"a run of label {label} that began with frame {start}, with "
                f"a confidence of {confidence}, after {frames} frames"
            )
        return GreedySearchState(frames, label, start, confidence)


@dataclass
class TextState:
    """What the joining of pieces remembers of one session."""

    started: bool = False
    """Whether there has been any text."""

    def fork(self) -> TextState:
        """An independent copy.

        Returns
        -------
        TextState
        """
        return TextState(**vars(self))


class PieceDecoder:
    """Turns labels into text, all at once or push by push.

    The texts of all pushes together are the text of all labels: for
    characters their plain sequence, for SentencePiece what its own
    ``decode`` gives, which drops the space before the first word.

    Arguments
    ---------
    pieces : list of str
        The text of each label; empty for the blank.
    first_pieces : list of str, optional
        The text of each label where none came before. As ``pieces`` by
        default.

    Example
    -------
    >>> decoder = PieceDecoder(["", " A", "B"], ["", "A", "B"])
    >>> decoder.decode([1, 2, 1])
    'AB A'
    >>> state = TextState()
    >>> decoder.decode_streaming([1, 2], state)
    'AB'
    >>> decoder.decode_streaming([1], state)
    ' A'
    """

    def __init__(
        self, pieces: Sequence[str], first_pieces: Sequence[str] | None = None
    ) -> None:
        self.pieces = pieces
        self.first_pieces = pieces if first_pieces is None else first_pieces

    def decode(self, labels: Iterable[int]) -> str:
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

    def decode_streaming(self, labels: Iterable[int], state: TextState) -> str:
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
                    must_be("labels", f"0 to {len(table) - 1}", label)
                )
            piece = table[label]
            text += piece
            state.started = state.started or bool(piece)
        return text
