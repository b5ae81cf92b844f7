"""Resampling of audio that arrives push by push.

Uses the windowed sinc filter of ``torchaudio.transforms.Resample``, which
SpeechBrain uses for files, but needs only NumPy. Each sample is returned as
soon as the samples that it depends on have arrived, the last ones by
:meth:`finish`.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from speechbrain_llsa_runtime.snapshot import blank_array
from speechbrain_llsa_runtime.utils.errors import must_be

FILTER_ZEROS = 6
"""Zero crossings of the sinc on each side; the default of torchaudio."""

ROLL_OFF = 0.99
"""Cut-off relative to the lower Nyquist frequency; the default of torchaudio.
"""

LOWEST_RATE = 1000
HIGHEST_RATE = 768_000
"""Highest input rate. Beyond it, a signal is no speech, or its header is
damaged, and resampling would take hours or gigabytes."""

BLOCK_SAMPLES = 1 << 15
"""Samples that are computed at once, to bound memory."""

BLOCK_PHASES = 1 << 10
"""Phases whose filters are computed at once, to bound memory."""


@dataclass
class ResamplerState:
    """State of a resampler for one session."""

    kept: np.ndarray
    """Last source samples, which the next target samples depend on, (samples,).
    Initially the silence before the first sample."""

    received: int = 0
    """Source samples pushed so far."""

    given: int = 0
    """Target samples returned so far."""

    finished: bool = False
    """Whether the source has ended."""

    def fork(self):
        """Makes an independent copy, which shares the array.

        Returns
        -------
        ResamplerState
        """
        return replace(self)


class StreamingResampler:
    """Resamples one signal push by push.

    However the signal is split, the concatenated results equal
    ``torchaudio.transforms.Resample`` of the whole signal.

    Arguments
    ---------
    source_rate : int
        Samples per second of the input.
    target_rate : int
        Samples per second of the output.

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
    >>> integer_rate = resample(torch.from_numpy(signal)).numpy()
    >>> np.allclose(streamed, integer_rate, atol=1e-6)
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
        """Makes an initial state for :meth:`push`.

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
            State after the previous samples; updated in place.

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
            The state, which accepts no more samples after this.

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
        """Expected layout of a state in a snapshot
        (:mod:`speechbrain_llsa_runtime.snapshot`).

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
        """Number of target samples that can be computed."""
        # Target sample j needs source samples up to its centre + reach.
        reached = received - self._reach
        return max(0, -(-reached * self._target // self._source))

    def _advance(self, samples, state, ready):
        """Computes the target samples up to index ``ready``."""
        source = np.concatenate([state.kept, samples])
        # All indices are relative to the first sample still kept.
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
        # torchaudio rounds this quotient to float32, so this does as well
        position = (phase / self._target).astype(np.float32).astype(float)
        centre = phase * self._source // self._target
        tap = centre[:, None] + np.arange(-self._reach, self._reach + 1)
        time = (tap / self._source - position[:, None]) * cut_off
        time = time.clip(-FILTER_ZEROS, FILTER_ZEROS)
        window = np.cos(time * math.pi / FILTER_ZEROS / 2) ** 2
        taps = np.sinc(time) * window * cut_off / self._source
        return taps.astype(np.float32)


def check_rate(name, rate):
    """Checks that a sample rate is a whole number from 1000 to 768000.

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
        integer_rate = int(rate)
    except (TypeError, ValueError, OverflowError):
        integer_rate = None
    if (
        integer_rate is None
        or isinstance(rate, (str, bool))
        or integer_rate != rate
    ):
        raise TypeError(
            must_be(name, "a whole number of samples per second", repr(rate))
        )
    if not LOWEST_RATE <= integer_rate <= HIGHEST_RATE:
        raise ValueError(
            must_be(
                name,
                f"{LOWEST_RATE} to {HIGHEST_RATE} samples per second",
                integer_rate,
            )
        )
    return integer_rate


def _check_open(state):
    if state.finished:
        raise ValueError(
            must_be(
                "state",
                "that of a signal that goes on",
                "one that has been finished",
            )
        )
