"""Features of an encoder's layers for other tasks, offline and streaming."""

from dataclasses import dataclass, replace

import torch
from torch import nn
from torch.nn import functional as F

from speechbrain_llsa.lobes.padding import padding_mask, sample_counts
from speechbrain_llsa.nnet.frontend import FrontEndState
from speechbrain_llsa.state import EncoderState
from speechbrain_llsa.utils.precision import full_float32
from speechbrain_llsa_runtime.latency import LatencyReport
from speechbrain_llsa_runtime.utils.checks import check_integer, check_type
from speechbrain_llsa_runtime.utils.errors import must_be


class WeightedLayerSum(nn.Module):
    """A learned weighted sum over layers, with softmax weights.

    Arguments
    ---------
    num_layers : int
        Layers to sum over, the encoder's input included.
    normalize : bool
        Whether to normalise each layer's frames first, which makes the weights
        comparable.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If there is no layer.

    Example
    -------
    >>> layer_sum = WeightedLayerSum(num_layers=5)
    >>> layer_sum(torch.rand(2, 30, 5, 16)).shape
    torch.Size([2, 30, 16])
    """

    def __init__(self, num_layers, normalize=False):
        super().__init__()
        check_integer("num_layers", num_layers, 1)
        check_type("normalize", normalize, bool)
        self.normalize = normalize
        self.weights = nn.Parameter(torch.zeros(num_layers))

    @property
    def num_layers(self):
        """Number of layers to sum over."""
        return len(self.weights)

    def forward(self, frames):
        """
        Arguments
        ---------
        frames : torch.Tensor
            Frames of all layers, (..., num_layers, features).

        Returns
        -------
        torch.Tensor
            Their sum, (..., features).

        Raises
        ------
        ValueError
            If the number of layers differs.
        """
        check_type("frames", frames, torch.Tensor)
        if frames.ndim < 2 or frames.shape[-2] != self.num_layers:
            raise ValueError(
                must_be(
                    "frames",
                    f"of shape (..., {self.num_layers}, features)",
                    tuple(frames.shape),
                )
            )
        if self.normalize:
            frames = F.layer_norm(frames, frames.shape[-1:])
        weights = self.weights.softmax(dim=0).to(frames)
        return (weights[:, None] * frames).sum(dim=-2)


@dataclass
class FeaturesState:
    """State of :class:`LayerFeatures` for one stream."""

    front_end: FrontEndState
    """State of the convolutions: samples and frames that they still need."""

    encoder: EncoderState
    """State of the encoder: keys and values, and frames that are not committed
    yet."""

    waiting: tuple = ()
    """Frames of each layer that wait for the same frames of deeper layers, (1,
    frames, features). Empty before the first push, and if only one layer is
    requested."""

    def fork(self):
        """Makes an independent copy, which shares the tensors.

        Returns
        -------
        FeaturesState
        """
        return replace(
            self, front_end=self.front_end.fork(), encoder=self.encoder.fork()
        )


