"""Many live streams of one model, in batches of one fixed-shape step. Needs
NumPy alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from speechbrain_llsa_runtime.dataio.channels import ChannelMixer
from speechbrain_llsa_runtime.dataio.samples import ScaleCheck
from speechbrain_llsa_runtime.decoders.tokens import Search
from speechbrain_llsa_runtime.geometry import SAMPLE_RATE, StreamGeometry
from speechbrain_llsa_runtime.inference.audio_intake import AudioState
from speechbrain_llsa_runtime.inference.sample_queue import SampleQueue
from speechbrain_llsa_runtime.inference.session import Session, SessionState
from speechbrain_llsa_runtime.inference.streaming_model import (
    StreamingModel,
    check_outputs,
)
from speechbrain_llsa_runtime.step_clock import StepClock, StepCursor
from speechbrain_llsa_runtime.transcripts.endpointer import (
    Endpointer,
    resolve_endpointer,
)
from speechbrain_llsa_runtime.transcripts.transcriber import (
    Transcriber,
    TranscriberState,
)
from speechbrain_llsa_runtime.transcripts.transcript import Transcript, Word
from speechbrain_llsa_runtime.utils.arrays import Array
from speechbrain_llsa_runtime.utils.checks import check_integer
from speechbrain_llsa_runtime.utils.errors import must_be, reason
from speechbrain_llsa_runtime.utils.processes import fork_safe_lock


class StreamError(RuntimeError):
    """A stream of a batcher has ended by an error, the cause of this one."""


class Batcher(ABC):
    """Transcribes many streams at once: each pushes when it has audio, and a
    step runs all that have enough.

    Streams need not be in step. They join and leave at any time, and each
    gives the text that it gives in a session alone. What fails within one of
    them ends that one; the others go on as without it.

    All methods, those of the sessions too, may be called from any thread.
    One lock guards them, so that a push may wait for the end of a step, and
    so may a fork. A forked process goes on with the streams by itself;
    any other makes a batcher of its own.

    What a model is made of is up to the subclass. It sets ``_initial``, the
    state of a stream that begins as arrays of shape (1, ...), and ``_state``,
    that of all streams, (slots, ...).

    Arguments
    ---------
    model : StreamingModel
        The model, as plain sessions use it.
    clock : StepClock
        Where the steps of the model lie.
    transcriber : Transcriber
        Turns log-probabilities into transcripts, unless a stream has one of
        its own.
    slots : int
        How many streams there may be at once, at least 1.

    Raises
    ------
    TypeError
        If the number of slots is not an integer.
    ValueError
        If it is below 1.
    """

    _initial: Sequence[Any]
    _state: Sequence[Any]

    def __init__(
        self,
        model: StreamingModel,
        clock: StepClock,
        transcriber: Transcriber,
        slots: int,
    ) -> None:
        check_integer("slots", slots, 1)
        self._model = model
        self._clock = clock
        self._transcriber = transcriber
        self._lock = fork_safe_lock()
        self._slots: list[BatchedSession | None] = [None] * slots

    @abstractmethod
    def _run(
        self,
        samples: NDArray[np.float32],
        slots: list[int],
        positions: list[int],
        ends: list[int],
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Runs a step of some slots, and keeps their new states.

        Arguments
        ---------
        samples : numpy.ndarray
            The next samples of each stream, (streams, samples of a step).
        slots : list of int
            Their slots.
        positions : list of int
            The first frame of the step, for each.
        ends : list of int
            The number of frames of each stream, NEVER if it goes on.

        Returns
        -------
        numpy.ndarray
            Log-probabilities of the committed frames, (streams, frames,
            labels).
        numpy.ndarray
            Those of the frames ahead of them, (streams, frames, labels).
        """

    @abstractmethod
    def _context_of(self, session: BatchedSession) -> Any:
        """What the model remembers of a stream in a session alone, after all
        samples so far. No step of the session is due."""

    @abstractmethod
    def _enter(self, session: BatchedSession, context: Any) -> None:
        """Lets a new session go on with what the model remembers."""

    @property
    def slots(self) -> int:
        """How many streams there may be at once."""
        return len(self._slots)

    @property
    def free_slots(self) -> int:
        """How many more streams may join now."""
        return self._slots.count(None)

    @property
    def geometry(self) -> StreamGeometry:
        """The ``StreamGeometry`` of all streams, in frames."""
        return self._clock.geometry

    @property
    def step_seconds(self) -> float:
        """Seconds of audio that a step takes of each stream."""
        return self._clock.step_samples / SAMPLE_RATE

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
            For this stream alone, such as one with its hotwords. That of the
            batcher by default.
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
            model, of another ``hop`` or ``look_ahead``, or of a stream that
            has ended.
        RuntimeError
            If all slots are taken.
        """
        transcriber, state = self._transcriber_with(search, endpointer), None
        if snapshot is not None:
            state = self._alone(transcriber, channel, snapshot)._state
            if state.finished:
                raise ValueError(
                    must_be(
                        "snapshot", "of a stream that goes on", "another one"
                    )
                )
        mixer = ChannelMixer(channel)
        with self._lock:
            if None not in self._slots:
                raise RuntimeError(
                    must_be(
                        "sessions",
                        f"at most {self.slots} at once; finish or close one "
                        "first",
                        self.slots + 1,
                    )
                )
            slot = self._slots.index(None)
            self._fill(slot, self._initial)
            session = BatchedSession(
                self, self._clock, slot, transcriber, mixer
            )
            if state is not None and state.sample_rate is not None:
                session._audio = AudioState(
                    sample_rate=state.sample_rate, signal=state.signal
                )
                session._state = state.transcriber
                self._enter(session, state.model)
            self._slots[slot] = session
            return session

    def _snapshot(self, session: BatchedSession) -> bytes:
        """What ``Session.snapshot`` gives of the same stream. No step of the
        session is due."""
        alone = self._alone(session._transcriber, session._mixer.channel)
        audio = session._audio
        if session.finished:
            alone._state = SessionState(
                self.geometry,
                transcriber=TranscriberState(text=session.text),
                finished=True,
            )
        elif audio.sample_rate is not None:
            # first, since the text may go on
            context = self._context_of(session)
            alone._state = SessionState(
                self.geometry,
                context,
                session._state,
                sample_rate=audio.sample_rate,
                signal=audio.signal,
            )
        return alone.snapshot()

    def _alone(self, transcriber, channel, snapshot=None):
        """A session by itself, with the same options."""
        return Session(
            self._model,
            transcriber.text_decoder,
            snapshot,
            hop=self.geometry.hop,
            look_ahead=self.geometry.look_ahead,
            search=transcriber.search,
            endpointer=transcriber.endpointer,
            word_offsets=transcriber.word_offsets,
            channel=channel,
        )

    def step(self) -> list[BatchedSession]:
        """Runs one step of all streams that have samples for one, or that
        have ended and still have frames to bring out.

        Returns
        -------
        list of BatchedSession
            Those that went on, or failed at it, possibly none. As long as
            there are some, there may be more to do.

        Raises
        ------
        Exception
            What the model raises for the whole batch. All streams are then as
            before the step.
        """
        with self._lock:
            ready = [
                session
                for session in self._slots
                if session is not None and session.ready
            ]
            if ready:
                self._advance(ready)
            return ready

    def _advance(self, ready):
        cursors = [session._cursor for session in ready]
        log_probs, ahead = self._run(
            np.stack(
                [
                    session._queue.peek(self._clock.step_samples)
                    for session in ready
                ]
            ),
            [session._slot for session in ready],
            [cursor.position for cursor in cursors],
            [cursor.end for cursor in cursors],
        )
        for session, *given in zip(ready, log_probs, ahead, strict=True):
            session._advance(*given)

    def _transcriber_with(self, search, endpointer):
        """The transcriber of a stream, with the batcher's search and
        endpointer where the stream has none of its own."""
        if search is None and endpointer is None:
            return self._transcriber
        return self._transcriber.changed(
            self._transcriber.search if search is None else search,
            resolve_endpointer(endpointer, self._transcriber.endpointer),
        )

    def _fill(self, slot, state):
        """Puts the state of one stream into a slot."""
        for kept, part in zip(self._state, state, strict=True):
            kept[slot] = part[0]

    def _leave(self, slot):
        self._slots[slot] = None

    def __reduce_ex__(self, protocol):
        raise TypeError(
            "batcher must be made in the process that uses it, got one to be "
            "copied or sent; make another there"
        )


class BatchedSession:
    """One stream of a batcher: push audio, read text, finish.

    Made by :meth:`Batcher.session`. Unlike in
    :class:`~speechbrain_llsa_runtime.inference.session.Session`, :meth:`push`
    and :meth:`finish` only queue: the batcher's step does the work, and
    :meth:`read` gives what is new, which is kept until then. A call that fails
    ends the stream, since what the stream was to take is lost: the call
    raises its own error, and each one after it ``StreamError``.

    Arguments
    ---------
    batcher : Batcher
        Runs the steps.
    clock : speechbrain_llsa_runtime.step_clock.StepClock
        Where its steps lie.
    slot : int
        Row of the batcher's state.
    transcriber : Transcriber
        Turns log-probabilities into transcripts.
    mixer : ChannelMixer
        Makes one channel of several.
    """

    def __init__(
        self,
        batcher: Batcher,
        clock: StepClock,
        slot: int,
        transcriber: Transcriber,
        mixer: ChannelMixer,
    ) -> None:
        self._audio = AudioState()
        self._scale = ScaleCheck()
        self._batcher = batcher
        self._clock = clock
        self._slot = slot
        self._queue = SampleQueue(clock.leading_samples)
        self._steps = 0
        self._ahead: NDArray[Any] = np.zeros(
            (0, batcher._model.output_features), np.float32
        )
        self._ended = False
        self._finished = False
        self._transcriber = transcriber
        self._mixer = mixer
        self._state = self._transcriber.make_streaming_context()
        self._texts: list[str] = []
        self._words: list[Word] = []
        self._provisional = "", ()
        self._error = None

    @property
    def text(self) -> str:
        """All text committed so far, also after an error. With an endpointer
        that of the segment that goes on, or was the last one."""
        return self._state.text

    @property
    def finished(self) -> bool:
        """Whether the stream has ended, and all its text is committed."""
        return self._finished

    @property
    def ready(self) -> bool:
        """Whether the next step of the batcher runs this stream."""
        return self._slot is not None and (
            self._ended or self._queue.waiting >= self._clock.step_samples
        )

    @property
    def committed_seconds(self) -> float:
        """Seconds of audio from the start of the stream to the end of the last
        committed frame."""
        return self._state.frames * self._clock.frame_seconds

    @property
    def error(self) -> Exception | None:
        """The error that ended the stream, or ``None``."""
        return self._error

    def push(self, samples: Array, sample_rate: int | None = None) -> None:
        """Queues the next samples.

        Arguments
        ---------
        samples : torch.Tensor or numpy.ndarray
            The next samples, any number of them: float32, float64, int16 or
            int32; (samples,), or (samples, channels) with at most 8 channels.
        sample_rate : int, optional
            Samples per second, which stays the same for the whole session. By
            default that of the pushes before, or at first 16000.

        Raises
        ------
        TypeError
            If samples or rate are of another type.
        ValueError
            If samples are not finite, not scaled as their type says or of
            another shape, if the rate is not positive or not that of the
            session, or if it has been finished or closed.
        StreamError
            If the stream has ended by an error.
        """
        with self._batcher._lock:
            self._check_open()
            try:
                taken = self._audio.take(samples, sample_rate, self._mixer)
                self._scale = self._scale.push(samples, self._audio.sample_rate)
                self._queue.push(taken)
            except Exception as error:
                self._fail(error)
                raise

    def finish(self) -> None:
        """Ends the stream. The steps that follow bring out the rest.

        Raises
        ------
        ValueError
            If the session has been finished or closed.
        StreamError
            If the stream has ended by an error.
        """
        with self._batcher._lock:
            self._check_open()
            self._queue.push(self._audio.take_rest())
            self._ended = True
            if self._cursor.done:
                nothing = self._ahead[:0]
                self._take(nothing, nothing, final=True)
            self._leave_at_end()

    def read(self) -> Transcript:
        """Gives what is new since it was called last.

        Returns
        -------
        Transcript

        Raises
        ------
        StreamError
            If the stream has ended by an error. :attr:`text` still holds what
            was committed before.
        """
        with self._batcher._lock:
            self._check_error()
            text, words = "".join(self._texts), (*self._words,)
            self._texts, self._words = [], []
            provisional, others = self._provisional
            return Transcript(
                text,
                provisional,
                words + others,
                self._state.segment.number,
            )

    def snapshot(self) -> bytes:
        """All that the stream remembers, as
        :meth:`~speechbrain_llsa_runtime.inference.session.Session.snapshot`
        gives it: a session goes on with it, and so does a batcher of an equal
        model. The steps that the stream has samples for are run first. Where
        a step of maa or sa takes several frames, those that a session alone has
        committed by now are committed as well. What has not been read stays
        here.

        Returns
        -------
        bytes

        Raises
        ------
        ValueError
            If the stream has been closed, or the text or the search cannot be
            written.
        StreamError
            If the stream has ended by an error.
        """
        with self._batcher._lock:
            self._check_error()
            while self._slot is not None and self.ready:
                self._batcher._advance([self])
                self._check_error()
            if self._slot is None and not self._finished:
                self._check_open()
            return self._batcher._snapshot(self)

    def close(self) -> None:
        """Leaves, without what is still queued. To be called at any time, any
        number of times."""
        with self._batcher._lock:
            self._leave()

    def __reduce_ex__(self, protocol):
        raise TypeError(
            "session must stay with its batcher, got one to be copied or "
            "sent; begin another with a batcher of the process that uses it"
        )

    def _check_error(self):
        if self._error is not None:
            raise StreamError(
                must_be(
                    "session",
                    "one without an error; begin a new one",
                    f"a call after an error: {reason(self._error)}",
                )
            ) from self._error

    def _check_open(self):
        self._check_error()
        if self._ended or self._slot is None:
            ended = "finish" if self._ended else "close"
            raise ValueError(
                must_be(
                    "session",
                    "one that goes on; begin a new one",
                    f"a call after {ended}",
                )
            )

    @property
    def _cursor(self):
        return StepCursor(
            self._clock, self._steps, self._queue.received, self._ended
        )

    def _advance(self, log_probs, ahead):
        """Takes what a step gave: log-probabilities of the committed and the
        provisional frames, (frames, labels)."""
        cursor = self._cursor
        self._commit(
            log_probs,
            ahead,
            cursor.next(),
            cursor.committed,
            cursor.provisional,
        )

    def _commit(
        self,
        log_probs,
        ahead,
        cursor,
        committed=slice(None),
        provisional=slice(None),
    ):
        """Takes the frames that lead to a cursor, as :meth:`_advance`, and of
        them those that count."""
        try:
            # frames that do not count yet would end it later
            check_outputs(self._state.frames, log_probs, ahead)
            self._take(log_probs[committed], ahead[provisional], cursor.done)
        except Exception as error:
            self._fail(error)
            return
        self._queue.drop(
            (cursor.steps - self._steps) * self._clock.step_samples
        )
        self._steps = cursor.steps
        self._leave_at_end()

    def _take(self, log_probs, ahead, final):
        """Keeps what log-probabilities say, (frames, labels), until it is
        read."""
        self._ahead = ahead
        transcript = self._transcriber.advance(
            log_probs, ahead, self._state, final
        )
        if transcript.committed:
            self._texts.append(transcript.committed)
        self._words += transcript.final_words
        others = transcript.words[len(transcript.final_words) :]
        self._provisional = transcript.provisional, others

    def _leave_at_end(self):
        if self._cursor.done:
            self._finished = True
            self._leave()

    def _fail(self, error):
        self._error = error
        self._provisional = "", ()
        self._leave()

    def _leave(self):
        if self._slot is not None:
            self._batcher._leave(self._slot)
        self._slot = None
        self._queue = SampleQueue()
