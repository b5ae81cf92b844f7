"""The convolution of a Conformer over time, feature by feature: frame by frame,
and hop by hop.

Both agree with :func:`speechbrain_llsa.ops.reference.convolve`. Frames that do
not exist have to be zeros.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F


def convolve_frames(frames, weight, bias):
    """Convolves consecutive frames: aa, maa and sa.

    Arguments
    ---------
    frames : torch.Tensor
        The frames, and all that they see around them, (batch, frames,
        features).
    weight : torch.Tensor
        Taps of each feature, (features, 1, taps).
    bias : torch.Tensor
        (features,).

    Returns
    -------
    torch.Tensor
        Those that have a frame for each tap, (batch, frames - taps + 1,
        features), possibly none.

    Example
    -------
    >>> frames = torch.rand(2, 10, 8)
    >>> convolve_frames(frames, torch.rand(8, 1, 3), torch.rand(8)).shape
    torch.Size([2, 8, 8])
    """
    if frames.shape[1] < weight.shape[2]:
        return frames[:, :0]
    # (batch, frames, features) -> (batch, features, frames), and back
    return F.conv1d(
        frames.transpose(1, 2), weight, bias, groups=frames.shape[2]
    ).transpose(1, 2)


def convolve_hops(frames, past, geometry, weight, bias, conv_look_ahead):
    """Convolves consecutive hops: llsa.

    The frames lie hop by hop, as :func:`speechbrain_llsa.visibility.hop_tags`
    has them. Each hop sees the committed frames before it, and itself.

    Arguments
    ---------
    frames : torch.Tensor
        (batch, hops * (hop + look_ahead), features).
    past : torch.Tensor
        The committed frames just before the first hop that the taps reach,
        (batch, look-back of the convolution, features).
    geometry : StreamGeometry
        Look-ahead and hop, in frames.
    weight : torch.Tensor
        Taps of each feature, (features, 1, taps).
    bias : torch.Tensor
        (features,).
    conv_look_ahead : int
        How many of the taps are ahead of a frame.

    Returns
    -------
    torch.Tensor
        (batch, hops * (hop + look_ahead), features).

    Example
    -------
    >>> from speechbrain_llsa_runtime.geometry import StreamGeometry
    >>> geometry = StreamGeometry(look_back=10, look_ahead=2, hop=4)
    >>> frames, past = torch.rand(2, 5 * (4 + 2), 8), torch.zeros(2, 3, 8)
    >>> weight, bias = torch.rand(8, 1, 3 + 1 + 1), torch.rand(8)
    >>> convolve_hops(frames, past, geometry, weight, bias, 1).shape
    torch.Size([2, 30, 8])
    """
    slots = geometry.hop + geometry.look_ahead
    hops = frames.shape[1] // slots
    if hops == 1:
        window = torch.cat([past, frames], dim=1)
        window = F.pad(window, (0, 0, 0, conv_look_ahead))
        return convolve_frames(window, weight, bias)
    # (batch, hops, hop + look_ahead, features)
    by_hop = frames.unflatten(1, (hops, slots))
    committed = by_hop[:, :-1, : geometry.hop].flatten(1, 2)
    committed = torch.cat([past, committed], dim=1)
    # (batch, hops, features, look-back) -> (batch, hops, look-back, features)
    behind = committed.unfold(1, past.shape[1], geometry.hop).transpose(2, 3)
    windows = torch.cat([behind, by_hop], dim=2)
    windows = F.pad(windows, (0, 0, 0, conv_look_ahead))
    convolved = convolve_frames(windows.flatten(0, 1), weight, bias)
    # (batch * hops, hop + look_ahead, features) -> as the frames came
    return convolved.unflatten(0, (frames.shape[0], hops)).flatten(1, 2)