class LayerFeatures(nn.Module):
    """Maps waveforms to frames of an encoder's layers. The encoder is frozen:
    it receives no gradients and stays in evaluation mode.

    The layers count from 0, which is the encoder's input; layer k is the output
    of the k-th layer, as ``output_hidden_states`` gives it. A frame of any
    layer is returned once it cannot change any more. With llsa, that is when
    its hop is committed, in all layers at once, since the layers of a hop are
    computed together from the same audio. With maa and sa, the frames of layer
    k are delayed by k times ``look_ahead`` frames, and a sum over layers by as
    much as the deepest.

    Arguments
    ---------
    extractor : StreamingLatentExtractor
        The front end: waveforms to latent frames.
    encoder_wrapper : StreamingEncoderWrapper
        The encoder. Its ``latent_encoder`` is switched to output hidden states.
    layer : int or str or WeightedLayerSum, optional
        The frames to return: those of one layer; "all" for those of all layers;
        or a trainable sum over all layers. By default the encoder's output,
        which is that of the last layer after the final norm.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If there is no such layer.

    Example
    -------
    >>> model, _ = getfixture("tiny_ctc")
    >>> features = LayerFeatures(
    ...     model.extractor, model.encoder_wrapper, layer=1
    ... )
    >>> wavs = torch.randn(2, 16000)
    >>> frames, lengths = features(wavs, torch.tensor([1.0, 0.5]))
    >>> frames.shape, lengths
    (torch.Size([2, 48, 16]), tensor([48, 23]))
    >>> context = features.make_streaming_context()
    >>> pushes = [
    ...     features.stream(samples, context)
    ...     for samples in wavs[0].split(5000)
    ... ]
    >>> tail = features.stream(wavs[0, :0], context, final=True)
    >>> torch.allclose(torch.cat([*pushes, tail]), frames[0], atol=1e-4)
    True
    """

    def __init__(self, extractor, encoder_wrapper, layer=None):
        super().__init__()
        for name, module in (
            ("extractor", extractor),
            ("encoder_wrapper", encoder_wrapper),
        ):
            check_type(name, module, nn.Module)
        self.extractor = extractor
        self.encoder_wrapper = encoder_wrapper
        self.layer = checked_layer(layer, self.num_layers)
        encoder_wrapper.latent_encoder.output_hidden_states = True
        for module in (extractor, encoder_wrapper):
            module.requires_grad_(False)
        self.train(self.training)

    @property
    def num_layers(self):
        """Number of encoder layers, without the input."""
        return len(self.encoder_wrapper.latent_encoder.layers)

    @property
    def geometries(self):
        """The ``TrainedGeometries`` of the encoder."""
        return self.encoder_wrapper.latent_encoder.geometries

    @property
    def features(self):
        """Number of features per frame."""
        return self.encoder_wrapper.latent_encoder.d_model

    @property
    def device(self):
        """Device of the encoder."""
        return next(self.extractor.parameters()).device

    @property
    def frame_seconds(self):
        """Seconds from one frame to the next."""
        return self.extractor.frame_seconds

    def train(self, mode=True):
        """Sets the mode of a sum over layers only."""
        super().train(mode)
        self.extractor.eval()
        self.encoder_wrapper.eval()
        return self

    def frame_times(self, frames, first=0):
        """Start times of frames.

        Arguments
        ---------
        frames : int
            How many.
        first : int
            Index of the first of them in the stream.

        Returns
        -------
        torch.Tensor
            Start of each frame in seconds since the stream began, float64
            (frames,). A frame depends on audio beyond that: the receptive
            field, and the look-ahead.

        Raises
        ------
        TypeError
            If a number is not an integer.
        ValueError
            If it is negative.
        """
        check_integer("frames", frames, 0)
        check_integer("first", first, 0)
        index = torch.arange(
            first, first + frames, dtype=torch.float64, device="cpu"
        )
        return index * self.frame_seconds

    def latency_report(self, geometry=None):
        """The declared latency of the frames, next to those of the other
        attentions.

        Arguments
        ---------
        geometry : StreamGeometry, optional
            One of those that the encoder is trained for; the first by default.

        Returns
        -------
        LatencyReport
        """
        encoder = self.encoder_wrapper.latent_encoder
        depth = self.num_layers
        if isinstance(self.layer, int):
            depth = self.layer
        if encoder.attention == "llsa":
            depth = max(1, depth)
        return LatencyReport(
            encoder.attention,
            self.geometries.check(geometry),
            depth,
            self.extractor.receptive_field_samples,
            self.frame_seconds,
            encoder.positional_look_ahead,
            encoder.conv_look_ahead,
        )

    def forward(self, wavs, wav_lens=None, geometry=None):
        """Encodes whole utterances.

        Arguments
        ---------
        wavs : torch.Tensor
            Waveforms at 16 kHz, (batch, samples), padded at the end.
        wav_lens : torch.Tensor, optional
            Length of each waveform relative to the longest, (batch,).
        geometry : StreamGeometry, optional
            One of those that the encoder is trained for; the first by default.

        Returns
        -------
        torch.Tensor
            (batch, frames, features), or (batch, frames, layers, features) for
            all layers. Rows do not depend on each other; frames past the length
            of a row are meaningless.
        torch.Tensor
            Frames of each row, int64 (batch,); 0 for a waveform shorter than
            the receptive field.

        Raises
        ------
        TypeError
            If an argument is not a tensor.
        ValueError
            If an argument has another shape, a length is out of range, or the
            encoder is not trained for the geometry.
        """
        geometry = self.geometries.check(geometry)
        counts = sample_counts(wavs, wav_lens)
        with torch.no_grad(), full_float32():
            parameter = next(self.extractor.parameters())
            latents = self.extractor(wavs.to(parameter))
            lengths = self.extractor.get_output_lengths(counts)
            lengths = lengths.to(latents.device)
            out, _, hidden_states = self.encoder_wrapper.latent_encoder(
                self.encoder_wrapper.project(latents),
                src_key_padding_mask=padding_mask(lengths, latents.shape[1]),
                geometry=geometry,
            )
        return self._choose(out, hidden_states)[0], lengths

    def make_streaming_context(self, geometry=None):
        """Makes an initial state for :meth:`stream`.

        Arguments
        ---------
        geometry : StreamGeometry, optional
            One of those that the encoder is trained for; the first by default.

        Returns
        -------
        FeaturesState

        Raises
        ------
        ValueError
            If the encoder's attention cannot stream, or it is not trained for
            the geometry.
        """
        geometry = self.geometries.check(geometry)
        return FeaturesState(
            self.extractor.make_streaming_context(),
            self.encoder_wrapper.make_streaming_context(geometry=geometry),
        )

    @torch.no_grad()
    @full_float32()
    def stream(self, samples, context, final=False):
        """Encodes the next samples of one stream.

        Arguments
        ---------
        samples : torch.Tensor
            The next samples at 16 kHz, (samples,), any number of them.
        context : FeaturesState
            State after the previous input; updated in place unless an error is
            raised.
        final : bool
            Whether the stream ends with these samples.

        Returns
        -------
        torch.Tensor
            The frames that will not change any more, (frames, features) or
            (frames, layers, features), possibly none.

        Raises
        ------
        TypeError
            If an argument has the wrong type.
        ValueError
            If the context has been finished, or belongs to another model.
        """
        check_type("samples", samples, torch.Tensor)
        check_type("context", context, FeaturesState)
        state = context.fork()
        encoder = self.encoder_wrapper.latent_encoder
        latents = self.extractor.forward_streaming(
            samples.to(next(self.extractor.parameters()))[None],
            state.front_end,
        )
        frames = self._advance(
            encoder.forward_streaming(
                self.encoder_wrapper.project(latents), state.encoder
            ),
            state,
        )
        if final:
            tail = self._advance(encoder.flush(state.encoder), state)
            frames = torch.cat([frames, tail], dim=1)
        context.front_end, context.encoder = state.front_end, state.encoder
        context.waiting = state.waiting
        return frames[0]

    def _advance(self, encoded, state):
        out, _, hidden_states = encoded
        frames, state.waiting = self._choose(out, hidden_states, state.waiting)
        return frames

    def _choose(self, out, hidden_states, waiting=()):
        """Selects the requested frames of the encoder's output, and those that
        wait for deeper layers."""
        if self.layer is None:
            return out, ()
        if isinstance(self.layer, int):
            return hidden_states[self.layer], ()
        if waiting:
            hidden_states = [
                torch.cat(pair, dim=1)
                for pair in zip(waiting, hidden_states, strict=True)
            ]
        ready = min(frames.shape[1] for frames in hidden_states)
        # layers x (batch, frames, features) -> (batch, frames, layers, ...)
        chosen = torch.stack([x[:, :ready] for x in hidden_states], dim=2)
        if isinstance(self.layer, nn.Module):
            chosen = self.layer(chosen)
        return chosen, tuple(x[:, ready:] for x in hidden_states)


