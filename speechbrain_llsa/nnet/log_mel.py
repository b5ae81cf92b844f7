"""Log-mel energies of a waveform, the same for any split of it."""

import math

import torch
from speechbrain.processing.features import STFT, Filterbank
from torch.nn import functional as F

from speechbrain_llsa_runtime.geometry import SAMPLE_RATE
from speechbrain_llsa_runtime.utils.checks import check_integer, check_number
from speechbrain_llsa_runtime.utils.errors import must_be

LEAST_DEVIATION = 1e-10
"""Deviations below it count as this one, in dB, as SpeechBrain's do."""

LEAST_MEASURED = 1.0
"""The least deviation that a measurement gives, in dB: a filter above all
frequencies of the audio stays at the floor."""


class LogMel(torch.nn.Module):
    """Windows of samples to normalised log-mel energies.

    The numbers are those of SpeechBrain's ``Fbank`` and ``InputNormalization``
    with global statistics, but for ``top_db``: that floor follows the loudest
    frame of each call, so that it needs the whole utterance. Here the floor is
    fixed. A window that holds the samples alone is a frame: nothing is padded.

    Spectra are computed in float64: the energy between two harmonics is a
    difference of large numbers, and float32 would leave it to chance, which
    differs from one split to another.

    Arguments
    ---------
    n_mels : int
        Mel filters.
    n_fft : int
        Points of a transform: samples that a frame depends on. Even.
    window_samples : int
        Samples of the Hamming window, in the middle of the ``n_fft``.
    hop_samples : int
        Samples from one frame to the next.
    f_min : float
        Lowest frequency of the filters, in Hz.
    f_max : float
        Highest frequency of the filters, in Hz.
    floor_db : float
        Lowest energy, in dB.

    Raises
    ------
    TypeError
        If an argument is not a number.
    ValueError
        If a number is out of range.

    Example
    -------
    >>> log_mel = LogMel(n_mels=40)
    >>> log_mel(torch.randn(2, 1600, 1)).shape
    torch.Size([2, 7, 40])
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
    ):
        super().__init__()
        check_integer("n_mels", n_mels, 1)
        check_integer("n_fft", n_fft, 2)
        check_integer("window_samples", window_samples, 1)
        check_integer("hop_samples", hop_samples, 1)
        if n_fft % 2:
            raise ValueError(must_be("n_fft", "even", n_fft))
        for name, samples in (
            ("window_samples", window_samples),
            ("hop_samples", hop_samples),
        ):
            if samples > n_fft:
                raise ValueError(
                    must_be(name, f"at most n_fft, {n_fft}", samples)
                )
        check_number("f_max", f_max, 0, SAMPLE_RATE / 2)
        check_number("f_min", f_min, 0, SAMPLE_RATE / 2)
        if f_min >= f_max:
            raise ValueError(must_be("f_min", f"below f_max, {f_max}", f_min))
        check_number("floor_db", floor_db, -1000, 1000)
        self.n_mels = n_mels
        self.n_fft = n_fft
        self.window_samples = window_samples
        self.hop_samples = hop_samples
        self.f_min = f_min
        self.f_max = f_max
        self.floor_db = floor_db
        # where PyTorch makes parameters
        device = torch.get_default_device()
        mean = torch.zeros(n_mels, device=device)
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", torch.ones_like(mean))
        self.register_buffer(
            "measured", torch.zeros(1, dtype=torch.int64, device=device)
        )
        self._constants = self._make_constants()
        for name, constant in self._constants.items():
            self.register_buffer(name, constant.to(device), persistent=False)

    def _make_constants(self):
        """Window and filters of SpeechBrain, float64 on the CPU: (n_fft,) and
        (n_fft / 2 + 1, n_mels)."""
        milliseconds = 1000 / SAMPLE_RATE
        with torch.device("cpu"):
            transform = STFT(
                SAMPLE_RATE,
                self.window_samples * milliseconds,
                self.hop_samples * milliseconds,
                self.n_fft,
            )
            before = (self.n_fft - self.window_samples) // 2
            behind = self.n_fft - self.window_samples - before
            window = F.pad(transform.window.double(), (before, behind))
            bank = Filterbank(
                n_mels=self.n_mels,
                log_mel=False,
                f_min=self.f_min,
                f_max=self.f_max,
                n_fft=self.n_fft,
                sample_rate=SAMPLE_RATE,
            )
            # of each frequency alone, the filters' energies are their weights
            single = torch.eye(bank.n_stft, device="cpu")
            filters = bank(single.unsqueeze(0))[0]
        return {"window": window, "filters": filters.double()}

    def _apply(self, fn, recurse=True):
        super()._apply(fn, recurse)
        # on the new device, and in float64 still
        for name, constant in self._constants.items():
            setattr(self, name, constant.to(getattr(self, name).device))
        return self

    def forward(self, x):
        """Computes the frames whose windows lie within the samples.

        Arguments
        ---------
        x : torch.Tensor
            (batch, samples, 1).

        Returns
        -------
        torch.Tensor
            Normalised, (batch, frames, n_mels), of the type of x.
        """
        deviation = self.deviation.double().clamp(min=LEAST_DEVIATION)
        energies = self.decibels(x.squeeze(2)) - self.mean.double()
        return (energies / deviation).to(x.dtype)

    def decibels(self, samples):
        """Computes energies that are not normalised.

        Arguments
        ---------
        samples : torch.Tensor
            (batch, samples), at least ``n_fft``.

        Returns
        -------
        torch.Tensor
            In dB, float64 (batch, frames, n_mels).
        """
        # (batch, samples) -> (batch, frames, n_fft)
        windows = samples.double().unfold(1, self.n_fft, self.hop_samples)
        if torch.compiler.is_exporting():
            power = self._power_by_products(windows)
        else:
            spectrum = torch.view_as_real(torch.fft.rfft(windows * self.window))
            power = spectrum.square().sum(-1)
        energies = power @ self.filters
        return 10 * energies.clamp(min=10 ** (self.floor_db / 10)).log10()

    def _power_by_products(self, windows):
        """Power by a product with the matrix of the transform, for runtimes
        that lack it."""
        points = torch.arange(self.n_fft, dtype=torch.float64, device="cpu")
        turns = points.outer(points[: self.n_fft // 2 + 1]) % self.n_fft
        angles = turns * (2 * math.pi / self.n_fft)
        matrix = torch.cat([angles.cos(), angles.sin()], dim=1)
        matrix = self.window.unsqueeze(1) * matrix.to(self.window)
        # (batch, frames, 2 * frequencies) -> (batch, frames, 2, frequencies)
        parts = (windows @ matrix).unflatten(2, (2, -1))
        return parts.square().sum(2)

    def measure(self, waveforms):
        """Measures mean and deviation of each filter's energies, which
        :meth:`forward` takes from then on.

        Arguments
        ---------
        waveforms : iterable of torch.Tensor
            Utterances as in training, (samples,) each. Those without a frame
            do not count.

        Returns
        -------
        LogMel
            This one.

        Raises
        ------
        ValueError
            If there is no frame.
        """
        count, mean, squares = 0, 0.0, 0.0
        for waveform in waveforms:
            if len(waveform) < self.n_fft:
                continue
            with torch.no_grad():
                energies = self.decibels(
                    waveform.to(self.window.device).unsqueeze(0)
                )[0]
            frames = len(energies)
            difference = energies.mean(0) - mean
            total = count + frames
            squares = (
                squares
                + energies.var(0, correction=0) * frames
                + difference.square() * count * frames / total
            )
            mean = mean + difference * frames / total
            count = total
        if not count:
            raise ValueError(
                must_be("waveforms", f"some of {self.n_fft} samples", "none")
            )
        deviation = (squares / count).sqrt().clamp(min=LEAST_MEASURED)
        return self.set_statistics(mean, deviation, count)

    @torch.no_grad()
    def set_statistics(self, mean, deviation, count):
        """Sets what :meth:`forward` normalises by.

        Arguments
        ---------
        mean : torch.Tensor
            Of each filter's energies, in dB, (n_mels,).
        deviation : torch.Tensor
            Standard deviation of each, in dB, (n_mels,).
        count : int
            How many frames or utterances they are of.

        Returns
        -------
        LogMel
            This one.

        Raises
        ------
        ValueError
            If a shape is another, a number is not finite, or a deviation is
            negative.
        """
        for name, values in (("mean", mean), ("deviation", deviation)):
            if values.shape != (self.n_mels,):
                raise ValueError(
                    must_be(
                        name,
                        f"of shape ({self.n_mels},)",
                        tuple(values.shape),
                    )
                )
            if not values.isfinite().all():
                raise ValueError(must_be(name, "finite", "other numbers"))
        if (deviation < 0).any():
            raise ValueError(
                must_be("deviation", "at least 0", deviation.min().item())
            )
        check_integer("count", count, 1)
        self.mean.copy_(mean)
        self.deviation.copy_(deviation)
        self.measured.fill_(count)
        return self
