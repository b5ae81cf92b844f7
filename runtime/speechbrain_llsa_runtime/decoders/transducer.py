"""Greedy search of a transducer: from projected encoder frames to labels.

A transducer says for each frame, and for the labels before it, which label
follows, or that none does and the next frame is due (the blank). Its predictor
sees a fixed number of labels: these are all that a search must remember. Both
predictor and joiner are small, so NumPy runs them wherever the encoder runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from speechbrain_llsa_runtime.decoders.tokens import Token
from speechbrain_llsa_runtime.utils.arrays import Array
from speechbrain_llsa_runtime.utils.checks import check_integer
from speechbrain_llsa_runtime.utils.errors import must_be

BLANK = 0
"""The label that stands for blank."""

MAX_SYMBOLS = 3
"""Labels that a frame may yield, unless a model says otherwise. With frames of
20 ms these are 150 labels a second, ten times what speech has in characters:
the limit does no more than to end a frame."""

BLOCK_FRAMES = 16
"""Frames that are joined at once with the same labels before them."""

NAMES = (
    "embedding.weight",
    "convolution.weight",
    "projection.weight",
    "projection.bias",
    "output.weight",
    "output.bias",
)
"""The tensors of a predictor and a joiner, in the order of the fields of
:class:`TransducerWeights`."""


@dataclass(frozen=True)
class TransducerWeights:
    """A stateless predictor and a joiner, as arrays of float32 or of float64.

    The predictor embeds the last labels, sums them with weights for each place
    and feature, and projects what is positive of the sum. The joiner adds a
    frame, and maps the hyperbolic tangent of that to labels.

    Example
    -------
    >>> weights = TransducerWeights.random(labels=5, features=4)
    >>> predicted = weights.predict((0, 3))
    >>> predicted.shape
    (4,)
    >>> log_probs = weights.log_probs(np.zeros((7, 4)), predicted)
    >>> log_probs.shape, float(np.exp(log_probs[0]).sum().round(6))
    ((7, 5), 1.0)
    """

    embedding: NDArray[Any]
    """Of each label, (labels, embedding features)."""

    convolution: NDArray[Any]
    """What each place of the context counts, oldest first, (embedding
    features, 1, context size)."""

    projection: NDArray[Any]
    """From embedding features to those of a frame, (features, embedding
    features)."""

    projection_bias: NDArray[Any]
    """(features,)."""

    output: NDArray[Any]
    """From features to labels, (labels, features)."""

    output_bias: NDArray[Any]
    """(labels,)."""

    def __post_init__(self) -> None:
        labels, embedded = self.embedding.shape
        _, _, context_size = self.convolution.shape
        features = len(self.projection_bias)
        shapes = {
            "convolution": (embedded, 1, context_size),
            "projection": (features, embedded),
            "output": (labels, features),
            "output_bias": (labels,),
        }
        for name, shape in shapes.items():
            found = getattr(self, name).shape
            if found != shape:
                raise ValueError(must_be(name, f"of shape {shape}", found))

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Any]) -> TransducerWeights:
        """Takes the tensors of a file.

        Arguments
        ---------
        tensors : dict of str to numpy.ndarray
            One for each of ``NAMES``.

        Returns
        -------
        TransducerWeights

        Raises
        ------
        ValueError
            If a tensor is missing, unknown, of another shape or of another
            type.
        """
        if tensors.keys() != set(NAMES):
            raise ValueError(
                must_be(
                    "tensors", f"those named {', '.join(NAMES)}", list(tensors)
                )
            )
        for name, tensor in tensors.items():
            sizes = {"embedding": 2, "convolution": 3, "projection": 2}
            part, kind = name.split(".")
            size = 1 if kind == "bias" else sizes.get(part, 2)
            if tensor.ndim != size:
                raise ValueError(must_be(name, f"of {size} axes", tensor.shape))
            if not np.isfinite(tensor).all():
                raise ValueError(must_be(name, "finite", "nan or infinity"))
        kinds = sorted({str(tensor.dtype) for tensor in tensors.values()})
        if kinds not in (["float32"], ["float64"]):
            raise ValueError(
                must_be("tensors", "all float32 or all float64", kinds)
            )
        return cls(*(tensors[name] for name in NAMES))

    @classmethod
    def random(
        cls, labels: int, features: int, context_size: int = 2, seed: int = 0
    ) -> TransducerWeights:
        """Makes one of random numbers, for examples and tests.

        Arguments
        ---------
        labels : int
            Labels, with the blank.
        features : int
            Features of a frame, and of an embedding.
        context_size : int
            Labels that the predictor sees.
        seed : int
            Of the random numbers.

        Returns
        -------
        TransducerWeights
        """
        draw = np.random.default_rng(seed).normal
        return cls(
            draw(size=(labels, features)),
            draw(size=(features, 1, context_size)),
            draw(size=(features, features)),
            draw(size=features),
            draw(size=(labels, features)),
            draw(size=labels),
        )

    @property
    def labels(self) -> int:
        """Number of labels, with the blank."""
        return len(self.embedding)

    @property
    def context_size(self) -> int:
        """Number of labels that the predictor sees."""
        return self.convolution.shape[2]

    @property
    def features(self) -> int:
        """Features of a frame."""
        return len(self.projection_bias)

    @property
    def no_labels(self) -> tuple[int, ...]:
        """The context before the first label: blanks."""
        return (BLANK,) * self.context_size

    def after(self, history: tuple[int, ...], label: int) -> tuple[int, ...]:
        """The context after one more label.

        Arguments
        ---------
        history : tuple of int
            The context before it.
        label : int
            The label.

        Returns
        -------
        tuple of int
        """
        return (*history[1:], label)

    def predict(self, history: tuple[int, ...]) -> NDArray[Any]:
        """Runs the predictor.

        Arguments
        ---------
        history : tuple of int
            The last labels, oldest first, as many as ``context_size``.

        Returns
        -------
        numpy.ndarray
            (features,).
        """
        embedded = self.embedding[list(history)]
        mixed = (embedded * self.convolution[:, 0].T).sum(axis=0)
        return self.projection @ np.maximum(mixed, 0) + self.projection_bias

    def log_probs(
        self, frames: NDArray[Any], predicted: NDArray[Any]
    ) -> NDArray[np.float64]:
        """Runs the joiner.

        Arguments
        ---------
        frames : numpy.ndarray
            Projected frames, (frames, features).
        predicted : numpy.ndarray
            Result of :meth:`predict`, (features,).

        Returns
        -------
        numpy.ndarray
            Log-probabilities of what follows each frame, (frames, labels).
        """
        joined = np.tanh(frames + predicted)
        logits = (joined @ self.output.T + self.output_bias).astype(np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        total = np.exp(logits).sum(axis=1, keepdims=True)
        return logits - np.log(total)


def checked_frames(frames: Array, features: int) -> NDArray[Any]:
    """Takes the frames of one stream as an array.

    Arguments
    ---------
    frames : torch.Tensor or numpy.ndarray
        Projected frames, (frames, features).
    features : int
        Features that they must have.

    Returns
    -------
    numpy.ndarray

    Raises
    ------
    ValueError
        If they have another shape.
    """
    if hasattr(frames, "detach"):
        tensor = frames.detach().cpu()
        # NumPy has no bfloat16
        frames = tensor.float() if tensor.element_size() < 4 else tensor
    frames = np.asarray(frames)
    if frames.ndim != 2 or frames.shape[1] != features:
        raise ValueError(
            must_be(
                "frames",
                f"of shape (frames, features), here of {features} features",
                frames.shape,
            )
        )
    return frames


@dataclass
class TransducerState:
    """State of greedy search for one stream."""

    history: tuple[int, ...]
    """The last labels, oldest first: blanks where there are fewer."""

    frames: int = 0
    """Frames since the stream began."""

    def fork(self) -> TransducerState:
        """Makes an independent copy.

        Returns
        -------
        TransducerState
        """
        return TransducerState(self.history, self.frames)


class TransducerGreedySearch:
    """Greedy search: at each frame the most likely label, again and again,
    until that is the blank or the frame has yielded ``max_symbols``.

    A token is committed with its frame, which it spans. Its confidence is its
    probability there.

    Arguments
    ---------
    weights : TransducerWeights
        Predictor and joiner.
    max_symbols : int
        Labels that a frame may yield.

    Raises
    ------
    TypeError
        If ``max_symbols`` is not an integer.
    ValueError
        If it is not positive.

    Example
    -------
    >>> search = TransducerGreedySearch(TransducerWeights.random(5, 4))
    >>> frames = np.random.default_rng(1).normal(size=(9, 4)) * 3
    >>> state = search.make_streaming_context()
    >>> tokens = search.advance(frames[:2], state)
    >>> tokens += search.advance(frames[2:], state, final=True)
    >>> whole = search.make_streaming_context()
    >>> tokens == search.advance(frames, whole, final=True)
    True
    >>> len(tokens) > 3
    True
    """

    def __init__(
        self, weights: TransducerWeights, max_symbols: int = MAX_SYMBOLS
    ) -> None:
        check_integer("max_symbols", max_symbols, 1)
        self.weights = weights
        self.max_symbols = int(max_symbols)

    def make_streaming_context(self) -> TransducerState:
        """Makes an initial state for :meth:`advance`.

        Returns
        -------
        TransducerState
        """
        return TransducerState(self.weights.no_labels)

    def advance(
        self, frames: Array, state: TransducerState, final: bool = False
    ) -> list[Token]:
        """Searches the next committed frames.

        Arguments
        ---------
        frames : torch.Tensor or numpy.ndarray
            The next projected frames, (frames, features).
        state : TransducerState
            State after the previous frames; updated in place.
        final : bool
            Whether the stream ends with these frames, which changes nothing.

        Returns
        -------
        list of Token
            The newly committed tokens.

        Raises
        ------
        ValueError
            If the frames have another shape.
        """
        weights = self.weights
        frames = checked_frames(frames, weights.features)
        tokens: list[Token] = []
        history, predicted = state.history, weights.predict(state.history)
        index = yielded = 0
        while index < len(frames):
            block = frames[index : index + BLOCK_FRAMES]
            log_probs = weights.log_probs(block, predicted)
            best = log_probs.argmax(axis=1)
            (spoken,) = best.nonzero()
            if not len(spoken):
                index, yielded = index + len(block), 0
                continue
            ahead = int(spoken[0])
            if ahead:
                index, yielded = index + ahead, 0
            label, frame = int(best[ahead]), state.frames + index
            probability = math.exp(min(0.0, float(log_probs[ahead, label])))
            tokens.append(Token(label, frame, frame + 1, probability))
            history = weights.after(history, label)
            predicted = weights.predict(history)
            yielded += 1
            if yielded == self.max_symbols:
                index, yielded = index + 1, 0
        state.history = history
        state.frames += len(frames)
        return tokens

    def look_ahead(self, frames: Array, state: TransducerState) -> list[Token]:
        """Finds the tokens that follow the committed ones if the stream
        continues with these frames.

        Arguments
        ---------
        frames : torch.Tensor or numpy.ndarray
            Projected provisional frames, (frames, features).
        state : TransducerState
            State after the committed frames; not modified.

        Returns
        -------
        list of Token
        """
        return self.advance(frames, state.fork())

    def frame_labels(self, frames: Array, state: TransducerState) -> list[int]:
        """The first label that each frame yields, for an endpointer.

        Arguments
        ---------
        frames : torch.Tensor or numpy.ndarray
            The next projected frames, (frames, features).
        state : TransducerState
            State after the previous frames; not modified.

        Returns
        -------
        list of int
            The blank for frames that yield none.
        """
        labels = [BLANK] * len(frames)
        for token in reversed(self.look_ahead(frames, state)):
            labels[token.start - state.frames] = token.label
        return labels

    def close(self, state: TransducerState) -> list[Token]:
        """Commits what is open at an endpoint: nothing is.

        Arguments
        ---------
        state : TransducerState
            The state, which stays as it is.

        Returns
        -------
        list of Token
        """
        return []

    def export_context(self, context: TransducerState) -> TransducerState:
        """What a snapshot holds of a state: the state itself.

        Arguments
        ---------
        context : TransducerState
            The state.

        Returns
        -------
        TransducerState
        """
        return context

    def import_context(self, context: TransducerState) -> TransducerState:
        """Inverse of :meth:`export_context`: the state itself.

        Arguments
        ---------
        context : TransducerState
            The state.

        Returns
        -------
        TransducerState
        """
        return context

    def context_form(
        self, values: Mapping[str, Any], frames: int, labels: int
    ) -> TransducerState:
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
        TransducerState

        Raises
        ------
        ValueError
            If no state can have these values.
        """
        places = range(self.weights.context_size)
        history = tuple(values[f"history.{place}"] for place in places)
        check_history(history, frames * self.max_symbols, labels)
        return TransducerState(history, frames)

    def to_dict(self) -> dict[str, Any]:
        """Returns the options that results depend on, as plain values.

        Returns
        -------
        dict

        Example
        -------
        >>> TransducerGreedySearch(TransducerWeights.random(3, 2)).to_dict()
        {'max_symbols': 3}
        """
        return {"max_symbols": self.max_symbols}


def check_history(history: tuple[Any, ...], most: int, labels: int) -> None:
    """Checks the last labels that a snapshot holds.

    Arguments
    ---------
    history : tuple
        The labels, oldest first.
    most : int
        How many labels there may have been.
    labels : int
        Number of labels of the model.

    Raises
    ------
    ValueError
        If they cannot be these: blanks stand in front alone.
    """
    spoken = [label for label in history if label != BLANK]
    if (
        not all(type(label) is int and 0 <= label < labels for label in history)
        or history[len(history) - len(spoken) :] != tuple(spoken)
        or len(spoken) > most
    ):
        raise ValueError(f"the last labels cannot be {history}")
