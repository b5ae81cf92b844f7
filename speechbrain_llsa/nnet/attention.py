"""Multi-head self-attention, and the two schedules that drive it, and the
convolution of a Conformer.

A schedule knows the positions of the frames of a pass, and the state before
them. :class:`FrameSchedule` lays frames out one by one (aa, maa, sa),
:class:`HopSchedule` hop by hop with provisional frames (llsa). Offline
processing is a single pass over the whole utterance with an empty state.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import torch
from torch import nn
from torch.nn import functional as F

from speechbrain_llsa.nnet.rotary import rotary_angles, rotate
from speechbrain_llsa.ops.attend import attend_frames, attend_hops
from speechbrain_llsa.ops.convolve import convolve_hops
from speechbrain_llsa.visibility import exists, hop_tags


class StreamingSelfAttention(nn.Module):
    """The projections of multi-head self-attention. Its parameters do not
    depend on the attention or the schedule.

    Arguments
    ---------
    d_model : int
        Features of a frame.
    nhead : int
        Attention heads.
    dropout : float
        Probability to drop an attention weight in training.
    bias : bool
        Whether the projections have biases.

    Example
    -------
    >>> from speechbrain_llsa.state import LayerState
    >>> from speechbrain_llsa_runtime.geometry import StreamGeometry
    >>> attention = StreamingSelfAttention(d_model=16, nhead=4)
    >>> schedule = FrameSchedule("sa", StreamGeometry(8, 2), final=True)
    >>> x = torch.rand(2, 30, 16)
    >>> out, residual, state = attention(x, x, schedule, LayerState())
    >>> out.shape
    torch.Size([2, 30, 16])
    """

    def __init__(self, d_model, nhead, dropout=0.0, bias=True):
        super().__init__()
        self.nhead = nhead
        self.dropout = dropout
        self.in_proj = nn.Linear(d_model, 3 * d_model, bias=bias)
        self.out_proj = nn.Linear(d_model, d_model, bias=bias)
        nn.init.xavier_uniform_(self.in_proj.weight)
        if bias:
            nn.init.zeros_(self.in_proj.bias)
            nn.init.zeros_(self.out_proj.bias)

    def forward(self, x, residual, schedule, state):
        """
        Arguments
        ---------
        x : torch.Tensor
            Frames to attend with, (batch, frames, features).
        residual : torch.Tensor
            Input that the layer adds the result to, of the same shape.
        schedule : FrameSchedule or HopSchedule
            Positions of the frames.
        state : LayerState
            State before these frames; not modified.

        Returns
        -------
        torch.Tensor
            The frames that need not wait, (batch, frames, features).
        torch.Tensor
            The residual of these frames, of the same shape.
        LayerState
            The state after these frames.
        """
        # (batch, frames, 3 * features) -> 3 x (batch, heads, frames, head dim)
        query, key, value = (
            self.in_proj(x).unflatten(2, (3, self.nhead, -1)).unbind(2)
        )
        attended, residual, state = schedule.attend(
            query.transpose(1, 2),
            key.transpose(1, 2),
            value.transpose(1, 2),
            residual,
            state,
            self.dropout if self.training else 0.0,
        )
        # (batch, heads, frames, head dim) -> (batch, frames, features)
        attended = attended.transpose(1, 2).flatten(2)
        return self.out_proj(attended), residual, state


class FrameSchedule:
    """Frames one by one: aa, maa and sa.

    A query waits in the state of its layer until its look-ahead has arrived, so
    that each layer delays its frames by ``look_ahead`` frames.

    Arguments
    ---------
    attention : str
        One of aa, maa and sa.
    geometry : StreamGeometry
        Look-back and look-ahead in frames.
    final : bool
        Whether the utterance ends with this pass, so that nothing waits.
    end : torch.Tensor, optional
        Frames of each row's utterance, (batch,).
    rotary_features : int, optional
        Features of a head that are rotated by the positions of queries and
        keys; by default all of them.

    Example
    -------
    >>> from speechbrain_llsa.state import LayerState
    >>> from speechbrain_llsa_runtime.geometry import StreamGeometry
    >>> schedule = FrameSchedule("sa", StreamGeometry(8, 2), final=False)
    >>> x = torch.rand(1, 4, 5, 16)  # (batch, heads, frames, head dimension)
    >>> residual = torch.rand(1, 5, 64)
    >>> attended, residual, state = schedule.attend(
    ...     x, x, x, residual, LayerState()
    ... )
    >>> attended.shape, state.query.shape
    (torch.Size([1, 4, 3, 16]), torch.Size([1, 4, 2, 16]))
    """

    def __init__(
        self, attention, geometry, final, end=None, rotary_features=None
    ):
        self.attention = attention
        self.geometry = geometry
        self.final = final
        self.end = end
        self.rotary_features = rotary_features
        self._angles = {}
        self._masks = {}

    def _rotate(self, query, key, first):
        """Rotates by position; layers at the same frame share the angles."""
        if self.rotary_features == 0:
            return query, key
        place = (first, query.shape[2])
        if place not in self._angles:
            position = torch.arange(
                first, first + query.shape[2], device=query.device
            )
            self._angles[place] = rotary_angles(
                position,
                self.rotary_features or query.shape[3],
                dtype=query.dtype,
            )
        angles = self._angles[place]
        return rotate(query, *angles), rotate(key, *angles)

    def attend(self, query, key, value, residual, state, dropout=0.0):
        """Attends to a state and the new frames.

        Arguments
        ---------
        query : torch.Tensor
            New queries, (batch, heads, frames, head dimension).
        key : torch.Tensor
            New keys, of the same shape.
        value : torch.Tensor
            New values, of the same shape.
        residual : torch.Tensor
            Input of the layer at the queries, which waits with them, (batch,
            frames, features).
        state : LayerState
            State before the new frames; not modified.
        dropout : float
            Probability to drop an attention weight.

        Returns
        -------
        torch.Tensor
            The queries that need not wait, (batch, heads, frames, head
            dimension).
        torch.Tensor
            Their residual, (batch, frames, features).
        LayerState
            The state after these frames.
        """
        query, key = self._rotate(query, key, state.received)
        received = state.received + query.shape[2]
        if state.key is not None:
            query = torch.cat([state.query, query], dim=2)
            key = torch.cat([state.key, key], dim=2)
            value = torch.cat([state.value, value], dim=2)
            residual = torch.cat([state.residual, residual], dim=1)
        first_query = received - query.shape[2]
        first_key = received - key.shape[2]
        ready = query.shape[2]
        if not self.final:
            ready = max(0, ready - self.geometry.look_ahead)
        attended = query[:, :, :0]
        if ready > 0:
            attended = attend_frames(
                query[:, :, :ready],
                key,
                value,
                first_query,
                first_key,
                self.geometry,
                self.attention,
                self.end,
                dropout,
                self._masks,
            )
        unseen = first_query + ready - self.geometry.look_back - first_key
        keep = slice(max(0, unseen), None)
        state = replace(
            state,
            received=received,
            key=key[:, :, keep],
            value=value[:, :, keep],
            query=query[:, :, ready:],
            residual=residual[:, ready:],
        )
        return attended, residual[:, :ready], state

    def convolve(self, frames, residual, state, convolution):
        """Convolves the frames that have attended, behind those of a state.

        Arguments
        ---------
        frames : torch.Tensor
            What the convolution sees of the frames, (batch, frames, features).
        residual : torch.Tensor
            Input of the convolution module at these frames, which waits with
            them, of the same shape.
        state : LayerState
            State after the frames have attended; not modified.
        convolution : DepthwiseConvolution
            The convolution.

        Returns
        -------
        torch.Tensor
            The frames that need not wait, (batch, frames, features).
        torch.Tensor
            Their residual, of the same shape.
        LayerState
            The state after these frames.
        """
        first = state.received - state.query.shape[2] - frames.shape[1]
        if self.end is not None:
            position = torch.arange(
                first, first + frames.shape[1], device=frames.device
            )
            frames = _without_padding(frames, position, self.end)
        window = torch.cat([_past(frames, state, convolution), frames], dim=1)
        if state.convolution_residual is not None:
            residual = torch.cat([state.convolution_residual, residual], dim=1)
        seen = window
        if self.final:
            seen = F.pad(window, (0, 0, 0, convolution.look_ahead))
        convolved = convolution(seen)
        ready = convolved.shape[1]
        state = replace(
            state,
            convolution=window[:, ready:],
            convolution_residual=residual[:, ready:],
        )
        return convolved, residual[:, :ready], state


class HopSchedule:
    """Frames hop by hop: llsa.

    The first layer may receive the frames one by one: copies of a frame differ
    only in what they see, so they are projected once, and laid out hop by hop
    after the projection. The last layer may output only the committed frames,
    from its attention on or, where it has one, from its convolution on.

    Arguments
    ---------
    geometry : StreamGeometry
        Look-back, look-ahead and hop, in frames.
    first_hop : int
        Index of the first hop of this pass.
    hops : int
        Hops of this pass, at least one.
    end : torch.Tensor, optional
        Frames of each row's utterance, (batch,).
    rotary_features : int, optional
        Features of a head that are rotated by the positions of queries and
        keys; by default all of them.
    device : torch.device, optional
        Device of the frames.
    committed_after : str, optional
        What outputs only committed frames: "attention" or "convolution"; by
        default neither.

    Example
    -------
    >>> from speechbrain_llsa.state import LayerState
    >>> from speechbrain_llsa_runtime.geometry import StreamGeometry
    >>> schedule = HopSchedule(StreamGeometry(8, 2, hop=4), 0, 3)
    >>> x = torch.rand(1, 4, 3 * (4 + 2), 16)
    >>> residual = torch.rand(1, 3 * (4 + 2), 64)
    >>> attended, residual, state = schedule.attend(
    ...     x, x, x, residual, LayerState()
    ... )
    >>> attended.shape, state.key.shape
    (torch.Size([1, 4, 18, 16]), torch.Size([1, 4, 8, 16]))
    """

    def __init__(
        self,
        geometry,
        first_hop,
        hops,
        end=None,
        rotary_features=None,
        device=None,
        committed_after=None,
    ):
        self.geometry = geometry
        self.committed_after = committed_after
        self.first_hop = first_hop
        self.hops = hops
        self.end = end
        self.rotary_features = rotary_features
        self.position = hop_tags(first_hop, hops, geometry, device).position
        self._angles = None
        self._masks = {}

    def attend(self, query, key, value, residual, state, dropout=0.0):
        """Attends to a state and the new frames. Arguments and results are
        those of :meth:`FrameSchedule.attend`, except that no query waits: the
        frames come either hop by hop, including the look-ahead that they need,
        or one by one, those of all hops and the look-ahead of the last."""
        query, key, value = (self._lay_out(x, 2) for x in (query, key, value))
        residual = self._lay_out(residual, 1)
        if self.rotary_features != 0:
            if self._angles is None:
                self._angles = rotary_angles(
                    self.position,
                    self.rotary_features or query.shape[3],
                    dtype=query.dtype,
                )
            query = rotate(query, *self._angles)
            key = rotate(key, *self._angles)
        attended = attend_hops(
            query,
            key,
            value,
            state.key,
            state.value,
            self.first_hop,
            self.geometry,
            self.end,
            dropout,
            self._masks,
        )
        state = replace(
            state,
            received=state.received + self.hops * self.geometry.hop,
            key=self._remember(state.key, key),
            value=self._remember(state.value, value),
        )
        if self.committed_after == "attention":
            attended = self.committed(attended.transpose(1, 2)).transpose(1, 2)
            residual = self.committed(residual)
        return attended, residual, state

    def convolve(self, frames, residual, state, convolution):
        """Convolves frames hop by hop. Arguments and results are those of
        :meth:`FrameSchedule.convolve`, except that no frame waits."""
        if self.end is not None:
            frames = _without_padding(frames, self.position, self.end)
        past = _past(frames, state, convolution)
        convolved = convolve_hops(
            frames,
            past,
            self.geometry,
            convolution.weight,
            convolution.bias,
            convolution.look_ahead,
        )
        window = torch.cat([past, self.committed(frames)], dim=1)
        seen = window.shape[1] - convolution.look_back
        state = replace(state, convolution=window[:, seen:])
        if self.committed_after == "convolution":
            convolved = self.committed(convolved)
            residual = self.committed(residual)
        return convolved, residual, state

    def last(self, convolution=False):
        """The schedule of the last layer, which outputs only committed frames.

        Arguments
        ---------
        convolution : bool
            Whether the layer has a convolution, which sees provisional frames.

        Returns
        -------
        HopSchedule
        """
        schedule = copy.copy(self)
        schedule.committed_after = "convolution" if convolution else "attention"
        return schedule

    def committed(self, x):
        """Selects the committed frames.

        Arguments
        ---------
        x : torch.Tensor
            Frames hop by hop, (batch, hops * (hop + look_ahead), ...).

        Returns
        -------
        torch.Tensor
            (batch, hops * hop, ...).
        """
        by_hop = x.unflatten(1, (self.hops, -1))
        return by_hop[:, :, : self.geometry.hop].flatten(1, 2)

    def _lay_out(self, x, axis):
        """Lays frames out hop by hop, unless they already are."""
        hop, look_ahead = self.geometry.hop, self.geometry.look_ahead
        if x.shape[axis] == self.hops * (hop + look_ahead):
            return x
        # (..., frames, ...) -> (..., hops, hop + look_ahead, ...)
        windows = x.unfold(axis, hop + look_ahead, hop)
        return windows.movedim(-1, axis + 1).flatten(axis, axis + 1)

    def _remember(self, past, new):
        """Selects the last ``look_back`` committed frames."""
        hop, look_back = self.geometry.hop, self.geometry.look_back
        # (batch, heads, hops * (hop + look_ahead), dimension) -> committed
        new = new.unflatten(2, (self.hops, -1))[:, :, :, :hop].flatten(2, 3)
        if past is not None:
            new = torch.cat([past, new], dim=2)
        return new[:, :, max(0, new.shape[2] - look_back) :]


def _without_padding(frames, position, end):
    """Zeros in place of frames, (batch, frames, features), past the end of
    their row, (batch,)."""
    present = exists(position, end[:, None])
    return frames.where(present[..., None], 0.0)


def _past(frames, state, convolution):
    """The frames before the new ones that a convolution sees."""
    if state.convolution is not None:
        return state.convolution
    batch, _, features = frames.shape
    return frames.new_zeros(batch, convolution.look_back, features)
