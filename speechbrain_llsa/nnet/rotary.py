"""Rotary positions: relative, of unlimited length, and without drift."""

from __future__ import annotations

import torch


def rotary_angles(position, features, base=10000.0, dtype=torch.float32):
    """Computes the rotation of each frame, as the cosine and sine of its
    angles.

    RoFormer (arXiv 2104.09864), equation 34: pair i of a head turns by
    ``position * base ** (-2 i / features)``. The angles are computed in
    float64, so that frame 4,320,000 (24 hours) is as exact as frame 0.

    Arguments
    ---------
    position : torch.Tensor
        Positions in frames, (frames,), or (batch, frames) if rows differ in
        position.
    features : int
        Features of an attention head that are rotated, even.
    base : float
        The slowest pair turns once in about ``2 pi base`` frames.
    dtype : torch.dtype
        Type of what will be rotated.

    Returns
    -------
    torch.Tensor
        Cosines, (frames, features / 2), or (batch, 1, frames, features / 2):
        float32, or float64 to rotate float64.
    torch.Tensor
        Sines, of the same shape.

    Example
    -------
    >>> cosine, sine = rotary_angles(torch.arange(3), features=8)
    >>> cosine.shape
    torch.Size([3, 4])
    """
    pair = torch.arange(0, features, 2, device=position.device).double()
    frequency = base ** (-pair / features)
    if position.ndim == 2:
        position = position[:, None]
    angle = position.double()[..., None] * frequency
    precision = torch.promote_types(dtype, torch.float32)
    return angle.cos().to(precision), angle.sin().to(precision)


def rotate(x, cosine, sine):
    """Rotates queries or keys by their positions, in the precision of the
    cosines.

    Of the first n features, twice as many as there are cosines, feature i and
    feature ``i + n / 2`` make a pair. Features behind them stay as they are.

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
    >>> turned = rotate(x, *rotary_angles(torch.arange(3), features=8))
    >>> torch.allclose(turned.norm(dim=-1), x.norm(dim=-1))
    True
    """
    pairs = cosine.shape[-1]
    rotated, rest = x[..., : 2 * pairs], x[..., 2 * pairs :]
    first, second = rotated.to(cosine.dtype).chunk(2, dim=-1)
    turned = [first * cosine - second * sine, second * cosine + first * sine]
    if rest.shape[-1]:
        turned.append(rest.to(cosine.dtype))
    return torch.cat(turned, dim=-1).to(x.dtype)