def checked_layer(layer, num_layers):
    """Validates the choice of frames.

    Arguments
    ---------
    layer : int or str or WeightedLayerSum or None
        As for :class:`LayerFeatures`.
    num_layers : int
        Layers of the encoder.

    Returns
    -------
    int or str or WeightedLayerSum or None
        The same.

    Raises
    ------
    TypeError
        If it has the wrong type.
    ValueError
        If there is no such layer, or the sum is over another number of layers.

    Example
    -------
    >>> checked_layer(12, 12)
    12
    >>> checked_layer(13, 12)
    Traceback (most recent call last):
    ...
    ValueError: layer must be 0 (the input) to 12, or "all", got 13
    """
    if isinstance(layer, WeightedLayerSum):
        if layer.num_layers != num_layers + 1:
            raise ValueError(
                must_be(
                    "layer",
                    f"a sum over {num_layers + 1}, the input and "
                    f"{num_layers} layers",
                    f"one over {layer.num_layers}",
                )
            )
        return layer
    if layer is None or layer == "all":
        return layer
    if isinstance(layer, bool) or not isinstance(layer, (int, str)):
        raise TypeError(
            must_be(
                "layer",
                'an integer, "all", a WeightedLayerSum or None',
                type(layer).__name__,
            )
        )
    if isinstance(layer, str) or not 0 <= layer <= num_layers:
        raise ValueError(
            must_be(
                "layer", f'0 (the input) to {num_layers}, or "all"', repr(layer)
            )
        )
    return layer
