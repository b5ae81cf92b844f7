"""What plugs a streaming model into SpeechBrain's own ``StreamingASR``.

SpeechBrain passes each chunk through four objects of the hyperparameter file:
feature extractor, ``enc``, ``proj_enc`` and decoding function. All four are
ours here, and hand a :class:`FrameChunk` from one to the next.

SpeechBrain never says that a stream has ended. After a file it pushes chunks of
exact zeros, as many as ``get_recommended_final_chunk_count`` asks for, like
any other chunk. So chunks of zeros are held back. When as many are held as
SpeechBrain pushes at the end, the utterance is taken to have ended before them:
a fork of the state is flushed and its frames are given. If the stream goes on
after all, so does the state that was not flushed, and frames that have been
given are not given again. A file transcribed by SpeechBrain gives exactly its
offline text, unless it holds ``hold_seconds`` of exact zeros in one piece.

SpeechBrain chooses with ``DynChunkTrainConfig(chunk_size, left_context_size)``.
Where llsa was trained for several hops, ``chunk_size`` is the hop of the
stream, and has to be one of them. Everywhere else a chunk is only what is
pushed at once, of any size, and the text does not depend on it. SpeechBrain has
no word for ``look_ahead``: the first that the model was trained for counts.
``left_context_size`` has no effect, since a model has one ``look_back``.
"""

from dataclasses import dataclass, field, replace

import torch
from speechbrain.utils.filter_analysis import FilterProperties

from speechbrain_llsa.decoders.tokenizers import (
    CTCGreedyState,
    TextDecoder,
    TextState,
    ctc_greedy_decode_streaming,
)
from speechbrain_llsa.nnet.frontend import FrontEndState
from speechbrain_llsa.nnet.packed import pack_linears
from speechbrain_llsa.state import EncoderState
from speechbrain_llsa.utils.precision import full_float32
from speechbrain_llsa_runtime.dataio.samples import ScaleCheck
from speechbrain_llsa_runtime.decoders.transducer import TransducerState
from speechbrain_llsa_runtime.geometry import SAMPLE_RATE
from speechbrain_llsa_runtime.inference.streaming_model import check_outputs
from speechbrain_llsa_runtime.utils.errors import must_be
from speechbrain_llsa_runtime.utils.processes import CallLock


@dataclass
class FrameChunk:
    """What one chunk becomes on its way through SpeechBrain."""

    frames: torch.Tensor
    """Latent frames, then embeddings, then what the head gives, (batch,
    frames, features)."""

    end: torch.Tensor
    """Frames of each row's utterance, int64 (batch,), where rows have ended;
    -1 where they go on."""

    complete: bool = False
    """Whether the utterances of all rows have ended, as far as one knows."""

    first: int = 0
    """Index of the first of the frames in the utterance."""

    @property
    def lengths(self):
        """How many of the frames count in each row, int64 (batch,)."""
        count = self.frames.shape[1]
        lengths = (self.end - self.first).clamp(0, count)
        return torch.where(self.end < 0, count, lengths)


@dataclass
class ChunkFeatureState:
    """What :class:`ChunkFeatureExtractor` remembers of a batch of streams."""

    front_end: FrontEndState
    """Samples and frames that the convolutions still need."""

    held: list[int] = field(default_factory=list)
    """Samples of each chunk of zeros that is held back, oldest first."""

    end_samples: torch.Tensor | None = None
    """Samples of each row's utterance, int64 (batch,), where rows have ended;
    -1 where they go on. ``None`` before the first chunk."""

    scales: tuple[ScaleCheck, ...] = ()
    """Of each row, whether its samples are scaled. Empty before the first
    chunk."""

    lock: CallLock = field(default_factory=CallLock)
    """Held by ``StreamingASR.transcribe_chunk`` for the whole of a chunk."""


