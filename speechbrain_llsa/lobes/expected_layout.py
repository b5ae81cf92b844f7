"""Expected layout of a stream's state after a number of samples: every counter,
and the shape and type of every array, but not their content.

The layout of a state is determined by the amount of audio alone, so that a
snapshot with any other layout is invalid.
"""

import numpy as np
import torch

from speechbrain_llsa.nnet.frontend import FrontEndState
from speechbrain_llsa.state import LayerState
from speechbrain_llsa_runtime.snapshot import blank_array, convert

ARRAY_TYPES = {
    torch.float64: np.float64,
    torch.float32: np.float32,
    torch.float16: np.float16,
    torch.bfloat16: np.uint16,
}
"""NumPy types of tensors. NumPy has no bfloat16: its bits are treated as
integers."""


def to_arrays(state):
    """Replaces the tensors of a state by arrays.

    Arguments
    ---------
    state : object
        The state.

    Returns
    -------
    object

    Example
    -------
    >>> state = LayerState(2, key=torch.ones(1, 1, 2, 1).bfloat16())
    >>> arrays = to_arrays(state)
    >>> arrays.key.dtype
    dtype('uint16')
    >>> torch.equal(from_arrays(arrays, "cpu").key, state.key)
    True
    """
    return convert(state, _to_array)


def _to_array(value):
    if not isinstance(value, torch.Tensor):
        return value
    value = value.detach().cpu().contiguous()
    if value.dtype == torch.bfloat16:
        value = value.view(torch.uint16)
    return value.numpy()


def from_arrays(state, device):
    """Inverse of :func:`to_arrays`.

    Arguments
    ---------
    state : object
        The state.
    device : torch.device or str
        Device of the tensors.

    Returns
    -------
    object
    """

    def from_array(value):
        if not isinstance(value, np.ndarray):
            return value
        value = torch.tensor(value, device="cpu")
        if value.dtype == torch.uint16:
            value = value.view(torch.bfloat16)
        return value.to(device)

    return convert(state, from_array)


def front_end_layout(extractor, samples):
    """Expected layout of the state of a front end, for one row.

    Arguments
    ---------
    extractor : StreamingLatentExtractor
        The front end.
    samples : int
        Samples pushed.

    Returns
    -------
    FrontEndState

    Example
    -------
    >>> from speechbrain_llsa.nnet.frontend import StreamingLatentExtractor
    >>> extractor = StreamingLatentExtractor(out_channels=[4] * 7)
    >>> [a.shape[1] for a in front_end_layout(extractor, 700).carried]
    [10, 2, 2, 1, 2, 1, 1]
    """
    dtype = _array_type(extractor)
    carried, length = [], samples + extractor.padding_samples
    for kernel_size, stride, channels in zip(
        extractor.kernel_sizes,
        extractor.strides,
        extractor.in_channels,
        strict=True,
    ):
        frames = max((length - kernel_size) // stride + 1, 0)
        left_over = length - frames * stride
        carried.append(blank_array(dtype, 1, left_over, channels))
        length = frames
    return FrontEndState(tuple(carried), samples)


def encoder_layout(encoder, frames, geometry=None):
    """Expected layout of the state of an encoder, for one row that goes on.

    Arguments
    ---------
    encoder : StreamingTransformerEncoder
        The encoder.
    frames : int
        Frames pushed.
    geometry : StreamGeometry, optional
        Geometry of the stream; by default that of the encoder.

    Returns
    -------
    EncoderState

    Raises
    ------
    ValueError
        If the encoder's attention cannot stream, or it is not trained for the
        geometry.

    Example
    -------
    >>> from speechbrain_llsa.nnet.encoder import StreamingTransformerEncoder
    >>> encoder = StreamingTransformerEncoder(
    ...     num_layers=2, nhead=2, d_ffn=32, d_model=16, look_ahead=4, hop=3
    ... )
    >>> form = encoder_layout(encoder, 48)
    >>> form.committed, form.frames.shape, form.layers[0].key.shape
    (42, (1, 6, 16), (1, 2, 42, 8))
    """
    state = encoder.make_streaming_context(geometry=geometry)
    state.batch_size, state.received = 1, frames
    if encoder.positions is not None:
        waiting = min(frames, encoder.positional_look_ahead)
        state.positional = _frames_layout(
            encoder, encoder.positions.look_back + waiting
        )
        frames -= waiting
    if encoder.attention == "llsa":
        _advance_hops(encoder, state, frames)
    elif frames:
        _advance_frames(encoder, state, frames)
    return state


def _array_type(module):
    return ARRAY_TYPES[next(module.parameters()).dtype]


def _frames_layout(encoder, frames):
    return blank_array(_array_type(encoder), 1, frames, encoder.d_model)


def _heads_layout(encoder, frames):
    """Expected layout of queries, keys or values."""
    nhead = encoder.layers[0].self_att.nhead
    return blank_array(
        _array_type(encoder), 1, nhead, frames, encoder.d_model // nhead
    )


def _advance_hops(encoder, state, frames):
    """llsa: a hop is committed as soon as its look-ahead has arrived."""
    geometry = state.geometry
    ready = max(0, frames - geometry.look_ahead)
    state.committed = ready // geometry.hop * geometry.hop
    state.frames = _frames_layout(encoder, frames - state.committed)
    if not state.committed:
        return
    state.provisional = _frames_layout(encoder, geometry.look_ahead)
    seen = min(state.committed, geometry.look_back)
    convolution = {}
    if encoder.convolves:
        convolved = _frames_layout(encoder, encoder.conv_look_back)
        convolution = {"convolution": convolved}
    state.layers = [
        LayerState(
            received=state.committed,
            key=_heads_layout(encoder, seen),
            value=_heads_layout(encoder, seen),
            **convolution,
        )
        for _ in encoder.layers
    ]


def _advance_frames(encoder, state, frames):
    """maa and sa: each layer delays its frames by ``look_ahead`` frames, and
    its convolution by ``conv_look_ahead`` more."""
    committed, state.layers = frames, []
    geometry = state.geometry
    for _ in encoder.layers:
        received, committed = committed, max(0, committed - geometry.look_ahead)
        seen = received - max(0, committed - geometry.look_back)
        state.layers.append(
            LayerState(
                received=received,
                key=_heads_layout(encoder, seen),
                value=_heads_layout(encoder, seen),
                query=_heads_layout(encoder, received - committed),
                residual=_frames_layout(encoder, received - committed),
            )
        )
        if encoder.convolves:
            waiting = min(committed, encoder.conv_look_ahead)
            committed -= waiting
            state.layers[-1].convolution = _frames_layout(
                encoder, encoder.conv_look_back + waiting
            )
            state.layers[-1].convolution_residual = _frames_layout(
                encoder, waiting
            )
    state.committed = committed
