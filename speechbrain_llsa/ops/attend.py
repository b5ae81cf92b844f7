"""The fast paths of attention: dense, banded, and banded by hops; on CUDA the
banded ones are FlexAttention in training.

All of them agree with :mod:`speechbrain_llsa.ops.reference`, and take their
masks from :func:`speechbrain_llsa.visibility.visible`.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from speechbrain_llsa.ops import flex
from speechbrain_llsa.utils.transforms import is_transforming
from speechbrain_llsa.visibility import (
    exists,
    frame_tags,
    hop_tags,
    join_tags,
    same_frame,
    visible,
)

BLOCK_FRAMES = 64
"""Queries that share one window of keys in the banded paths."""

DENSE_KEYS = 512
DENSE_WIDTHS = (3, 1.5)
"""Up to 3 times the keys that a block of the band sees, sa is about as fast
with all of them, and needs less memory; beyond 512 keys, up to 1.5 times."""

SHORT_ON_CUDA = 512
"""Number of queries up to which sa takes all pairs on CUDA, in training too: at
500 a mask was 1.2 times as fast as the band (benchmarks/gpu.py, an H200)."""

LONG_FRAMES = 1024
"""Number of queries above which the band of sa saves memory rather than time
where kernels wait for one another, as on CUDA."""

SEGMENT_FRAMES = 128
"""Number of queries whose windows are then in memory at once."""


def _uses_flex(query, whole_utterance, dropout):
    """Whether sa and llsa go through :mod:`speechbrain_llsa.ops.flex`: whole
    utterances on CUDA, in training, without dropout of attention weights,
    which FlexAttention does not have.

    Without gradients, the paths here need little memory as well, and a stream
    must not wait for a compiler.
    """
    return (
        query.is_cuda
        and whole_utterance
        and torch.is_grad_enabled()
        and dropout == 0.0
        and query.dtype != torch.float64
        and query.shape[3] >= flex.LEAST_HEAD_DIM
    )


def attend_frames(
    query,
    key,
    value,
    first_query,
    first_key,
    geometry,
    attention,
    end=None,
    dropout=0.0,
    masks=None,
):
    """Attention of consecutive queries over consecutive keys: aa, maa and sa.

    aa and maa compute a score for every pair of query and key. sa computes only
    the band, in time and memory linear in the queries, but for utterances that
    are so short that all pairs cost no more.

    Arguments
    ---------
    query : torch.Tensor
        (batch, heads, queries, head dimension).
    key : torch.Tensor
        (batch, heads, keys, head dimension).
    value : torch.Tensor
        (batch, heads, keys, head dimension).
    first_query : int
        Position of the first query, in frames.
    first_key : int
        Position of the first key, in frames.
    geometry : StreamGeometry
        Look-back and look-ahead in frames.
    attention : str
        One of aa, maa and sa.
    end : torch.Tensor, optional
        Frames of each row's utterance, (batch,).
    dropout : float
        Probability to drop an attention weight.
    masks : dict, optional
        Cache of masks, which do not depend on the content: layers that share
        it, and pass the same ``geometry``, ``attention`` and ``end``, make them
        only once.

    Returns
    -------
    torch.Tensor
        (batch, heads, queries, head dimension).

    Example
    -------
    >>> from speechbrain_llsa_runtime.geometry import StreamGeometry
    >>> x = torch.rand(2, 4, 100, 16)
    >>> geometry = StreamGeometry(look_back=10, look_ahead=2)
    >>> banded = attend_frames(x, x, x, 0, 0, geometry, "sa")
    >>> masked = attend_frames(x, x, x, 0, 0, geometry, "maa")
    >>> torch.allclose(banded, masked, atol=1e-6)
    True
    """
    whole_utterance = (
        first_query == first_key == 0 and query.shape[2] == key.shape[2]
    )
    path = _attend_dense
    if attention == "sa" and _pays_off(query, key, geometry):
        if _uses_flex(query, whole_utterance, dropout):
            return flex.attend_frames(
                query, key, value, geometry, attention, end
            )
        is_long = not query.is_cuda or query.shape[2] > LONG_FRAMES
        if is_long and dropout == 0.0 and not is_transforming():
            return _SegmentedBand.apply(
                *_cast_as_autocast(query, key, value),
                first_query,
                first_key,
                geometry,
                attention,
                end,
            )
        path = _attend_band
    return path(
        query,
        key,
        value,
        first_query,
        first_key,
        geometry,
        attention,
        end,
        dropout,
        {} if masks is None else masks,
    )


def _cast_as_autocast(*tensors):
    """What autocast casts the inputs of an attention to: the backward pass of
    ``_SegmentedBand`` computes it again, outside of autocast."""
    device = tensors[0].device.type
    if not torch.is_autocast_enabled(device):
        return tensors
    dtype = torch.get_autocast_dtype(device)
    return [
        each if each.dtype == torch.float64 else each.to(dtype)
        for each in tensors
    ]


def _pays_off(query, key, geometry):
    """Whether the band of sa is worth its blocks."""
    if query.is_cuda and query.shape[2] <= SHORT_ON_CUDA:
        return False
    width = geometry.look_back + BLOCK_FRAMES + geometry.look_ahead
    short, long = (factor * width for factor in DENSE_WIDTHS)
    most = min(short, max(DENSE_KEYS, long))
    return query.shape[2] > BLOCK_FRAMES and key.shape[2] > most


def attend_tagged(
    query, key, value, query_tags, key_tags, first, geometry, attention, end
):
    """Attention over few frames, with rows at different positions in their
    utterances: one step of fixed shapes, for many streams.

    Arguments
    ---------
    query : torch.Tensor
        (batch, heads, queries, head dimension).
    key : torch.Tensor
        (batch, heads, keys, head dimension).
    value : torch.Tensor
        (batch, heads, keys, head dimension).
    query_tags : FrameTags
        Tags of the queries, relative to ``first``, each field (queries,).
    key_tags : FrameTags
        Tags of the keys, relative to ``first``, each field (keys,).
    first : torch.Tensor
        The position that the tags are relative to, for each row, in frames,
        int64 (batch,); for llsa the start of a hop.
    geometry : StreamGeometry
        Look-back, look-ahead and hop, in frames.
    attention : str
        One of maa, sa and llsa.
    end : torch.Tensor
        Frames of each row's utterance, int64 (batch,).

    Returns
    -------
    torch.Tensor
        (batch, heads, queries, head dimension).

    Example
    -------
    >>> from speechbrain_llsa_runtime.geometry import StreamGeometry
    >>> x = torch.rand(2, 4, 5, 16)
    >>> tags, first = frame_tags(0, 5), torch.tensor([0, 70])
    >>> end = torch.tensor([3, 100])
    >>> geometry = StreamGeometry(look_back=2, look_ahead=1)
    >>> attend_tagged(x, x, x, tags, tags, first, geometry, "sa", end).shape
    torch.Size([2, 4, 5, 16])
    """
    query_tags, key_tags = query_tags.as_queries(), key_tags.as_keys()
    rule = visible(query_tags, key_tags, geometry, attention)
    same = same_frame(query_tags, key_tags)
    # (batch, 1, 1, keys)
    position = first[:, None, None, None] + key_tags.position
    present = exists(position, end[:, None, None, None])
    return F.scaled_dot_product_attention(
        query, key, value, attn_mask=(rule & present) | same
    )


def _attend_dense(
    query,
    key,
    value,
    first_query,
    first_key,
    geometry,
    attention,
    end,
    dropout,
    masks,
):
    mask = None
    if attention != "aa" or end is not None:
        place = (first_query, query.shape[2], first_key, key.shape[2])
        if place not in masks:
            masks[place] = _tagged_mask(
                frame_tags(first_query, query.shape[2], 1, query.device),
                frame_tags(first_key, key.shape[2], 1, query.device),
                geometry,
                attention,
                end,
            )
        mask = masks[place]
    return F.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, dropout_p=dropout
    )


def _tagged_mask(query_tags, key_tags, geometry, attention, end):
    """Mask of shape (batch or 1, 1, queries, keys) from tags at their own
    positions."""
    query_tags, key_tags = query_tags.as_queries(), key_tags.as_keys()
    present = exists(
        key_tags.position, None if end is None else end[:, None, None, None]
    )
    seen = visible(query_tags, key_tags, geometry, attention) & present
    return seen | same_frame(query_tags, key_tags)


def _attend_band(
    query,
    key,
    value,
    first_query,
    first_key,
    geometry,
    attention,
    end,
    dropout,
    masks,
):
    queries, keys = query.shape[2], key.shape[2]
    look_back = min(geometry.look_back, first_query + queries - first_key)
    look_ahead = min(geometry.look_ahead, first_key + keys - first_query)
    block = min(BLOCK_FRAMES, queries)
    blocks = -(-queries // block)
    width = look_back + block + look_ahead
    place = (first_query, queries, first_key, keys)

    # block b sees the keys from first_window + b * block, width of them
    first_window = first_query - look_back
    span = look_back + blocks * block + look_ahead
    windows = (
        _windows(_cover(tensor, first_key, first_window, span), width, block)
        for tensor in (key, value)
    )

    if place not in masks:
        position = torch.arange(
            first_window, first_window + span, device=query.device
        ).unfold(0, width, block)
        masks[place] = _block_mask(
            frame_tags(first_query, block, device=query.device),
            frame_tags(first_window, width, device=query.device),
            position,
            (position >= first_key) & (position < first_key + keys),
            geometry,
            attention,
            end,
        )
    attended = _attend_blocks(
        _cover(query, first_query, first_query, blocks * block).unflatten(
            2, (blocks, block)
        ),
        *windows,
        masks[place],
        dropout,
    )
    return attended[:, :, :queries]


class _SegmentedBand(torch.autograd.Function):
    """The band of a long utterance, segment by segment.

    Windows of keys and values overlap, and take more memory than keys and
    values themselves. Here they are built for one segment at a time, and
    rebuilt in the backward pass, so that little more than inputs, outputs and
    their gradients is in memory at any time.
    """

    @staticmethod
    def forward(
        ctx,
        query,
        key,
        value,
        first_query,
        first_key,
        geometry,
        attention,
        end,
    ):
        ctx.save_for_backward(query, key, value, end)
        ctx.place = (first_query, first_key, geometry, attention)
        attended = torch.empty_like(query)
        for rows, columns in _segments(query, key, *ctx.place[:3]):
            attended[:, :, rows] = _attend_band(
                query[:, :, rows],
                key[:, :, columns],
                value[:, :, columns],
                first_query + rows.start,
                first_key + columns.start,
                geometry,
                attention,
                end,
                0.0,
                {},
            )
        return attended

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        query, key, value, end = ctx.saved_tensors
        first_query, first_key, geometry, attention = ctx.place
        gradients = [
            torch.empty_like(query),
            torch.zeros_like(key),
            torch.zeros_like(value),
        ]
        for rows, columns in _segments(query, key, *ctx.place[:3]):
            # nothing of a segment outlives the call
            parts = _gradients_of_band(
                query[:, :, rows],
                key[:, :, columns],
                value[:, :, columns],
                gradient[:, :, rows],
                first_query + rows.start,
                first_key + columns.start,
                geometry,
                attention,
                end,
            )
            gradients[0][:, :, rows] = parts[0]
            gradients[1][:, :, columns] += parts[1]
            gradients[2][:, :, columns] += parts[2]
            del parts
        return (*gradients, None, None, None, None, None)


def _gradients_of_band(query, key, value, gradient, *place):
    """Recomputes the band, and its gradients for query, key and value."""
    inputs = [
        tensor.detach().requires_grad_() for tensor in (query, key, value)
    ]
    with torch.enable_grad():
        attended = _attend_band(*inputs, *place, 0.0, {})
    return torch.autograd.grad(attended, inputs, gradient)


def _segments(query, key, first_query, first_key, geometry):
    """Yields the queries of each segment, and the keys that they can see, as
    slices of axis 2."""
    queries, keys = query.shape[2], key.shape[2]
    shift = first_query - first_key
    for begin in range(0, queries, SEGMENT_FRAMES):
        stop = min(begin + SEGMENT_FRAMES, queries)
        first = max(0, begin + shift - geometry.look_back)
        last = min(keys, stop + shift + geometry.look_ahead)
        yield slice(begin, stop), slice(first, last)


def attend_hops(
    query,
    key,
    value,
    past_key,
    past_value,
    first_hop,
    geometry,
    end=None,
    dropout=0.0,
    masks=None,
):
    """Attention of consecutive hops: llsa.

    The frames lie hop by hop, as :func:`speechbrain_llsa.visibility.hop_tags`
    has them: ``hop`` committed ones, then ``look_ahead`` provisional ones. Hops
    are processed in groups; a group sees one window of committed frames and its
    own provisional frames, so that time and memory are linear in the hops.

    Arguments
    ---------
    query : torch.Tensor
        (batch, heads, hops * (hop + look_ahead), head dimension).
    key : torch.Tensor
        Keys of the same frames, of the same shape.
    value : torch.Tensor
        Values of the same frames, of the same shape.
    past_key : torch.Tensor or None
        Keys of the committed frames just before the first hop: (batch, heads,
        frames, head dimension).
    past_value : torch.Tensor or None
        Values of the same frames, of the same shape.
    first_hop : int
        Index of the first hop.
    geometry : StreamGeometry
        Look-back, look-ahead and hop, in frames.
    end : torch.Tensor, optional
        Frames of each row's utterance, (batch,).
    dropout : float
        Probability to drop an attention weight.
    masks : dict, optional
        Cache of masks, as for :func:`attend_frames`.

    Returns
    -------
    torch.Tensor
        (batch, heads, hops * (hop + look_ahead), head dimension).

    Example
    -------
    >>> from speechbrain_llsa_runtime.geometry import StreamGeometry
    >>> geometry = StreamGeometry(look_back=10, look_ahead=2, hop=4)
    >>> x = torch.rand(2, 4, 5 * (4 + 2), 16)
    >>> attend_hops(x, x, x, None, None, 0, geometry).shape
    torch.Size([2, 4, 30, 16])
    """
    whole_utterance = first_hop == 0 and past_key is None
    if _uses_flex(query, whole_utterance, dropout):
        return flex.attend_hops(query, key, value, geometry, end)
    masks = {} if masks is None else masks
    slots = geometry.hop + geometry.look_ahead
    hops = query.shape[2] // slots
    group = min(max(1, BLOCK_FRAMES // slots), hops)
    groups = -(-hops // group)
    past = 0 if past_key is None else past_key.shape[2]
    if groups == 1:
        return _attend_one_group(
            query,
            key,
            value,
            past_key,
            past_value,
            first_hop,
            geometry,
            end,
            dropout,
            masks,
        )
    look_back = min(geometry.look_back, past + hops * geometry.hop)

    first_frame = first_hop * geometry.hop
    first_window = first_frame - look_back
    width = look_back + group * geometry.hop
    span = look_back + groups * group * geometry.hop

    def grouped_keys(tensor, past_tensor):
        # (batch, heads, hops, hop + look_ahead, dimension)
        by_hop = tensor.unflatten(2, (hops, slots))
        committed = by_hop[:, :, :, : geometry.hop].flatten(2, 3)
        if past_tensor is not None:
            committed = torch.cat([past_tensor, committed], dim=2)
        windows = _windows(
            _cover(committed, first_frame - past, first_window, span),
            width,
            group * geometry.hop,
        )
        provisional = by_hop[:, :, :, geometry.hop :]
        provisional = _cover(provisional, 0, 0, groups * group)
        # (batch, heads, groups, group * look_ahead, dimension)
        provisional = provisional.flatten(2, 3).unflatten(2, (groups, -1))
        return torch.cat([windows, provisional], dim=3)

    place = (first_hop, hops, past)
    if place not in masks:
        query_tags = hop_tags(first_hop, group, geometry, query.device)
        key_tags = join_tags(
            frame_tags(first_window, width, geometry.hop, query.device),
            query_tags[query_tags.provisional],
        )
        shift = torch.arange(groups, device=query.device)
        # (groups, keys)
        position = (
            key_tags.position[None, :] + shift[:, None] * group * geometry.hop
        )
        masks[place] = _block_mask(
            query_tags,
            key_tags,
            position,
            key_tags.provisional | (position >= first_frame - past),
            geometry,
            "llsa",
            end,
        )
    queries = _cover(query, 0, 0, groups * group * slots)
    attended = _attend_blocks(
        queries.unflatten(2, (groups, group * slots)),
        grouped_keys(key, past_key),
        grouped_keys(value, past_value),
        masks[place],
        dropout,
    )
    return attended[:, :, : query.shape[2]]


def _attend_one_group(
    query,
    key,
    value,
    past_key,
    past_value,
    first_hop,
    geometry,
    end,
    dropout,
    masks,
):
    """Attention of few hops, as in a stream: all of them share one window,
    which holds all keys."""
    past = 0
    if past_key is not None:
        past = past_key.shape[2]
        key = torch.cat([past_key, key], dim=2)
        value = torch.cat([past_value, value], dim=2)
    hops = query.shape[2] // (geometry.hop + geometry.look_ahead)
    place = (first_hop, hops, past)
    if place not in masks:
        tags = hop_tags(first_hop, hops, geometry, query.device)
        first_key = first_hop * geometry.hop - past
        past_tags = frame_tags(first_key, past, geometry.hop, query.device)
        masks[place] = _tagged_mask(
            tags, join_tags(past_tags, tags), geometry, "llsa", end
        )
    return F.scaled_dot_product_attention(
        query, key, value, attn_mask=masks[place], dropout_p=dropout
    )


def _cover(tensor, first, wanted_first, wanted):
    """Crops and zero-pads axis 2, whose first entry is at position ``first``,
    to the ``wanted`` positions from ``wanted_first`` on."""
    front = first - wanted_first
    tensor = tensor[:, :, max(0, -front) :][:, :, : wanted - max(0, front)]
    back = wanted - tensor.shape[2] - max(0, front)
    if front <= 0 and back == 0:
        return tensor
    padding = [0, 0] * (tensor.ndim - 3) + [max(0, front), back]
    return F.pad(tensor, padding)


def _windows(tensor, width, step):
    """Sliding windows as a view: (batch, heads, frames, dimension) -> (batch,
    heads, windows, width, dimension)."""
    return tensor.unfold(2, width, step).transpose(3, 4)


def _block_mask(
    query_tags, key_tags, position, present, geometry, attention, end
):
    """The mask of all blocks, (batch or 1, blocks, 1, queries, keys).

    The tags are those of the first block; the other blocks have the same
    pattern. ``position`` (blocks, keys) are those of the keys of each block,
    and ``present`` (blocks, keys) marks the keys that exist.
    """
    query_tags, key_tags = query_tags.as_queries(), key_tags.as_keys()
    rule = visible(query_tags, key_tags, geometry, attention)
    same = same_frame(query_tags, key_tags)
    # (batch or 1, blocks, keys)
    present = present & exists(
        position[None], None if end is None else end[:, None, None]
    )
    return ((rule & present[:, :, None, :]) | same)[:, :, None]


def _attend_blocks(query, key, value, mask, dropout):
    """Computes masked attention block by block.

    ``query`` (batch, heads, blocks, queries, dimension), ``key`` and ``value``
    (batch, heads, blocks, keys, dimension); ``mask`` (batch or 1, blocks, 1,
    queries, keys).
    """
    batch, blocks = query.shape[0], query.shape[2]
    attended = F.scaled_dot_product_attention(
        *(
            tensor.transpose(1, 2).flatten(0, 1)
            for tensor in (query, key, value)
        ),
        attn_mask=mask.expand(batch, -1, -1, -1, -1).flatten(0, 1),
        dropout_p=dropout,
    )
    # (batch * blocks, heads, queries, dimension) -> (batch, heads, frames, ...)
    return attended.unflatten(0, (batch, blocks)).transpose(1, 2).flatten(2, 3)
