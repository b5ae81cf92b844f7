"""The audio of a live stream on its way to the model: one channel, at the
rate of the model.

Needs NumPy alone.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from speechbrain_llsa_runtime.dataio.channels import ChannelMixer
from speechbrain_llsa_runtime.dataio.resampling import (
    ResamplerState,
    StreamingResampler,
    check_rate,
)
from speechbrain_llsa_runtime.dataio.samples import ScaleCheck, mono_samples
from speechbrain_llsa_runtime.geometry import SAMPLE_RATE
from speechbrain_llsa_runtime.utils.arrays import Array
from speechbrain_llsa_runtime.utils.errors import must_be
from speechbrain_llsa_runtime.utils.processes import CallLock


@dataclass(kw_only=True)
class AudioState:
    """What is remembered of the audio of a stream.

    Example
    -------
    >>> state, mixer = AudioState(), ChannelMixer()
    >>> state.take(np.zeros((640, 2), np.float32), 32000, mixer).shape
    (314,)
    >>> state.take_rest().shape, state.sample_rate
    ((6,), 32000)
    """

    sample_rate: int | None = None
    """Samples per second that come in. ``None`` before the first push, which
    sets it, and once the stream has ended."""

    signal: ResamplerState | None = None
    """Resampling to the rate of the model. ``None`` when ``sample_rate``
    is."""

    def take(
        self,
        samples: Array,
        sample_rate: int | None,
        mixer: ChannelMixer,
    ) -> NDArray[np.float32]:
        """Takes the next samples.

        Arguments
        ---------
        samples : torch.Tensor or numpy.ndarray
            float32, float64, int16 or int32; (samples,) or (samples,
            channels).
        sample_rate : int or None
            Samples per second; ``None`` for those of the pushes before, or at
            first those of the model.
        mixer : ChannelMixer
            Makes one channel of several.

        Returns
        -------
        numpy.ndarray
            float32 (samples,) at the rate of the model.

        Raises
        ------
        TypeError
            If samples or rate are of another type.
        ValueError
            If samples are not finite or of another shape, or if the rate is
            out of range or not that of the stream.
        """
        mono = mono_samples(samples, mixer)
        return self._settle_rate(sample_rate).push(mono, self.signal)

    def take_rest(self) -> NDArray[np.float32]:
        """Takes the end of the stream.

        Returns
        -------
        numpy.ndarray
            float32 (samples,) at the rate of the model: what was held back.
        """
        return self._settle_rate(None).finish(self.signal)

    def _settle_rate(self, sample_rate: int | None) -> StreamingResampler:
        """The first push sets the rate; any other rate is refused later."""
        if sample_rate is not None:
            sample_rate = check_rate("sample_rate", sample_rate)
        if self.sample_rate is None:
            self.sample_rate = sample_rate or SAMPLE_RATE
            resampler = resampler_from(self.sample_rate)
            self.signal = resampler.make_streaming_context()
        if sample_rate not in (None, self.sample_rate):
            raise ValueError(
                must_be(
                    "sample_rate",
                    f"{self.sample_rate}, with which the session began",
                    sample_rate,
                )
            )
        return resampler_from(self.sample_rate)


@lru_cache(maxsize=8)
def resampler_from(sample_rate: int) -> StreamingResampler:
    """The resampler to the rate of the model; streams of one rate share it.

    Arguments
    ---------
    sample_rate : int
        Samples per second that come in.

    Returns
    -------
    StreamingResampler
    """
    return StreamingResampler(sample_rate, SAMPLE_RATE)


OneSession = TypeVar("OneSession", bound="StreamSession")


class StreamSession:
    """A session: audio goes in, one call at a time, and a call that fails
    leaves the session as it was.

    A subclass sets ``_state``, an :class:`AudioState` with ``fork()``, and has
    ``finished`` and ``_advance(state, samples, final)``, which keeps the state
    and gives what is new.

    Arguments
    ---------
    channel : int, optional
        Which channel of the audio is taken, counted from 0. By default the
        mean of all.

    Raises
    ------
    TypeError
        If the channel is not an integer.
    ValueError
        If it is negative.
    """

    finished: Any
    _state: Any

    def __init__(self, channel: int | None = None) -> None:
        self._lock = CallLock()
        self._mixer = ChannelMixer(channel)
        # not in snapshots: a session that goes on elsewhere decides anew
        self._scale = ScaleCheck()

    def fork(self: OneSession) -> OneSession:
        """A second session that stands where this one stands. Neither knows
        of what happens to the other.

        Returns
        -------
        StreamSession
            Of the class of this one.
        """
        forked = copy.copy(self)
        forked._lock = CallLock()
        forked._state = forked._state.fork()
        return forked

    def _push(self, samples: Array, sample_rate: int | None) -> Any:
        with self._lock:
            state = self._open_fork()
            taken = state.take(samples, sample_rate, self._mixer)
            scale = self._scale.push(samples, state.sample_rate)
            new = self._advance(state, taken, final=False)
            self._scale = scale
            return new

    def _finish(self) -> Any:
        with self._lock:
            state = self._open_fork()
            return self._advance(state, state.take_rest(), final=True)

    def _advance(
        self, state: Any, samples: NDArray[np.float32], final: bool
    ) -> Any:
        raise NotImplementedError

    def _open_fork(self) -> Any:
        if self.finished:
            raise ValueError(
                must_be(
                    "session",
                    "one that goes on; begin a new one",
                    "a call after finish",
                )
            )
        return self._state.fork()
