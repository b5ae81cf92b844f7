"""Greedy CTC decoding of label probabilities to text, push by push.

Between pushes, decoding must remember the last label, and joining pieces to
text whether there has been any text. Needs only NumPy.
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
    """State of greedy CTC decoding for one session, or for a batch."""

    last: NDArray[np.int64] | None = None
    """Label of the last frame of each row, blank included, int64 (batch,);
    -1 for rows without frames so far. ``None`` before the first push."""

    def fork(self) -> CTCGreedyState:
        """Makes an independent copy, which shares the array.

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
    (also across pushes), blanks dropped.

    The concatenated labels of all pushes are those of SpeechBrain's
    ``ctc_greedy_decode`` for all frames at once.

    Arguments
    ---------
    log_probs : torch.Tensor or numpy.ndarray
        Log-probabilities of the next frames, (batch, frames, labels).
    state : CTCGreedyState
        State after the previous frames; updated in place.
    lengths : torch.Tensor or numpy.ndarray, optional
        Number of valid frames in each row, int64 (batch,). All by default.
    blank_index : int
        The label that stands for blank.

    Returns
    -------
    list of list of int
        The new labels of each row.

    Raises
    ------
    ValueError
        If the shapes do not match each other or the state.

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
    """Converts a tensor or array to an array, without importing PyTorch."""
    return tensor.cpu().numpy() if hasattr(tensor, "cpu") else tensor


@dataclass
class GreedySearchState:
    """State of greedy search for one stream."""

    frames: int = 0
    """Frames since the stream began."""

    label: int = -1
    """Label of the last frame, blank included; -1 before the first frame."""

    start: int = 0
    """First frame of the current run of this label."""

    confidence: float = 0.0
    """Largest probability of the label in this run, 0 to 1; 0 if the run yields
    no token, because it is blank or already committed."""

    def fork(self) -> GreedySearchState:
        """Makes an independent copy.

        Returns
        -------
        GreedySearchState
        """
        return GreedySearchState(**vars(self))


class GreedySearch:
    """Greedy CTC search: the best label of each frame, where a run of one label
    is one token and blanks are dropped. The labels are those of SpeechBrain's
    ``ctc_greedy_decode``.

    A token is committed once its run is over, since its end is unknown before.
    It spans the run, and its confidence is the largest probability of its label
    there.

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
        """Makes an initial state for :meth:`advance`.

        Returns
        -------
        GreedySearchState
        """
        return GreedySearchState()

    def advance(
        self, log_probs: Array, state: GreedySearchState, final: bool = False
    ) -> list[Token]:
        """Searches the next committed frames.

        Arguments
        ---------
        log_probs : torch.Tensor or numpy.ndarray
            Log-probabilities of the next committed frames, (frames, labels).
        state : GreedySearchState
            State after the previous frames; updated in place.
        final : bool
            Whether the stream ends with these frames.

        Returns
        -------
        list of Token
            The newly committed tokens.

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
        """Finds the tokens that follow the committed ones if the stream
        continues with these frames.

        Arguments
        ---------
        log_probs : torch.Tensor or numpy.ndarray
            Log-probabilities of provisional frames, (frames, labels).
        state : GreedySearchState
            State after the committed frames; not modified.

        Returns
        -------
        list of Token
        """
        return self.advance(log_probs, state.fork(), final=True)

    def close(self, state: GreedySearchState) -> list[Token]:
        """Commits the token of the current run at an endpoint. Further frames
        of the run do not yield a second token.

        Arguments
        ---------
        state : GreedySearchState
            The state; updated in place.

        Returns
        -------
        list of Token
            One token, or none.
        """
        confidence, state.confidence = state.confidence, 0.0
        if not confidence:
            return []
        return [Token(state.label, state.start, state.frames, confidence)]

    def export_context(self, context: GreedySearchState) -> GreedySearchState:
        """What a snapshot holds of a state: the state itself.

        Arguments
        ---------
        context : GreedySearchState
            The state.

        Returns
        -------
        GreedySearchState
        """
        return context

    def import_context(self, context: GreedySearchState) -> GreedySearchState:
        """Inverse of :meth:`export_context`: the state itself.

        Arguments
        ---------
        context : GreedySearchState
            The state.

        Returns
        -------
        GreedySearchState
        """
        return context

    def context_form(
        self, values: Mapping[str, Any], frames: int, labels: int
    ) -> GreedySearchState:
        """Expected layout of the state in a snapshot
        (:mod:`speechbrain_llsa_runtime.snapshot`).

        Arguments
        ---------
        values : dict
            Values of the state in the snapshot, by field.
        frames : int
            Number of frames that have been searched.
        labels : int
            Number of labels of the model.

        Returns
        -------
        GreedySearchState

        Raises
        ------
        ValueError
            If no state can have these values.
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

    def to_dict(self) -> dict[str, Any]:
        """Returns the options that results depend on, as plain values.

        Returns
        -------
        dict

        Example
        -------
        >>> GreedySearch().to_dict()
        {'blank_index': 0}
        """
        return {"blank_index": int(self.blank_index)}


@dataclass
class TextState:
    """State of joining pieces to text for one session."""

    started: bool = False
    """Whether there has been any text."""

    def fork(self) -> TextState:
        """Makes an independent copy.

        Returns
        -------
        TextState
        """
        return TextState(**vars(self))


class PieceDecoder:
    """Converts labels to text, all at once or push by push.

    The concatenated texts of all pushes are the text of all labels: the plain
    sequence for characters, and for SentencePiece the result of its own
    ``decode``, which drops the space before the first word.

    Arguments
    ---------
    pieces : list of str
        The text of each label; empty for the blank.
    first_pieces : list of str, optional
        The text of each label where it is the first; by default as ``pieces``.

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
        """Decodes the labels of a whole utterance.

        Arguments
        ---------
        labels : iterable of int
            The labels.

        Returns
        -------
        str
        """
        return self.decode_streaming(labels, TextState())

    def decode_streaming(self, labels: Iterable[int], state: TextState) -> str:
        """Decodes the next labels.

        Arguments
        ---------
        labels : iterable of int
            The next labels.
        state : TextState
            State after the previous labels; updated in place.

        Returns
        -------
        str
            The text to append to the text so far.

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
