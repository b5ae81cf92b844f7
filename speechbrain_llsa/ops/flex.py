"""The band on CUDA: sa and llsa with FlexAttention, which computes only the
blocks that the rule touches and keeps no scores for the backward pass.

The mask is made from :func:`speechbrain_llsa.visibility.visible`. It consists
of two parts: the blocks of queries and keys that interact, computed once for
each number of frames and cached, and the rule within them, which the kernel
evaluates for each pair.
"""

from __future__ import annotations

import copy
from functools import cache, lru_cache

import torch
from torch.nn import functional as F

from speechbrain_llsa.visibility import (
    FrameTags,
    exists,
    frame_tags,
    hop_tags,
    same_frame,
    visible,
)

BLOCK_FRAMES = 128
"""Queries and keys per block of the mask: FlexAttention's own size."""

MOST_KERNELS = 256
"""Maximum number of kernels that a process may compile: one for each hop, or
for each look-ahead of sa, that a model is trained for. PyTorch's default is
8."""

LEAST_HEAD_DIM = 16
"""Minimum number of features per head for the compiled kernel."""


def attend_frames(query, key, value, geometry, attention, end=None):
    """Attention of a whole utterance, frame by frame.

    Arguments
    ---------
    query : torch.Tensor
        (batch, heads, frames, head dimension), from frame 0 on.
    key : torch.Tensor
        Keys of the same frames, of the same shape.
    value : torch.Tensor
        Values of the same frames, of the same shape.
    geometry : StreamGeometry
        Look-back and look-ahead in frames.
    attention : str
        maa or sa.
    end : torch.Tensor, optional
        Frames of each row's utterance, (batch,).

    Returns
    -------
    torch.Tensor
        (batch, heads, frames, head dimension).
    """
    return _attend(
        query, key, value, geometry, attention, end, last=query.shape[2]
    )


def attend_hops(query, key, value, geometry, end=None):
    """Attention of a whole utterance, hop by hop: llsa.

    Queries keep their order. Keys are reordered, the committed ones of all hops
    first: otherwise, provisional frames of other hops, which a hop does not
    see, lie between the committed frames that it looks back on. At hop 1,
    look-back 64 and look-ahead 8 a block of 128 queries then has keys in about
    3 blocks of 128, rather than in 6 or 7; at hop 8, in 3 either way.

    Arguments
    ---------
    query : torch.Tensor
        (batch, heads, hops * (hop + look_ahead), head dimension), from hop 0
        on, as :func:`speechbrain_llsa.visibility.hop_tags` has them.
    key : torch.Tensor
        Keys of the same frames, of the same shape.
    value : torch.Tensor
        Values of the same frames, of the same shape.
    geometry : StreamGeometry
        Look-back, look-ahead and hop, in frames.
    end : torch.Tensor, optional
        Frames of each row's utterance, (batch,).

    Returns
    -------
    torch.Tensor
        (batch, heads, hops * (hop + look_ahead), head dimension).
    """
    hops = query.shape[2] // (geometry.hop + geometry.look_ahead)
    last = hops * geometry.hop + geometry.look_ahead
    return _attend(query, key, value, geometry, "llsa", end, last)


def _attend(query, key, value, geometry, attention, end, last):
    """Pads to blocks, and runs the kernel; ``last`` is the end of the laid-out
    frames."""
    batch, _, frames, _ = query.shape
    # whole blocks, at least two: PyTorch compiles sizes of 1 and those that
    # the block divides apart from others
    blocks = max(2, -(-frames // BLOCK_FRAMES))
    query, key, value = (
        F.pad(tensor, (0, 0, 0, blocks * BLOCK_FRAMES - frames))
        for tensor in (query, key, value)
    )
    tags, order, block_mask = _layout(blocks, geometry, attention, query.device)
    if attention == "llsa":
        key, value = key[:, :, order], value[:, :, order]
    if end is None:
        end = torch.full((batch,), last, device=query.device)
    block_mask = copy.copy(block_mask)
    block_mask.mask_mod = _mask_mod(
        tags, tags[order], geometry, attention, end.clamp(max=last)
    )
    with torch._dynamo.config.patch(recompile_limit=MOST_KERNELS):
        attended = _kernel()(query, key, value, block_mask=block_mask)
    return attended[:, :, :frames]


@cache
def _kernel():
    """Compiles FlexAttention for dynamic sizes, since lengths and batch sizes
    vary in training. Without a full graph, it would silently fall back to
    computing all scores at once."""
    # slow to import, and needed on CUDA alone
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=True, fullgraph=True)


def _mask_mod(query_tags, key_tags, geometry, attention, end):
    """Makes the rule as a FlexAttention ``mask_mod``, a function of indices.

    The geometry is a default argument because PyTorch compiles integers of
    those as constants. With dynamic shapes, other integers become symbols, and
    kernels do not support expressions of these.
    """

    def seen(row, head, query_index, key_index, geometry=geometry):
        query = _tag(query_tags, query_index)
        key = _tag(key_tags, key_index)
        rule = visible(query, key, geometry, attention)
        return (rule & exists(key.position, end[row])) | same_frame(query, key)

    return seen


def _tag(tags, index):
    return FrameTags(
        tags.position[index], tags.hop[index], tags.provisional[index]
    )


# for all lengths of batches and all geometries of a training
@lru_cache(maxsize=1024)
@torch.inference_mode(False)
@torch.no_grad()
def _layout(blocks, geometry, attention, device):
    """Computes the tags of the queries, the order of the keys, and the blocks
    in which some query sees some key, for an utterance without end.

    The blocks are found for one block of queries at a time: a matrix of all
    queries and keys would not fit into memory.
    """
    from torch.nn.attention.flex_attention import BlockMask

    frames = blocks * BLOCK_FRAMES
    if attention == "llsa":
        slots = geometry.hop + geometry.look_ahead
        tags = hop_tags(0, -(-frames // slots), geometry, device)[:frames]
    else:
        tags = frame_tags(0, frames, device=device)
    order = tags.provisional.int().argsort(stable=True)
    keys = tags[order].as_keys()
    meet = []
    for first in range(0, frames, BLOCK_FRAMES):
        queries = tags[first : first + BLOCK_FRAMES].as_queries()
        seen = visible(queries, keys, geometry, attention)
        seen = seen | same_frame(queries, keys)
        # (queries, frames) -> (queries, blocks, frames of a block) -> (blocks,)
        meet.append(seen.unflatten(1, (blocks, -1)).any(2).any(0))
    # (1, 1, blocks of queries, blocks of keys): for every row and head
    meet = torch.stack(meet).int()[None, None]
    block_mask = BlockMask.from_kv_blocks(
        meet.sum(dim=-1, dtype=torch.int32),
        meet.argsort(dim=-1, descending=True, stable=True).int(),
        BLOCK_SIZE=BLOCK_FRAMES,
    )
    return tags, order, block_mask
