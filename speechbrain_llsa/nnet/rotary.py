"""Rotary positions: relative, of unlimited length, and without drift."""

from __future__ import annotations

import torch


def rotary_angles(position, head_dim, base=10000.0, dtype=torch.float32):
    """Computes the rotation of each frame, as the cosine and sine of its
    angles.

    RoFormer (arXiv 2104.09864), equation 34: pair i of a head turns by
    ``position * base ** (-2 i / head_dim)``. The angles are computed in
    float64, so that frame 4,320,000 (24 hours) is as exact as frame 0.

    Arguments
    ---------
    position : torch.Tensor
        Positions in frames, (frames,), or (batch, frames) if rows differ in
        position.
    head_dim : int
        Features of one attention head, even.
    base : float
        The slowest pair turns once in about ``2 pi base`` frames.
    dtype : torch.dtype
        Type of what will be rotated.

    Returns
    -------
    torch.Tensor
        Cosines, (frames, head_dim / 2), or (batch, 1, frames, head_dim / 2):
        float32, or float64 to rotate float64.
    torch.Tensor
        Sines, of the same shape.

    Example
    -------
    >>> cosine, sine = rotary_angles(torch.arange(3), head_dim=8)
    >>> cosine.shape
    torch.Size([3, 4])
    """
    pair = torch.arange(0, head_dim, 2, device=position.device).double()
    frequency = base ** (-pair / head_dim)
    if position.ndim == 2:
        position = position[:, None]
    angle = position.double()[..., None] * frequency
    precision = torch.promote_types(dtype, torch.float32)
    return angle.cos().to(precision), angle.sin().to(precision)


def rotate(x, cosine, sine):
    """Rotates queries or keys by their positions, in the precision of the
    cosines.

    Feature i and feature ``i + head_dim / 2`` make a pair.

    Arguments
    ---------
    x : torch.Tensor
        Queries or keys, (batch, heads, frames, head dimension).
    cosine : torch.Tensor
        The result of :func:`rotary_angles`.
    sine : torch.Tensor
        Of the same shape.

    Returns
    -------
    torch.Tensor
        Of the shape and type of ``x``.

    Example
    -------
    >>> x = torch.rand(1, 2, 3, 8)
    >>> turned = rotate(x, *rotary_angles(torch.arange(3), head_dim=8))
    >>> torch.allclose(turned.norm(dim=-1), x.norm(dim=-1))
    True
    """
    first, second = x.to(cosine.dtype).chunk(2, dim=-1)
    turned = torch.cat(
        [first * cosine - second * sine, second * cosine + first * sine],
        dim=-1,
    )
    return turned.to(x.dtype)