class ChunkFeatureExtractor:
    """The front end as SpeechBrain's ``fea_streaming_extractor``.

    Arguments
    ---------
    extractor : StreamingLatentExtractor
        The front end.
    hold_seconds : float
        How much of exact zeros in one piece ends an utterance, at least.

    Raises
    ------
    ValueError
        If ``hold_seconds`` is not positive.

    Example
    -------
    >>> from speechbrain_llsa.nnet.frontend import StreamingLatentExtractor
    >>> extractor = StreamingLatentExtractor(out_channels=[4] * 7)
    >>> features = ChunkFeatureExtractor(extractor, hold_seconds=1.0)
    >>> features.get_recommended_final_chunk_count(5120)
    4
    >>> context = features.make_streaming_context()
    >>> push = features(torch.randn(2, 5120), context)
    >>> push.frames.shape, push.complete
    (torch.Size([2, 14, 4]), False)
    """

    def __init__(self, extractor, hold_seconds=2.0):
        if not hold_seconds > 0:
            raise ValueError(
                must_be("hold_seconds", "more than 0", hold_seconds)
            )
        self.extractor = extractor
        self.hold_samples = round(hold_seconds * SAMPLE_RATE)

    @property
    def properties(self):
        """Window and stride in samples, as SpeechBrain reads them.

        Its chunks are (stride - 1) * chunk_size samples long, so that the
        stride named here is one more than the true one.
        """
        return FilterProperties(
            window_size=self.extractor.receptive_field_samples,
            stride=self.extractor.stride_samples + 1,
        )

    def get_recommended_final_chunk_count(self, frames_per_chunk):
        """How many chunks of zeros end a stream.

        Arguments
        ---------
        frames_per_chunk : int
            Samples of a chunk (SpeechBrain calls them frames).

        Returns
        -------
        int
        """
        return -(-self.hold_samples // frames_per_chunk)

    def make_streaming_context(self):
        """A fresh state for a batch of streams.

        Returns
        -------
        ChunkFeatureState
        """
        return ChunkFeatureState(self.extractor.make_streaming_context())

    @full_float32()
    def __call__(self, chunk, context, lengths=None):
        """Turns the next chunk into latent frames.

        Arguments
        ---------
        chunk : torch.Tensor
            The next samples, (batch, samples), any number of them.
        context : ChunkFeatureState
            What lies behind them. It is brought up to date, unless an error
            is raised.
        lengths : torch.Tensor, optional
            How much of the chunk belongs to each row, 0 to 1 (batch,). A row
            with less than 1 ends there; the others go on. 1 by default.

        Returns
        -------
        FrameChunk

        Raises
        ------
        ValueError
            If samples other than zero follow the end of a row, or an argument
            does not fit.
        """
        chunk, ends = _cut(chunk, lengths)
        scales = context.scales or (ScaleCheck(),) * len(chunk)
        scales = tuple(
            scale.push(row, SAMPLE_RATE)
            for scale, row in zip(scales, chunk.float(), strict=False)
        )
        end_samples = context.end_samples
        if end_samples is None:
            end_samples = torch.full_like(ends, -1)
        ended = end_samples >= 0
        _check_rows(chunk, ended)
        held = list(context.held)
        if _is_silence(chunk, ends, ended):
            if chunk.shape[1]:
                held.append(chunk.shape[1])
            released = self._release(held)
            chunk = chunk.new_zeros(chunk.shape[0], released)
            complete = self._is_full(held)
        else:
            silence = chunk.new_zeros(chunk.shape[0], sum(held))
            before = context.front_end.samples + sum(held)
            ends_now = (ends >= 0) & ~ended
            end_samples = torch.where(ends_now, before + ends, end_samples)
            chunk = torch.cat([silence, chunk], dim=1)
            held = []
            complete = bool((end_samples >= 0).all())
        front_end = context.front_end.fork()
        frames = self.extractor.forward_streaming(chunk, front_end)
        context.front_end = front_end
        context.held, context.end_samples = held, end_samples
        context.scales = scales
        end = self.extractor.get_output_lengths(end_samples)
        return FrameChunk(
            frames, torch.where(end_samples < 0, -1, end), complete
        )

    def _release(self, held):
        """Takes off the oldest chunks that cannot be of SpeechBrain's end."""
        released = 0
        while sum(held[1:]) >= self.hold_samples:
            released += held.pop(0)
        return released

    def _is_full(self, held):
        """Whether the held chunks can be those that SpeechBrain ends with: it
        makes them of one length, while a file's last one may be shorter."""
        return sum(held) >= self.hold_samples and len(set(held)) == 1


def _cut(chunk, lengths):
    """Sets what does not belong to its row to zero. Also gives the samples of
    the rows that end in the chunk, -1 for the others: int64 (batch,)."""
    if chunk.ndim != 2:
        raise ValueError(
            must_be("chunk", "of shape (batch, samples)", tuple(chunk.shape))
        )
    rows, samples = chunk.shape
    if lengths is None:
        lengths = chunk.new_ones(rows)
    if lengths.shape != (rows,) or not ((lengths >= 0) & (lengths <= 1)).all():
        raise ValueError(
            must_be(
                "chunk_len",
                f"one number of 0 to 1 for each of the {rows} rows",
                lengths.tolist(),
            )
        )
    counts = torch.round(lengths.double() * samples).to(torch.int64)
    own = torch.arange(samples, device=chunk.device) < counts[:, None]
    chunk = chunk.where(own, 0.0)
    if not torch.isfinite(chunk).all():
        raise ValueError(must_be("chunk", "finite", "NaN or infinite samples"))
    return chunk, torch.where(lengths < 1, counts, -1)


def _check_rows(chunk, ended):
    """Refuses another batch size, and samples for rows that have ended."""
    if chunk.shape[0] != ended.shape[0]:
        raise ValueError(
            must_be(
                "chunk",
                f"of {ended.shape[0]} rows, as in the context",
                chunk.shape[0],
            )
        )
    if chunk[ended].any():
        raise ValueError(
            must_be(
                "chunk",
                "zeros, or have a chunk_len of 0, in rows that have ended",
                f"samples in rows {ended.nonzero().flatten().tolist()}",
            )
        )


def _is_silence(chunk, ends, ended):
    """Whether a chunk may be one of those that SpeechBrain ends a stream with:
    nothing but zeros, for rows of which some go on and none ends here."""
    some_go_on = not bool(ended.all())
    none_ends = not bool(((ends >= 0) & ~ended).any())
    return some_go_on and none_ends and not bool(chunk.any())


@dataclass
class ChunkEncoderState:
    """What :class:`ChunkEncoder` remembers of a batch of streams."""

    encoder: EncoderState
    """State of the encoder, never flushed."""

    given: int = 0
    """Frames given since the utterance began. More than the encoder has
    committed, where an end that was taken for granted did not come."""


class ChunkEncoder(torch.nn.Module):
    """The encoder as SpeechBrain's ``enc``.

    Arguments
    ---------
    encoder_wrapper : StreamingEncoderWrapper
        The encoder.
    """

    def __init__(self, encoder_wrapper):
        super().__init__()
        self.encoder_wrapper = encoder_wrapper

    def make_streaming_context(self, dynchunktrain_config=None):
        """A fresh state for a batch of streams.

        Arguments
        ---------
        dynchunktrain_config : DynChunkTrainConfig
            How much SpeechBrain will push, and the hop where llsa was trained
            for several. Nothing else has an effect on the result.

        Returns
        -------
        ChunkEncoderState

        Raises
        ------
        ValueError
            If the ``chunk_size`` is none of several hops.
        """
        return ChunkEncoderState(
            self.encoder_wrapper.make_streaming_context(dynchunktrain_config)
        )

    @full_float32()
    def forward_streaming(self, push, context):
        """Turns latent frames into embeddings.

        Arguments
        ---------
        push : FrameChunk
            The next latent frames.
        context : ChunkEncoderState
            What lies behind them. It is brought up to date, unless an error
            is raised.

        Returns
        -------
        FrameChunk
            The frames that are now committed, and have not been given yet.
        """
        wrapper, state = self.encoder_wrapper, context.encoder.fork()
        first = state.committed
        frames = wrapper.forward_streaming(push.frames, state, end=push.end)
        if push.complete:
            tail = wrapper.flush(state.fork())
            frames = torch.cat([frames, tail], dim=1)
        frames = frames[:, context.given - first :]
        first = context.given
        context.encoder = state
        context.given += frames.shape[1]
        return replace(push, frames=frames, first=first)


class ChunkHead(torch.nn.Module):
    """The head as SpeechBrain's ``proj_enc``.

    Arguments
    ---------
    model : StreamingCTC
        The model whose head it is. All of its linear layers become ones that
        pack their weights on a CPU.
    """

    def __init__(self, model):
        super().__init__()
        pack_linears(model)
        self.model = model

    @full_float32()
    def forward(self, push):
        """Applies the head to embeddings: log-probabilities, or the frames of
        a transducer.

        Arguments
        ---------
        push : FrameChunk
            The next embeddings.

        Returns
        -------
        FrameChunk

        Raises
        ------
        FloatingPointError
            If what the model gives is not finite.
        """
        frames = self.model.classify(push.frames)
        outputs = frames.detach().cpu().numpy()
        for row, length in zip(outputs, push.lengths.tolist(), strict=True):
            check_outputs(push.first, row[:length])
        return replace(push, frames=frames)


def decode_chunk(push, context):
    """SpeechBrain's ``decoding_function``: greedy CTC.

    Arguments
    ---------
    push : FrameChunk
        The next log-probabilities.
    context : CTCGreedyState
        What lies behind them. It is brought up to date.

    Returns
    -------
    list of list of int
        The new labels of each row.
    """
    return ctc_greedy_decode_streaming(push.frames, context, push.lengths)


@dataclass
class ChunkLabelState:
    """What :class:`ChunkTransducer` remembers of a batch of streams."""

    rows: list[TransducerState] = field(default_factory=list)
    """The labels before, for each row. Empty before the first chunk."""


class ChunkTransducer:
    """Greedy search of a transducer as SpeechBrain's ``decoding_function``.

    Predictor and joiner are read at the first call, since SpeechBrain loads
    weights after everything has been made.

    Arguments
    ---------
    model : StreamingTransducer
        The model whose predictor and joiner they are.
    """

    def __init__(self, model):
        self.model = model
        self._search = None

    def __call__(self, push, context):
        """Finds the labels of the next frames.

        Arguments
        ---------
        push : FrameChunk
            The next frames, as the head gives them.
        context : ChunkLabelState
            What lies behind them. It is brought up to date.

        Returns
        -------
        list of list of int
            The new labels of each row.
        """
        if self._search is None:
            self._search = self.model.greedy_search()
        search, frames = self._search, push.frames.detach().cpu()
        if not context.rows:
            context.rows = [search.make_streaming_context() for _ in frames]
        return [
            [token.label for token in search.advance(row[:length], state)]
            for row, length, state in zip(
                frames, push.lengths.tolist(), context.rows, strict=True
            )
        ]


class ChunkText:
    """Labels to text, as SpeechBrain's ``tokenizer_decode_streaming``.

    The tokenizer is read at the first call, since SpeechBrain loads it after
    everything has been made.
    """

    def __init__(self):
        self._decoder = None

    def __call__(self, tokenizer, labels, context):
        """The text that the next labels add.

        Arguments
        ---------
        tokenizer : CTCTextEncoder or SentencePieceProcessor
            The tokenizer.
        labels : list of int
            The next labels.
        context : TextState
            What lies behind them. It is brought up to date.

        Returns
        -------
        str
        """
        if self._decoder is None:
            self._decoder = TextDecoder(tokenizer)
        return self._decoder.decode_streaming(labels, context)


def speechbrain_hparams(parts):
    """What SpeechBrain's ``StreamingASR`` takes, as ``hyperparams.yaml`` of a
    model folder says it.

    Arguments
    ---------
    parts : dict
        The parts of a model, as ``model_folder.load.load_parts`` gives them.

    Returns
    -------
    dict
        The parts, and the objects that SpeechBrain asks for, by name.
    """
    decoding, context = decode_chunk, CTCGreedyState
    if "decoder" in parts:
        decoding, context = ChunkTransducer(parts["model"]), ChunkLabelState
    encoder = ChunkEncoder(parts["encoder_wrapper"])
    head = ChunkHead(parts["model"])
    return {
        **parts,
        "fea_streaming_extractor": ChunkFeatureExtractor(parts["extractor"]),
        "enc": encoder,
        "proj_enc": head,
        "decoding_function": decoding,
        "make_decoder_streaming_context": context,
        "tokenizer_decode_streaming": ChunkText(),
        "make_tokenizer_streaming_context": TextState,
        "modules": {
            "model": parts["model"],
            "enc": encoder,
            "proj_enc": head,
        },
    }
