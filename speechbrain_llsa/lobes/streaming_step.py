"""A streaming step of a complete CTC model with fixed shapes, and its state as
a list of named tensors, for batches of live streams and for export."""

from __future__ import annotations

import numpy as np
import torch

from speechbrain_llsa.nnet.encoder_step import encoder_step, initial_layer_state
from speechbrain_llsa.state import LayerState
from speechbrain_llsa_runtime.snapshot import flatten, rebuild
from speechbrain_llsa_runtime.step_clock import StepClock


class StreamingStep(torch.nn.Module):
    """One step of a streaming CTC model, from samples to log-probabilities.

    All shapes are fixed, and each row of a batch has its own clock, so that
    streams may join and leave at any step.

    Arguments
    ---------
    model : StreamingCTC
        The model, whose parameters are used.
    step_frames : int, optional
        Frames per step; for llsa its hop, which is the default.
    geometry : StreamGeometry, optional
        Geometry of all streams: one of those that the model is trained for; by
        default the first.
    keep_provisional : bool
        Whether the state also holds the encoder's output at the provisional
        frames, which no step needs, but a snapshot does.

    Raises
    ------
    ValueError
        If the attention cannot stream, the step of llsa is not its hop, or
        the model is not trained for the geometry.

    Example
    -------
    >>> model, _ = getfixture("tiny_ctc")
    >>> step = StreamingStep(model)
    >>> clock = step.clock
    >>> wave = torch.randn(1, 16000)
    >>> state = step.initial_state(1)
    >>> end = torch.tensor([clock.frames_of(16000)])
    >>> padded = torch.nn.functional.pad(wave, (clock.leading_samples, 9999))
    >>> pieces, position = [], torch.tensor([clock.first_frame])
    >>> for number in range(clock.steps_to_end(16000)):
    ...     begin = number * clock.step_samples
    ...     samples = padded[:, begin : begin + clock.step_samples]
    ...     with torch.no_grad():
    ...         log_probs, ahead, *state = step(samples, position, end, *state)
    ...     pieces.append(log_probs)
    ...     position = position + clock.step_frames
    >>> streamed = torch.cat(pieces, dim=1)
    >>> skipped = clock.delay_frames - clock.first_frame
    >>> offline, _ = model(wave)
    >>> streamed = streamed[:, skipped : skipped + offline.shape[1]]
    >>> torch.allclose(streamed, offline, atol=1e-4)
    True
    """

    def __init__(
        self,
        model,
        step_frames=None,
        geometry=None,
        keep_provisional=False,
    ):
        super().__init__()
        self.keep_provisional = keep_provisional
        self.model = model
        encoder = model.encoder_wrapper.latent_encoder
        geometry = encoder.geometries.check(geometry)
        self.clock = StepClock(
            encoder.attention,
            geometry,
            len(encoder.layers),
            geometry.hop if step_frames is None else step_frames,
            model.extractor.receptive_field_samples,
            model.extractor.stride_samples,
            encoder.positional_look_ahead,
            encoder.conv_look_ahead,
            model.extractor.padding_samples,
        )
        # Tensors without any element are no part of the state.
        self._shapes = {
            name: tensor.shape[1:]
            for name, tensor in self._empty_state(1).items()
        }
        self.state_names = [
            name for name, shape in self._shapes.items() if shape.numel()
        ]

    def initial_state(self, batch):
        """Makes the state before the first step: silence, and no frames.

        Arguments
        ---------
        batch : int
            Rows.

        Returns
        -------
        list of torch.Tensor
            One for each of ``state_names``, (batch, ...).
        """
        state = self._empty_state(batch)
        return [state[name] for name in self.state_names]

    def forward(self, samples, position, end, *state):
        """
        Arguments
        ---------
        samples : torch.Tensor
            The next samples, (batch, ``clock.step_samples``).
        position : torch.Tensor
            Position of the first frame that they complete, int64 (batch,):
            ``clock.first_frame`` at first, ``clock.step_frames`` more in each
            step.
        end : torch.Tensor
            Frames of each row's utterance, ``NEVER`` while unknown, int64
            (batch,). It must be known before a step receives frames past it.
        *state : torch.Tensor
            State before the samples, from ``initial_state`` or the previous
            step.

        Returns
        -------
        torch.Tensor
            Log-probabilities of the newly committed frames, (batch,
            ``clock.step_frames``, labels), which begin at ``position`` -
            ``clock.delay_frames``. Those at negative positions, or past the
            end, do not exist.
        torch.Tensor
            llsa: log-probabilities of the frames after them, (batch,
            look_ahead, labels). Otherwise no frames.
        torch.Tensor
            The tensors of the new state.
        """
        wrapper = self.model.encoder_wrapper
        encoder = wrapper.latent_encoder
        tensors = dict(zip(self.state_names, state, strict=True))
        for name, shape in self._shapes.items():
            if name not in tensors:
                tensors[name] = samples.new_zeros(samples.shape[0], *shape)
        latents, carried = self.model.extractor.step(
            samples, [tensors[name] for name in self._carried_names()]
        )
        committed, provisional, positional, ahead, layers = encoder_step(
            encoder,
            wrapper.project(latents),
            tensors["positional"],
            tensors["ahead"],
            [
                LayerState(
                    **{
                        part: tensors[f"{part}_{layer}"]
                        for part in _LAYER_PARTS
                    }
                )
                for layer in range(len(encoder.layers))
            ],
            position,
            end,
            self.clock.geometry,
        )
        new = self._named(carried, positional, ahead, layers, provisional)
        return (
            self.model.classify(committed),
            self.model.classify(provisional),
            *(new[name] for name in self.state_names),
        )

    def context_at(self, steps, state):
        """Converts the state of one stream that goes on to the context of
        :meth:`StreamingCTC.stream
        <speechbrain_llsa.lobes.ctc.StreamingCTC.stream>`, which has taken the
        same samples: all that the steps took, but for the silence before.

        Arguments
        ---------
        steps : int
            Steps so far.
        state : list of torch.Tensor
            The state of one row after them, with ``keep_provisional``.

        Returns
        -------
        CTCState
            Without the log-probabilities of provisional frames, which the next
            call computes.
        """
        clock = self.clock
        samples = steps * clock.step_samples - clock.leading_samples
        if samples <= 0:
            return self.model.make_streaming_context(clock.geometry)
        tensors = self._all_tensors(state)
        form = self.model.context_form(samples, clock.geometry)
        form.provisional = None
        parts = flatten(form)
        for name, part in parts.items():
            if isinstance(part, np.ndarray):
                frames = part.shape[-2]
                parts[name] = _newest(tensors[_name_here(name)], frames).clone()
        return rebuild(form, parts)

    def state_of(self, context):
        """Inverse of :meth:`context_at`. Frames before the utterance, which do
        not exist, may be others.

        Arguments
        ---------
        context : CTCState
            The context of one stream after all samples of a number of steps.

        Returns
        -------
        list of torch.Tensor
            One for each of ``state_names``, (1, ...).
        """
        tensors = {
            name: tensor.clone()
            for name, tensor in self._empty_state(1).items()
        }
        for name, part in flatten(context).items():
            if isinstance(part, torch.Tensor) and name != "provisional":
                here = tensors[_name_here(name)]
                _newest(here, part.shape[-2]).copy_(part)
        return [tensors[name] for name in self.state_names]

    def _all_tensors(self, state):
        """Those without any element as well, by name."""
        named = dict(zip(self.state_names, state, strict=True))
        return {**self._empty_state(1), **named}

    def _carried_names(self):
        count = len(self.model.extractor.strides)
        return [f"carried_{index}" for index in range(count)]

    def _named(self, carried, positional, ahead, layers, provisional):
        kept = {"provisional": provisional} if self.keep_provisional else {}
        return {
            **dict(zip(self._carried_names(), carried, strict=True)),
            "positional": positional,
            "ahead": ahead,
            **{
                f"{part}_{layer}": getattr(state, part)
                for layer, state in enumerate(layers)
                for part in _LAYER_PARTS
            },
            **kept,
        }

    def _empty_state(self, batch):
        encoder = self.model.encoder_wrapper.latent_encoder
        extractor = self.model.extractor
        parameter = next(self.model.parameters())
        heads = encoder.layers[0].self_att.nhead
        geometry = self.clock.geometry
        waiting = 0
        if encoder.attention == "llsa":
            waiting = geometry.look_ahead
        ahead = parameter.new_zeros(batch, waiting, encoder.d_model)
        layer = initial_layer_state(
            encoder.attention,
            geometry,
            heads,
            encoder.d_model // heads,
            ahead,
            encoder.conv_look_back,
            encoder.conv_look_ahead,
        )
        positional = ahead[:, :0]
        if encoder.positions is not None:
            positional = encoder.positions.initial_carried(
                ahead, encoder.positional_look_ahead
            )
        return self._named(
            extractor.initial_carried(batch),
            positional,
            ahead,
            [layer] * len(encoder.layers),
            ahead,
        )


_LAYER_PARTS = (
    "key",
    "value",
    "query",
    "residual",
    "convolution",
    "convolution_residual",
)


def _name_here(path):
    """Name of the tensor that holds a part of a ``CTCState``."""
    *_, where, name = path.split(".")
    if where == "carried":
        return f"carried_{name}"
    if where.isdigit():
        return f"{name}_{where}"
    return "ahead" if name == "frames" else name


def _newest(tensor, frames):
    """The last frames of a tensor, (..., frames, features), a view."""
    return tensor.narrow(-2, tensor.shape[-2] - frames, frames)
