"""Attention, and the convolution of a Conformer, by their definitions: the
ground truth for every fast path."""

from __future__ import annotations

import math

import torch

from speechbrain_llsa.visibility import (
    convolution_visible,
    exists,
    same_frame,
    visible,
)


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


def convolve(
    frames,
    weight,
    bias,
    tags,
    geometry,
    attention,
    conv_look_back,
    conv_look_ahead,
    end=None,
):
    """Convolves each feature over time, frame by frame and tap by tap, in a
    plain loop. Frames that are not seen, or do not exist, count as zeros.

    Arguments
    ---------
    frames : torch.Tensor
        (batch, frames, features).
    weight : torch.Tensor
        Taps of each feature, from ``conv_look_back`` frames behind to
        ``conv_look_ahead`` ahead, (features, 1, taps).
    bias : torch.Tensor
        (features,).
    tags : FrameTags
        Tags of the frames, each field (frames,).
    geometry : StreamGeometry
        Its hop counts, for llsa.
    attention : str
        One of aa, maa, sa and llsa.
    conv_look_back : int
        Frames that the convolution sees behind a frame.
    conv_look_ahead : int
        Frames that the convolution sees ahead of a frame.
    end : torch.Tensor, optional
        Frames of each row's utterance, (batch,).

    Returns
    -------
    torch.Tensor
        (batch, frames, features).

    Example
    -------
    >>> from speechbrain_llsa_runtime.geometry import StreamGeometry
    >>> from speechbrain_llsa.visibility import frame_tags
    >>> frames = torch.tensor([1.0, 2.0, 3.0])[None, :, None]
    >>> weight, bias = torch.tensor([[[10.0, 1.0]]]), torch.zeros(1)
    >>> geometry = StreamGeometry(0, 0)
    >>> convolve(
    ...     frames, weight, bias, frame_tags(0, 3), geometry, "sa", 1, 0
    ... ).flatten()
    tensor([ 1., 12., 23.])
    """
    rows = []
    for row in range(frames.shape[0]):
        row_end = None if end is None else end[row]
        outputs = []
        for index in range(frames.shape[1]):
            tag = tags[index]
            seen = convolution_visible(
                tag, tags, geometry, attention, conv_look_back, conv_look_ahead
            )
            seen = seen & exists(tags.position, row_end)
            output = bias
            for other in seen.nonzero().flatten().tolist():
                tap = tags.position[other] - tag.position + conv_look_back
                output = output + weight[:, 0, tap] * frames[row, other]
            outputs.append(output)
        rows.append(torch.stack(outputs))
    return torch.stack(rows)
