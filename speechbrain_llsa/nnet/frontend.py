"""The convolutional front end of wav2vec 2.0, with exact streaming.

SpeechBrain's ``W2VLatentExtractor`` turns 16 kHz samples into one latent frame
every 20 ms with a stack of strided convolutions. Here each convolution also
keeps the end of its input that later frames depend on, so that pushes of any
length yield exactly the frames of the whole waveform, and nothing is computed
twice.
"""

import math
from dataclasses import dataclass, replace

import torch
from speechbrain.lobes.models.wav2vec import W2VLatentExtractor
from torch.nn import functional as F

from speechbrain_llsa.nnet.packed import PreparedWeight
from speechbrain_llsa_runtime.geometry import SAMPLE_RATE
from speechbrain_llsa_runtime.utils.checks import (
    check_integer,
    check_number,
    check_type,
)
from speechbrain_llsa_runtime.utils.errors import must_be


@dataclass
class FrontEndState:
    """State of the front end for one session, or a batch of sessions that run
    in lockstep.

    Its tensors are replaced, never modified, so that a fork is free.

    Example
    -------
    >>> extractor = StreamingLatentExtractor(out_channels=[4] * 7)
    >>> state = extractor.make_streaming_context()
    >>> latents = extractor.forward_streaming(torch.randn(1, 700), state)
    >>> state.samples, [tensor.shape[1] for tensor in state.carried]
    (700, [10, 2, 2, 1, 2, 1, 1])
    """

    carried: tuple[torch.Tensor, ...] | None = None
    """End of the input of each convolution that future frames depend on,
    (batch, fewer than the kernel size, channels): samples for the first, frames
    of the one before for the others. ``None`` before the first push, which sets
    the batch size."""

    samples: int = 0
    """Samples pushed since the utterance began, in each row."""

    def fork(self):
        """Makes an independent copy, which shares the tensors.

        Returns
        -------
        FrontEndState
        """
        return replace(self)

    def reset(self):
        """Resets the state to its initial value."""
        self.carried, self.samples = None, 0

    def nbytes(self):
        """Size of the tensors in bytes."""
        return sum(tensor.nbytes for tensor in self.carried or ())


