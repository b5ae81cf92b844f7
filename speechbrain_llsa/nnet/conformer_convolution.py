"""The convolution module of a Conformer, offline and streaming."""

from __future__ import annotations

from speechbrain.nnet.activations import Swish
from torch import nn

from speechbrain_llsa.ops.convolve import convolve_frames
from speechbrain_llsa_runtime.utils.checks import check_integer


class DepthwiseConvolution(nn.Conv1d):
    """A convolution over time of each feature apart.

    Arguments
    ---------
    features : int
        Features of a frame.
    look_back : int
        Frames that it sees behind a frame.
    look_ahead : int
        Frames that it sees ahead of a frame.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is out of range.

    Example
    -------
    >>> import torch
    >>> convolution = DepthwiseConvolution(8, look_back=3, look_ahead=1)
    >>> convolution(torch.rand(2, 10, 8)).shape
    torch.Size([2, 6, 8])
    """

    def __init__(self, features, look_back, look_ahead):
        check_integer("conv_look_back", look_back, 0)
        check_integer("conv_look_ahead", look_ahead, 0)
        super().__init__(
            features, features, look_back + 1 + look_ahead, groups=features
        )
        self.look_back = look_back
        self.look_ahead = look_ahead

    def forward(self, frames):
        """
        Arguments
        ---------
        frames : torch.Tensor
            (batch, frames, features), with zeros for those that do not exist.

        Returns
        -------
        torch.Tensor
            The frames that have a frame for each tap, (batch, frames,
            features).
        """
        return convolve_frames(frames, self.weight, self.bias)


class ConformerConvolution(nn.Module):
    """Norm, pointwise, gate, convolution over time, norm, activation,
    pointwise: SpeechBrain's ``ConvolutionModule``, where a schedule says what
    the convolution sees.

    The parameters have the names and shapes of SpeechBrain's, except that the
    first pointwise layer is a linear layer, not a convolution of one tap: its
    weights can be packed, and multiplied in 8 bits.

    Frames that do not exist, before the utterance or past the end of a row, are
    zeros behind the gate.

    Arguments
    ---------
    features : int
        Features of a frame.
    look_back : int
        Frames that the convolution sees behind a frame.
    look_ahead : int
        Frames that it sees ahead.
    activation : type
        Class of the activation behind the convolution.
    dropout : float
        Dropout probability of the result.
    norm_eps : float
        Epsilon of the norms.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is out of range.

    Example
    -------
    >>> import torch
    >>> from speechbrain_llsa.nnet.attention import HopSchedule
    >>> from speechbrain_llsa.state import LayerState
    >>> from speechbrain_llsa_runtime.geometry import StreamGeometry
    >>> convolution = ConformerConvolution(8, look_back=3, look_ahead=1)
    >>> schedule = HopSchedule(StreamGeometry(8, 2, hop=4), 0, 3)
    >>> x = torch.rand(1, 3 * (4 + 2), 8)
    >>> out, residual, state = convolution(x, schedule, LayerState())
    >>> out.shape, state.convolution.shape
    (torch.Size([1, 18, 8]), torch.Size([1, 3, 8]))
    """

    def __init__(
        self,
        features,
        look_back,
        look_ahead,
        activation=Swish,
        dropout=0.0,
        norm_eps=1e-5,
    ):
        super().__init__()
        self.layer_norm = nn.LayerNorm(features, eps=norm_eps)
        self.bottleneck = nn.Sequential(
            nn.Linear(features, 2 * features), nn.GLU(dim=-1)
        )
        self.conv = DepthwiseConvolution(features, look_back, look_ahead)
        self.after_conv = nn.Sequential(
            nn.LayerNorm(features, eps=norm_eps),
            activation(),
            nn.Linear(features, features),
            nn.Dropout(dropout),
        )
        self.begins_as_nothing = False

    def begin_as_nothing(self):
        """Makes the output zero, so that a layer computes what it does without
        this module until it has learned: for modules that join layers which
        are trained. The weights of such a model have none for it
        (:func:`~speechbrain_llsa.model_folder.load.load_pretrained_weights`).
        """
        self.begins_as_nothing = True
        nn.init.zeros_(self.after_conv[2].weight)
        nn.init.zeros_(self.after_conv[2].bias)

    def forward(self, x, schedule, state):
        """
        Arguments
        ---------
        x : torch.Tensor
            Frames, (batch, frames, features).
        schedule : FrameSchedule or HopSchedule
            Positions of the frames, which have attended with it.
        state : LayerState
            State of the layer; not modified.

        Returns
        -------
        torch.Tensor
            What is to be added to the frames that need not wait, (batch,
            frames, features).
        torch.Tensor
            These frames, of the same shape.
        LayerState
            The state after the frames.
        """
        gated = self.bottleneck(self.layer_norm(x))
        convolved, x, state = schedule.convolve(gated, x, state, self.conv)
        return self.after_conv(convolved), x, state
