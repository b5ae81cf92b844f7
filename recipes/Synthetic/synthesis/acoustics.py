"""From dry synthetic speech to a recording: rate, level, silence, noise."""

import numpy as np
import torch
import torchaudio

SAMPLE_RATE = 16000
_HIGHEST_PEAK = 0.95
_FFT_GRID = 4096  # transforms of prime lengths are slow


def resample(samples, played_rate):
    """Resamples to 16 kHz.

    Arguments
    ---------
    samples : numpy.ndarray
        int16 samples, shape (samples,).
    played_rate : int
        The samples per second they are to be played at. Other than the rate
        of the synthesiser it scales all formants (and pitch and speed).

    Returns
    -------
    numpy.ndarray
        float32, shape (samples,), full scale 1.

    Example
    -------
    >>> len(resample(np.zeros(22000, dtype=np.int16), 22000))
    16000
    """
    waveform = torch.from_numpy(samples.astype(np.float32) / 32768.0)
    return torchaudio.functional.resample(
        waveform, played_rate, SAMPLE_RATE
    ).numpy()


def level_of(samples):
    """Root mean square, in decibels relative to full scale 1.

    Example
    -------
    >>> float(level_of(np.full(10, 0.1)))
    -20.0
    """
    power = np.mean(np.square(samples, dtype=np.float64))
    return np.round(10 * np.log10(power + 1e-20), 6)


def coloured_noise(count, slope, generator):
    """Gaussian noise of unit power.

    Arguments
    ---------
    count : int
        Number of samples.
    slope : float
        Exponent of its spectrum: 0 white, 1 pink, 2 brown.
    generator : numpy.random.Generator

    Returns
    -------
    numpy.ndarray
        float32, shape (count,).

    Example
    -------
    >>> noise = coloured_noise(16000, 1.0, np.random.default_rng(1))
    >>> float(abs(level_of(noise))) < 0.01
    True
    """
    padded = -(-count // _FFT_GRID) * _FFT_GRID
    spectrum = np.fft.rfft(generator.standard_normal(padded))
    frequencies = np.fft.rfftfreq(padded, 1 / SAMPLE_RATE)
    # Flat below 50 Hz: brown noise would be nothing but hum otherwise.
    spectrum *= np.maximum(frequencies, 50.0) ** (-slope / 2)
    spectrum[0] = 0.0
    noise = np.fft.irfft(spectrum, padded)[:count]
    noise /= np.sqrt(np.mean(noise**2)) + 1e-20
    return noise.astype(np.float32)


def record(speech, before, after, level, floor, ratio, generator):
    """Puts speech into a quiet room.

    Arguments
    ---------
    speech : numpy.ndarray
        float32 samples at 16 kHz, shape (samples,).
    before : int
        Samples of silence before the speech.
    after : int
        Samples of silence after it.
    level : float
        Root mean square of the speech, in dB relative to full scale; lowered
        where peaks would clip.
    floor : float
        Level of the room's noise in dB relative to full scale.
    ratio : float or None
        Signal-to-noise ratio in dB of additional noise of a random colour;
        None for none.
    generator : numpy.random.Generator

    Returns
    -------
    numpy.ndarray
        int16, shape (before + samples + after,).
    """
    gain = 10 ** ((level - level_of(speech)) / 20)
    recording = np.pad(speech * np.float32(gain), (before, after))
    count = len(recording)
    slope = generator.uniform(0.0, 2.0)
    room = coloured_noise(count, slope, generator)
    recording += room * np.float32(10 ** (floor / 20))
    if ratio is not None:
        slope = generator.uniform(0.0, 2.0)
        noise = coloured_noise(count, slope, generator)
        recording += noise * np.float32(10 ** ((level - ratio) / 20))
    peak = np.abs(recording).max()
    if peak > _HIGHEST_PEAK:
        recording *= np.float32(_HIGHEST_PEAK / peak)
    return np.round(recording * 32767).astype(np.int16)
