"""Positions by a convolution over frames, as in wav2vec 2.0, that stream."""

from __future__ import annotations

import torch
from speechbrain.nnet.normalization import LayerNorm
from torch import nn
from torch.nn import functional as F

from speechbrain_llsa_runtime.utils.checks import check_integer
from speechbrain_llsa_runtime.utils.errors import must_be


class PositionalConvolution(nn.Module):
    """Adds to each frame what a grouped convolution sees around it.

    wav2vec 2.0 (arXiv 2006.11477, section 2) has 128 taps: ``look_back`` 64
    and ``look_ahead`` 63. The frames before an utterance and behind it are
    zeros.

    Arguments
    ---------
    features : int
        Features of a frame, a multiple of ``groups``.
    look_back : int
        Frames that the convolution sees behind a frame.
    look_ahead : int
        Frames that it sees ahead; each frame waits for them once, before the
        first layer of the encoder.
    groups : int
        Groups of features that do not see each other.
    normalize : bool
        Whether a layer norm follows.
    norm_eps : float
        Epsilon of the norm.
    dropout : float
        Dropout probability of the result.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is out of range.

    Example
    -------
    >>> positions = PositionalConvolution(
    ...     8, look_back=4, look_ahead=1, groups=2
    ... )
    >>> frames = torch.rand(1, 10, 8)
    >>> offline, _ = positions(frames, final=True)
    >>> first, carried = positions(frames[:, :6])
    >>> rest, _ = positions(frames[:, 6:], carried, final=True)
    >>> first.shape, rest.shape
    (torch.Size([1, 5, 8]), torch.Size([1, 5, 8]))
    >>> torch.allclose(torch.cat([first, rest], dim=1), offline, atol=1e-6)
    True
    """

    def __init__(
        self,
        features,
        look_back=64,
        look_ahead=0,
        groups=16,
        normalize=False,
        norm_eps=1e-5,
        dropout=0.0,
    ):
        super().__init__()
        check_integer("features", features, 1)
        check_integer("look_back", look_back, 0)
        check_integer("look_ahead", look_ahead, 0)
        check_integer("groups", groups, 1)
        if features % groups:
            raise ValueError(
                must_be(
                    "groups", f"a divisor of the {features} features", groups
                )
            )
        self.look_back = look_back
        self.look_ahead = look_ahead
        self.conv = nn.Conv1d(
            features, features, look_back + 1 + look_ahead, groups=groups
        )
        self.norm = None
        if normalize:
            self.norm = LayerNorm(features, eps=norm_eps)
        self.dropout = nn.Dropout(dropout)

    def forward(self, frames, carried=None, final=False):
        """
        Arguments
        ---------
        frames : torch.Tensor
            The next frames, (batch, frames, features), any number of them.
        carried : torch.Tensor, optional
            What the call before returned; ``None`` where the utterance begins.
        final : bool
            Whether the utterance ends with these frames.

        Returns
        -------
        torch.Tensor
            The frames whose look-ahead has arrived, (batch, frames, features).
        torch.Tensor
            Frames for the next call, (batch, ``look_back`` and up to
            ``look_ahead`` more, features).
        """
        if carried is None:
            carried = self.initial_carried(frames)
        window = torch.cat([carried, frames], dim=1)
        if final:
            window = F.pad(window, (0, 0, 0, self.look_ahead))
        taps = self.conv.kernel_size[0]
        ready = max(0, window.shape[1] - taps + 1)
        out = window[:, self.look_back : self.look_back + ready]
        if ready:
            # (batch, frames, features) -> (batch, features, frames), and back
            seen = self.conv(window.transpose(1, 2)).transpose(1, 2)
            out = out + F.gelu(seen)
        if self.norm is not None:
            out = self.norm(out)
        return self.dropout(out), window[:, ready:]

    def initial_carried(self, like, waiting=0):
        """Makes what the first call receives: silence.

        Arguments
        ---------
        like : torch.Tensor
            Frames, (batch, frames, features): their batch size, type and
            device are those of the result.
        waiting : int
            Frames before the utterance that wait for their look-ahead, for a
            stream of steps with fixed shapes.

        Returns
        -------
        torch.Tensor
            Zeros, (batch, ``look_back`` + ``waiting``, features).
        """
        return like.new_zeros(
            like.shape[0], self.look_back + waiting, like.shape[2]
        )
