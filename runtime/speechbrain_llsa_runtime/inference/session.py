"""A session: one live stream of audio, and its text.

Needs NumPy alone: what a model is made of is up to the model.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import Any

from speechbrain_llsa_runtime.dataio.resampling import check_rate
from speechbrain_llsa_runtime.dataio.samples import ScaleCheck
from speechbrain_llsa_runtime.decoders.greedy import PieceDecoder
from speechbrain_llsa_runtime.decoders.tokens import Search
from speechbrain_llsa_runtime.geometry import StreamGeometry
from speechbrain_llsa_runtime.inference.audio_intake import (
    AudioState,
    StreamSession,
    resampler_from,
)
from speechbrain_llsa_runtime.inference.streaming_model import (
    StreamingModel,
    check_outputs,
    make_transcriber,
)
from speechbrain_llsa_runtime.snapshot import (
    below,
    read_snapshot,
    write_snapshot,
)
from speechbrain_llsa_runtime.transcripts.endpointer import Endpointer
from speechbrain_llsa_runtime.transcripts.transcriber import (
    TranscriberState,
)
from speechbrain_llsa_runtime.transcripts.transcript import Transcript
from speechbrain_llsa_runtime.transcripts.words import WordOffsets
from speechbrain_llsa_runtime.utils.arrays import Array
from speechbrain_llsa_runtime.utils.checks import check_integer
from speechbrain_llsa_runtime.utils.errors import must_be

LONGEST_SAMPLES = 1 << 42
"""Longest stream that a snapshot may hold: 66 days at the highest rate, so
that products of samples and rates fit into 64 bits."""


@dataclass
class SessionState(AudioState):
    """What a session remembers. The waveform is not kept."""

    geometry: StreamGeometry
    """One of those that the model is trained for, from the first frame to the
    last."""

    model: Any = None
    """What the model remembers of front end and encoder; it has ``fork()``.
    ``None`` once the stream has ended: then nothing but the text is kept."""

    transcriber: TranscriberState = field(default_factory=TranscriberState)
    """What has been said: search, text, word and segment."""

    finished: bool = False
    """Whether the stream has ended."""

    def fork(self) -> SessionState:
        """An independent copy, which shares the tensors.

        Returns
        -------
        SessionState
        """
        return replace(
            self,
            model=self.model and self.model.fork(),
            transcriber=self.transcriber.fork(),
            signal=self.signal and self.signal.fork(),
        )


class Session(StreamSession):
    """Transcribes one stream: push audio, read text, finish.

    A call that raises an error leaves the session as it was. Sessions of one
    model do not know of each other, and can run in threads of their own. Calls
    of one session by several threads are done one after the other.

    A session is a value: :meth:`fork` gives a second one that goes on by
    itself, and :meth:`snapshot` gives bytes from which a session of an equal
    model goes on exactly, also in another process.

    Arguments
    ---------
    model : StreamingCTC or OnnxCTC
        The model, in evaluation mode.
    text_decoder : PieceDecoder
        Turns its labels into text.
    snapshot : bytes, optional
        What :meth:`snapshot` gave: the session goes on from there. It may
        be untrusted.
    hop : int, optional
        Frames that llsa commits at once: one of the numbers that the model is
        trained for; the first of them, or that of the snapshot, by default.
    look_ahead : int, optional
        Frames that a layer sees ahead, as for ``hop``.
    search : GreedySearch or BeamSearch, optional
        Turns log-probabilities into labels
        (:mod:`speechbrain_llsa_runtime.decoders.tokens`). Greedy by default.
    endpointer : Endpointer, optional
        Says where segments close. By default the stream is one segment.
    word_offsets : WordOffsets, optional
        Where words begin and end, relative to the frames of their labels. By
        default they are those frames.
    channel : int, optional
        Which channel of the audio is taken, counted from 0. By default the
        mean of all; then channels that cancel out get one warning.

    Raises
    ------
    TypeError
        If an argument is something else.
    ValueError
        If the model's attention cannot stream, if it is not trained for
        ``hop`` or ``look_ahead``, or if the snapshot is damaged, of another
        model, of another version or of another ``hop`` or ``look_ahead``.

    Example
    -------
    >>> import numpy as np
    >>> model, text_decoder = getfixture("tiny_ctc")
    >>> session = Session(model, text_decoder)
    >>> noise = np.random.default_rng(0).normal(size=44100) / 10
    >>> pushed = session.push(noise, sample_rate=44100)
    >>> tail = session.finish()
    >>> session.text == pushed.committed + tail.committed
    True
    >>> session.reset()
    >>> pushed = session.push(noise)
    >>> moved = Session(model, text_decoder, session.snapshot())
    >>> moved.finish() == session.finish()
    True
    """

    def __init__(
        self,
        model: StreamingModel,
        text_decoder: PieceDecoder,
        snapshot: bytes | None = None,
        hop: int | None = None,
        look_ahead: int | None = None,
        search: Search | None = None,
        endpointer: Endpointer | None = None,
        word_offsets: WordOffsets | None = None,
        channel: int | None = None,
    ) -> None:
        if not hasattr(model, "make_streaming_context"):
            raise TypeError(
                must_be(
                    "model",
                    "a model with make_streaming_context",
                    type(model).__name__,
                )
            )
        super().__init__(channel)
        self._model = model
        self._transcriber = make_transcriber(
            model, text_decoder, search, endpointer, word_offsets
        )
        self._state = self._new_state(model.geometries.choose(hop, look_ahead))
        if snapshot is not None:
            self._state = self._read(snapshot)
            self._check_geometry("hop", hop)
            self._check_geometry("look_ahead", look_ahead)

    @property
    def text(self) -> str:
        """All text committed so far. With an endpointer that of the segment
        that goes on, or was the last one."""
        return self._state.transcriber.text

    @property
    def finished(self) -> bool:
        """Whether the stream has ended."""
        return self._state.finished

    @property
    def geometry(self) -> StreamGeometry:
        """Its ``StreamGeometry``: look-back, look-ahead and hop, in frames."""
        return self._state.geometry

    def reset(self) -> None:
        """Forgets everything but its geometry: the session is as new."""
        with self._lock:
            self._scale = ScaleCheck()
            self._state = self._new_state(self.geometry)

    def snapshot(self) -> bytes:
        """All that the session remembers, to go on elsewhere or later. The
        text so far is in it, and of the audio the newest milliseconds.

        Returns
        -------
        bytes
            A safetensors file, for a session of an equal model of the same
            floating point type, on any device, with the same options.

        Raises
        ------
        ValueError
            If the text is longer than 16 MiB, or if the search is of another
            kind, whose state cannot be written.
        """
        return write_snapshot(self._exported(self._state), self._fingerprint())

    def push(
        self, samples: Array, sample_rate: int | None = None
    ) -> Transcript:
        """Takes the next samples.

        Arguments
        ---------
        samples : torch.Tensor or numpy.ndarray
            The next samples, any number of them: float32, float64, int16 or
            int32; (samples,), or (samples, channels) with at most 8 channels.
        sample_rate : int, optional
            Samples per second, which stays the same for the whole session. By
            default that of the pushes before, or at first 16000.

        Returns
        -------
        Transcript

        Raises
        ------
        TypeError
            If samples or rate are of another type.
        ValueError
            If samples are not finite, not scaled as their type says or of
            another shape, if the rate is not positive or not that of the
            session, or if it has been finished.
        FloatingPointError
            If what the model gives is not finite.
        """
        return self._push(samples, sample_rate)

    def finish(self) -> Transcript:
        """Ends the stream.

        Returns
        -------
        Transcript
            The rest of the text, exactly what the whole signal gives there.

        Raises
        ------
        ValueError
            If the session has been finished.
        FloatingPointError
            If what the model gives is not finite.
        """
        return self._finish()

    def _new_state(self, geometry):
        return SessionState(
            geometry,
            self._model.make_streaming_context(geometry),
            self._transcriber.make_streaming_context(),
        )

    def _check_geometry(self, name, value):
        """Refuses a number that is not that of the stream."""
        expected = getattr(self.geometry, name)
        if value not in (None, expected):
            raise ValueError(
                must_be(
                    name,
                    f"{expected}, with which the session of the snapshot began",
                    value,
                )
            )

    def _fingerprint(self):
        """Of the model, its labels and the options."""
        about = [self._model.fingerprint(), self._transcriber.to_dict()]
        if self._mixer.channel is not None:
            about.append({"channel": self._mixer.channel})
        return hashlib.sha256(json.dumps(about).encode()).hexdigest()

    def _read(self, snapshot):
        state = read_snapshot(snapshot, self._fingerprint(), self._form)
        state.model = self._model.import_context(state.model)
        state.transcriber = self._transcriber.import_context(state.transcriber)
        return state

    def _exported(self, state):
        """A state as a snapshot holds it."""
        return replace(
            state,
            model=self._model.export_context(state.model),
            transcriber=self._transcriber.export_context(state.transcriber),
        )

    def _form(self, values):
        """The form of the state of a session that was given as much audio,
        and has said as much, as a snapshot says."""
        finished, text = values["finished"], values["transcriber.text"]
        if not isinstance(finished, bool) or not isinstance(text, str):
            raise TypeError("finished or text is of another type")
        geometry = self._model.geometries.choose(
            values["geometry.hop"], values["geometry.look_ahead"]
        )
        if finished:
            return _finished(geometry, text)
        if values["sample_rate"] is None:
            return self._exported(self._new_state(geometry))
        sample_rate = check_rate("sample_rate", values["sample_rate"])
        received = values["signal.received"]
        check_integer("signal.received", received, 0)
        if received > LONGEST_SAMPLES:
            raise ValueError(f"signal.received is above {LONGEST_SAMPLES}")
        signal = resampler_from(sample_rate).context_form(received)
        model = self._model.context_form(signal.given, geometry)
        transcriber = self._transcriber.context_form(
            below("transcriber", values), self._model.committed_frames(model)
        )
        return SessionState(
            geometry,
            model,
            transcriber,
            sample_rate=sample_rate,
            signal=signal,
        )

    def _advance(self, state, samples, final):
        log_probs, ahead = self._model.stream(samples, state.model, final)
        check_outputs(state.transcriber.frames, log_probs, ahead)
        transcript = self._transcriber.advance(
            log_probs, ahead, state.transcriber, final
        )
        if final:
            state = _finished(state.geometry, state.transcriber.text)
        self._state = state
        return transcript


def _finished(geometry, text):
    return SessionState(
        geometry, transcriber=TranscriberState(text=text), finished=True
    )
