"""What a session needs of a model, and how its frames become text. Needs NumPy
alone."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from speechbrain_llsa_runtime.decoders.greedy import PieceDecoder
from speechbrain_llsa_runtime.decoders.tokens import Search, takes_labels
from speechbrain_llsa_runtime.geometry import StreamGeometry, TrainedGeometries
from speechbrain_llsa_runtime.transcripts.endpointer import Endpointer
from speechbrain_llsa_runtime.transcripts.transcriber import Transcriber
from speechbrain_llsa_runtime.transcripts.words import WordOffsets
from speechbrain_llsa_runtime.utils.errors import must_be


class StreamingModel(Protocol):
    """A model that transcribes streams, such as ``OnnxCTC`` and, in the other
    package, ``StreamingCTC``. Each kind of model has contexts of its own, with
    a ``fork()``, and takes no others."""

    @property
    def geometries(self) -> TrainedGeometries:
        """The geometries that it is trained for."""

    @property
    def gives_labels(self) -> bool:
        """Whether it gives log-probabilities of labels, as for CTC, rather than
        projected frames."""

    @property
    def frame_seconds(self) -> float:
        """Seconds from one frame to the next."""

    @property
    def output_features(self) -> int:
        """Numbers that it gives for each frame: for CTC, its labels."""

    def greedy_search(self) -> Search:
        """The search for sessions that name none."""

    def make_streaming_context(
        self, geometry: StreamGeometry | None = None
    ) -> Any:
        """A fresh context for one stream."""

    def stream(
        self, samples: NDArray[np.float32], context: Any, final: bool = False
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Takes the next samples, and gives what a search needs of the frames
        that are now committed, and of those ahead of them: for CTC their
        log-probabilities."""

    def committed_frames(self, context: Any) -> int:
        """How many frames it has committed."""

    def fingerprint(self) -> str:
        """Says which model it is."""

    def export_context(self, context: Any) -> Any:
        """A context as a snapshot holds it: of arrays alone."""

    def import_context(self, context: Any) -> Any:
        """The inverse of :meth:`export_context`."""

    def context_form(
        self, samples: int, geometry: StreamGeometry | None = None
    ) -> Any:
        """The form of a context after so many samples, as it is exported."""


def check_outputs(first: int, *outputs: NDArray[Any]) -> None:
    """Refuses what a model with broken weights gives, or any model for samples
    that are far too loud.

    Arguments
    ---------
    first : int
        Number of the first frame, counted from 0.
    *outputs : numpy.ndarray
        What the model gives for this frame and those after it, in one array or
        several, (frames, features).

    Raises
    ------
    FloatingPointError
        If a number is not finite.

    Example
    -------
    >>> try:
    ...     check_outputs(7, np.zeros((1, 2)), np.full((1, 2), np.nan))
    ... except FloatingPointError as error:
    ...     print(str(error)[:40])
    outputs of the model must be finite, got
    """
    if not all(np.isfinite(each).all() for each in outputs):
        raise FloatingPointError(
            must_be(
                "outputs of the model",
                "finite",
                f"NaN or infinite numbers from frame {first} on",
            )
        )


def make_transcriber(
    model: StreamingModel,
    text_decoder: PieceDecoder,
    search: Search | None = None,
    endpointer: Endpointer | None = None,
    word_offsets: WordOffsets | None = None,
) -> Transcriber:
    """Makes what turns the frames of a model into transcripts.

    Arguments
    ---------
    model : StreamingModel
        The model.
    text_decoder : PieceDecoder
        Converts its labels to text.
    search : Search, optional
        Converts its frames to labels. By default the greedy search of the
        model.
    endpointer : Endpointer, optional
        Decides where segments close. By default the stream is one segment.
    word_offsets : WordOffsets, optional
        Start and end of words relative to the frames of their labels.

    Returns
    -------
    Transcriber

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If the search is for models of another kind.
    """
    search = model.greedy_search() if search is None else search
    transcriber = Transcriber(
        text_decoder, search, endpointer, word_offsets, model.frame_seconds
    )
    if takes_labels(search) != model.gives_labels:
        fitting = type(model.greedy_search()).__name__
        raise ValueError(
            must_be(
                "search",
                f"for models like this one, as {fitting} is",
                type(search).__name__,
            )
        )
    return transcriber
