"""The encoder: a drop-in for SpeechBrain's transformer, or a Conformer, offline
and streaming.

One layer body and one pass over the stack serve training, offline inference
and streaming.
"""

from __future__ import annotations

import inspect

import torch
from speechbrain.nnet.normalization import LayerNorm
from speechbrain.utils.dynamic_chunk_training import DynChunkTrainConfig
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from speechbrain_llsa.nnet.attention import FrameSchedule, HopSchedule
from speechbrain_llsa.nnet.encoder_layer import (
    NORM_EPS,
    StreamingTransformerEncoderLayer,
)
from speechbrain_llsa.nnet.positional_convolution import PositionalConvolution
from speechbrain_llsa.state import EncoderState, LayerState
from speechbrain_llsa_runtime.geometry import (
    ENCODER_MODULES,
    FRAME_SECONDS,
    TrainedGeometries,
    check_attention,
)
from speechbrain_llsa_runtime.latency import LatencyReport
from speechbrain_llsa_runtime.step_clock import NEVER
from speechbrain_llsa_runtime.utils.checks import (
    check_integer,
    check_number,
    check_type,
)
from speechbrain_llsa_runtime.utils.errors import must_be

CONFORMER_NORMS = {"norm_eps": 1e-5, "closing_norm_eps": 1e-6}
"""Epsilons of SpeechBrain's norms in a Conformer."""


