"""Streamed resampling: that of the whole signal, for any split."""

import numpy as np
import pytest
import torch
import torchaudio
from hypothesis import given, settings
from hypothesis import strategies as st

from speechbrain_llsa_runtime.dataio.resampling import StreamingResampler
from tiny_model import split


def resample(signal, source_rate, lengths, target_rate=16000):
    resampler = StreamingResampler(source_rate, target_rate)
    state = resampler.make_streaming_context()
    pushes = split(signal.numpy(), lengths)
    given = [resampler.push(samples, state) for samples in pushes]
    return torch.from_numpy(np.concatenate([*given, resampler.finish(state)]))


@settings(max_examples=60, deadline=None)
@given(
    rate=st.sampled_from([8000, 11025, 16000, 22050, 32000, 44100, 48000]),
    samples=st.integers(1, 4000),
    lengths=st.lists(st.integers(0, 1500), max_size=8),
)
def test_any_split_equals_the_whole(rate, samples, lengths):
    """Any split gives what torchaudio gives for the whole, to 1e-6."""
    signal = torch.rand(samples) * 2 - 1
    expected = torchaudio.transforms.Resample(rate, 16000)(signal)
    streamed = resample(signal, rate, lengths)
    assert streamed.shape == expected.shape
    assert (streamed - expected).abs().max() < 1e-6


@pytest.mark.parametrize("rate", [12345, 44056])
def test_rates_without_a_simple_ratio(rate):
    """Odd rates give what torchaudio gives, too."""
    signal = torch.rand(3000) * 2 - 1
    expected = torchaudio.transforms.Resample(rate, 16000)(signal)
    streamed = resample(signal, rate, [1, 100, 1000])
    assert streamed.shape == expected.shape
    assert (streamed - expected).abs().max() < 1e-6


def test_pure_tone_keeps_its_frequency():
    """A tone of 440 Hz at 44.1 kHz is one of 440 Hz at 16 kHz."""
    seconds = torch.arange(44100, dtype=torch.float64) / 44100
    signal = torch.sin(2 * torch.pi * 440 * seconds).float()
    seconds = torch.arange(16000, dtype=torch.float64) / 16000
    expected = torch.sin(2 * torch.pi * 440 * seconds).float()
    streamed = resample(signal, 44100, [500] * 80)
    assert (streamed - expected)[100:-100].abs().max() < 1e-2


def test_no_samples():
    """Nothing in, nothing out."""
    assert resample(torch.zeros(0), 44100, [0, 0]).shape == (0,)


def test_samples_come_early():
    """What is held back is the reach of the filter, below a millisecond."""
    resampler = StreamingResampler(44100, 16000)
    state = resampler.make_streaming_context()
    given_samples = resampler.push(np.zeros(44100), state).shape[0]
    assert given_samples >= 16000 - 8


def test_a_day_later_nothing_has_changed():
    """After 24 hours a push gives what it gives at the start."""
    resampler = StreamingResampler(44100, 16000)
    fresh, old = (resampler.make_streaming_context() for _ in range(2))
    old.received = 24 * 3600 * 44100
    old.given = 24 * 3600 * 16000
    signal = torch.rand(1000).numpy()
    assert np.array_equal(
        resampler.push(signal, fresh), resampler.push(signal, old)
    )


def test_fork_goes_its_own_way():
    """A fork does not change the state that it comes from."""
    resampler = StreamingResampler(8000, 16000)
    state = resampler.make_streaming_context()
    resampler.push(torch.rand(500).numpy(), state)
    fork = state.fork()
    signal = torch.rand(500).numpy()
    expected = resampler.push(signal, fork)
    assert np.array_equal(resampler.push(signal, state), expected)


def test_a_long_push_takes_no_more_memory_than_blocks():
    """A push longer than a block of the calculation is seamless."""
    signal = torch.rand(200000) * 2 - 1
    expected = torchaudio.transforms.Resample(32000, 16000)(signal)
    assert (resample(signal, 32000, []) - expected).abs().max() < 1e-6


@pytest.mark.parametrize(
    ("rate", "error", "message"),
    [
        (0, ValueError, r"source_rate must .*got 0"),
        (-8000, ValueError, r"source_rate must .*got -8000"),
        (44100.5, TypeError, r"source_rate must .*got 44100.5"),
        ("44100", TypeError, r"source_rate must .*got '44100'"),
        (None, TypeError, r"source_rate must .*got None"),
        (float("nan"), TypeError, r"source_rate must .*got nan"),
    ],
)
def test_bad_rates_are_refused(rate, error, message):
    """A rate is a positive whole number."""
    with pytest.raises(error, match=message):
        StreamingResampler(rate, 16000)


def test_nothing_follows_the_end():
    """A finished state takes neither samples nor another end."""
    resampler = StreamingResampler(8000, 16000)
    state = resampler.make_streaming_context()
    resampler.finish(state)
    with pytest.raises(ValueError, match="has been finished"):
        resampler.push(np.zeros(1), state)
    with pytest.raises(ValueError, match="has been finished"):
        resampler.finish(state)
