"""Augmentation of waveforms for SpeechBrain's ``Augmenter``: random gain, and
silence around the speech.

Both draw from PyTorch's global generator, as SpeechBrain's own do, which the
recipes seed for each step.
"""

import torch
from speechbrain.augment.time_domain import pink_noise_like

from speechbrain_llsa.lobes.padding import sample_counts
from speechbrain_llsa_runtime.geometry import SAMPLE_RATE
from speechbrain_llsa_runtime.utils.checks import check_number

_WHITE, _BROWNISH = 0.0, 0.75
"""Exponents of ``pink_noise_like``, where 0.5 is pink."""


class RandomGain(torch.nn.Module):
    """Changes the level of each waveform, clipping at full scale as a converter
    does.

    SpeechBrain's ``RandAmp`` sets the peak, uniformly in amplitude, so that
    hardly any waveform is quiet. This class scales the existing level,
    uniformly in decibels.

    Arguments
    ---------
    low_db : float
        Smallest gain in decibels, -120 to 40.
    high_db : float
        Largest gain; with 0 for both, nothing changes.

    Raises
    ------
    TypeError
        If an argument is not a number.
    ValueError
        If an argument is out of range.

    Example
    -------
    >>> gain = RandomGain(low_db=-40, high_db=-20)
    >>> levels = 20 * gain(torch.ones(1000, 4)).log10()
    >>> bool((levels >= -40.001).all() and (levels <= -19.999).all())
    True
    """

    def __init__(self, low_db=0.0, high_db=0.0):
        super().__init__()
        _check_decibels(low_db, high_db, 40)
        self.low_db = float(low_db)
        self.high_db = float(high_db)

    def forward(self, waveforms):
        """Changes the levels.

        Arguments
        ---------
        waveforms : torch.Tensor
            (batch, samples), full scale 1.

        Returns
        -------
        torch.Tensor
            Of the same shape.
        """
        if self.low_db == self.high_db == 0.0:
            return waveforms
        gains = _amplitudes(waveforms, self.low_db, self.high_db)
        return (waveforms * gains).clamp(-1.0, 1.0)


class SilencePadding(torch.nn.Module):
    """Pads each waveform of some batches with silence: noise of random colour
    and level, from white to nearly brown.

    A model trained on nothing but speech takes silence for speech as well. All
    waveforms of a batch get the same total of silence, split differently
    between front and end, so that only the silence itself adds training time.
    Each row of a batch grows by that duration: a batch of many short utterances
    may need several times its memory.

    Arguments
    ---------
    probability : float
        Fraction of the batches; 0 for none.
    longest_seconds : float
        Longest total duration that is added.
    low_db : float
        Lowest level of the noise: root mean square in decibels relative to
        full scale 1, -120 to 0.
    high_db : float
        Highest level of the noise.
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
    >>> padding = SilencePadding(probability=1.0, longest_seconds=2.0)
    >>> waveforms, lengths = padding(torch.ones(2, 8000), torch.ones(2))
    >>> 8000 <= waveforms.shape[1] <= 40000, lengths
    (True, tensor([1., 1.]))
    """

    def __init__(
        self,
        probability=0.0,
        longest_seconds=6.0,
        low_db=-100.0,
        high_db=-30.0,
        sample_rate=SAMPLE_RATE,
    ):
        super().__init__()
        check_number("probability", probability, 0, 1)
        check_number("longest_seconds", longest_seconds, 0)
        check_number("sample_rate", sample_rate, 1)
        _check_decibels(low_db, high_db, 0)
        self.probability = probability
        self.longest_samples = round(longest_seconds * sample_rate)
        self.low_db = float(low_db)
        self.high_db = float(high_db)

    def forward(self, waveforms, lengths):
        """Pads the waveforms with silence.

        Arguments
        ---------
        waveforms : torch.Tensor
            (batch, samples), padded at the end.
        lengths : torch.Tensor
            Length of each waveform relative to the longest, (batch,).

        Returns
        -------
        torch.Tensor
            (batch, samples), possibly longer.
        torch.Tensor
            Their relative lengths, (batch,).
        """
        if (
            not self.probability
            or torch.rand((), device="cpu") >= self.probability
        ):
            return waveforms, lengths
        rows, samples = waveforms.shape
        added = int(torch.rand((), device="cpu") * self.longest_samples)
        counts = sample_counts(waveforms, lengths).unsqueeze(1)
        in_front = torch.rand(rows, 1, device=waveforms.device) * added
        noise = pink_noise_like(
            waveforms.new_empty(rows, samples + added), _WHITE, _BROWNISH
        )
        noise = noise / noise.square().mean(dim=1, keepdim=True).sqrt()
        noise = noise * _amplitudes(waveforms, self.low_db, self.high_db)
        places = torch.arange(samples + added, device=waveforms.device)
        noise = noise * (places < counts + added)
        places = places - in_front.long()
        moved = waveforms.gather(1, places.clamp(0, samples - 1))
        spoken = (places >= 0) & (places < counts)
        counts = counts.squeeze(1) + added
        return torch.where(spoken, moved, noise), counts / (samples + added)


def _amplitudes(waveforms, low_db, high_db):
    """Draws a factor for each row, uniformly in decibels, (batch, 1)."""
    drawn = torch.rand(len(waveforms), 1, device=waveforms.device)
    return 10 ** ((low_db + drawn * (high_db - low_db)) / 20)


def _check_decibels(low_db, high_db, highest):
    """Rejects a range that is out of range, or the wrong way round."""
    check_number("low_db", low_db, -120, highest)
    check_number("high_db", high_db, low_db, highest)
