"""Resampling of audio that arrives push by push.

The same windowed sinc filter as ``torchaudio.transforms.Resample``, which
SpeechBrain uses for files, but in NumPy alone. Each sample is given as soon as
the samples that it depends on are there, and the last ones with
:meth:`finish`.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from speechbrain_llsa_runtime.snapshot import blank_array
from speechbrain_llsa_runtime.utils.errors import must_be

FILTER_ZEROS = 6
"""Zero crossings of the sinc on each side, as torchaudio's default."""

ROLL_OFF = 0.99
"""Cut-off in parts of the lower Nyquist frequency, as torchaudio's."""

LOWEST_RATE = 1000
HIGHEST_RATE = 768_000
"""Samples per second that signals come in; what lies beyond is no speech, or
a damaged header, and would ask for hours of work or gigabytes."""

BLOCK_SAMPLES = 1 << 15
"""Samples that are calculated at once, to bound the memory."""

BLOCK_PHASES = 1 << 10
"""Phases whose filters are calculated at once, to bound the memory."""


@dataclass
class ResamplerState:
    """What a resampler remembers of one session."""

    kept: np.ndarray
    """End of the source that samples to come still need, (samples,). It
    begins with the silence before the first sample."""

    received: int = 0
    """Source samples pushed so far."""

    given: int = 0
    """Target samples given so far."""

    finished: bool = False
    """Whether the source has ended."""

    def fork(self):
        """An independent copy, which shares the array.

        Returns
        -------
        ResamplerState
        """
        return replace(self)


