"""SpeechBrain's transformer for ASR, with an encoder that can stream."""

from speechbrain.lobes.models.transformer.TransformerASR import (
    TransformerASR,
    TransformerASRStreamingContext,
    make_transformer_src_tgt_masks,
)
from speechbrain.nnet.activations import Swish
from torch import nn

from speechbrain_llsa.nnet.encoder import (
    CONFORMER_NORMS,
    StreamingTransformerEncoder,
)
from speechbrain_llsa_runtime.utils.checks import check_integer
from speechbrain_llsa_runtime.utils.errors import must_be


class StreamingTransformerASR(TransformerASR):
    """SpeechBrain's ``TransformerASR`` around a
    :class:`~speechbrain_llsa.nnet.encoder.StreamingTransformerEncoder`.

    ``forward``, ``decode`` and the decoder are SpeechBrain's. Nothing is added
    to the input of the encoder, whose positions are rotary.

    Arguments
    ---------
    tgt_vocab : int
        Size of the vocabulary.
    input_size : int
        Features of an input frame.
    d_model : int
        Features of a frame in the transformer.
    nhead : int
        Attention heads.
    num_encoder_layers : int
        Encoder layers, at least one.
    num_decoder_layers : int
        Decoder layers, possibly none.
    d_ffn : int
        Hidden size of the feed-forward networks.
    dropout : float
        Dropout probability.
    activation : type
        Class of the feed-forward networks' activation.
    positional_encoding : str or None
        Positions in the encoder: "rope" or ``None``. The decoder's are
        sinusoidal, as in SpeechBrain.
    normalize_before : bool
        Whether norms precede attention and feed-forward, or follow them.
    attention : str
        The encoder's: aa (acausal), maa (masked acausal), sa (streaming) or
        llsa (low-latency streaming).
    look_back : int
        Frames that an encoder layer sees behind a frame.
    look_ahead : int or list of int
        Frames that an encoder layer sees ahead of a frame; 0 is causal. Lists
        as for the encoder.
    hop : int or list of int
        Frames that llsa commits at once; the others do not use it.
    attention_dropout : float, optional
        Probability to drop an attention weight of the encoder; as ``dropout``
        if not given.
    max_length : int
        Longest target of the decoder, in tokens.
    output_hidden_states : bool
        Whether the encoder also returns the output of every layer.
    layerdrop_prob : float
        Probability to skip an encoder layer in training.
    encoder_module : str
        What the encoder's layers are: "transformer" or "conformer".
    attention_type : None
        Part of SpeechBrain's signature. ``attention`` replaces it.
    causal : bool
        Part of SpeechBrain's signature. Must be False.
    conformer_activation : type
        Class of the activation of a Conformer's encoder; ``activation`` is then
        the decoder's alone.
    macaron : bool
        Whether a Conformer has half feed-forward networks, as for the encoder.
    conv_look_back : int
        Frames that the convolution of a Conformer's layer sees behind a frame.
    conv_look_ahead : int
        Frames that it sees ahead.

    Raises
    ------
    ValueError
        If an argument is not allowed.

    Example
    -------
    >>> import torch
    >>> net = StreamingTransformerASR(
    ...     tgt_vocab=100,
    ...     input_size=48,
    ...     d_model=32,
    ...     nhead=4,
    ...     num_encoder_layers=2,
    ...     num_decoder_layers=1,
    ...     d_ffn=64,
    ...     look_ahead=4,
    ... ).eval()
    >>> src = torch.rand(2, 30, 48)
    >>> tgt = torch.randint(1, 100, [2, 7])
    >>> encoder_out, decoder_out = net(src, tgt)
    >>> encoder_out.shape, decoder_out.shape
    (torch.Size([2, 30, 32]), torch.Size([2, 7, 32]))
    >>> context = net.make_streaming_context()
    >>> with torch.no_grad():
    ...     first = net.encode_streaming(src[:, :21], context)
    ...     second = net.encode_streaming(src[:, 21:], context)
    ...     tail = net.flush(context)
    >>> first.shape, second.shape, tail.shape
    (torch.Size([2, 17, 32]), torch.Size([2, 9, 32]), torch.Size([2, 4, 32]))
    >>> streamed = torch.cat([first, second, tail], dim=1)
    >>> torch.allclose(streamed, net.encode(src), atol=1e-5)
    True
    """

    def __init__(
        self,
        tgt_vocab,
        input_size,
        d_model=512,
        nhead=8,
        num_encoder_layers=6,
        num_decoder_layers=6,
        d_ffn=2048,
        dropout=0.1,
        activation=nn.ReLU,
        positional_encoding="rope",
        normalize_before=False,
        attention="llsa",
        look_back=64,
        look_ahead=8,
        hop=1,
        attention_dropout=None,
        max_length=2500,
        output_hidden_states=False,
        layerdrop_prob=0.0,
        encoder_module="transformer",
        attention_type=None,
        causal=False,
        conformer_activation=Swish,
        macaron=True,
        conv_look_back=15,
        conv_look_ahead=0,
    ):
        for name, argument, allowed, reason in (
            (
                "attention_type",
                attention_type,
                None,
                "attention says which of aa, maa, sa and llsa it is",
            ),
            (
                "causal",
                causal,
                False,
                "look_ahead=0 makes the encoder causal",
            ),
        ):
            if argument != allowed:
                raise ValueError(
                    must_be(
                        name, f"{allowed!r}, because {reason}", repr(argument)
                    )
                )
        check_integer("num_encoder_layers", num_encoder_layers, 1)
        check_integer("num_decoder_layers", num_decoder_layers, 0)
        # A name that SpeechBrain does not know makes it build no encoder, and
        # its RoPEMHA means: no positions before the encoder, sinusoidal ones
        # before the decoder.
        super().__init__(
            tgt_vocab=tgt_vocab,
            input_size=input_size,
            d_model=d_model,
            nhead=nhead,
            num_encoder_layers=num_encoder_layers,
            num_decoder_layers=num_decoder_layers,
            d_ffn=d_ffn,
            dropout=dropout,
            activation=activation,
            positional_encoding=None,
            normalize_before=normalize_before,
            encoder_module="streaming",
            attention_type="RoPEMHA",
            max_length=max_length,
            causal=False,
            output_hidden_states=output_hidden_states,
            layerdrop_prob=layerdrop_prob,
        )
        if num_decoder_layers == 0:
            del self.positional_encoding_decoder
        options = {"activation": activation}
        if encoder_module == "conformer":
            options = {"activation": conformer_activation, **CONFORMER_NORMS}
        self.encoder = StreamingTransformerEncoder(
            num_layers=num_encoder_layers,
            nhead=nhead,
            d_ffn=d_ffn,
            d_model=d_model,
            attention=attention,
            look_back=look_back,
            look_ahead=look_ahead,
            hop=hop,
            positional_encoding=positional_encoding,
            dropout=dropout,
            attention_dropout=attention_dropout,
            layerdrop_prob=layerdrop_prob,
            normalize_before=normalize_before,
            output_hidden_states=output_hidden_states,
            encoder_module=encoder_module,
            macaron=macaron,
            conv_look_back=conv_look_back,
            conv_look_ahead=conv_look_ahead,
            **options,
        )
        for parameter in self.encoder.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_normal_(parameter)

    def encode(
        self,
        src,
        wav_len=None,
        pad_idx=0,
        dynchunktrain_config=None,
        geometry=None,
    ):
        """Encodes whole utterances.

        Arguments
        ---------
        src : torch.Tensor
            Input frames, (batch, frames, input_size), or with the features
            in two axes.
        wav_len : torch.Tensor, optional
            Lengths relative to the longest, (batch,).
        pad_idx : int
            Part of SpeechBrain's signature.
        dynchunktrain_config : DynChunkTrainConfig, optional
            As for :meth:`make_streaming_context`: its ``chunk_size`` is the
            hop where llsa is trained for several. Other encoders see what
            their geometry says, and refuse it.
        geometry : speechbrain_llsa_runtime.geometry.StreamGeometry, optional
            One of those that the encoder is trained for; by default the first.

        Returns
        -------
        torch.Tensor
            (batch, frames, d_model); with ``output_hidden_states`` a tuple of
            it and the list of hidden states.

        Raises
        ------
        ValueError
            If a ``dynchunktrain_config`` is given to an encoder with one hop,
            with a ``chunk_size`` that is no hop of the encoder, or beside a
            geometry.
        """
        if dynchunktrain_config is not None:
            geometry = self._geometry_of(dynchunktrain_config, geometry)
        if src.dim() == 4:
            src = src.flatten(2)
        padding_mask, *_ = make_transformer_src_tgt_masks(
            src, None, wav_len, pad_idx=pad_idx
        )
        out, _, *hidden_states = self.encoder(
            self.custom_src_module(src),
            src_key_padding_mask=padding_mask,
            geometry=geometry,
        )
        return (out, *hidden_states) if hidden_states else out

    def _geometry_of(self, config, geometry):
        encoder = self.encoder
        has_choice = (
            encoder.attention == "llsa" and len(encoder.geometries.hop) > 1
        )
        if geometry is not None or not has_choice:
            raise ValueError(
                must_be(
                    "dynchunktrain_config",
                    (
                        "None where llsa is not trained for several hops, and "
                        "beside a geometry"
                    ),
                    config,
                )
            )
        return encoder.geometries.of_chunk(encoder.attention, config.chunk_size)

    def make_streaming_context(
        self, dynchunktrain_config=None, encoder_kwargs=None
    ):
        """Makes an initial state for :meth:`encode_streaming`.

        Arguments
        ---------
        dynchunktrain_config : DynChunkTrainConfig, optional
            Part of SpeechBrain's signature, as for the encoder: its
            ``chunk_size`` is the hop where llsa is trained for several, and has
            no effect otherwise.
        encoder_kwargs : dict, optional
            Part of SpeechBrain's signature: more arguments of the encoder's
            ``make_streaming_context``.

        Returns
        -------
        TransformerASRStreamingContext
            With the encoder's state as ``encoder_context``.

        Raises
        ------
        ValueError
            If the attention is aa, which needs the whole utterance.
        """
        return TransformerASRStreamingContext(
            dynchunktrain_config=dynchunktrain_config,
            encoder_context=self.encoder.make_streaming_context(
                dynchunktrain_config, **(encoder_kwargs or {})
            ),
        )

    def encode_streaming(self, src, context, end=None):
        """Encodes the next frames of utterances.

        Arguments
        ---------
        src : torch.Tensor
            Input frames, (batch, frames, input_size), or with the features
            in two axes; any number of frames.
        context : TransformerASRStreamingContext
            State after the previous input; updated in place unless an error is
            raised.
        end : torch.Tensor, optional
            Frames of the rows that have ended, int64 (batch,), as for the
            encoder.

        Returns
        -------
        torch.Tensor
            The newly committed frames, (batch, frames, d_model), possibly none.

        Raises
        ------
        ValueError
            If the frames do not fit the encoder or the context.
        """
        if src.dim() == 4:
            src = src.flatten(2)
        return self.encoder.forward_streaming(
            self.custom_src_module(src), context.encoder_context, end=end
        )[0]

    def flush(self, context):
        """Ends the utterances and encodes the remaining frames.

        Arguments
        ---------
        context : TransformerASRStreamingContext
            The state, which accepts no more frames after this.

        Returns
        -------
        torch.Tensor
            The rest of the frames, exactly what ``encode`` gives there,
            (batch, frames, d_model).

        Raises
        ------
        ValueError
            If the context has been flushed, or is of another encoder.
        """
        return self.encoder.flush(context.encoder_context)[0]
