"""What all streaming recognisers share."""

from __future__ import annotations

from typing import Any, Literal

from speechbrain_llsa_runtime.decoders.greedy import PieceDecoder
from speechbrain_llsa_runtime.decoders.tokens import Search
from speechbrain_llsa_runtime.inference.session import Session
from speechbrain_llsa_runtime.latency import LatencyReport
from speechbrain_llsa_runtime.transcripts.endpointer import (
    Endpointer,
    resolve_endpointer,
)
from speechbrain_llsa_runtime.transcripts.words import WordOffsets


class StreamingRecognizer:
    """A model with what turns its labels into transcripts: it begins sessions,
    and declares their latency."""

    model: Any
    text_decoder: PieceDecoder
    endpointer: Endpointer | None
    """Where segments close, if a session does not say."""
    word_offsets: WordOffsets | None
    """Where words begin and end, relative to the frames of their labels."""

    def latency_report(
        self, hop: int | None = None, look_ahead: int | None = None
    ) -> LatencyReport:
        """The declared latency of the model.

        Arguments
        ---------
        hop : int, optional
            As for ``session``.
        look_ahead : int, optional
            As for ``session``.

        Returns
        -------
        LatencyReport
        """
        return self.model.latency_report(
            self.model.geometries.choose(hop, look_ahead)
        )

    def _session(
        self,
        snapshot: bytes | None,
        hop: int | None,
        look_ahead: int | None,
        search: Search | None,
        endpointer: Endpointer | Literal[False] | None,
        channel: int | None,
    ) -> Session:
        return Session(
            self.model,
            self.text_decoder,
            snapshot,
            hop,
            look_ahead,
            search=search,
            endpointer=resolve_endpointer(endpointer, self.endpointer),
            word_offsets=self.word_offsets,
            channel=channel,
        )
