"""The one layer body: that of a transformer and, with more parts, of a
Conformer."""

from __future__ import annotations

from speechbrain.nnet.attention import PositionalwiseFeedForward
from speechbrain.nnet.normalization import LayerNorm
from torch import nn

from speechbrain_llsa.nnet.attention import StreamingSelfAttention
from speechbrain_llsa.nnet.conformer_convolution import ConformerConvolution

NORM_EPS = 1e-6
"""Epsilon of SpeechBrain's norms in a transformer."""


class StreamingTransformerEncoderLayer(nn.Module):
    """One layer: norm, attention, residual, norm, feed-forward, residual.

    That of a Conformer has more: half a feed-forward network before the
    attention and half a one at the end, a norm that closes the layer
    (``macaron``), and a convolution module behind the attention.

    Arguments
    ---------
    d_model : int
        Features of a frame.
    nhead : int
        Attention heads.
    d_ffn : int
        Hidden size of the feed-forward network.
    dropout : float
        Dropout probability.
    attention_dropout : float
        Probability to drop an attention weight.
    activation : type
        Class of the feed-forward network's activation.
    normalize_before : bool
        Whether norms precede attention and feed-forward, or follow them.
    attention_bias : bool
        Whether the projections of the attention have biases.
    norm_eps : float
        Epsilon of the norms.
    macaron : bool
        Whether half a feed-forward network precedes the attention, so that the
        other one is half as well, and a norm closes the layer.
    conv_look_back : int
        Frames that the convolution sees behind a frame.
    conv_look_ahead : int
        Frames that it sees ahead. Where both are 0, there is no convolution.

    Example
    -------
    >>> import torch
    >>> from speechbrain_llsa.nnet.attention import FrameSchedule
    >>> from speechbrain_llsa.state import LayerState
    >>> from speechbrain_llsa_runtime.geometry import StreamGeometry
    >>> layer = StreamingTransformerEncoderLayer(d_model=16, nhead=4, d_ffn=32)
    >>> schedule = FrameSchedule("sa", StreamGeometry(8, 2), final=True)
    >>> out, state = layer(torch.rand(2, 30, 16), schedule, LayerState())
    >>> out.shape
    torch.Size([2, 30, 16])
    """

    def __init__(
        self,
        d_model,
        nhead,
        d_ffn,
        dropout=0.0,
        attention_dropout=0.0,
        activation=nn.GELU,
        normalize_before=True,
        attention_bias=True,
        norm_eps=NORM_EPS,
        macaron=False,
        conv_look_back=0,
        conv_look_ahead=0,
    ):
        super().__init__()
        self.macaron_ffn = self.macaron_norm = self.closing_norm = None
        if macaron:
            self.macaron_norm = LayerNorm(d_model, eps=norm_eps)
            self.macaron_ffn = PositionalwiseFeedForward(
                d_ffn=d_ffn,
                input_size=d_model,
                dropout=dropout,
                activation=activation,
            )
            self.closing_norm = LayerNorm(d_model, eps=norm_eps)
        self.convolution = None
        if conv_look_back or conv_look_ahead:
            self.convolution = ConformerConvolution(
                d_model,
                conv_look_back,
                conv_look_ahead,
                activation,
                dropout,
                norm_eps,
            )
        self.self_att = StreamingSelfAttention(
            d_model, nhead, attention_dropout, attention_bias
        )
        self.pos_ffn = PositionalwiseFeedForward(
            d_ffn=d_ffn,
            input_size=d_model,
            dropout=dropout,
            activation=activation,
        )
        self.norm1 = LayerNorm(d_model, eps=norm_eps)
        self.norm2 = LayerNorm(d_model, eps=norm_eps)
        self.dropout1 = nn.Dropout(dropout)
        self.dropout2 = nn.Dropout(dropout)
        self.normalize_before = normalize_before

    def forward(self, src, schedule, state):
        """
        Arguments
        ---------
        src : torch.Tensor
            Frames, (batch, frames, features).
        schedule : FrameSchedule or HopSchedule
            Positions of the frames.
        state : LayerState
            State before these frames; not modified.

        Returns
        -------
        torch.Tensor
            The frames that need not wait, (batch, frames, features).
        LayerState
            The state after these frames.
        """
        if self.macaron_ffn is not None:
            out = self.macaron_ffn(self.macaron_norm(src))
            src = src + 0.5 * self.dropout1(out)
        attended, src, state = self.self_att(
            self.norm1(src) if self.normalize_before else src,
            src,
            schedule,
            state,
        )
        src = src + self.dropout1(attended)
        if not self.normalize_before:
            src = self.norm1(src)
        if self.convolution is not None:
            convolved, src, state = self.convolution(src, schedule, state)
            src = src + convolved
        out = self.pos_ffn(self.norm2(src) if self.normalize_before else src)
        out = self.dropout2(out)
        out = src + (out if self.macaron_ffn is None else 0.5 * out)
        if not self.normalize_before:
            out = self.norm2(out)
        if self.closing_norm is not None:
            out = self.closing_norm(out)
        return out, state
