"""Attention by its definition: the ground truth for every fast path."""

from __future__ import annotations

import math

import torch

from speechbrain_llsa.visibility import exists, same_frame, visible


def attend(
    query, key, value, query_tags, key_tags, geometry, attention, end=None
):
    """Attends frame by frame, in a plain loop.

    Arguments
    ---------
    query : torch.Tensor
        (batch, heads, queries, head dimension).
    key : torch.Tensor
        (batch, heads, keys, head dimension).
    value : torch.Tensor
        (batch, heads, keys, head dimension).
    query_tags : FrameTags
        Tags of the queries, each field (queries,).
    key_tags : FrameTags
        Tags of the keys, each field (keys,).
    geometry : StreamGeometry
        Look-back, look-ahead and hop, in frames.
    attention : str
        One of aa, maa, sa and llsa.
    end : torch.Tensor, optional
        Frames of each row's utterance, (batch,).

    Returns
    -------
    torch.Tensor
        (batch, heads, queries, head dimension).

    Example
    -------
    >>> from speechbrain_llsa_runtime.geometry import StreamGeometry
    >>> from speechbrain_llsa.visibility import frame_tags
    >>> tags = frame_tags(0, 3)
    >>> x = torch.eye(3)[None, None]
    >>> attend(x, x, x, tags, tags, StreamGeometry(0, 0), "sa")[0, 0]
    tensor([[1., 0., 0.],
            [0., 1., 0.],
            [0., 0., 1.]])
    """
    rows = []
    for row in range(query.shape[0]):
        row_end = None if end is None else end[row]
        outputs = []
        for index in range(query.shape[2]):
            tag = query_tags[index]
            seen = visible(tag, key_tags, geometry, attention)
            seen = seen & exists(key_tags.position, row_end)
            seen = seen | same_frame(tag, key_tags)
            # (heads, 1, dimension) @ (heads, dimension, keys seen)
            score = query[row, :, index, None] @ key[row][:, seen].mT
            weight = (score / math.sqrt(query.shape[-1])).softmax(dim=-1)
            outputs.append(weight @ value[row][:, seen])
        rows.append(torch.cat(outputs, dim=1))
    return torch.stack(rows)
