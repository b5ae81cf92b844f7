"""Many live streams of one exported model, in batches of one step."""

from __future__ import annotations

from typing import Literal

import numpy as np

from speechbrain_llsa_runtime.decoders.tokens import Search
from speechbrain_llsa_runtime.inference.audio_intake import AudioState
from speechbrain_llsa_runtime.inference.batcher import BatchedSession, Batcher
from speechbrain_llsa_runtime.inference.onnx_model import OnnxCTC, OnnxState
from speechbrain_llsa_runtime.inference.sample_queue import SampleQueue
from speechbrain_llsa_runtime.inference.session import Session, SessionState
from speechbrain_llsa_runtime.transcripts.endpointer import Endpointer
from speechbrain_llsa_runtime.transcripts.transcriber import (
    Transcriber,
    TranscriberState,
)
from speechbrain_llsa_runtime.utils.errors import must_be


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

    def __init__(
        self, model: OnnxCTC, transcriber: Transcriber, slots: int = 16
    ) -> None:
        super().__init__(model.clock, transcriber, slots)
        self._model = model
        self._initial = model.initial_state
        self._state = [np.repeat(part, slots, axis=0) for part in self._initial]

    def session(
        self,
        search: Search | None = None,
        channel: int | None = None,
        endpointer: Endpointer | Literal[False] | None = None,
        snapshot: bytes | None = None,
    ) -> BatchedSession:
        """Begins a stream, or goes on with one. Its slot is free again when
        it is finished, closed or ended by an error.

        Arguments
        ---------
        search : GreedySearch or BeamSearch, optional
            For this stream alone. That of the batcher by default.
        channel : int, optional
            Which channel of the audio is taken, counted from 0. By default
            the mean of all.
        endpointer : Endpointer or bool, optional
            For this stream alone; ``False`` for none. That of the batcher by
            default.
        snapshot : bytes, optional
            What ``snapshot()`` of a session gave, batched or not.

        Returns
        -------
        BatchedSession

        Raises
        ------
        TypeError
            If an argument is something else.
        ValueError
            If the channel is negative, or the snapshot is damaged, of another
            model or of a stream that has ended.
        RuntimeError
            If all slots are taken.
        """
        if snapshot is None:
            return super().session(search, channel, endpointer)
        transcriber = self._transcriber_with(search, endpointer)
        alone = self._alone(transcriber, channel, snapshot)
        state = alone._state
        if state.finished:
            raise ValueError(
                must_be("snapshot", "of a stream that goes on", "another one")
            )
        with self._lock:
            session = super().session(search, channel, endpointer)
            self._resume(session, state)
            return session

    def _resume(self, session, state):
        self._fill(session._slot, state.model.tensors)
        session._queue = SampleQueue.resumed(
            state.model.pending, state.model.samples
        )
        session._steps = state.model.steps
        session._ahead = state.model.ahead
        session._audio = AudioState(
            sample_rate=state.sample_rate, signal=state.signal
        )
        session._state = state.transcriber

    def _snapshot(self, session):
        alone = self._alone(session._transcriber, session._mixer.channel)
        if session.finished:
            state = SessionState(
                self.geometry,
                transcriber=TranscriberState(text=session.text),
                finished=True,
            )
        elif session._audio.sample_rate is None:
            state = alone._state
        else:
            slot, queue = session._slot, session._queue
            state = SessionState(
                self.geometry,
                OnnxState(
                    tuple(kept[slot : slot + 1] for kept in self._state),
                    queue.peek(queue.waiting),
                    queue.received,
                    session._steps,
                    session._ahead,
                ),
                session._state,
                sample_rate=session._audio.sample_rate,
                signal=session._audio.signal,
            )
        alone._state = state
        return alone.snapshot()

    def _alone(self, transcriber, channel, snapshot=None):
        """A session by itself, with the same options."""
        return Session(
            self._model,
            transcriber.text_decoder,
            snapshot,
            search=transcriber.search,
            endpointer=transcriber.endpointer,
            word_offsets=transcriber.word_offsets,
            channel=channel,
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
