"""The wav2vec 2.0 encoder around a streaming transformer."""

import torch
from speechbrain.dataio.dataio import length_to_mask
from speechbrain.lobes.models.transformer.Transformer import (
    PositionalEncoding,
)
from speechbrain.lobes.models.wav2vec import EncoderWrapper

from speechbrain_llsa_runtime.utils.checks import (
    check_integer,
    check_number,
    check_type,
)
from speechbrain_llsa_runtime.utils.errors import must_be


def _make_table(embedding_dim):
    """The table of sinusoidal positions, computed on the CPU: the arithmetic of
    tensors without memory would import PyTorch's compiler, for seconds."""
    device = torch.get_default_device()
    with torch.device("cpu"):
        table = PositionalEncoding(embedding_dim)
    return table.to(device)


class StreamingEncoderWrapper(EncoderWrapper):
    """SpeechBrain's ``EncoderWrapper`` around an encoder that can stream.

    Latents are projected, some are replaced by a learned mask embedding, and
    all are encoded. No positions are added: the encoder's attention has its
    own. The state_dict is that of SpeechBrain's wrapper, so that checkpoints
    load both ways; SpeechBrain's positional table in it
    (``positional_encoding.pe``) is stored but not used.

    Arguments
    ---------
    in_dim : int
        Features of a latent frame.
    embedding_dim : int
        Features of an encoder frame.
    latent_encoder : torch.nn.Module
        The encoder, as
        ``speechbrain_llsa.nnet.encoder.StreamingTransformerEncoder``.
    dropout_encoder_input : float
        Dropout probability at the encoder's input.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is out of range, or not that of the encoder.

    Example
    -------
    >>> from speechbrain_llsa.nnet.encoder import StreamingTransformerEncoder
    >>> encoder = StreamingTransformerEncoder(
    ...     num_layers=2, nhead=4, d_ffn=64, d_model=32, look_ahead=4, hop=2
    ... )
    >>> wrapper = StreamingEncoderWrapper(48, 32, encoder).eval()
    >>> latents = torch.rand(2, 30, 48)
    >>> embeddings = wrapper(latents)["embeddings"]
    >>> embeddings.shape
    torch.Size([2, 30, 32])
    >>> context = wrapper.make_streaming_context()
    >>> with torch.no_grad():
    ...     first = wrapper.forward_streaming(latents[:, :21], context)
    ...     second = wrapper.forward_streaming(latents[:, 21:], context)
    ...     tail = wrapper.flush(context)
    >>> streamed = torch.cat([first, second, tail], dim=1)
    >>> torch.allclose(streamed, embeddings, atol=1e-5)
    True
    """

    def __init__(
        self,
        in_dim,
        embedding_dim,
        latent_encoder,
        dropout_encoder_input=0.05,
    ):
        check_integer("in_dim", in_dim, 1)
        check_integer("embedding_dim", embedding_dim, 1)
        check_number("dropout_encoder_input", dropout_encoder_input, 0, 1)
        d_model = getattr(latent_encoder, "d_model", embedding_dim)
        if embedding_dim != d_model:
            raise ValueError(
                must_be(
                    "embedding_dim",
                    f"{d_model}, the d_model of the encoder",
                    embedding_dim,
                )
            )
        super().__init__(
            in_dim,
            embedding_dim,
            latent_encoder,
            _make_table,
            dropout_encoder_input=dropout_encoder_input,
        )

    def forward(
        self,
        latents,
        wav_lens=None,
        padding_mask=None,
        mask=None,
        geometry=None,
    ):
        """Encodes whole utterances.

        Arguments
        ---------
        latents : torch.Tensor
            Latent frames, (batch, frames, in_dim).
        wav_lens : torch.Tensor, optional
            Lengths of the waveforms relative to the longest, (batch,). The
            frames that follow from it are rounded; ``padding_mask`` is exact.
        padding_mask : torch.Tensor, optional
            True at padding, (batch, frames). Instead of ``wav_lens``.
        mask : torch.Tensor, optional
            True at the frames to replace by the mask embedding,
            (batch, frames).
        geometry : speechbrain_llsa_runtime.geometry.StreamGeometry, optional
            One of those that the encoder is trained for; by default the first.

        Returns
        -------
        dict
            ``embeddings``, (batch, frames, embedding_dim); with a mask also
            ``num_masked``, the number of frames that it replaces, and
            ``ratio_masked``, their fraction of the frames that are not padding.

        Raises
        ------
        ValueError
            If both ``wav_lens`` and ``padding_mask`` are given, or a mask has
            another shape than the frames.
        """
        self._check_latents(latents)
        frames = latents.shape[:2]
        if wav_lens is not None and padding_mask is not None:
            raise ValueError(
                must_be("padding_mask", "None where there are wav_lens", "both")
            )
        if wav_lens is not None:
            check_type("wav_lens", wav_lens, torch.Tensor)
            if wav_lens.shape != frames[:1]:
                raise ValueError(
                    must_be(
                        "wav_lens",
                        f"of shape (batch,), here ({frames[0]},)",
                        tuple(wav_lens.shape),
                    )
                )
            frame_counts = torch.round(wav_lens * latents.shape[1])
            real = length_to_mask(frame_counts, frames[1], dtype=torch.bool)
            padding_mask = ~real
        for name, argument in (("padding_mask", padding_mask), ("mask", mask)):
            if argument is not None:
                check_type(name, argument, torch.Tensor)
            if argument is not None and argument.shape != frames:
                raise ValueError(
                    must_be(
                        name,
                        f"of shape (batch, frames), here {tuple(frames)}",
                        tuple(argument.shape),
                    )
                )

        results = {}
        features = self.project(latents)
        if mask is not None:
            embedding = self.mask_emb.to(features.dtype)
            features = torch.where(mask.unsqueeze(2), embedding, features)
            real_count = mask.numel()
            if padding_mask is not None:
                real_count = (~padding_mask).sum()
            results["num_masked"] = mask.sum()
            results["ratio_masked"] = results["num_masked"] / real_count
        # an encoder of SpeechBrain knows of no geometry
        chosen = {} if geometry is None else {"geometry": geometry}
        results["embeddings"] = self.latent_encoder(
            features, src_key_padding_mask=padding_mask, **chosen
        )[0]
        return results

    def make_streaming_context(self, config=None, geometry=None):
        """Makes an initial state for :meth:`forward_streaming`.

        Arguments
        ---------
        config : speechbrain.utils.dynamic_chunk_training.DynChunkTrainConfig
            Part of SpeechBrain's interface, as for the encoder.
        geometry : speechbrain_llsa_runtime.geometry.StreamGeometry, optional
            One of those that the encoder is trained for; by default the first.

        Returns
        -------
        speechbrain_llsa.state.EncoderState
        """
        return self.latent_encoder.make_streaming_context(config, geometry)

    def forward_streaming(self, latents, context, end=None):
        """Encodes the next latent frames of utterances.

        Arguments
        ---------
        latents : torch.Tensor
            Latent frames, (batch, frames, in_dim), any number of them.
        context : speechbrain_llsa.state.EncoderState
            State after the previous frames; updated in place unless an error is
            raised. ``context.provisional`` then holds the output for the
            provisional frames.
        end : torch.Tensor, optional
            Frames of the rows that have ended, int64 (batch,), as for the
            encoder.

        Returns
        -------
        torch.Tensor
            The newly committed frames, (batch, frames, embedding_dim), possibly
            none.
        """
        self._check_latents(latents)
        return self.latent_encoder.forward_streaming(
            self.project(latents), context, end=end
        )[0]

    def flush(self, context):
        """Ends the utterances and encodes the remaining frames.

        Arguments
        ---------
        context : speechbrain_llsa.state.EncoderState
            The state, which accepts no more frames after this.

        Returns
        -------
        torch.Tensor
            The rest of the frames, exactly what ``forward`` gives there,
            (batch, frames, embedding_dim).
        """
        return self.latent_encoder.flush(context)[0]

    def project(self, latents):
        """Projects latent frames to the encoder's input.

        Arguments
        ---------
        latents : torch.Tensor
            Latent frames, (batch, frames, in_dim).

        Returns
        -------
        torch.Tensor
            (batch, frames, embedding_dim).
        """
        return self.dropout_encoder_input(self.input_projector(latents))

    def _check_latents(self, latents):
        check_type("latents", latents, torch.Tensor)
        features = self.input_projector.in_features
        if latents.ndim != 3 or latents.shape[2] != features:
            raise ValueError(
                must_be(
                    "latents",
                    f"of shape (batch, frames, {features})",
                    tuple(latents.shape),
                )
            )
