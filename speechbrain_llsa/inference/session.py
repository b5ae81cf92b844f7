"""A session: one live stream of audio, and its text.

Needs NumPy alone: what a model is made of is up to the model.
"""

from dataclasses import dataclass, field, replace
from typing import Any

from speechbrain_llsa.geometry import SAMPLE_RATE
from speechbrain_llsa.inference.resampling import (
    ResamplerState,
    StreamingResampler,
    check_rate,
)
from speechbrain_llsa.inference.samples import mono_samples
from speechbrain_llsa.inference.transcript import Transcript
from speechbrain_llsa.lobes.text import (
    CTCGreedyState,
    TextState,
    ctc_greedy_decode_streaming,
)


@dataclass
class SessionState:
    """What a session remembers. The waveform is not kept."""

    model: Any
    """What the model remembers of front end and encoder; it has ``fork()``."""

    labels: CTCGreedyState = field(default_factory=CTCGreedyState)
    """Greedy decoding."""

    text: TextState = field(default_factory=TextState)
    """Joining of labels to text."""

    resampler: StreamingResampler | None = None
    """From the rate of the session to that of the model. ``None`` before the
    first push, which sets the rate."""

    signal: ResamplerState | None = None
    """Resampling. ``None`` before the first push."""

    committed: str = ""
    """All committed text."""

    finished: bool = False
    """Whether the stream has ended."""

    def fork(self):
        """An independent copy, which shares the tensors.

        Returns
        -------
        SessionState
        """
        return replace(
            self,
            model=self.model.fork(),
            labels=self.labels.fork(),
            text=self.text.fork(),
            signal=self.signal and self.signal.fork(),
        )


class Session:
    """Transcribes one stream: push audio, read text, finish.

    A call that raises an error leaves the session as it was. Sessions of one
    model do not know of each other.

    Arguments
    ---------
    model : StreamingCTC or OnnxCTC
        The model, in evaluation mode.
    text_decoder : PieceDecoder
        Turns its labels into text.

    Raises
    ------
    TypeError
        If an argument is something else.
    ValueError
        If the model's attention cannot stream.

    Example
    -------
    >>> import torch
    >>> from speechbrain.dataio.encoder import CTCTextEncoder
    >>> from speechbrain_llsa.lobes.ctc import StreamingCTC
    >>> from speechbrain_llsa.lobes.decoding import TextDecoder
    >>> from speechbrain_llsa.lobes.wav2vec2 import StreamingEncoderWrapper
    >>> from speechbrain_llsa.nnet.encoder import StreamingTransformerEncoder
    >>> from speechbrain_llsa.nnet.frontend import StreamingLatentExtractor
    >>> encoder = StreamingTransformerEncoder(
    ...     num_layers=2, nhead=2, d_ffn=32, d_model=16, look_ahead=4
    ... )
    >>> model = StreamingCTC(
    ...     StreamingLatentExtractor(out_channels=[8] * 7),
    ...     StreamingEncoderWrapper(8, 16, encoder),
    ...     torch.nn.Linear(16, 3),
    ... ).eval()
    >>> tokenizer = CTCTextEncoder()
    >>> tokenizer.update_from_iterable("AB")
    >>> tokenizer.insert_blank(index=0)
    >>> session = Session(model, TextDecoder(tokenizer))
    >>> pushed = session.push(torch.randn(44100), sample_rate=44100)
    >>> tail = session.finish()
    >>> session.text == pushed.committed + tail.committed
    True
    """

    def __init__(self, model, text_decoder):
        for name, part, needed in (
            ("model", model, "make_streaming_context"),
            ("text_decoder", text_decoder, "decode_streaming"),
        ):
            if not hasattr(part, needed):
                raise TypeError(
                    f"{name}: got {type(part).__name__}, allowed is what has "
                    f"{needed}"
                )
        self._model = model
        self._text_decoder = text_decoder
        self._state = SessionState(model.make_streaming_context())

    @property
    def text(self):
        """All text committed so far."""
        return self._state.committed

    @property
    def finished(self):
        """Whether the stream has ended."""
        return self._state.finished

    def push(self, samples, sample_rate=None):
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
            If samples are not finite or of another shape, if the rate is not
            positive or not that of the session, or if it has been finished.
        """
        state = self._open_fork()
        samples = mono_samples(samples)
        settle_rate(state, sample_rate)
        samples = state.resampler.push(samples, state.signal)
        return self._advance(state, samples)

    def finish(self):
        """Ends the stream.

        Returns
        -------
        Transcript
            The rest of the text, exactly what the whole signal gives there.

        Raises
        ------
        ValueError
            If the session has been finished.
        """
        state = self._open_fork()
        settle_rate(state, None)
        samples = state.resampler.finish(state.signal)
        state.finished = True
        return self._advance(state, samples)

    def _open_fork(self):
        if self._state.finished:
            raise ValueError(
                "session: got a call after finish, allowed is a session that "
                "has not been finished; begin a new one"
            )
        return self._state.fork()

    def _advance(self, state, samples):
        log_probs, ahead = self._model.stream(
            samples, state.model, state.finished
        )
        committed = self._decode(log_probs, state.labels, state.text)
        provisional = self._decode(
            ahead, state.labels.fork(), state.text.fork()
        )
        state.committed += committed
        self._state = state
        return Transcript(committed, provisional)

    def _decode(self, log_probs, labels, text):
        (new,) = ctc_greedy_decode_streaming(log_probs[None], labels)
        return self._text_decoder.decode_streaming(new, text)


def settle_rate(state, sample_rate):
    """Sets the rate of a stream at its first push, and then refuses any other.

    Arguments
    ---------
    state : SessionState or BatchedSession
        What has ``resampler`` and ``signal``, both ``None`` at first.
    sample_rate : int or None
        Samples per second, or ``None`` where the caller did not say.

    Raises
    ------
    TypeError
        If the rate is not a whole number.
    ValueError
        If it is out of range, or not that of the stream.
    """
    if sample_rate is not None:
        sample_rate = check_rate("sample_rate", sample_rate)
    if state.resampler is None:
        state.resampler = StreamingResampler(
            sample_rate or SAMPLE_RATE, SAMPLE_RATE
        )
        state.signal = state.resampler.make_streaming_context()
    rate = state.resampler.source_rate
    if sample_rate not in (None, rate):
        raise ValueError(
            f"sample_rate: got {sample_rate}, allowed is {rate}, with which "
            "the session began"
        )