class StreamingTransformerEncoder(nn.Module):
    """A transformer encoder with one of four attentions, a drop-in replacement
    for ``speechbrain.lobes.models.transformer.Transformer.TransformerEncoder``;
    or a Conformer, for ``speechbrain.lobes.models.transformer.Conformer``'s.

    All four have the same parameters: weights of one load into another.

    Arguments
    ---------
    num_layers : int
        Encoder layers.
    nhead : int
        Attention heads.
    d_ffn : int
        Hidden size of the feed-forward networks.
    d_model : int
        Features of a frame.
    attention : str
        aa (acausal), maa (masked acausal), sa (streaming) or llsa
        (low-latency streaming).
    look_back : int
        Frames that a layer sees behind a frame (llsa: behind its hop).
    look_ahead : int or list of int
        Frames that a layer sees ahead of a frame (llsa: ahead of its hop). A
        list for an encoder that is trained for several; the first is the
        default.
    hop : int or list of int
        Frames that llsa commits at once; the others do not use it. A list as
        for ``look_ahead``.
    positional_encoding : str or None
        "rope" for rotary positions, "convolution" for a convolution over the
        frames before the first layer, as in wav2vec 2.0, ``None`` for no
        positions.
    rotary_features : int, optional
        "rope": features of a head that are rotated; by default all of them.
    positional_look_back : int
        "convolution": frames that it sees behind a frame.
    positional_look_ahead : int
        "convolution": frames that it sees ahead, which add to the latency
        once.
    positional_groups : int
        "convolution": groups of features.
    positional_norm : bool
        "convolution": whether a layer norm follows.
    dropout : float
        Dropout probability.
    attention_dropout : float, optional
        Probability to drop an attention weight; as ``dropout`` if not given.
        With 0, PyTorch can use fused attention in training as well.
    layerdrop_prob : float
        Probability to skip a layer in training.
    activation : type
        Class of the feed-forward networks' activation.
    normalize_before : bool
        Whether norms precede attention and feed-forward, or follow them.
    attention_bias : bool
        Whether the projections of the attention have biases.
    closing_norm : bool
        Whether a norm follows the last layer.
    norm_eps : float
        Epsilon of the norms.
    closing_norm_eps : float, optional
        Epsilon of the norm behind the last layer; as ``norm_eps`` if not given.
    encoder_module : str
        What the layers are: "transformer" or "conformer". Those of a Conformer
        have norms before attention and feed-forward.
    macaron : bool
        "conformer": whether each layer has two feed-forward networks, before
        the attention and at its end, that count half, and a norm that closes
        it.
    conv_look_back : int
        "conformer": frames that the convolution of a layer sees behind a frame.
    conv_look_ahead : int
        "conformer": frames that it sees ahead, which add to the latency with
        each layer of maa and sa. With llsa they lie within the hop and its
        look-ahead. Where both are 0, there is no convolution; without
        ``macaron`` either, the layers are those of a transformer.
    output_hidden_states : bool
        Whether ``forward``, ``forward_streaming`` and ``flush`` also return a
        list of the first layer's input and every layer's output. In streaming
        these are the frames that will not change: with llsa the committed ones
        for all layers, otherwise for each layer ``look_ahead`` and
        ``conv_look_ahead`` frames fewer than for the one before it.
    gradient_checkpointing : bool
        Whether the backward pass computes each layer again, in training, so
        that only the layers' inputs stay in memory. Outputs and gradients do
        not change; a training step does about a third more work.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size, the attention or another option is not allowed.

    Example
    -------
    >>> encoder = StreamingTransformerEncoder(
    ...     num_layers=2, nhead=4, d_ffn=64, d_model=32, look_back=16
    ... ).eval()
    >>> src = torch.rand(8, 60, 32)
    >>> out, attention_list = encoder(src)
    >>> out.shape
    torch.Size([8, 60, 32])
    >>> context = encoder.make_streaming_context()
    >>> with torch.no_grad():
    ...     first, _ = encoder.forward_streaming(src[:, :25], context)
    ...     second, _ = encoder.forward_streaming(src[:, 25:], context)
    ...     tail, _ = encoder.flush(context)
    >>> first.shape, second.shape, tail.shape
    (torch.Size([8, 17, 32]), torch.Size([8, 35, 32]), torch.Size([8, 8, 32]))
    >>> streamed = torch.cat([first, second, tail], dim=1)
    >>> torch.allclose(streamed, out, atol=1e-5)
    True
    """

    def __init__(
        self,
        num_layers,
        nhead,
        d_ffn,
        d_model,
        attention="llsa",
        look_back=64,
        look_ahead=8,
        hop=1,
        positional_encoding="rope",
        dropout=0.0,
        attention_dropout=None,
        layerdrop_prob=0.0,
        activation=nn.GELU,
        normalize_before=True,
        attention_bias=True,
        closing_norm=True,
        norm_eps=NORM_EPS,
        rotary_features=None,
        positional_look_back=64,
        positional_look_ahead=0,
        positional_groups=16,
        positional_norm=False,
        output_hidden_states=False,
        gradient_checkpointing=False,
        closing_norm_eps=None,
        encoder_module="transformer",
        macaron=True,
        conv_look_back=15,
        conv_look_ahead=0,
    ):
        super().__init__()
        self.attention = check_attention(attention)
        self.geometries = TrainedGeometries(look_back, look_ahead, hop)
        check_integer("num_layers", num_layers, 1)
        check_integer("nhead", nhead, 1)
        check_integer("d_ffn", d_ffn, 1)
        check_integer("d_model", d_model, 1)
        if d_model % nhead:
            raise ValueError(
                must_be(
                    "d_model", f"a multiple of nhead, which is {nhead}", d_model
                )
            )
        if positional_encoding not in ("rope", "convolution", None):
            raise ValueError(
                must_be(
                    "positional_encoding",
                    "'rope', 'convolution' or None",
                    repr(positional_encoding),
                )
            )
        check_number("dropout", dropout, 0, 1)
        if attention_dropout is not None:
            check_number("attention_dropout", attention_dropout, 0, 1)
        check_number("layerdrop_prob", layerdrop_prob, 0)
        check_number("norm_eps", norm_eps, 0)
        if closing_norm_eps is not None:
            check_number("closing_norm_eps", closing_norm_eps, 0)
        if encoder_module not in ENCODER_MODULES:
            raise ValueError(
                must_be(
                    "encoder_module",
                    " or ".join(map(repr, ENCODER_MODULES)),
                    repr(encoder_module),
                )
            )
        check_integer("conv_look_back", conv_look_back, 0)
        check_integer("conv_look_ahead", conv_look_ahead, 0)
        if encoder_module == "transformer":
            macaron, conv_look_back, conv_look_ahead = False, 0, 0
        elif not normalize_before:
            raise ValueError(
                must_be(
                    "normalize_before",
                    "True for a conformer, whose norms come before its parts",
                    normalize_before,
                )
            )
        if not callable(activation):
            raise TypeError(
                must_be(
                    "activation", "the class of an activation", repr(activation)
                )
            )
        if not 0.0 <= layerdrop_prob < 1.0:
            raise ValueError(
                must_be(
                    "layerdrop_prob",
                    "at least 0 and less than 1",
                    layerdrop_prob,
                )
            )
        self.d_model = d_model
        self.positional_encoding = positional_encoding
        self.rotary_features = 0
        if positional_encoding == "rope":
            self.rotary_features = _checked_rotary(
                rotary_features, d_model, nhead
            )
        self.positions = None
        if positional_encoding == "convolution":
            self.positions = PositionalConvolution(
                d_model,
                positional_look_back,
                positional_look_ahead,
                positional_groups,
                positional_norm,
                norm_eps,
                dropout,
            )
        self.norm_eps = norm_eps
        self.closing_norm_eps = closing_norm_eps
        self.encoder_module = encoder_module
        self.macaron = macaron
        self.conv_look_back = conv_look_back
        self.conv_look_ahead = conv_look_ahead
        self.layerdrop_prob = layerdrop_prob
        self.output_hidden_states = output_hidden_states
        self.gradient_checkpointing = gradient_checkpointing
        self.layers = nn.ModuleList(
            StreamingTransformerEncoderLayer(
                d_model=d_model,
                nhead=nhead,
                d_ffn=d_ffn,
                dropout=dropout,
                attention_dropout=(
                    dropout if attention_dropout is None else attention_dropout
                ),
                activation=activation,
                normalize_before=normalize_before,
                attention_bias=attention_bias,
                norm_eps=norm_eps,
                macaron=macaron,
                conv_look_back=conv_look_back,
                conv_look_ahead=conv_look_ahead,
            )
            for _ in range(num_layers)
        )
        self.norm = nn.Identity()
        if closing_norm:
            eps = norm_eps if closing_norm_eps is None else closing_norm_eps
            self.norm = LayerNorm(d_model, eps=eps)

    @property
    def geometry(self):
        """The default geometry."""
        return self.geometries.default

    @property
    def positional_look_ahead(self):
        """Frames that the positional convolution sees ahead; 0 without one."""
        return 0 if self.positions is None else self.positions.look_ahead

    @property
    def convolves(self):
        """Whether the layers have a convolution."""
        return self.conv_look_back + self.conv_look_ahead > 0

    def unusual_options(self):
        """Options of encoders that were trained elsewhere, by name.

        Returns
        -------
        dict
            Those whose values are not the defaults.

        Example
        -------
        >>> encoder = StreamingTransformerEncoder(
        ...     num_layers=2, nhead=4, d_ffn=64, d_model=32, closing_norm=False
        ... )
        >>> encoder.unusual_options()
        {'closing_norm': False}
        """
        attention, positions = self.layers[0].self_att, self.positions
        options = {
            "attention_bias": attention.in_proj.bias is not None,
            "closing_norm": not isinstance(self.norm, nn.Identity),
            "norm_eps": self.norm_eps,
            "closing_norm_eps": self.closing_norm_eps,
            "encoder_module": self.encoder_module,
        }
        if self.encoder_module == "conformer":
            options |= {
                "macaron": self.macaron,
                "conv_look_back": self.conv_look_back,
                "conv_look_ahead": self.conv_look_ahead,
            }
        if self.rotary_features not in (0, self.d_model // attention.nhead):
            options["rotary_features"] = self.rotary_features
        if positions is not None:
            options |= {
                "positional_look_back": positions.look_back,
                "positional_look_ahead": positions.look_ahead,
                "positional_groups": positions.conv.groups,
                "positional_norm": positions.norm is not None,
            }
        parameters = inspect.signature(type(self)).parameters
        return {
            name: value
            for name, value in options.items()
            if value != parameters[name].default
        }

    def forward(
        self,
        src,
        src_mask=None,
        src_key_padding_mask=None,
        pos_embs=None,
        dynchunktrain_config=None,
        geometry=None,
    ):
        """Encodes whole utterances.

        Arguments
        ---------
        src : torch.Tensor
            Frames, (batch, frames, d_model).
        src_mask : None
            Part of SpeechBrain's interface. The attention determines the mask.
        src_key_padding_mask : torch.Tensor, optional
            True at padding, which follows the frames of a row, (batch, frames).
            Rows do not depend on each other.
        pos_embs : None
            Part of SpeechBrain's interface. Positions are rotary.
        dynchunktrain_config : None
            Part of SpeechBrain's interface. The geometry replaces it.
        geometry : StreamGeometry, optional
            One of those that the encoder is trained for; by default the first.

        Returns
        -------
        torch.Tensor
            (batch, frames, d_model).
        list
            One entry per layer, ``None``: attention weights are not kept.
        list
            Only with ``output_hidden_states``: the input and each layer's
            output, (batch, frames, d_model).

        Raises
        ------
        ValueError
            If an argument has another shape, or is not supported.
        """
        for name, argument in (
            ("src_mask", src_mask),
            ("pos_embs", pos_embs),
            ("dynchunktrain_config", dynchunktrain_config),
        ):
            if argument is not None:
                raise ValueError(
                    must_be(
                        name,
                        (
                            f"None, because attention={self.attention!r} and "
                            "its look_back, "
                            "look_ahead and hop say who sees whom"
                        ),
                        type(argument).__name__,
                    )
                )
        self._check_frames(src)
        end = None
        if src_key_padding_mask is not None:
            end = _lengths(src, src_key_padding_mask)
            src = src.masked_fill(src_key_padding_mask.bool()[..., None], 0.0)
        state = self._new_state(geometry)
        state.end = end
        out, hidden_states, _ = self._advance(
            src, state, final=True, training=self.training
        )
        attention_list = [None] * len(self.layers)
        if self.output_hidden_states:
            return out, attention_list, hidden_states
        return out, attention_list

    def make_streaming_context(self, config=None, geometry=None):
        """Makes an initial state for :meth:`forward_streaming`.

        Arguments
        ---------
        config : speechbrain.utils.dynamic_chunk_training.DynChunkTrainConfig
            Part of SpeechBrain's interface: how much the caller will push. If
            llsa is trained for several hops, its ``chunk_size`` is the hop,
            unless a geometry is given; otherwise it has no effect, since
            results do not depend on the length of pushes. ``left_context_size``
            has no effect.
        geometry : StreamGeometry, optional
            Geometry of the stream: one of those that the encoder is trained
            for; by default the first.

        Returns
        -------
        EncoderState

        Raises
        ------
        TypeError
            If an argument has the wrong type.
        ValueError
            If the attention is aa, which needs the whole utterance, or if the
            encoder is not trained for the geometry or the ``chunk_size``.
        """
        if self.attention == "aa":
            raise ValueError(
                must_be(
                    "attention",
                    "one of maa, sa, llsa for streaming",
                    "'aa', which sees the whole utterance",
                )
            )
        if config is not None:
            check_type("config", config, DynChunkTrainConfig)
        if config is not None and geometry is None:
            geometry = self.geometries.of_chunk(
                self.attention, config.chunk_size
            )
        return self._new_state(geometry)

    def forward_streaming(self, src, context, pos_embs=None, end=None):
        """Encodes the next frames of utterances. This is inference: no
        gradient flows, and no layer is dropped.

        Arguments
        ---------
        src : torch.Tensor
            Frames, (batch, frames, d_model), any number of them.
        context : EncoderState
            State after the previous input; updated in place unless an error is
            raised.
        pos_embs : None
            Part of SpeechBrain's interface. Positions are rotary.
        end : torch.Tensor, optional
            For rows that have ended: frames of the row since the utterance
            began, int64 (batch,), at most those pushed so far, with these. A
            negative number for rows that have not ended. Input past the end of
            a row is ignored, and output past it is meaningless.

        Returns
        -------
        torch.Tensor
            The newly committed frames, (batch, frames, d_model), possibly none.
        list
            One entry per layer, ``None``.
        list
            Only with ``output_hidden_states``.

        Raises
        ------
        ValueError
            If the frames do not match the encoder or the context.
        """
        if pos_embs is not None:
            raise ValueError(
                must_be(
                    "pos_embs",
                    "None, because positions are rotary",
                    type(pos_embs).__name__,
                )
            )
        return self._stream(src, context, end, final=False)

    def flush(self, context):
        """Ends the utterances and encodes the remaining frames.

        Arguments
        ---------
        context : EncoderState
            The state, which accepts no more frames after this.

        Returns
        -------
        torch.Tensor
            The rest of the frames, exactly what ``forward`` gives there,
            (batch, frames, d_model).
        list
            One entry per layer, ``None``.
        list
            Only with ``output_hidden_states``.

        Raises
        ------
        ValueError
            If the context has been flushed, or belongs to another encoder.
        """
        _check_context(context)
        src = next(self.parameters()).new_zeros(
            context.batch_size or 1, 0, self.d_model
        )
        return self._stream(src, context, None, final=True)

    def latency_report(
        self,
        receptive_field_samples=0,
        frame_seconds=FRAME_SECONDS,
        geometry=None,
    ):
        """The declared latency of this encoder, next to those of the other
        attentions.

        Arguments
        ---------
        receptive_field_samples : int
            Receptive field of the front end before the encoder, in samples.
        frame_seconds : float
            Seconds from one input frame to the next.
        geometry : StreamGeometry, optional
            One of those that the encoder is trained for; by default the first.

        Returns
        -------
        LatencyReport

        Example
        -------
        >>> encoder = StreamingTransformerEncoder(
        ...     num_layers=12, nhead=4, d_ffn=64, d_model=32
        ... )
        >>> encoder.latency_report().declared_latency.look_ahead_seconds
        0.16
        """
        return LatencyReport(
            self.attention,
            self.geometries.check(geometry),
            len(self.layers),
            receptive_field_samples,
            frame_seconds,
            self.positional_look_ahead,
            self.conv_look_ahead,
        )

    def _new_state(self, geometry):
        return EncoderState(
            signature=self._signature(self.geometries.check(geometry)),
            layers=[LayerState() for _ in self.layers],
        )

    def _signature(self, geometry):
        signature = (
            self.attention,
            geometry,
            len(self.layers),
            self.d_model,
            self.layers[0].self_att.nhead,
        )
        if self.positions is not None:
            taps = self.positions.look_back, self.positions.look_ahead
            signature += taps
        if self.encoder_module == "conformer":
            taps = self.conv_look_back, self.conv_look_ahead
            signature += (self.encoder_module, *taps)
        return signature

    def _check_frames(self, src):
        if not isinstance(src, torch.Tensor) or not src.is_floating_point():
            kind = getattr(src, "dtype", type(src).__name__)
            raise TypeError(must_be("src", "a floating point tensor", kind))
        if src.ndim != 3 or src.shape[2] != self.d_model:
            raise ValueError(
                must_be(
                    "src",
                    f"of shape (batch, frames, {self.d_model})",
                    tuple(src.shape),
                )
            )

    @torch.no_grad()
    def _stream(self, src, context, end, final):
        self._check_frames(src)
        _check_context(context)
        if (
            context.geometry not in self.geometries
            or context.signature != self._signature(context.geometry)
        ):
            raise ValueError(
                must_be(
                    "context",
                    (
                        f"that of an encoder with "
                        f"{self._signature(self.geometries)}, as this one"
                    ),
                    f"that of one with {context.signature}",
                )
            )
        if context.finished:
            raise ValueError(
                must_be(
                    "context",
                    "that of an utterance that goes on",
                    "one that has been flushed",
                )
            )
        if context.batch_size not in (None, src.shape[0]):
            raise ValueError(
                must_be(
                    "src",
                    f"of {context.batch_size} rows, as in the context",
                    src.shape[0],
                )
            )
        state = context.fork()
        state.batch_size = src.shape[0]
        if end is not None:
            state.end = _ended(end, state, src)
        state.received += src.shape[1]
        state.finished = final
        out, hidden_states, state = self._advance(src, state, final)
        state.committed += out.shape[1]
        context.become(state)
        attention_list = [None] * len(self.layers)
        if self.output_hidden_states:
            return out, attention_list, hidden_states
        return out, attention_list

    def _advance(self, src, state, final, training=False):
        """Passes frames through the stack: (batch, frames, features) to the
        committed ones, the hidden states, and the state that follows."""
        if self.positions is not None:
            src = self._add_positions(src, state, final)
        if self.attention == "llsa":
            return self._advance_hops(src, state, final, training)
        schedule = FrameSchedule(
            self.attention,
            state.geometry,
            final,
            state.end,
            self.rotary_features,
        )
        if src.shape[1] == 0 and (state.received == 0 or not final):
            return src, [src] * (len(self.layers) + 1), state
        out, hidden_states, state.layers = self._run(
            src, schedule, state.layers, training
        )
        return self.norm(out), hidden_states, state

    def _add_positions(self, src, state, final):
        """Adds what the positional convolution sees around the frames. Those
        that wait for its look-ahead stay in the state."""
        if state.end is not None and state.received:
            first = state.received - src.shape[1]
            number = torch.arange(first, state.received, device=src.device)
            past_end = number >= state.end[:, None]
            src = src.masked_fill(past_end[..., None], 0.0)
        src, state.positional = self.positions(src, state.positional, final)
        return src

    def _advance_hops(self, src, state, final, training):
        hop, look_ahead = state.geometry.hop, state.geometry.look_ahead
        frames = src
        if state.frames is not None:
            frames = torch.cat([state.frames, src], dim=1)
        waiting = frames.shape[1]
        if final:
            hops = -(-waiting // hop)
        else:
            hops = max(0, waiting - look_ahead) // hop
        if hops == 0:
            state.frames = frames
            nothing = frames[:, :0]
            return nothing, [nothing] * (len(self.layers) + 1), state
        first_hop = state.committed // hop
        end = state.end
        if final:
            last = state.committed + waiting
            end = frames.new_full((frames.shape[0],), last, dtype=torch.int64)
            if state.end is not None:
                end = end.minimum(state.end)
        needed = hops * hop + look_ahead
        window = F.pad(frames[:, :needed], (0, 0, 0, max(0, needed - waiting)))
        schedule = HopSchedule(
            state.geometry,
            first_hop,
            hops,
            end,
            self.rotary_features,
            src.device,
        )
        # at the end of the utterance nothing is provisional
        last_schedule = schedule
        if final:
            last_schedule = schedule.last(self.convolves)
        out, hidden_states, state.layers = self._run(
            window, schedule, state.layers, training, last_schedule
        )
        out = self.norm(out)
        committed = min(hops * hop, waiting)
        state.frames = frames[:, committed:]
        state.provisional = out[:, :0]
        if not final:
            provisional = min(look_ahead, waiting - committed)
            # (batch, hops * (hop + look_ahead), features) -> the newest hop's
            state.provisional = out.unflatten(1, (hops, -1))[
                :, -1, hop : hop + provisional
            ]
        laid_out = hops * (hop + look_ahead)
        out, *hidden_states = (
            (schedule.committed(x) if x.shape[1] == laid_out else x)[
                :, :committed
            ]
            for x in (out, *hidden_states)
        )
        return out, hidden_states, state

    def _run(self, src, schedule, states, training, last_schedule=None):
        """Runs the stack. Returns its output, the hidden states if requested
        (the input, then each layer that ran), and the new states. The last
        layer may have a schedule of its own."""
        keep = [True] * len(self.layers)
        if training and self.layerdrop_prob > 0.0:
            keep = torch.rand(len(keep), device="cpu") > self.layerdrop_prob
        run_layer = _run_layer
        if training and self.gradient_checkpointing:
            run_layer = _run_layer_checkpointed
        hidden_states = [src] if self.output_hidden_states else []
        new_states = []
        for layer, state, kept in zip(self.layers, states, keep, strict=True):
            if layer is self.layers[-1]:
                schedule = last_schedule or schedule
            if kept:
                src, state = run_layer(layer, src, schedule, state)
                if self.output_hidden_states:
                    hidden_states.append(src)
            new_states.append(state)
        return src, hidden_states, new_states


def _checked_rotary(features, d_model, nhead):
    """Number of features of a head that are rotated."""
    head_dim = d_model // nhead
    if features is None:
        if head_dim % 2:
            raise ValueError(
                must_be(
                    "d_model",
                    "an even number of features for each head with rotary "
                    "positions",
                    f"{d_model} with nhead {nhead}",
                )
            )
        return head_dim
    check_integer("rotary_features", features, 2)
    if features % 2 or features > head_dim:
        raise ValueError(
            must_be(
                "rotary_features",
                f"even, and at most the {head_dim} of a head",
                features,
            )
        )
    return features


def _run_layer(layer, src, schedule, state):
    return layer(src, schedule, state)


def _run_layer_checkpointed(layer, src, schedule, state):
    """Like :func:`_run_layer`, but without a new state: training does not
    continue from it, and it would keep the keys and values of every layer in
    memory."""
    out = checkpoint(
        lambda frames: layer(frames, schedule, state)[0],
        src,
        use_reentrant=False,
    )
    return out, state


def _check_context(context):
    if not isinstance(context, EncoderState):
        raise TypeError(
            must_be(
                "context",
                "what make_streaming_context gives",
                type(context).__name__,
            )
        )


def _lengths(src, padding_mask):
    check_type("src_key_padding_mask", padding_mask, torch.Tensor)
    if padding_mask.shape != src.shape[:2]:
        raise ValueError(
            must_be(
                "src_key_padding_mask",
                f"of shape (batch, frames), here {tuple(src.shape[:2])}",
                tuple(padding_mask.shape),
            )
        )
    padding_mask = padding_mask.bool()
    if (padding_mask[:, :-1] & ~padding_mask[:, 1:]).any():
        raise ValueError(
            must_be(
                "src_key_padding_mask",
                "padding at the end of a row only",
                "frames after padding",
            )
        )
    return (~padding_mask).sum(dim=1)


def _ended(end, state, src):
    """Merges newly known ends into those of the state."""
    if not isinstance(end, torch.Tensor) or end.is_floating_point():
        kind = getattr(end, "dtype", type(end).__name__)
        raise TypeError(must_be("end", "a tensor of integers", kind))
    if end.shape != (src.shape[0],):
        raise ValueError(
            must_be(
                "end",
                f"of shape (batch,), here ({src.shape[0]},)",
                tuple(end.shape),
            )
        )
    end = end.to(device=src.device, dtype=torch.int64)
    known = torch.full_like(end, NEVER) if state.end is None else state.end
    fresh = (end >= 0) & (known == NEVER)
    wrong = (end < state.received) | (end > state.received + src.shape[1])
    if (fresh & wrong).any():
        raise ValueError(
            must_be(
                "end",
                (
                    f"within this push, from {state.received} to "
                    f"{state.received + src.shape[1]} frames"
                ),
                end[fresh & wrong].tolist(),
            )
        )
    return torch.where(fresh, end, known)
