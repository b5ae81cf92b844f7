"""A front end of convolutions with any norms, activations and biases, for
encoders that were trained elsewhere."""

from __future__ import annotations

from torch import nn

from speechbrain_llsa.nnet.frontend import (
    StreamingFrontEnd,
    check_convolutions,
)
from speechbrain_llsa_runtime.model_folder.description import (
    FRONT_END_FUNCTIONS,
)
from speechbrain_llsa_runtime.utils.errors import must_be


class NormOverTime(nn.GroupNorm):
    """A group norm of whole utterances, (batch, frames, channels).

    Its statistics are those of the utterance, with its padding: no frame is
    known before the last sample. ``speechbrain_llsa.pretrained.calibrate``
    replaces them by fixed ones.
    """

    def forward(self, x):
        """
        Arguments
        ---------
        x : torch.Tensor
            (batch, frames, channels).

        Returns
        -------
        torch.Tensor
            Of the same shape.
        """
        # (batch, frames, channels) -> (batch, channels, frames), and back
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


_FUNCTIONS = {
    "layer_norm": nn.LayerNorm,
    "instance_norm": lambda channels: NormOverTime(channels, channels),
    "group_norm": lambda channels: NormOverTime(1, channels),
    "gelu": lambda channels: nn.GELU(),
    "tanh": lambda channels: nn.Tanh(),
}
"""Makes what may follow a convolution of a number of channels."""


class ConvolutionalFrontEnd(StreamingFrontEnd):
    """Convolutions over a waveform, each followed by functions.

    wav2vec 2.0 and HuBERT have 7 convolutions, with kernels of 10, 3, 3, 3, 3,
    2 and 2; in the BASE models an instance norm follows the first, in the
    LARGE ones a layer norm follows each. Moonshine has 3, of 127, 7 and 3.
    Norms over time (``instance_norm``, ``group_norm``) cannot stream.

    Arguments
    ---------
    out_channels : list of int
        Output channels of each convolution.
    kernel_sizes : list of int
        Kernel size of each convolution, not below its stride.
    strides : list of int
        Stride of each convolution.
    biases : list of bool
        Whether each convolution has biases.
    functions : list of list of str
        What follows each convolution, in this order: "layer_norm" over the
        channels of a frame, "instance_norm" over the frames of a channel,
        "group_norm" over all channels and frames, "gelu", "tanh".
    closing_norm : bool
        Whether a layer norm follows the last convolution's functions.

    Raises
    ------
    TypeError
        If an argument is not a list, or a number not an integer.
    ValueError
        If the lists differ in length, a number is out of range, a kernel is
        below its stride, or there is no such function.

    Example
    -------
    >>> import torch
    >>> front_end = ConvolutionalFrontEnd(
    ...     out_channels=[4, 8],
    ...     kernel_sizes=[16, 3],
    ...     strides=[8, 2],
    ...     biases=[False, True],
    ...     functions=[["tanh"], ["gelu"]],
    ...     closing_norm=False,
    ... ).eval()
    >>> front_end.receptive_field_samples, front_end.stride_samples
    (32, 16)
    >>> front_end(torch.randn(2, 800)).shape
    torch.Size([2, 49, 8])
    """

    def __init__(
        self,
        out_channels,
        kernel_sizes,
        strides,
        biases,
        functions,
        closing_norm=True,
    ):
        super().__init__()
        check_convolutions(out_channels, kernel_sizes, strides)
        for name, values in (("biases", biases), ("functions", functions)):
            if not isinstance(values, (list, tuple)):
                raise TypeError(must_be(name, "a list", repr(values)))
            if len(values) != len(out_channels):
                raise ValueError(
                    must_be(
                        name,
                        f"a list of {len(out_channels)}, one entry for each "
                        "convolution",
                        len(values),
                    )
                )
        self.out_channels = list(out_channels)
        self.kernel_sizes = list(kernel_sizes)
        self.strides = list(strides)
        self.biases = [bool(bias) for bias in biases]
        self.functions = [_checked_functions(each) for each in functions]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(inputs, outputs, kernel_size, stride, bias=bias)
            for inputs, outputs, kernel_size, stride, bias in zip(
                self.in_channels,
                self.out_channels,
                self.kernel_sizes,
                self.strides,
                self.biases,
                strict=True,
            )
        )
        self.following = nn.ModuleList(
            nn.ModuleList(_FUNCTIONS[name](channels) for name in names)
            for channels, names in zip(
                self.out_channels, self.functions, strict=True
            )
        )
        self.norm = nn.Identity()
        if closing_norm:
            self.norm = nn.LayerNorm(self.out_channels[-1])

    def blocks(self):
        """The convolutions, each with its functions."""
        return zip(self.convolutions, self.following, strict=True)

    @property
    def norms_over_time(self):
        """Names of the norms that need the whole utterance, such as
        "following.0.0"."""
        return [
            name
            for name, module in self.named_modules()
            if isinstance(module, NormOverTime)
        ]

    def check_can_stream(self):
        """Rejects norms that need the whole utterance.

        Raises
        ------
        ValueError
            If there is one.
        """
        if self.norms_over_time:
            raise ValueError(
                must_be(
                    "front end",
                    "one without norms over time for streaming (import with "
                    "--calibrate FOLDER, or call "
                    "speechbrain_llsa.pretrained.calibrate)",
                    f"one with {', '.join(self.norms_over_time)}",
                )
            )


def _checked_functions(names):
    if not isinstance(names, (list, tuple)):
        raise TypeError(must_be("functions", "a list of lists", repr(names)))
    for name in names:
        if name not in FRONT_END_FUNCTIONS:
            raise ValueError(
                must_be(
                    "functions",
                    f"made of {', '.join(FRONT_END_FUNCTIONS)}",
                    repr(name),
                )
            )
    return list(names)
