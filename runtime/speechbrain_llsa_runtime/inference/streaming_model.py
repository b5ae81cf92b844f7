"""What a session needs of a model. Needs NumPy alone."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from speechbrain_llsa_runtime.decoders.tokens import Search
from speechbrain_llsa_runtime.geometry import StreamGeometry, TrainedGeometries


class StreamingModel(Protocol):
    """A model that transcribes streams, such as ``OnnxCTC`` and, in the other
    package, ``StreamingCTC``. Each kind of model has contexts of its own, with
    a ``fork()``, and takes no others."""

    @property
    def geometries(self) -> TrainedGeometries:
        """The geometries that it is trained for."""

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
