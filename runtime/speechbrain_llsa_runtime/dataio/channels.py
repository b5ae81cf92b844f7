"""Mixes channels to mono, and warns if they cancel out. Needs only NumPy."""

import warnings

import numpy as np

from speechbrain_llsa_runtime.utils.callers import caller_stacklevel
from speechbrain_llsa_runtime.utils.checks import check_integer

WINDOW_SAMPLES = 8000
"""Length of the windows in which power is compared."""

AUDIBLE_POWER = 1e-5
"""Mean square above which a window is not silence: -50 dB."""

CANCELLED_RATIO = 0.01
"""Channels cancel out if the power of their mean is below this fraction of
their own, -20 dB. Two unrelated channels keep a half, eight an eighth."""


class CancelledChannelsWarning(UserWarning):
    """Warns that channels cancel out in their mean."""


class ChannelMixer:
    """Selects one channel of a signal, or averages all, with one warning if
    they cancel out, as two of opposite sign do.

    Arguments
    ---------
    channel : int, optional
        The channel, counted from 0. The mean by default.

    Raises
    ------
    TypeError
        If it is not an integer.
    ValueError
        If it is negative.

    Example
    -------
    >>> stereo = np.array([[0.5, 0.0], [0.5, 1.0]], dtype=np.float32)
    >>> ChannelMixer().mix(stereo), ChannelMixer(1).mix(stereo)
    (array([0.25, 0.75], dtype=float32), array([0., 1.], dtype=float32))
    """

    def __init__(self, channel=None):
        if channel is not None:
            check_integer("channel", channel, 0)
        self.channel = channel
        self._warned = False
        self._samples = 0
        self._power = np.zeros(2)

    def mix(self, samples):
        """Makes the next samples mono.

        Arguments
        ---------
        samples : numpy.ndarray
            float32 (samples, channels).

        Returns
        -------
        numpy.ndarray
            float32 (samples,).

        Raises
        ------
        ValueError
            If there is no such channel.
        """
        channels = samples.shape[1]
        if self.channel is None and channels > 1:
            mean = samples.mean(axis=1)
            if not self._warned:
                self._check_cancellation(samples, mean)
            return mean
        channel = self.channel or 0
        if channel >= channels:
            raise ValueError(
                f"channel must be below {channels}, the number of channels, "
                f"as the first one is 0, got {channel}"
            )
        return np.ascontiguousarray(samples[:, channel])

    def _check_cancellation(self, samples, mean):
        """Warns if channels cancel out within a window. Windows do not overlap,
        and do not depend on where pushes end."""
        while len(mean) and not self._warned:
            count = min(len(mean), WINDOW_SAMPLES - self._samples)
            self._samples += count
            self._power += [
                np.square(samples[:count], dtype=float).mean(axis=1).sum(),
                np.square(mean[:count], dtype=float).sum(),
            ]
            samples, mean = samples[count:], mean[count:]
            if self._samples < WINDOW_SAMPLES:
                return
            channel_power, mean_power = self._power / WINDOW_SAMPLES
            self._samples, self._power = 0, np.zeros(2)
            self._warned = (
                channel_power > AUDIBLE_POWER
                and mean_power < CANCELLED_RATIO * channel_power
            )
        if self._warned:
            warnings.warn(
                f"the {samples.shape[1]} channels cancel out: their mean, "
                "which is transcribed, is nearly silent, and they are not; "
                "choose one of them (channel=0, --channel 0)",
                CancelledChannelsWarning,
                stacklevel=caller_stacklevel(),
            )
