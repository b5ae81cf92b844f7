"""Generated noise for SpeechBrain's ``AddNoise``."""

import math

import torch
from speechbrain.augment.time_domain import pink_noise_like

from speechbrain_llsa_runtime.geometry import SAMPLE_RATE
from speechbrain_llsa_runtime.utils.checks import check_type
from speechbrain_llsa_runtime.utils.errors import must_be

_PINK = 0.5
"""Exponent of ``pink_noise_like``, of amplitudes: power falls as 1/f."""

_MAINS_HERTZ = (50.0, 60.0)
_HARMONICS = 10
_VOICES = 4


class GeneratedNoise:
    """Noise for each waveform of a batch, of a kind that is drawn for it: the
    ``noise_funct`` of SpeechBrain's ``AddNoise``, which sets its level. It
    measures noise over the whole row, padding included, so that short rows of
    a batch get less than is drawn.

    - ``white``, ``pink``: power even over frequency, or falling as 1/f;
    - ``hum``: the mains at 50 or 60 Hz and its harmonics;
    - ``babble``: four voices at once, from the batch itself.

    Draws from PyTorch's global generator, which the recipes seed for each step.

    Arguments
    ---------
    kinds : list of str
        The kinds to draw from, each as likely as the others.
    sample_rate : int
        Samples per second.

    Raises
    ------
    TypeError
        If the kinds are no list.
    ValueError
        If there is no kind, or an unknown one.

    Example
    -------
    >>> noise = GeneratedNoise(["pink", "hum", "babble"])
    >>> noise(torch.randn(4, 16000)).shape
    torch.Size([4, 16000])
    """

    def __init__(self, kinds=("white",), sample_rate=SAMPLE_RATE):
        self._makers = {
            "white": torch.randn_like,
            "pink": _pink,
            "hum": self._hum,
            "babble": _babble,
        }
        check_type("noise_kinds", kinds, (list, tuple))
        known = list(self._makers)
        if not kinds or not all(kind in known for kind in kinds):
            raise ValueError(
                must_be(
                    "noise_kinds",
                    f"a list of {', '.join(known)}",
                    repr(kinds),
                )
            )
        self.kinds = list(kinds)
        self.sample_rate = sample_rate

    def __call__(self, waveforms):
        """Makes noise.

        Arguments
        ---------
        waveforms : torch.Tensor
            (batch, samples).

        Returns
        -------
        torch.Tensor
            Of the same shape, of any level.
        """
        if len(self.kinds) == 1:
            return self._makers[self.kinds[0]](waveforms)
        chosen = torch.randint(
            len(self.kinds), (len(waveforms), 1), device=waveforms.device
        )
        noise = torch.zeros_like(waveforms)
        for number, kind in enumerate(self.kinds):
            made = self._makers[kind](waveforms)
            noise = torch.where(chosen == number, made, noise)
        return noise

    def _hum(self, waveforms):
        rows, samples = waveforms.shape
        mains = waveforms.new_tensor(_MAINS_HERTZ)
        drawn = torch.randint(len(mains), (rows,), device=waveforms.device)
        seconds = torch.arange(samples, device=waveforms.device)
        seconds = seconds.to(waveforms.dtype) / self.sample_rate
        hum = torch.zeros_like(waveforms)
        for harmonic in range(1, _HARMONICS + 1):
            size, phase = torch.rand(2, rows, 1, device=waveforms.device)
            turns = harmonic * mains[drawn].unsqueeze(1) * seconds + phase
            hum += size / harmonic * torch.sin(2 * math.pi * turns)
        return hum


def _pink(waveforms):
    # the transform is slow for lengths with large prime factors
    rows, samples = waveforms.shape
    longer = 2 ** max(samples - 1, 3).bit_length()
    shape = waveforms.new_empty(rows, longer)
    return pink_noise_like(shape, _PINK, _PINK)[:, :samples]


def _babble(waveforms):
    """Rows of the batch on top of one another, each turned in time, so that a
    batch of one hears itself at other times."""
    rows, samples = waveforms.shape
    noise = torch.zeros_like(waveforms)
    for _ in range(_VOICES):
        order = torch.randperm(rows, device="cpu").to(waveforms.device)
        shift = int(torch.randint(max(samples, 1), (), device="cpu"))
        noise += waveforms[order].roll(shift, dims=1)
    return noise
