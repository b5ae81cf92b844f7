"""The front end of SpeechBrain's Conformer transducers, with exact streaming:
log-mel energies and two-dimensional convolutions."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from speechbrain_llsa.nnet.frontend import StreamingFrontEnd, check_lists
from speechbrain_llsa.nnet.log_mel import LogMel
from speechbrain_llsa_runtime.geometry import SAMPLE_RATE
from speechbrain_llsa_runtime.utils.checks import check_number
from speechbrain_llsa_runtime.utils.errors import must_be


class SpectralConvolution(nn.Module):
    """A convolution over time and frequency of frames in a row.

    Time is not padded; frequency is, by reflection, as in SpeechBrain's
    ``Conv2d``.

    Arguments
    ---------
    bands : int
        Frequencies of a frame.
    in_channels : int
        Channels of each.
    out_channels : int
        Channels of each of the result.
    kernel_size : int
        Frames, and frequencies, that a result depends on. Odd.
    stride : int
        Frames, and frequencies, from one result to the next.

    Raises
    ------
    ValueError
        If the kernel is even, below the stride, or too large for the padding.

    Example
    -------
    >>> convolution = SpectralConvolution(8, 2, 3, kernel_size=3, stride=2)
    >>> convolution(torch.randn(1, 9, 8 * 2)).shape, convolution.out_bands
    (torch.Size([1, 4, 12]), 4)
    """

    def __init__(self, bands, in_channels, out_channels, kernel_size, stride):
        super().__init__()
        if not kernel_size % 2:
            raise ValueError(
                must_be("cnn_kernel_sizes", "odd numbers", kernel_size)
            )
        if stride > kernel_size:
            raise ValueError(
                must_be(
                    "cnn_strides",
                    "from 1 to the kernel size",
                    f"{stride} for a kernel of {kernel_size}",
                )
            )
        self.padding = kernel_size // 2
        if self.padding >= bands:
            raise ValueError(
                must_be(
                    "cnn_kernel_sizes",
                    f"at most {2 * bands - 1} where there are {bands} "
                    "frequencies",
                    kernel_size,
                )
            )
        self.bands = bands
        self.out_bands = (bands - 1) // stride + 1
        # kernels are (frequency, time), as SpeechBrain's
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride)

    def forward(self, x):
        """
        Arguments
        ---------
        x : torch.Tensor
            (batch, frames, bands * in_channels), at least ``kernel_size``
            frames.

        Returns
        -------
        torch.Tensor
            (batch, new frames, out_bands * out_channels).
        """
        # (batch, frames, bands * in) -> (batch, in, frames, bands)
        x = x.unflatten(2, (self.bands, -1)).permute(0, 3, 1, 2)
        x = F.pad(x, (self.padding, self.padding, 0, 0), mode="reflect")
        # as for the convolutions of samples: a stream must give the frames of
        # the whole utterance, and cuDNN takes another algorithm for others
        by_products = x.device.type == "cpu" or not torch.is_grad_enabled()
        if by_products and not torch.compiler.is_exporting():
            return self._by_products(x).flatten(2)
        x = F.conv2d(
            x,
            self.conv.weight.transpose(2, 3),
            self.conv.bias,
            self.conv.stride,
        )
        # (batch, out, new frames, new bands) -> (batch, frames, bands * out)
        return x.permute(0, 2, 3, 1).flatten(2)

    def _by_products(self, x):
        """One product for each frame of the kernel, so that no more than that
        is copied: (batch, new frames, new bands, out)."""
        (taps, _), (stride, _) = self.conv.kernel_size, self.conv.stride
        count = (x.shape[2] - taps) // stride + 1
        # (batch, in, frames, bands) -> (batch, frames, new bands, in, taps)
        windows = x.unfold(3, taps, stride).permute(0, 2, 3, 1, 4)
        result = self.conv.bias
        for tap in range(taps):
            last = tap + (count - 1) * stride
            piece = windows[:, tap : last + 1 : stride].flatten(3)
            # (out, in, frequency, time) -> (out, in * frequency)
            weight = self.conv.weight[..., tap].flatten(1)
            result = result + F.linear(piece, weight)
        return result


class LogMelFrontEnd(StreamingFrontEnd):
    """Log-mel energies of a waveform, normalised by fixed statistics, and
    two-dimensional convolutions over them.

    It is what SpeechBrain's Conformer transducers begin with
    (``recipes/LibriSpeech/ASR/transducer``): ``Fbank``, ``InputNormalization``
    and ``ConvolutionFrontEnd`` with one convolution for each block. Frames are
    those of SpeechBrain, of 40 ms by default, where the window of a frame lies
    within the utterance (:mod:`speechbrain_llsa.pretrained.log_mel` says what
    differs elsewhere). Frame k depends on the samples ``stride_samples`` * k
    ± ``padding_samples``: of the first, half are zeros.

    The statistics are measured once, before training
    (:meth:`measure`), and are part of the weights.

    Arguments
    ---------
    n_mels : int
        Mel filters.
    n_fft : int
        Points of a transform.
    window_samples : int
        Samples of the Hamming window.
    hop_samples : int
        Samples from one transform to the next.
    f_min : float
        Lowest frequency of the filters, in Hz.
    f_max : float
        Highest frequency of the filters, in Hz.
    floor_db : float
        Lowest energy, in dB.
    cnn_channels : list of int
        Output channels of each convolution.
    cnn_kernel_sizes : list of int
        Kernel size of each, in time and in frequency. Odd.
    cnn_strides : list of int
        Stride of each, in time and in frequency.
    dropout : float
        Dropout probability after each convolution.

    Raises
    ------
    TypeError
        If an argument is not a list, or a number not an integer.
    ValueError
        If the lists differ in length, or a number is out of range.

    Example
    -------
    >>> front_end = LogMelFrontEnd(n_mels=16, cnn_channels=[4, 2]).eval()
    >>> front_end.frame_seconds, front_end.receptive_field_samples
    (0.04, 1472)
    >>> waveform = torch.randn(2, 8000)
    >>> offline = front_end(waveform)
    >>> offline.shape
    torch.Size([2, 12, 8])
    >>> context = front_end.make_streaming_context()
    >>> pushes = waveform.split(777, dim=1)
    >>> frames = [front_end.forward_streaming(p, context) for p in pushes]
    >>> torch.allclose(torch.cat(frames, dim=1), offline, atol=1e-5)
    True
    """

    def __init__(
        self,
        n_mels=80,
        n_fft=512,
        window_samples=512,
        hop_samples=160,
        f_min=0.0,
        f_max=SAMPLE_RATE / 2,
        floor_db=-100.0,
        cnn_channels=(64, 32),
        cnn_kernel_sizes=(3, 3),
        cnn_strides=(2, 2),
        dropout=0.1,
    ):
        super().__init__()
        check_lists(
            cnn_channels=cnn_channels,
            cnn_kernel_sizes=cnn_kernel_sizes,
            cnn_strides=cnn_strides,
        )
        check_number("dropout", dropout, 0, 1)
        self.log_mel = LogMel(
            n_mels, n_fft, window_samples, hop_samples, f_min, f_max, floor_db
        )
        self.cnn_channels = list(cnn_channels)
        self.cnn_kernel_sizes = list(cnn_kernel_sizes)
        self.cnn_strides = list(cnn_strides)
        self.convolutions = nn.ModuleList()
        self.norms = nn.ModuleList()
        bands, channels = n_mels, 1
        for width, kernel_size, stride in zip(
            cnn_channels, cnn_kernel_sizes, cnn_strides, strict=True
        ):
            convolution = SpectralConvolution(
                bands, channels, width, kernel_size, stride
            )
            bands, channels = convolution.out_bands, width
            self.convolutions.append(convolution)
            self.norms.append(nn.LayerNorm(bands * channels))
        self.activation = nn.LeakyReLU()
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.Identity()
        self.kernel_sizes = [n_fft, *cnn_kernel_sizes]
        self.strides = [hop_samples, *cnn_strides]
        self.out_channels = [
            n_mels,
            *(norm.normalized_shape[0] for norm in self.norms),
        ]

    @property
    def padding_samples(self):
        """Zeros that precede each utterance: half a receptive field, so that
        the first frame is around the first sample."""
        return self.receptive_field_samples // 2

    @property
    def is_measured(self):
        """Whether the statistics have been measured or loaded."""
        return bool(self.log_mel.measured)

    def measure(self, waveforms):
        """Measures the statistics by which energies are normalised.

        Arguments
        ---------
        waveforms : iterable of torch.Tensor
            Utterances as in training, (samples,) each.

        Returns
        -------
        LogMelFrontEnd
            This one.

        Raises
        ------
        ValueError
            If all utterances are too short.

        Example
        -------
        >>> front_end = LogMelFrontEnd(n_mels=16, cnn_channels=[4, 2])
        >>> front_end.measure([torch.randn(16000)]).is_measured
        True
        """
        self.log_mel.measure(waveforms)
        return self

    def blocks(self):
        """The transform and the convolutions, each with what follows it."""
        yield self.log_mel, []
        for convolution, norm in zip(
            self.convolutions, self.norms, strict=True
        ):
            yield convolution, [norm, self.activation, self.dropout]

    def convolve(self, convolution, x):
        """Applies one of :meth:`blocks`."""
        return convolution(x)
