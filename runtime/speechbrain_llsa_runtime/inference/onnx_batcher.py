"""Many live streams of one exported model, in batches of one step."""

from __future__ import annotations

import numpy as np

from speechbrain_llsa_runtime.inference.batcher import Batcher
from speechbrain_llsa_runtime.inference.onnx_model import OnnxCTC
from speechbrain_llsa_runtime.transcripts.transcriber import Transcriber


class OnnxBatcher(Batcher):
    """Transcribes many streams at once with ONNX Runtime, as
    :class:`~speechbrain_llsa_runtime.inference.batcher.Batcher` says.

    Arguments
    ---------
    model : OnnxCTC
        The model.
    transcriber : Transcriber
        Turns log-probabilities into transcripts, unless a stream has one of
        its own.
    slots : int
        How many streams there may be at once, at least 1. The state of all of
        them is allocated here.

    Raises
    ------
    TypeError
        If the number of slots is not an integer.
    ValueError
        If it is below 1.
    """

    def __init__(
        self, model: OnnxCTC, transcriber: Transcriber, slots: int = 16
    ) -> None:
        super().__init__(model.clock, transcriber, slots)
        self._model = model
        # (slots, ...) each
        self._state = [
            np.repeat(part, slots, axis=0) for part in model.initial_state
        ]

    def _begin(self, slot):
        for kept, initial in zip(
            self._state, self._model.initial_state, strict=True
        ):
            kept[slot] = initial[0]

    def _run(self, samples, slots, positions, ends):
        log_probs, ahead, state = self._model.run(
            samples, positions, ends, [kept[slots] for kept in self._state]
        )
        for kept, new in zip(self._state, state, strict=True):
            kept[slots] = new
        return log_probs, ahead
