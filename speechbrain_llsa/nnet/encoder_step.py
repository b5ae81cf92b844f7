"""A streaming step with fixed shapes, for batches of live streams and for
export.

The encoder's own streaming accepts pushes of any length, in lockstep for all
rows. Here a step always takes the same number of frames, and each row has its
own clock. The state of a stream has the same shape from its first step to its
last: frames before the utterance have negative positions and do not exist
(:class:`~speechbrain_llsa_runtime.step_clock.StepClock`). The layers are
shared.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from speechbrain_llsa.nnet.rotary import rotary_angles, rotate
from speechbrain_llsa.ops.attend import attend_tagged
from speechbrain_llsa.ops.convolve import convolve_hops
from speechbrain_llsa.state import LayerState
from speechbrain_llsa.visibility import (
    exists,
    frame_tags,
    hop_tags,
    join_tags,
)


class StepSchedule:
    """The frames of one step, for rows that each have their own clock.

    Arguments
    ---------
    attention : str
        One of maa, sa and llsa.
    geometry : StreamGeometry
        Look-back, look-ahead and hop, in frames.
    step_frames : int
        Frames that the step takes in; for llsa its hop.
    position : torch.Tensor
        Position of the first input frame of the first layer, for each row,
        int64 (batch,); for llsa the start of a hop.
    end : torch.Tensor
        Frames of each row's utterance, int64 (batch,).
    rotary_features : int, optional
        Features of a head that are rotated by the positions of queries and
        keys; by default all of them.

    Example
    -------
    >>> from speechbrain_llsa_runtime.geometry import StreamGeometry
    >>> geometry = StreamGeometry(look_back=8, look_ahead=2, hop=4)
    >>> position, end = torch.tensor([0, 40]), torch.tensor([9, 99])
    >>> schedule = StepSchedule("llsa", geometry, 4, position, end)
    >>> x = torch.rand(2, 3, 4 + 2, 16)  # (batch, heads, frames, dimension)
    >>> past = torch.zeros(2, 3, 8, 16)
    >>> state = LayerState(key=past, value=past)
    >>> residual = torch.rand(2, 4 + 2, 48)
    >>> attended, residual, state = schedule.attend(x, x, x, residual, state)
    >>> attended.shape, state.key.shape
    (torch.Size([2, 3, 6, 16]), torch.Size([2, 3, 8, 16]))
    """

    def __init__(
        self,
        attention,
        geometry,
        step_frames,
        position,
        end,
        rotary_features=None,
    ):
        self.attention = attention
        self.geometry = geometry
        self.step_frames = step_frames
        self.position = position
        self.end = end
        self.rotary_features = rotary_features
        look_back, look_ahead = geometry.look_back, geometry.look_ahead
        device = position.device
        if attention == "llsa":
            self._queries = hop_tags(0, 1, geometry, device)
            self._keys = join_tags(
                frame_tags(-look_back, look_back, geometry.hop, device),
                self._queries,
            )
            self._new = self._queries.position
        else:
            self._queries = frame_tags(-look_ahead, step_frames, 1, device)
            self._keys = frame_tags(
                -look_back - look_ahead,
                look_back + look_ahead + step_frames,
                1,
                device,
            )
            self._new = torch.arange(step_frames, device=device)
        self._angles = None

    def _rotate(self, query, key):
        if self.rotary_features == 0:
            return query, key
        if self._angles is None:
            self._angles = rotary_angles(
                self.position[:, None] + self._new,
                self.rotary_features or query.shape[3],
            )
        return rotate(query, *self._angles), rotate(key, *self._angles)

    def attend(self, query, key, value, residual, state, dropout=0.0):
        """Attends to a state and the new frames. Arguments and results are
        those of :meth:`speechbrain_llsa.nnet.attention.FrameSchedule.attend`;
        the state has the shapes of :func:`initial_layer_state`. For maa and sa,
        the clock then advances to what follows, ``look_ahead`` frames later.
        """
        query, key = self._rotate(query, key)
        key = torch.cat([state.key, key], dim=2)
        value = torch.cat([state.value, value], dim=2)
        step, ready = self.step_frames, query.shape[2]
        if self.attention != "llsa":
            query = torch.cat([state.query, query], dim=2)
            residual = torch.cat([state.residual, residual], dim=1)
            ready = step
        attended = attend_tagged(
            query[:, :, :ready],
            key,
            value,
            self._queries,
            self._keys,
            self.position,
            self.geometry,
            self.attention,
            self.end,
        )
        kept = slice(step, step + state.key.shape[2])
        state = replace(
            state,
            key=key[:, :, kept],
            value=value[:, :, kept],
            query=query[:, :, ready:],
            residual=residual[:, ready:],
        )
        if self.attention != "llsa":
            self._delay(self.geometry.look_ahead)
        return attended, residual[:, :ready], state

    def convolve(self, frames, residual, state, convolution):
        """Convolves the frames that have attended. Arguments and results are
        those of
        :meth:`speechbrain_llsa.nnet.attention.FrameSchedule.convolve`; for maa
        and sa, the clock then advances to what follows, as many frames later as
        the convolution sees ahead."""
        present = exists(self.position[:, None] + self._new, self.end[:, None])
        frames = frames.where(present[..., None], 0.0)
        window = torch.cat([state.convolution, frames], dim=1)
        step, look_back = self.step_frames, convolution.look_back
        if self.attention == "llsa":
            convolved = convolve_hops(
                frames,
                state.convolution,
                self.geometry,
                convolution.weight,
                convolution.bias,
                convolution.look_ahead,
            )
            kept = window[:, step : step + look_back]
            return convolved, residual, replace(state, convolution=kept)
        residual = torch.cat([state.convolution_residual, residual], dim=1)
        state = replace(
            state,
            convolution=window[:, step:],
            convolution_residual=residual[:, step:],
        )
        self._delay(convolution.look_ahead)
        return convolution(window), residual[:, :step], state

    def _delay(self, frames):
        """What follows is at frames that came in earlier."""
        self.position = self.position - frames
        self._angles = None


def initial_layer_state(
    attention,
    geometry,
    heads,
    head_dim,
    like,
    conv_look_back=0,
    conv_look_ahead=0,
):
    """Makes the state of a layer before the first step: frames that do not
    exist.

    Arguments
    ---------
    attention : str
        One of maa, sa and llsa.
    geometry : StreamGeometry
        Look-back and look-ahead in frames.
    heads : int
        Attention heads.
    head_dim : int
        Features of a head.
    like : torch.Tensor
        Frames, (batch, frames, features): their batch size, type and device
        are those of the state.
    conv_look_back : int
        Frames that the convolution of the layer sees behind a frame.
    conv_look_ahead : int
        Frames that it sees ahead; without a convolution both are 0.

    Returns
    -------
    LayerState
        ``key`` and ``value`` (batch, heads, look_back, head dimension), for
        maa and sa with ``look_ahead`` more frames; ``query`` (batch, heads,
        look_ahead, head dimension) and ``residual`` (batch, look_ahead,
        features), for llsa without frames. ``convolution`` and
        ``convolution_residual`` alike, by the look-back and the look-ahead of
        the convolution.
    """
    batch, features = like.shape[0], heads * head_dim
    waiting = conv_waiting = 0
    if attention != "llsa":
        waiting, conv_waiting = geometry.look_ahead, conv_look_ahead
    past = like.new_zeros(batch, heads, geometry.look_back + waiting, head_dim)
    return LayerState(
        key=past,
        value=past,
        query=like.new_zeros(batch, heads, waiting, head_dim),
        residual=like.new_zeros(batch, waiting, features),
        convolution=like.new_zeros(
            batch, conv_look_back + conv_waiting, features
        ),
        convolution_residual=like.new_zeros(batch, conv_waiting, features),
    )


def encoder_step(
    encoder, frames, carried, ahead, layers, position, end, geometry=None
):
    """Passes the frames of one step through an encoder.

    Arguments
    ---------
    encoder : StreamingTransformerEncoder
        The encoder.
    frames : torch.Tensor
        The next frames, (batch, step frames, features).
    carried : torch.Tensor
        Frames before them that the positional convolution still sees, (batch,
        its ``look_back`` + ``look_ahead``, features); without one no frames.
    ahead : torch.Tensor
        llsa: the ``look_ahead`` frames before them, which are not committed
        yet, (batch, look_ahead, features). Otherwise no frames.
    layers : list of LayerState
        States of the layers.
    position : torch.Tensor
        Position of the first of ``frames`` in each row, int64 (batch,).
    end : torch.Tensor
        Frames of each row's utterance, int64 (batch,).
    geometry : StreamGeometry, optional
        Geometry of the streams: one of those that the encoder is trained for;
        by default the first.

    Returns
    -------
    torch.Tensor
        The frames that the step commits, (batch, step frames, features),
        ``StepClock.delay_frames`` before the new ones.
    torch.Tensor
        llsa: the output at the frames after them, (batch, look_ahead,
        features). Otherwise no frames.
    torch.Tensor
        ``carried`` of the next step.
    torch.Tensor
        ``ahead`` of the next step.
    list of LayerState
        New states of the layers.
    """
    step = frames.shape[1]
    if encoder.positions is not None:
        number = position[:, None] + torch.arange(step, device=position.device)
        exists = (number >= 0) & (number < end[:, None])
        frames, carried = encoder.positions(
            frames.where(exists[..., None], 0.0), carried
        )
        position = position - encoder.positional_look_ahead
    window = torch.cat([ahead, frames], dim=1)
    schedule = StepSchedule(
        encoder.attention,
        encoder.geometries.check(geometry),
        step,
        position - ahead.shape[1],
        end,
        encoder.rotary_features,
    )
    out, new_layers = window, []
    for layer, state in zip(encoder.layers, layers, strict=True):
        out, state = layer(out, schedule, state)
        new_layers.append(state)
    out = encoder.norm(out)
    return out[:, :step], out[:, step:], carried, window[:, step:], new_layers