class StreamingResampler:
    """Resamples one signal push by push.

    What all pushes give together equals ``torchaudio.transforms.Resample`` of
    the whole signal, however it is split.

    Arguments
    ---------
    source_rate : int
        Samples per second that come in.
    target_rate : int
        Samples per second that go out.

    Raises
    ------
    TypeError
        If a rate is not a whole number.
    ValueError
        If a rate is not 1000 to 768000.

    Example
    -------
    >>> resampler = StreamingResampler(44100, 16000)
    >>> state = resampler.make_streaming_context()
    >>> signal = np.sin(np.arange(44100, dtype=np.float32))
    >>> pushes = [resampler.push(s, state) for s in np.split(signal, 9)]
    >>> streamed = np.concatenate([*pushes, resampler.finish(state)])
    >>> import torch, torchaudio
    >>> resample = torchaudio.transforms.Resample(44100, 16000)
    >>> whole = resample(torch.from_numpy(signal)).numpy()
    >>> np.allclose(streamed, whole, atol=1e-6)
    True
    """

    def __init__(self, source_rate, target_rate):
        source_rate = check_rate("source_rate", source_rate)
        target_rate = check_rate("target_rate", target_rate)
        divisor = math.gcd(source_rate, target_rate)
        self.source_rate = source_rate
        self.target_rate = target_rate
        self._source = source_rate // divisor
        self._target = target_rate // divisor
        self._reach = 0
        if self._source != self._target:
            cut_off = min(self._source, self._target) * ROLL_OFF
            self._reach = math.ceil(FILTER_ZEROS * self._source / cut_off)
            self._taps = self._make_taps(cut_off)

    def make_streaming_context(self):
        """A fresh state for :meth:`push`.

        Returns
        -------
        ResamplerState
        """
        return ResamplerState(kept=np.zeros(self._reach, np.float32))

    def push(self, samples, state):
        """Resamples the next samples.

        Arguments
        ---------
        samples : numpy.ndarray
            The next source samples, float32 (samples,), any number of them.
        state : ResamplerState
            What lies behind them. It is brought up to date.

        Returns
        -------
        numpy.ndarray
            The target samples that are now complete, (samples,).

        Raises
        ------
        ValueError
            If the state has been finished.
        """
        _check_open(state)
        state.received += samples.shape[0]
        if self._source == self._target:
            state.given = state.received
            return samples
        return self._advance(samples, state, self._ready(state.received))

    def finish(self, state):
        """Ends the signal, as if silence followed.

        Arguments
        ---------
        state : ResamplerState
            The state, which takes no more samples after this.

        Returns
        -------
        numpy.ndarray
            The rest of the target samples, (samples,).

        Raises
        ------
        ValueError
            If the state has been finished.
        """
        _check_open(state)
        state.finished = True
        if self._source == self._target:
            return state.kept
        silence = np.zeros(self._reach, np.float32)
        total = -(-state.received * self._target // self._source)
        return self._advance(silence, state, total)

    def context_form(self, received):
        """The form of a state (:mod:`speechbrain_llsa_runtime.snapshot`).

        Arguments
        ---------
        received : int
            Source samples pushed.

        Returns
        -------
        ResamplerState
        """
        kept, given = 0, received
        if self._source != self._target:
            given = self._ready(received)
            first = given * self._source // self._target
            kept = self._reach + received - first
        return ResamplerState(blank_array(np.float32, kept), received, given)

    def _ready(self, received):
        """How many target samples are complete."""
        # Target sample j needs source samples up to its centre + reach.
        reached = received - self._reach
        return max(0, -(-reached * self._target // self._source))

    def _advance(self, samples, state, ready):
        """Gives the target samples up to index ``ready``."""
        source = np.concatenate([state.kept, samples])
        # Everything is counted from the first sample still kept.
        first = state.given * self._source // self._target
        pieces = [source[:0]]
        for start in range(state.given, ready, BLOCK_SAMPLES):
            stop = min(start + BLOCK_SAMPLES, ready)
            target = np.arange(start, stop)
            centre = target * self._source // self._target - first
            windows = np.lib.stride_tricks.sliding_window_view(
                source, self._taps.shape[1]
            )[centre]
            taps = self._taps[target % self._target]
            pieces.append((windows * taps).sum(axis=1))
        state.given = max(state.given, ready)
        next_first = state.given * self._source // self._target
        state.kept = source[next_first - first :].copy()
        return np.concatenate(pieces)

    def _make_taps(self, cut_off):
        """The filter of each phase: (phases, 2 * reach + 1)."""
        return np.concatenate(
            [
                self._phase_taps(
                    np.arange(first, min(first + BLOCK_PHASES, self._target)),
                    cut_off,
                )
                for first in range(0, self._target, BLOCK_PHASES)
            ]
        )

    def _phase_taps(self, phase, cut_off):
        # torchaudio rounds this quotient to float32. To agree, so do we.
        position = (phase / self._target).astype(np.float32).astype(float)
        centre = phase * self._source // self._target
        tap = centre[:, None] + np.arange(-self._reach, self._reach + 1)
        time = (tap / self._source - position[:, None]) * cut_off
        time = time.clip(-FILTER_ZEROS, FILTER_ZEROS)
        window = np.cos(time * math.pi / FILTER_ZEROS / 2) ** 2
        taps = np.sinc(time) * window * cut_off / self._source
        return taps.astype(np.float32)


def check_rate(name, rate):
    """Refuses a sample rate that is not a whole number of 1000 to 768000.

    Arguments
    ---------
    name : str
        Name of the argument, for the error.
    rate : int
        Samples per second.

    Returns
    -------
    int
        The rate.

    Raises
    ------
    TypeError
        If the rate is not a whole number.
    ValueError
        If the rate is out of range.

    Example
    -------
    >>> check_rate("sample_rate", 44100.0)
    44100
    """
    try:
        whole = int(rate)
    except (TypeError, ValueError, OverflowError):
        whole = None
    if whole is None or isinstance(rate, (str, bool)) or whole != rate:
        raise TypeError(
            must_be(name, "a whole number of samples per second", repr(rate))
        )
    if not LOWEST_RATE <= whole <= HIGHEST_RATE:
        raise ValueError(
            must_be(
                name,
                f"{LOWEST_RATE} to {HIGHEST_RATE} samples per second",
                whole,
            )
        )
    return whole


def _check_open(state):
    if state.finished:
        raise ValueError(
            must_be(
                "state",
                "that of a signal that goes on",
                "one that has been finished",
            )
        )
