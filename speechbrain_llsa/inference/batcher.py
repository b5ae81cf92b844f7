"""Many live streams of one model, in batches of one fixed-shape step."""

from __future__ import annotations

import numpy as np
import torch

from speechbrain_llsa.decoders.tokenizers import TextDecoder
from speechbrain_llsa.lobes.ctc import StreamingCTC
from speechbrain_llsa.lobes.streaming_step import StreamingStep
from speechbrain_llsa.utils.precision import full_float32
from speechbrain_llsa_runtime.dataio.channels import ChannelMixer
from speechbrain_llsa_runtime.dataio.samples import ScaleCheck
from speechbrain_llsa_runtime.decoders.tokens import Search
from speechbrain_llsa_runtime.geometry import SAMPLE_RATE, StreamGeometry
from speechbrain_llsa_runtime.inference.audio_intake import AudioState
from speechbrain_llsa_runtime.inference.sample_queue import SampleQueue
from speechbrain_llsa_runtime.step_clock import StepClock, StepCursor
from speechbrain_llsa_runtime.transcripts.endpointer import Endpointer
from speechbrain_llsa_runtime.transcripts.transcriber import Transcriber
from speechbrain_llsa_runtime.transcripts.transcript import Transcript, Word
from speechbrain_llsa_runtime.transcripts.words import WordOffsets
from speechbrain_llsa_runtime.utils.arrays import Array
from speechbrain_llsa_runtime.utils.checks import check_integer, check_type
from speechbrain_llsa_runtime.utils.errors import must_be, reason
from speechbrain_llsa_runtime.utils.processes import fork_safe_lock


class StreamError(RuntimeError):
    """A stream of a batcher has ended by an error, the cause of this one."""


class SessionBatcher:
    """Transcribes many streams at once: each pushes when it has audio, and a
    step runs all that have enough.

    Streams need not be in step. They join and leave at any time, and each
    gives the text that it gives in a session alone. What fails within one of
    them ends that one; the others go on as without it.

    All methods, those of the sessions too, may be called from any thread.
    One lock guards them, so that a push may wait for the end of a step, and
    so may a fork. A forked process goes on with the streams by itself;
    any other makes a batcher of its own.

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
        check_integer("slots", slots, 1)
        geometry = model.geometries.choose(hop, look_ahead)
        self._step = StreamingStep(model, step_frames, geometry)
        self._clock = self._step.clock
        self._transcriber = Transcriber(
            text_decoder,
            search,
            endpointer,
            word_offsets,
            model.frame_seconds,
        )
        self._device = next(model.parameters()).device
        self._lock = fork_safe_lock()
        self._slots: list[BatchedSession | None] = [None] * slots
        # Each tensor is (slots, ...), and written to in place: so a clone,
        # since those of the initial state may be one and the same, and none
        # of inference mode, which nobody may write to outside of it.
        with torch.inference_mode(False), torch.no_grad():
            initial = self._step.initial_state(slots)
            self._state = [part.clone() for part in initial]
            self._initial = self._step.initial_state(1)

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
        self, search: Search | None = None, channel: int | None = None
    ) -> BatchedSession:
        """Begins a stream. Its slot is free again when it is finished, closed
        or ended by an error.

        Arguments
        ---------
        search : GreedySearch or BeamSearch, optional
            For this stream alone, such as one with its hotwords. That of the
            batcher by default.
        channel : int, optional
            Which channel of the audio is taken, counted from 0. By default
            the mean of all.

        Returns
        -------
        BatchedSession

        Raises
        ------
        TypeError
            If the search or the channel is something else.
        ValueError
            If the channel is negative.
        RuntimeError
            If all slots are taken.
        """
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
            for kept, initial in zip(self._state, self._initial, strict=True):
                kept[slot] = initial[0]
            transcriber = self._transcriber
            if search is not None:
                transcriber = transcriber.with_search(search)
            session = BatchedSession(
                self, self._clock, slot, transcriber, mixer
            )
            self._slots[slot] = session
            return session

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
                if session is not None and session._ready()
            ]
            if ready:
                self._run(ready)
            return ready

    @torch.no_grad()
    @full_float32()
    def _run(self, ready):
        cursors = [session._cursor for session in ready]
        rows, position, end = torch.tensor(
            [
                [session._slot, cursor.position, cursor.end]
                for session, cursor in zip(ready, cursors, strict=True)
            ],
            device=self._device,
        ).unbind(1)
        samples = np.stack(
            [session._queue.peek(self._clock.step_samples) for session in ready]
        )
        log_probs, ahead, *state = self._step(
            torch.from_numpy(samples).to(self._initial[0]),
            position,
            end,
            *(kept[rows] for kept in self._state),
        )
        finite = _finite_rows(log_probs) & _finite_rows(ahead)
        for kept, new in zip(self._state, state, strict=True):
            kept.index_copy_(0, rows, new)
        for session, *given in zip(
            ready,
            log_probs.cpu().numpy(),
            ahead.cpu().numpy(),
            finite.tolist(),
            strict=True,
        ):
            session._advance(*given)

    def _leave(self, slot):
        self._slots[slot] = None

    def __reduce_ex__(self, protocol):
        raise TypeError(
            "batcher must be made in the process that uses it, got one to be "
            "copied or sent; make another there"
        )


class BatchedSession:
    """One stream of a batcher: push audio, read text, finish.

    Made by :meth:`SessionBatcher.session`. Unlike in
    :class:`~speechbrain_llsa_runtime.inference.session.Session`, :meth:`push`
    and :meth:`finish` only queue: the batcher's step does the work, and
    :meth:`read` gives what is new, which is kept until then. A call that fails
    ends the stream, since what the stream was to take is lost: the call
    raises its own error, and each one after it ``StreamError``.

    Arguments
    ---------
    batcher : SessionBatcher
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
        batcher: SessionBatcher,
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
                labels = len(self._transcriber.text_decoder.pieces)
                nothing = np.zeros((0, labels))
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

    def _ready(self):
        return self._ended or self._queue.waiting >= self._clock.step_samples

    @property
    def _cursor(self):
        return StepCursor(
            self._clock, self._steps, self._queue.received, self._ended
        )

    def _advance(self, log_probs, ahead, finite):
        """Takes what a step gave: log-probabilities of the committed and the
        provisional frames, (frames, labels), and whether they are finite."""
        cursor = self._cursor
        try:
            if not finite:
                raise FloatingPointError(
                    must_be(
                        "log-probabilities",
                        "finite",
                        "NaN or infinite numbers in the step that commits "
                        f"frame {cursor.first_committed}",
                    )
                )
            self._take(
                log_probs[cursor.committed],
                ahead[cursor.provisional],
                cursor.next().done,
            )
        except Exception as error:
            self._fail(error)
            return
        self._steps += 1
        self._queue.drop(self._clock.step_samples)
        self._leave_at_end()

    def _take(self, log_probs, ahead, final):
        """Keeps what log-probabilities say, (frames, labels), until it is
        read."""
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


def _finite_rows(log_probs):
    return log_probs.isfinite().flatten(1).all(dim=1)
