"""Who sees whom: the one rule that every attention path follows.

Each frame carries a tag (position, hop, provisional?), and :func:`visible`
decides from two tags whether one frame sees the other. Where layers convolve as
well, :func:`convolution_visible` does so for the convolution.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch

from speechbrain_llsa_runtime.geometry import check_attention
from speechbrain_llsa_runtime.utils.checks import check_integer


@dataclass(frozen=True)
class FrameTags:
    """What attention needs to know about frames, apart from their content.

    The three fields have the same shape, or shapes that broadcast.

    Arguments
    ---------
    position : torch.Tensor
        Index of the frame in the utterance, int64, in encoder frames.
    hop : torch.Tensor
        The hop that the frame is computed in, int64. For committed frames it
        is ``position // hop``.
    provisional : torch.Tensor
        True for a frame that is consulted now and computed again later, bool.
    """

    position: torch.Tensor
    hop: torch.Tensor
    provisional: torch.Tensor

    def __getitem__(self, index):
        return FrameTags(*(values[index] for values in self.astuple()))

    def astuple(self):
        """The three fields, in their order."""
        return tuple(getattr(self, item.name) for item in fields(self))

    def as_queries(self):
        """The tags as a column: (frames,) becomes (frames, 1)."""
        return self[..., :, None]

    def as_keys(self):
        """The tags as a row: (frames,) becomes (1, frames)."""
        return self[..., None, :]


def join_tags(*tags):
    """Concatenates tags along their last axis.

    Arguments
    ---------
    *tags : FrameTags
        Tags to join.

    Returns
    -------
    FrameTags
    """
    columns = zip(*(each.astuple() for each in tags), strict=True)
    return FrameTags(*(torch.cat(column, dim=-1) for column in columns))


def frame_tags(first, count, hop=1, device=None):
    """Tags of committed frames in a row.

    Arguments
    ---------
    first : int
        Position of the first frame. May be negative: frames before the
        utterance do not exist, but can be laid out.
    count : int
        Number of frames.
    hop : int
        Frames in a hop.
    device : torch.device, optional
        Device of the tags.

    Returns
    -------
    FrameTags
        Each field of shape (count,).

    Example
    -------
    >>> frame_tags(2, 4, hop=2).hop
    tensor([1, 1, 2, 2])
    """
    position = torch.arange(first, first + count, device=device)
    return FrameTags(
        position=position,
        hop=position.div(hop, rounding_mode="floor"),
        provisional=torch.zeros_like(position, dtype=torch.bool),
    )


def hop_tags(first_hop, hops, geometry, device=None):
    """Tags of hops in a row: for each hop, the frames that it commits, then
    its provisional copies of the look-ahead frames.

    Arguments
    ---------
    first_hop : int
        Index of the first hop.
    hops : int
        Number of hops.
    geometry : StreamGeometry
        Gives ``hop`` committed and ``look_ahead`` provisional frames a hop.
    device : torch.device, optional
        Device of the tags.

    Returns
    -------
    FrameTags
        Each field of shape (hops * (hop + look_ahead),).

    Example
    -------
    >>> from speechbrain_llsa_runtime.geometry import StreamGeometry
    >>> tags = hop_tags(0, 2, StreamGeometry(4, look_ahead=1, hop=2))
    >>> tags.position
    tensor([0, 1, 2, 2, 3, 4])
    >>> tags.provisional
    tensor([False, False,  True, False, False,  True])
    """
    hop = torch.arange(first_hop, first_hop + hops, device=device)
    offset = torch.arange(geometry.hop + geometry.look_ahead, device=device)
    # (hops, 1) and (1, hop + look_ahead) -> (hops, hop + look_ahead)
    position = hop[:, None] * geometry.hop + offset[None, :]
    return FrameTags(
        position=position.flatten(),
        hop=hop[:, None].expand_as(position).flatten(),
        provisional=(offset >= geometry.hop).expand_as(position).flatten(),
    )


def visible(query, key, geometry, attention):
    """Whether a query sees a key. This is the definition of the attentions.

    - aa: every frame.
    - maa and sa: the frames from ``look_back`` behind the query to
      ``look_ahead`` ahead of it.
    - llsa: the committed frames from ``look_back`` behind the query's hop to
      the end of that hop, and the provisional frames of the same hop.

    Whether the key exists at all is :func:`exists`.

    Arguments
    ---------
    query : FrameTags
        Tags of the queries.
    key : FrameTags
        Tags of the keys, of a shape that broadcasts with the queries'.
    geometry : StreamGeometry
        Look-back, look-ahead and hop, in frames.
    attention : str
        One of aa, maa, sa and llsa.

    Returns
    -------
    torch.Tensor
        Boolean, of the shape that the tags broadcast to.

    Example
    -------
    >>> from speechbrain_llsa_runtime.geometry import StreamGeometry
    >>> tags = frame_tags(0, 4)
    >>> geometry = StreamGeometry(look_back=1, look_ahead=0)
    >>> visible(tags.as_queries(), tags.as_keys(), geometry, "sa").int()
    tensor([[1, 0, 0, 0],
            [1, 1, 0, 0],
            [0, 1, 1, 0],
            [0, 0, 1, 1]], dtype=torch.int32)
    """
    check_attention(attention)
    if attention == "aa":
        return torch.ones_like(query.position == key.position)
    if attention == "llsa":
        hop_start = query.hop * geometry.hop
        committed = (key.position >= hop_start - geometry.look_back) & (
            key.position < hop_start + geometry.hop
        )
        return torch.where(key.provisional, key.hop == query.hop, committed)
    ahead = key.position - query.position
    return (ahead >= -geometry.look_back) & (ahead <= geometry.look_ahead)


def convolution_visible(
    query, key, geometry, attention, conv_look_back, conv_look_ahead
):
    """Whether the convolution of a layer, at a query, sees a key. This is the
    definition of the convolutions.

    - aa, maa and sa: the frames from ``conv_look_back`` behind the query to
      ``conv_look_ahead`` ahead of it.
    - llsa: those of them that are committed frames before the query's hop, or
      frames of the hop itself, committed or provisional. So the look-ahead of
      the hop remains that of any number of layers.

    Of all copies of a frame, a query sees at most one. Whether the key exists
    at all is :func:`exists`.

    Arguments
    ---------
    query : FrameTags
        Tags of the queries.
    key : FrameTags
        Tags of the keys, of a shape that broadcasts with the queries'.
    geometry : StreamGeometry
        Its hop counts, for llsa alone: look-back and look-ahead are those of
        the attention.
    attention : str
        One of aa, maa, sa and llsa.
    conv_look_back : int
        Frames that the convolution sees behind a frame.
    conv_look_ahead : int
        Frames that the convolution sees ahead of a frame.

    Returns
    -------
    torch.Tensor
        Boolean, of the shape that the tags broadcast to.

    Example
    -------
    >>> from speechbrain_llsa_runtime.geometry import StreamGeometry
    >>> geometry = StreamGeometry(look_back=4, look_ahead=1, hop=2)
    >>> tags = hop_tags(0, 2, geometry)  # 0, 1, provisional 2; 2, 3, 4
    >>> queries, keys = tags.as_queries(), tags.as_keys()
    >>> convolution_visible(queries, keys, geometry, "llsa", 1, 1).int()
    tensor([[1, 1, 0, 0, 0, 0],
            [1, 1, 1, 0, 0, 0],
            [0, 1, 1, 0, 0, 0],
            [0, 1, 0, 1, 1, 0],
            [0, 0, 0, 1, 1, 1],
            [0, 0, 0, 0, 1, 1]], dtype=torch.int32)
    """
    check_attention(attention)
    ahead = key.position - query.position
    reached = (ahead >= -conv_look_back) & (ahead <= conv_look_ahead)
    if attention != "llsa":
        return reached
    committed = key.position < (query.hop + 1) * geometry.hop
    return reached & torch.where(
        key.provisional, key.hop == query.hop, committed
    )


def exists(position, end=None):
    """Whether frames exist: none before the utterance, none past its end.

    Arguments
    ---------
    position : torch.Tensor
        Positions in frames.
    end : int or torch.Tensor, optional
        Frames in the utterance; ``None`` while it goes on. A tensor has to
        broadcast with the positions.

    Returns
    -------
    torch.Tensor
        Boolean, of the shape of the positions (broadcast with ``end``).

    Example
    -------
    >>> exists(torch.arange(-1, 3), end=2)
    tensor([False,  True,  True, False])
    """
    inside = position >= 0
    return inside if end is None else inside & (position < end)


def same_frame(query, key):
    """Whether a query and a key are one frame. A frame always sees itself: for
    those that exist the rule says so too, and for padding it keeps the
    softmax finite.

    Arguments
    ---------
    query : FrameTags
        Tags of the queries.
    key : FrameTags
        Tags of the keys.

    Returns
    -------
    torch.Tensor
        Boolean, of the shape that the tags broadcast to.
    """
    return (
        (query.position == key.position)
        & (query.hop == key.hop)
        & (query.provisional == key.provisional)
    )


def dependency_matrix(
    geometry,
    attention,
    num_layers,
    frames,
    conv_look_back=0,
    conv_look_ahead=0,
):
    """Which input frames a committed output frame depends on after a stack of
    layers: the rule, composed with itself, and in each layer with that of its
    convolution.

    Arguments
    ---------
    geometry : StreamGeometry
        Look-back, look-ahead and hop, in frames.
    attention : str
        One of aa, maa, sa and llsa.
    num_layers : int
        Layers of the stack.
    frames : int
        Frames of the utterance.
    conv_look_back : int
        Frames that the convolution of a layer sees behind a frame.
    conv_look_ahead : int
        Frames that it sees ahead; without a convolution both are 0.

    Returns
    -------
    torch.Tensor
        Boolean (frames, frames), indexed by [input frame, output frame], as
        ``speechbrain.utils.streaming.infer_dependency_matrix`` has it.

    Example
    -------
    >>> from speechbrain_llsa_runtime.geometry import StreamGeometry
    >>> geometry = StreamGeometry(look_back=0, look_ahead=1)
    >>> dependency_matrix(geometry, "sa", 2, 4).int()
    tensor([[1, 0, 0, 0],
            [1, 1, 0, 0],
            [1, 1, 1, 0],
            [0, 1, 1, 1]], dtype=torch.int32)
    >>> dependency_matrix(geometry, "llsa", 2, 4).int()
    tensor([[1, 0, 0, 0],
            [1, 1, 0, 0],
            [0, 1, 1, 0],
            [0, 0, 1, 1]], dtype=torch.int32)
    """
    check_attention(attention)
    check_integer("num_layers", num_layers, 0)
    check_integer("frames", frames, 0)
    check_integer("conv_look_back", conv_look_back, 0)
    check_integer("conv_look_ahead", conv_look_ahead, 0)
    if attention == "llsa":
        tags = hop_tags(0, -(-frames // geometry.hop), geometry, "cpu")
    else:
        tags = frame_tags(0, frames, device="cpu")
    tags = tags[exists(tags.position, frames)]
    queries, keys = tags.as_queries(), tags.as_keys()
    sees = visible(queries, keys, geometry, attention)
    convolves = convolution_visible(
        queries, keys, geometry, attention, conv_look_back, conv_look_ahead
    )
    # (tags, input frames): layer 0 sees the frame at the tag's position
    inputs = torch.arange(frames, device="cpu")
    depends = tags.position[:, None] == inputs[None, :]
    for _ in range(num_layers):
        depends = (sees.float() @ depends.float()) > 0
        depends = (convolves.float() @ depends.float()) > 0
    return depends[~tags.provisional].transpose(0, 1)