class StreamingFrontEnd(torch.nn.Module):
    """A stack of strided convolutions over a waveform, with an exact streaming
    mode.

    A subclass has ``kernel_sizes``, ``strides`` and ``out_channels``, lists
    with an entry for each convolution; :meth:`blocks`; and ``norm``, which is
    applied to the result of the last block.
    """

    kernel_sizes: list[int]
    strides: list[int]
    out_channels: list[int]

    padding_samples: int = 0
    """Zeros that precede each utterance."""

    def blocks(self):
        """The convolutions, each with what follows it.

        Returns
        -------
        iterable of tuple
            A ``torch.nn.Conv1d``, and a list of modules that are applied to
            its result, (batch, frames, channels).
        """
        raise NotImplementedError

    def convolve(self, convolution, x):
        """Applies a convolution of :meth:`blocks`.

        Arguments
        ---------
        convolution : torch.nn.Module
            The convolution.
        x : torch.Tensor
            (batch, frames, channels), enough for one frame.

        Returns
        -------
        torch.Tensor
            (batch, new frames, new channels), without padding.
        """
        return _convolve(convolution, x)

    @property
    def norms_over_time(self):
        """Names of the norms that need the whole utterance."""
        return []

    def check_can_stream(self):
        """Rejects a stack that cannot stream, before a stream begins."""

    @property
    def in_channels(self):
        """Input channels of each convolution."""
        return [1, *self.out_channels[:-1]]

    @property
    def stride_samples(self):
        """Samples from one frame to the next."""
        return math.prod(self.strides)

    @property
    def receptive_field_samples(self):
        """Samples that a frame depends on."""
        samples = 1
        for kernel_size, stride in zip(
            reversed(self.kernel_sizes), reversed(self.strides), strict=True
        ):
            samples = (samples - 1) * stride + kernel_size
        return samples

    @property
    def frame_seconds(self):
        """Seconds from one frame to the next."""
        return self.stride_samples / SAMPLE_RATE

    def forward(self, x, normalize_signal=False):
        """Computes the latent frames of whole waveforms.

        Arguments
        ---------
        x : torch.Tensor
            Waveforms, (batch, samples), of any floating point type; the
            frames are of the weights' type.
        normalize_signal : bool
            Must be False. SpeechBrain's layer norm over the whole waveform
            cannot be streamed and depends on the padding.

        Returns
        -------
        torch.Tensor
            Latent frames, (batch, frames, channels); none if the waveforms
            are shorter than the receptive field, less ``padding_samples``.

        Raises
        ------
        ValueError
            If ``normalize_signal`` is True, or x is not two-dimensional.
        TypeError
            If x is not a floating point tensor.
        """
        if normalize_signal:
            raise ValueError(
                must_be(
                    "normalize_signal",
                    (
                        "False, because a layer norm over the whole waveform "
                        "cannot be "
                        "streamed, and depends on the padding"
                    ),
                    "True",
                )
            )
        _check_samples(x)
        latents, _ = self._extract(x, None)
        return latents

    def make_streaming_context(self):
        """Makes an initial state for :meth:`forward_streaming`.

        Returns
        -------
        FrontEndState

        Raises
        ------
        ValueError
            If a norm needs the whole utterance.
        """
        self.check_can_stream()
        return FrontEndState()

    def forward_streaming(self, samples, context):
        """Computes the latent frames that the pushed samples complete.

        Arguments
        ---------
        samples : torch.Tensor
            The next samples, (batch, samples), any number of them, of any
            floating point type; the frames are of the weights' type.
        context : FrontEndState
            State after the previous input; updated in place unless an error is
            raised.

        Returns
        -------
        torch.Tensor
            The frames that are now complete, (batch, frames, channels),
            possibly none.

        Raises
        ------
        ValueError
            If samples are not two-dimensional, or if the state belongs to
            another batch size or another model.
        TypeError
            If samples are not a floating point tensor.
        """
        _check_samples(samples)
        self._check_state(samples, context)
        latents, left_over = self._extract(samples, context.carried)
        # A copy of its own, or the whole push would stay in memory.
        context.carried = tuple(tensor.clone() for tensor in left_over)
        context.samples += samples.shape[1]
        return latents

    def initial_carried(self, batch):
        """Makes the carried inputs before the first :meth:`step`.

        Arguments
        ---------
        batch : int
            Rows.

        Returns
        -------
        list of torch.Tensor
            Zeros for each convolution, (batch, kernel size - stride, channels).

        Raises
        ------
        ValueError
            If a norm needs the whole utterance.
        """
        self.check_can_stream()
        weight = next(self.parameters())
        return [
            weight.new_zeros(batch, kernel_size - stride, channels)
            for kernel_size, stride, channels in zip(
                self.kernel_sizes, self.strides, self.in_channels, strict=True
            )
        ]

    def step(self, samples, carried):
        """Computes frames in a step of fixed shapes.

        Unlike in :meth:`forward_streaming`, a stream does not wait for its
        first frame: it starts with meaningless frames that reach before the
        utterance (:class:`speechbrain_llsa_runtime.step_clock.StepClock`).

        Arguments
        ---------
        samples : torch.Tensor
            The next samples, (batch, a multiple of ``stride_samples``).
        carried : list of torch.Tensor
            Result of the previous step, or of :meth:`initial_carried`.

        Returns
        -------
        torch.Tensor
            (batch, samples / ``stride_samples``, channels).
        list of torch.Tensor
            Carried inputs for the next step.
        """
        return self._extract(samples, carried)

    def get_output_lengths(self, input_lengths):
        """Number of frames that a number of samples yields.

        Arguments
        ---------
        input_lengths : torch.Tensor or int
            Numbers of samples, any shape.

        Returns
        -------
        torch.LongTensor
            Numbers of frames, same shape; 0 below the receptive field, less
            ``padding_samples``.

        Example
        -------
        >>> extractor = StreamingLatentExtractor(out_channels=[4] * 7)
        >>> extractor.get_output_lengths(torch.tensor([0, 640, 641, 16000]))
        tensor([ 0,  0,  1, 48])
        """
        lengths = input_lengths
        if not isinstance(lengths, torch.Tensor):
            lengths = torch.as_tensor(lengths, device="cpu")
        lengths = lengths + self.padding_samples
        for kernel_size, stride in zip(
            self.kernel_sizes, self.strides, strict=True
        ):
            lengths = torch.div(
                lengths - kernel_size, stride, rounding_mode="floor"
            )
            lengths = (lengths + 1).clamp(min=0)
        return lengths.to(torch.long)

    def _extract(self, samples, carried):
        """Runs the stack on samples, preceded by the carried input of each
        convolution.

        Returns the frames and the new carried inputs.
        """
        x = samples.to(next(self.parameters()).dtype).unsqueeze(2)
        if carried is None:
            x = F.pad(x, (0, 0, self.padding_samples, 0))
        left_over = []
        for index, (convolution, functions) in enumerate(self.blocks()):
            if carried is not None:
                x = torch.cat([carried[index], x], dim=1)
            kernel_size, stride = self.kernel_sizes[index], self.strides[index]
            frames = max((x.shape[1] - kernel_size) // stride + 1, 0)
            left_over.append(x[:, frames * stride :])
            if frames:
                x = self.convolve(convolution, x)
                for function in functions:
                    x = function(x)
            else:
                x = x.new_zeros(x.shape[0], 0, self.out_channels[index])
        return self.norm(x), left_over

    def _check_state(self, samples, context):
        """Rejects a state of another batch size or another model."""
        check_type("context", context, FrontEndState)
        if context.carried is None:
            return
        channels = [tensor.shape[2] for tensor in context.carried]
        if channels != self.in_channels:
            raise ValueError(
                must_be(
                    "context",
                    (
                        "that of a front end with channels "
                        f"{self.in_channels}, as this "
                        "one"
                    ),
                    f"that of one with {channels}",
                )
            )
        rows = context.carried[0].shape[0]
        if rows != samples.shape[0]:
            raise ValueError(
                must_be(
                    "samples",
                    f"of {rows} rows, as in the context",
                    samples.shape[0],
                )
            )


class StreamingLatentExtractor(StreamingFrontEnd, W2VLatentExtractor):
    """SpeechBrain's ``W2VLatentExtractor`` with an exact streaming mode.

    Same arguments, weights and offline frames as SpeechBrain's class without
    signal normalisation. Frame k depends on the samples
    [k * stride_samples, k * stride_samples + receptive_field_samples) only.

    Arguments
    ---------
    out_channels : list of int
        Output channels of each convolution.
    kernel_sizes : list of int
        Kernel size of each convolution, not below its stride.
    strides : list of int
        Stride of each convolution.
    dropout : float
        Dropout after each convolution.
    conv_init : str
        Initialisation of the convolutions, as in SpeechBrain.

    Raises
    ------
    TypeError
        If an argument is not a list of integers.
    ValueError
        If the lists differ in length, a number is out of range, or a kernel
        is below its stride.

    Example
    -------
    >>> extractor = StreamingLatentExtractor(out_channels=[4] * 7).eval()
    >>> waveform = torch.randn(2, 5000)
    >>> offline = extractor(waveform)
    >>> offline.shape
    torch.Size([2, 14, 4])
    >>> context = extractor.make_streaming_context()
    >>> pushes = waveform.split(777, dim=1)
    >>> frames = [extractor.forward_streaming(p, context) for p in pushes]
    >>> torch.allclose(torch.cat(frames, dim=1), offline, atol=1e-4)
    True
    """

    def __init__(
        self,
        out_channels=(512,) * 7,
        kernel_sizes=(11, 3, 3, 3, 3, 3, 3),
        strides=(5, 2, 2, 2, 2, 2, 2),
        dropout=0.0,
        conv_init="kaiming",
    ):
        check_convolutions(out_channels, kernel_sizes, strides)
        check_number("dropout", dropout, 0, 1)
        super().__init__(
            out_channels=list(out_channels),
            kernel_sizes=list(kernel_sizes),
            strides=list(strides),
            dropout=dropout,
            conv_init=conv_init,
        )
        self.out_channels = list(out_channels)

    def blocks(self):
        """The convolutions, each with its norm, activation and dropout."""
        for block in self.extractor.values():
            convolution, *functions = block.convs.values()
            yield convolution.conv, functions


def _convolve(conv, x):
    """Computes a convolution of frames in the order (batch, frames, channels),
    which avoids copies to and from (batch, channels, frames)."""
    # A stream must give the frames of the whole utterance, and cuDNN takes
    # another algorithm, or TF32, for other lengths: so outside of training it
    # is not asked. In an exported graph, a convolution is for the runtime to
    # choose how.
    prepared = vars(conv).setdefault("prepared", PreparedWeight())
    is_frozen = prepared.allows(conv.weight)
    by_products = x.device.type == "cpu" or not torch.is_grad_enabled()
    if torch.compiler.is_exporting() or not by_products:
        return _convolve_by_backend(conv, x)
    if is_frozen:
        weight = prepared.get(conv.weight, _by_taps)
    else:
        weight = _by_taps(conv.weight)
    return _convolve_by_products(conv, weight, x)


def _convolve_by_backend(conv, x):
    """Computes a convolution as a two-dimensional one of height 1."""
    # (batch, frames, channels) -> (batch, channels, 1, frames), a view
    x = F.conv2d(
        x.unsqueeze(1).permute(0, 3, 1, 2),
        conv.weight.unsqueeze(2).contiguous(memory_format=torch.channels_last),
        bias=conv.bias,
        stride=(1, *conv.stride),
    )
    return x.permute(0, 2, 3, 1).squeeze(1)


def _convolve_by_products(conv, weight, x):
    """Computes a convolution as a sum of matrix products, none of which copies
    x; its weight is laid out as :func:`_by_taps` does.

    On the CPU, the backend prepares a convolution for every new shape, which in
    training, where every shape is new, takes longer than the convolution
    itself. Matrix products are as fast as the convolution.
    """
    (taps,), (stride,) = conv.kernel_size, conv.stride
    rows, _, channels = x.shape
    frames = (x.shape[1] - taps) // stride + 1
    if channels == 1 and taps < 2 * stride:
        # many products of one tap otherwise:
        # (batch, samples, 1) -> (batch, frames, taps)
        windows = x[..., 0].unfold(1, taps, stride)
        return F.linear(windows, weight.t(), conv.bias)
    result, tap = conv.bias, 0
    while tap < taps:
        # as many taps as lie behind each other for all frames: their stride
        width = stride if taps - tap >= stride else 1
        if width == stride:
            piece = x[:, tap : tap + frames * stride]
            # (batch, frames * stride, in) -> (batch, frames, stride * in)
            piece = piece.unflatten(1, (frames, stride)).flatten(2)
        else:
            piece = x[:, tap : tap + (frames - 1) * stride + 1 : stride]
        matrix = weight[tap * channels : (tap + width) * channels]
        matrix = matrix.expand(rows, -1, -1)
        if result is None:
            result = torch.bmm(piece, matrix)
        else:
            result = torch.baddbmm(result, piece, matrix)
        tap += width
    return result


def _by_taps(weight):
    """(out, in, taps) to (taps * in, out)."""
    return weight.transpose(1, 2).flatten(1).t()


def check_convolutions(out_channels, kernel_sizes, strides):
    """Rejects lists that do not describe a stack that can stream."""
    check_lists(
        out_channels=out_channels, kernel_sizes=kernel_sizes, strides=strides
    )
    for kernel_size, stride in zip(kernel_sizes, strides, strict=True):
        if not 1 <= stride <= kernel_size:
            raise ValueError(
                must_be(
                    "strides",
                    "from 1 to the kernel size",
                    f"{stride} for a kernel of {kernel_size}",
                )
            )


def check_lists(**lists):
    """Rejects what is not lists of one length, of integers from 1."""
    for name, values in lists.items():
        if not isinstance(values, (list, tuple)):
            raise TypeError(must_be(name, "a list of integers", repr(values)))
        for value in values:
            check_integer(name, value, 1)
    *others, last = (len(values) for values in lists.values())
    if {*others} != {last} or not last:
        raise ValueError(
            must_be(
                ", ".join(lists),
                "lists with one entry for each convolution",
                f"{', '.join(map(str, others))} and {last} entries",
            )
        )


def _check_samples(samples):
    """Rejects anything but a batch of floating point waveforms."""
    if not isinstance(samples, torch.Tensor) or not samples.is_floating_point():
        kind = getattr(samples, "dtype", type(samples).__name__)
        raise TypeError(must_be("samples", "a floating point tensor", kind))
    if samples.dim() != 2:
        raise ValueError(
            must_be(
                "samples", "of shape (batch, samples)", tuple(samples.shape)
            )
        )
