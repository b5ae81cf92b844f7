"""Many live streams of one exported model, in batches of one step."""

from __future__ import annotations

import numpy as np

from speechbrain_llsa_runtime.inference.batcher import Batcher
from speechbrain_llsa_runtime.inference.onnx_model import OnnxCTC, OnnxState
from speechbrain_llsa_runtime.inference.sample_queue import SampleQueue
from speechbrain_llsa_runtime.transcripts.transcriber import Transcriber


class OnnxBatcher(Batcher):
    """Transcribes many streams at once with ONNX Runtime, as
    :class:`~speechbrain_llsa_runtime.inference.batcher.Batcher` says. A graph
    in 8 bits, which would round the streams of a batch by one range, runs them
    one after the other.

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

    _model: OnnxCTC

    def __init__(
        self, model: OnnxCTC, transcriber: Transcriber, slots: int = 16
    ) -> None:
        super().__init__(model, model.clock, transcriber, slots)
        self._initial = model.initial_state
        self._state = [np.repeat(part, slots, axis=0) for part in self._initial]

    def _enter(self, session, context):
        self._fill(session._slot, context.tensors)
        session._queue = SampleQueue.resumed(context.pending, context.samples)
        session._steps = context.steps
        session._ahead = context.ahead

    def _context_of(self, session):
        slot, queue = session._slot, session._queue
        return OnnxState(
            tuple(kept[slot : slot + 1] for kept in self._state),
            queue.peek(queue.waiting),
            queue.received,
            session._steps,
            session._ahead,
        )

    def _run(self, samples, slots, positions, ends):
        count = len(slots)
        size = 1 if self._model.rows_share_ranges else count
        runs = [
            self._model.run(
                samples[rows],
                positions[rows],
                ends[rows],
                [kept[slots[rows]] for kept in self._state],
            )
            for rows in (slice(i, i + size) for i in range(0, count, size))
        ]
        log_probs, ahead, states = zip(*runs, strict=True)
        for kept, *parts in zip(self._state, *states, strict=True):
            kept[slots] = np.concatenate(parts)
        return np.concatenate(log_probs), np.concatenate(ahead)
