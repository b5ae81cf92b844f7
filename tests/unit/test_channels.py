"""Several channels made one: which, and what cancels out."""

import warnings

import numpy as np
import pytest

from speechbrain_llsa_runtime.dataio.channels import (
    CancelledChannelsWarning,
    ChannelMixer,
)
from speechbrain_llsa_runtime.dataio.samples import mono_samples


def noise(seed=0, level=0.1):
    return np.random.default_rng(seed).normal(size=32000) * level


X, Y = noise(0), noise(1)

CANCELLING = {
    "opposite": (X, -X),
    "nearly opposite": (X, -0.9 * X),
    "with noise": (X + noise(2, 0.001), -X + noise(3, 0.001)),
    "two pairs": (X, -X, Y, -Y),
    "integers": ((X * 32767).astype(np.int16), (-X * 32767).astype(np.int16)),
    "after a while": (X, np.where(np.arange(32000) < 9000, X, -X)),
}
OTHERS = {
    "mono": (X,),
    "the same": (X, X),
    "independent": (X, Y),
    "one silent": (0 * X, X),
    "one much louder": (0.001 * X, -X),
    "delayed": (X[5:], X[:-5]),
    "half opposite": (X, -0.5 * X),
    "eight, one of them silent": (*(noise(i) for i in range(7)), 0 * X),
    "digital silence": (0 * X, 0 * X),
    "a quiet room": (noise(0, 0.002), -noise(0, 0.002)),
    "offsets": (0 * X + 0.002, 0 * X - 0.002),
}


def mixed(channels, mixer, push_samples):
    """What a mixer makes of a signal in pushes."""
    signal = np.stack(channels, axis=1)
    return np.concatenate(
        [
            mono_samples(signal[start : start + push_samples], mixer)
            for start in range(0, len(signal), push_samples)
        ]
    )


@pytest.mark.parametrize("push_samples", [7, 1600, 32000])
@pytest.mark.parametrize("name", CANCELLING)
def test_cancelling_channels_get_one_warning(name, push_samples):
    """One, however the signal is split; a mixer that takes one of the
    channels says nothing."""
    channels = [channel[:24500] for channel in CANCELLING[name]]
    with pytest.warns(CancelledChannelsWarning, match="cancel out") as told:
        mixer = ChannelMixer()
        mixed(channels, mixer, push_samples)
        mixed(channels, mixer, 32000)
    assert len(told) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for index, channel in enumerate(channels):
            taken = mixed(channels, ChannelMixer(index), push_samples)
            assert np.array_equal(taken, mono_samples(channel))


@pytest.mark.parametrize("push_samples", [7, 32000])
@pytest.mark.parametrize("name", OTHERS)
def test_others_get_none(name, push_samples):
    """Ordinary stereo, silence, and what is too quiet to be speech."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mean = mixed(OTHERS[name], ChannelMixer(), push_samples)
    assert np.allclose(mean, np.mean(OTHERS[name], axis=0), atol=1e-6)


def test_no_such_channel():
    """It is refused; mono audio has channel 0."""
    assert mono_samples(X, ChannelMixer(0)).shape == X.shape
    for samples in (X, X[:, None]):
        with pytest.raises(ValueError, match=r"channel must be below 1, .* 1$"):
            mono_samples(samples, ChannelMixer(1))
    with pytest.raises(ValueError, match=r"channel must .*got -1"):
        ChannelMixer(-1)
    for bad in (True, 1.0, "1"):
        with pytest.raises(TypeError, match=r"channel must .*got"):
            ChannelMixer(bad)
