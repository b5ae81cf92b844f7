"""Rooms for SpeechBrain's ``Augmenter``, without recordings of any."""

import torch
from torchaudio.functional import fftconvolve

from speechbrain_llsa_runtime.geometry import SAMPLE_RATE
from speechbrain_llsa_runtime.utils.checks import check_number

_DECAY = 6.908
"""Natural logarithm of 1000: a decay by 60 dB."""


class Reverberation(torch.nn.Module):
    """Adds the reverberation of a generated room to waveforms.

    SpeechBrain's ``AddReverb`` takes recorded impulse responses. Here each is
    drawn: the direct sound, and behind it noise that decays exponentially
    (Polack's model of late reverberation). Reverberation time and the ratio of
    direct to reverberant energy are drawn for each row, from PyTorch's global
    generator. The direct sound stays where it was, and levels stay what they
    were.

    Arguments
    ---------
    probability : float
        Fraction of the rows; 0 for none.
    shortest_seconds : float
        Least time in which the reverberation decays by 60 dB.
    longest_seconds : float
        Most.
    direct_low_db : float
        Least ratio of direct to reverberant energy, in decibels.
    direct_high_db : float
        Largest.
    sample_rate : int
        Samples per second.

    Raises
    ------
    TypeError
        If an argument is not a number.
    ValueError
        If an argument is out of range.

    Example
    -------
    >>> click = torch.zeros(1, 16000)
    >>> click[0, 100] = 1.0
    >>> heard = Reverberation(probability=1.0)(click)
    >>> int(heard.abs().argmax()), bool(heard[0, 200:2000].any())
    (100, True)
    """

    def __init__(
        self,
        probability=0.0,
        shortest_seconds=0.1,
        longest_seconds=0.6,
        direct_low_db=0.0,
        direct_high_db=15.0,
        sample_rate=SAMPLE_RATE,
    ):
        super().__init__()
        check_number("probability", probability, 0, 1)
        check_number("shortest_seconds", shortest_seconds, 0.01, 10)
        check_number("longest_seconds", longest_seconds, shortest_seconds, 10)
        check_number("direct_low_db", direct_low_db, -30, 60)
        check_number("direct_high_db", direct_high_db, direct_low_db, 60)
        check_number("sample_rate", sample_rate, 1)
        self.probability = probability
        self.seconds = (shortest_seconds, longest_seconds)
        self.direct_db = (direct_low_db, direct_high_db)
        self.sample_rate = sample_rate

    def forward(self, waveforms):
        """Adds reverberation.

        Arguments
        ---------
        waveforms : torch.Tensor
            (batch, samples).

        Returns
        -------
        torch.Tensor
            Of the same shape.
        """
        if not self.probability:
            return waveforms
        rows, samples = waveforms.shape
        in_room = torch.rand(rows, 1, device=waveforms.device)
        responses = self._impulse_responses(waveforms)
        heard = fftconvolve(waveforms, responses)[:, :samples]
        size = waveforms.square().sum(dim=1, keepdim=True)
        heard_size = heard.square().sum(dim=1, keepdim=True)
        heard = heard * (size / heard_size.clamp(min=1e-12)).sqrt()
        return torch.where(in_room < self.probability, heard, waveforms)

    def _impulse_responses(self, waveforms):
        rows = len(waveforms)
        drawn = torch.rand(2, rows, 1, device=waveforms.device)
        shortest, longest = self.seconds
        low_db, high_db = self.direct_db
        decay_seconds = shortest + drawn[0] * (longest - shortest)
        direct_db = low_db + drawn[1] * (high_db - low_db)
        count = int(longest * self.sample_rate)
        seconds = torch.arange(count, device=waveforms.device)
        seconds = seconds / self.sample_rate
        tail = torch.randn(rows, count, device=waveforms.device)
        tail = tail * torch.exp(-_DECAY * seconds / decay_seconds)
        tail[:, 0] = 0.0
        energy = tail.square().sum(dim=1, keepdim=True)
        responses = tail * (10 ** (-direct_db / 10) / energy).sqrt()
        responses[:, 0] = 1.0
        return responses.to(waveforms.dtype)
