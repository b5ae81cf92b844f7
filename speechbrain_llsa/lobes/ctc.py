"""A CTC model: front end, encoder and head, offline and streaming.

Training, offline inference and sessions use this one class.
"""

from dataclasses import dataclass, replace

import torch
from torch.nn import functional as F

from speechbrain_llsa.lobes.expected_layout import (
    encoder_layout,
    from_arrays,
    front_end_layout,
    to_arrays,
)
from speechbrain_llsa.lobes.fingerprint import ctc_fingerprint
from speechbrain_llsa.lobes.padding import padding_mask, sample_counts
from speechbrain_llsa.nnet.frontend import FrontEndState
from speechbrain_llsa.state import EncoderState
from speechbrain_llsa.utils.precision import full_float32
from speechbrain_llsa_runtime.decoders.greedy import GreedySearch
from speechbrain_llsa_runtime.snapshot import blank_array
from speechbrain_llsa_runtime.utils.checks import check_type


@dataclass
class CTCState:
    """State of a CTC model for one session, or a batch of sessions that run in
    lockstep."""

    front_end: FrontEndState
    """State of the convolutions: samples and frames that they still need."""

    encoder: EncoderState
    """State of the encoder: keys and values, and frames that are not committed
    yet."""

    provisional: torch.Tensor | None = None
    """Log-probabilities of the provisional frames of the newest hop, (batch, up
    to look_ahead frames, labels), possibly without frames. ``None`` before the
    first push."""

    def fork(self):
        """Makes an independent copy, which shares the tensors.

        Returns
        -------
        CTCState
        """
        return replace(
            self, front_end=self.front_end.fork(), encoder=self.encoder.fork()
        )


