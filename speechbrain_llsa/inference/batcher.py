"""Many live streams of one model, in batches of one fixed-shape step."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from speechbrain_llsa.decoders.tokenizers import TextDecoder
from speechbrain_llsa.lobes.ctc import CTCState, StreamingCTC
from speechbrain_llsa.lobes.streaming_step import StreamingStep
from speechbrain_llsa.utils.precision import full_float32
from speechbrain_llsa_runtime.decoders.tokens import Search
from speechbrain_llsa_runtime.inference.batcher import Batcher
from speechbrain_llsa_runtime.inference.sample_queue import SampleQueue
from speechbrain_llsa_runtime.inference.streaming_model import (
    check_outputs,
    make_transcriber,
)
from speechbrain_llsa_runtime.transcripts.endpointer import Endpointer
from speechbrain_llsa_runtime.transcripts.words import WordOffsets
from speechbrain_llsa_runtime.utils.checks import check_type


@dataclass
class _Alone:
    """A stream that goes on as in a session alone, up to its next step."""

    context: CTCState
    """Of its model."""

    taken: int
    """Samples of the step that the context has taken."""


class SessionBatcher(Batcher):
    """Transcribes many streams at once with PyTorch, as
    :class:`~speechbrain_llsa_runtime.inference.batcher.Batcher` says.

    Arguments
    ---------
    model : StreamingCTC
        The model, in evaluation mode.
    text_decoder : TextDecoder
        Turns its labels into text.
    slots : int
        How many streams there may be at once, at least 1. The state of all of
        them is allocated here.
    step_frames : int, optional
        Frames of a step; llsa takes its hop, which is the default.
    hop : int, optional
        Frames that llsa commits at once, in all streams: one of the numbers
        that the model is trained for; the first of them by default.
    look_ahead : int, optional
        Frames that a layer sees ahead, as for ``hop``.
    search : GreedySearch or BeamSearch, optional
        As for a session.
    endpointer : Endpointer, optional
        As for a session.
    word_offsets : WordOffsets, optional
        As for a session.

    Raises
    ------
    TypeError
        If an argument is something else.
    ValueError
        If the model's attention cannot stream, or a number is not allowed.

    Example
    -------
    >>> model, text_decoder = getfixture("tiny_ctc")
    >>> batcher = SessionBatcher(model, text_decoder, slots=2)
    >>> first, second = batcher.session(), batcher.session()
    >>> first.push(torch.randn(44100), sample_rate=44100)
    >>> second.push(torch.randn(8000))
    >>> second.finish()
    >>> text = ""
    >>> while batcher.step():
    ...     text += second.read().committed
    >>> second.finished, text == second.text
    (True, True)
    >>> first.finished
    False
    """

    def __init__(
        self,
        model: StreamingCTC,
        text_decoder: TextDecoder,
        slots: int = 16,
        step_frames: int | None = None,
        hop: int | None = None,
        look_ahead: int | None = None,
        search: Search | None = None,
        endpointer: Endpointer | None = None,
        word_offsets: WordOffsets | None = None,
    ) -> None:
        check_type("model", model, StreamingCTC)
        check_type("text_decoder", text_decoder, TextDecoder)
        geometry = model.geometries.choose(hop, look_ahead)
        self._step = StreamingStep(
            model, step_frames, geometry, keep_provisional=True
        )
        transcriber = make_transcriber(
            model, text_decoder, search, endpointer, word_offsets
        )
        super().__init__(model, self._step.clock, transcriber, slots)
        self._alone_for_now: list[_Alone | None] = [None] * slots
        self._device = next(model.parameters()).device
        # Each tensor is (slots, ...), and written to in place: so a clone,
        # since those of the initial state may be one and the same, and none
        # of inference mode, which nobody may write to outside of it.
        with torch.inference_mode(False), torch.no_grad():
            initial = self._step.initial_state(slots)
            self._state = [part.clone() for part in initial]
            self._initial = self._step.initial_state(1)

    def _enter(self, session, context):
        # Its samples are past the last step, to which no state goes back.
        received = session._audio.signal.given
        total = self._clock.leading_samples + received
        session._steps, taken = divmod(total, self._clock.step_samples)
        silence = np.zeros(taken, np.float32)  # in their place
        session._queue = SampleQueue.resumed(silence, received)
        session._ahead = context.provisional[0].cpu().numpy()
        self._alone_for_now[session._slot] = _Alone(context, taken)

    def _context_of(self, session):
        alone = self._fork_of(session)
        waiting = session._queue.peek(session._queue.waiting)
        log_probs, ahead = self._model.stream(
            waiting[alone.taken :], alone.context
        )
        if len(log_probs):
            # A step of several frames, where some may be committed before.
            try:
                check_outputs(session._state.frames, log_probs, ahead)
                session._take(log_probs, ahead, final=False)
            except Exception as error:
                session._fail(error)
                raise
            self._alone_for_now[session._slot] = _Alone(
                alone.context.fork(), len(waiting)
            )
        return alone.context

    def _fork_of(self, session):
        """The stream in a session alone, at its last step or behind it."""
        slot, steps = session._slot, session._steps
        alone = self._alone_for_now[slot]
        if alone is not None:
            return _Alone(alone.context.fork(), alone.taken)
        state = [kept[slot : slot + 1] for kept in self._state]
        clock = self._clock
        taken = max(0, clock.leading_samples - steps * clock.step_samples)
        return _Alone(self._step.context_at(steps, state), taken)

    def _advance(self, ready):
        alone = [
            (session, *self._go_on_alone(session))
            for session in ready
            if self._alone_for_now[session._slot] is not None
        ]
        others = [
            session
            for session in ready
            if self._alone_for_now[session._slot] is None
        ]
        if others:
            super()._advance(others)
        for session, context, cursor, log_probs, ahead in alone:
            slot = session._slot
            session._commit(log_probs, ahead, cursor)
            if session._slot is not None:
                self._fill(slot, self._step.state_of(context))
                self._alone_for_now[slot] = None

    def _go_on_alone(self, session):
        """Takes a stream to its next step, or to its end before that: the
        context and the cursor there, and the log-probabilities of the committed
        and the provisional frames."""
        alone, queue = self._fork_of(session), session._queue
        count = min(queue.waiting, self._clock.step_samples)
        cursor = session._cursor.next()
        final = count < self._clock.step_samples
        if final:
            steps = self._clock.steps_to_end(queue.received)
            cursor = replace(cursor, steps=max(cursor.steps, steps))
        log_probs, ahead = self._model.stream(
            queue.peek(count)[alone.taken :], alone.context, final
        )
        return alone.context, cursor, log_probs, ahead

    def _leave(self, slot):
        super()._leave(slot)
        self._alone_for_now[slot] = None

    @torch.no_grad()
    @full_float32()
    def _run(self, samples, slots, positions, ends):
        rows, position, end = torch.tensor(
            [slots, positions, ends], device=self._device
        )
        log_probs, ahead, *state = self._step(
            torch.from_numpy(samples).to(self._initial[0]),
            position,
            end,
            *(kept[rows] for kept in self._state),
        )
        for kept, new in zip(self._state, state, strict=True):
            kept.index_copy_(0, rows, new)
        return log_probs.cpu().numpy(), ahead.cpu().numpy()