class StreamingCTC(torch.nn.Module):
    """Maps waveforms to log-probabilities of labels, frame by frame.

    Arguments
    ---------
    extractor : StreamingLatentExtractor
        The front end: waveforms to latent frames.
    encoder_wrapper : StreamingEncoderWrapper
        The encoder: latent frames to embeddings.
    head : torch.nn.Module
        A linear layer from embeddings to one logit per label.

    Raises
    ------
    TypeError
        If one of them is not a module.

    Example
    -------
    >>> from speechbrain_llsa.lobes.wav2vec2 import StreamingEncoderWrapper
    >>> from speechbrain_llsa.nnet.encoder import StreamingTransformerEncoder
    >>> from speechbrain_llsa.nnet.frontend import StreamingLatentExtractor
    >>> encoder = StreamingTransformerEncoder(
    ...     num_layers=2, nhead=2, d_ffn=32, d_model=16, look_ahead=4
    ... )
    >>> model = StreamingCTC(
    ...     StreamingLatentExtractor(out_channels=[8] * 7),
    ...     StreamingEncoderWrapper(8, 16, encoder),
    ...     torch.nn.Linear(16, 29),
    ... ).eval()
    >>> wavs = torch.randn(2, 16000)
    >>> log_probs, lengths = model(wavs, torch.tensor([1.0, 0.5]))
    >>> log_probs.shape, lengths
    (torch.Size([2, 48, 29]), tensor([48, 23]))
    >>> context = model.make_streaming_context()
    >>> with torch.no_grad():
    ...     pushes = [
    ...         model.forward_streaming(samples, context)
    ...         for samples in wavs[:1].split(5000, dim=1)
    ...     ]
    ...     streamed = torch.cat([*pushes, model.flush(context)], dim=1)
    >>> torch.allclose(streamed, log_probs[:1], atol=1e-4)
    True
    """

    gives_labels = True
    """Whether it gives log-probabilities of labels rather than projected
    frames."""

    def __init__(self, extractor, encoder_wrapper, head):
        super().__init__()
        for name, module in (
            ("extractor", extractor),
            ("encoder_wrapper", encoder_wrapper),
            ("head", head),
        ):
            check_type(name, module, torch.nn.Module)
        self.extractor = extractor
        self.encoder_wrapper = encoder_wrapper
        self.head = head

    @property
    @torch.no_grad()
    @full_float32()
    def output_features(self):
        """Numbers that the head gives for each frame."""
        features = self.encoder_wrapper.input_projector.out_features
        weight = next(self.head.parameters())
        return self.head(weight.new_zeros(1, 0, features)).shape[2]

    @property
    def labels(self):
        """Number of labels, including the blank."""
        return self.output_features

    @property
    def frame_seconds(self):
        """Seconds from one frame to the next."""
        return self.extractor.frame_seconds

    @property
    def geometries(self):
        """The ``TrainedGeometries`` of the encoder."""
        return self.encoder_wrapper.latent_encoder.geometries

    def greedy_search(self):
        """Makes the search that sessions use by default.

        Returns
        -------
        GreedySearch
        """
        return GreedySearch()

    def forward(
        self,
        wavs,
        wav_lens=None,
        masker=None,
        geometry=None,
        with_embeddings=False,
    ):
        """Transcribes whole utterances.

        Arguments
        ---------
        wavs : torch.Tensor
            Waveforms, (batch, samples), padded at the end.
        wav_lens : torch.Tensor, optional
            Length of each waveform relative to the longest, (batch,).
        masker : SpanMasker, optional
            Chooses the latent frames that the mask embedding replaces, for
            training.
        geometry : StreamGeometry, optional
            One of those that the model is trained for; by default the first.
        with_embeddings : bool
            Whether to return the frames of the encoder as well.

        Returns
        -------
        torch.Tensor
            Log-probabilities, (batch, frames, labels). Rows do not depend on
            each other; frames past the length of a row are meaningless.
        torch.Tensor
            Frames of each row, int64 (batch,); 0 for a waveform shorter than
            the receptive field.
        torch.Tensor
            With ``with_embeddings`` alone: (batch, frames, features).

        Raises
        ------
        ValueError
            If an argument has another shape, or a length is out of range.
        """
        latents = self.extractor(wavs)
        lengths = self.extractor.get_output_lengths(
            sample_counts(wavs, wav_lens)
        )
        frames = latents.shape[1]
        results = self.encoder_wrapper(
            latents,
            padding_mask=padding_mask(lengths, frames),
            mask=None if masker is None else masker(lengths, frames),
            geometry=geometry,
        )
        embeddings = results["embeddings"]
        outputs = self.classify(embeddings), lengths
        return (*outputs, embeddings) if with_embeddings else outputs

    def classify(self, embeddings):
        """Applies the head.

        Arguments
        ---------
        embeddings : torch.Tensor
            Frames of the encoder, (batch, frames, features).

        Returns
        -------
        torch.Tensor
            Log-probabilities, (batch, frames, labels): float32, or float64 for
            a float64 model.
        """
        logits = self.head(embeddings)
        precision = torch.promote_types(logits.dtype, torch.float32)
        return F.log_softmax(logits, dim=-1, dtype=precision)

    def make_streaming_context(self, geometry=None):
        """Makes an initial state for :meth:`forward_streaming`.

        Arguments
        ---------
        geometry : StreamGeometry, optional
            Geometry of the stream: one of those that the model is trained for;
            by default the first.

        Returns
        -------
        CTCState

        Raises
        ------
        ValueError
            If the encoder's attention cannot stream, or it is not trained for
            the geometry.
        """
        return CTCState(
            self.extractor.make_streaming_context(),
            self.encoder_wrapper.make_streaming_context(geometry=geometry),
        )

    def forward_streaming(self, samples, context):
        """Transcribes the next samples.

        Arguments
        ---------
        samples : torch.Tensor
            The next samples, (batch, samples), any number of them.
        context : CTCState
            State after the previous input; updated in place unless an error is
            raised.

        Returns
        -------
        torch.Tensor
            Log-probabilities of the newly committed frames, (batch, frames,
            labels), possibly none.

        Raises
        ------
        ValueError
            If the samples do not match the context, or the context belongs to
            another model.
        """
        check_type("context", context, CTCState)
        state = context.fork()
        latents = self.extractor.forward_streaming(samples, state.front_end)
        embeddings = self.encoder_wrapper.forward_streaming(
            latents, state.encoder
        )
        provisional = state.encoder.provisional
        if provisional is None:
            provisional = embeddings[:, :0]
        log_probs = self.classify(embeddings)
        context.provisional = self.classify(provisional)
        context.front_end, context.encoder = state.front_end, state.encoder
        return log_probs

    def flush(self, context):
        """Ends the utterances.

        Arguments
        ---------
        context : CTCState
            The state, which accepts no more samples after this.

        Returns
        -------
        torch.Tensor
            Log-probabilities of the rest of the frames, exactly what
            ``forward`` gives there, (batch, frames, labels).

        Raises
        ------
        ValueError
            If the context has been flushed, or belongs to another model.
        """
        check_type("context", context, CTCState)
        state = context.fork()
        log_probs = self.classify(self.encoder_wrapper.flush(state.encoder))
        context.provisional = log_probs[:, :0]
        context.encoder = state.encoder
        return log_probs

    @torch.no_grad()
    @full_float32()
    def stream(self, samples, context, final=False):
        """Transcribes the next samples of one stream, with arrays in and out.

        Arguments
        ---------
        samples : numpy.ndarray
            The next samples, float32 (samples,), any number of them.
        context : CTCState
            State after the previous input; updated in place unless an error is
            raised.
        final : bool
            Whether the stream ends with these samples.

        Returns
        -------
        numpy.ndarray
            Log-probabilities of the newly committed frames, (frames, labels).
        numpy.ndarray
            Log-probabilities of the provisional frames ahead, (frames, labels).
        """
        parameter = next(self.parameters())
        state = context.fork()
        log_probs = self.forward_streaming(
            torch.from_numpy(samples).to(parameter)[None], state
        )
        if final:
            log_probs = torch.cat([log_probs, self.flush(state)], dim=1)
        for name in ("front_end", "encoder", "provisional"):
            setattr(context, name, getattr(state, name))
        return log_probs[0].cpu().numpy(), state.provisional[0].cpu().numpy()

    def fingerprint(self):
        """Digest of geometries, sizes and weights, by which a snapshot of this
        model is recognised.

        Returns
        -------
        str
            64 hexadecimal digits.
        """
        return ctc_fingerprint(self)

    def export_context(self, context):
        """Converts a state to arrays on the CPU.

        Arguments
        ---------
        context : CTCState
            The state.

        Returns
        -------
        CTCState
        """
        return to_arrays(context)

    def import_context(self, context):
        """Inverse of :meth:`export_context`.

        Arguments
        ---------
        context : CTCState
            The result of :meth:`export_context`, possibly from another device.

        Returns
        -------
        CTCState
        """
        return from_arrays(context, next(self.parameters()).device)

    def context_form(self, samples, geometry=None):
        """Expected layout of the result of :meth:`export_context` for one
        stream that has not ended (:mod:`speechbrain_llsa_runtime.snapshot`).

        Arguments
        ---------
        samples : int
            Samples pushed.
        geometry : StreamGeometry, optional
            That of the stream, as for :meth:`make_streaming_context`.

        Returns
        -------
        CTCState
        """
        encoder = encoder_layout(
            self.encoder_wrapper.latent_encoder,
            int(self.extractor.get_output_lengths(samples)),
            geometry,
        )
        ahead = 0
        if encoder.provisional is not None:
            ahead = encoder.provisional.shape[1]
        single = next(self.parameters()).dtype != torch.float64
        return CTCState(
            front_end_layout(self.extractor, samples),
            encoder,
            blank_array(
                "float32" if single else "float64",
                1,
                ahead,
                self.output_features,
            ),
        )

    def committed_frames(self, context):
        """Number of frames that :meth:`stream` has committed.

        Arguments
        ---------
        context : CTCState
            The state, or its expected layout.

        Returns
        -------
        int
        """
        return context.encoder.committed

    def latency_report(self, geometry=None):
        """The declared latency of the model, next to those of the other
        attentions.

        Arguments
        ---------
        geometry : StreamGeometry, optional
            One of those that the model is trained for; by default the first.

        Returns
        -------
        LatencyReport
        """
        return self.encoder_wrapper.latent_encoder.latency_report(
            self.extractor.receptive_field_samples,
            self.frame_seconds,
            geometry,
        )
