"""An utterance of a test set: audio, transcript and word times."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speechbrain_llsa_runtime.dataio.audio_files import read_signal


@dataclass(frozen=True)
class SpokenWord:
    """A word, and when it was spoken."""

    word: str
    """Text of the word."""

    start_seconds: float
    """Start, counted from the beginning of the utterance."""

    end_seconds: float
    """End, counted from the beginning of the utterance."""


@dataclass(frozen=True)
class Utterance:
    """Audio with its transcript.

    Example
    -------
    >>> utterance = Utterance("1", "ONE TWO", signal=np.zeros(8000))
    >>> utterance.read().dtype, len(utterance.read())
    (dtype('float32'), 8000)
    """

    identity: str
    """Name of the utterance."""

    transcript: str
    """The spoken words."""

    path: str | Path | None = None
    """An audio file of any sample rate, read when it is needed. ``None`` if
    there is a signal instead."""

    signal: np.ndarray | None = None
    """Samples at 16 kHz, (samples,), instead of a file."""

    words: tuple[SpokenWord, ...] | None = None
    """Times of the words of the transcript. ``None`` if unknown."""

    channel: int | None = None
    """Channel of the file to use, counted from 0. ``None`` for the mean of all
    channels."""

    def read(self):
        """Reads the audio, or returns the signal.

        Returns
        -------
        numpy.ndarray
            Samples at 16 kHz, float32 (samples,).

        Raises
        ------
        FileNotFoundError
            If the file does not exist.
        ValueError
            If the file cannot be read.
        """
        if self.signal is not None:
            return np.asarray(self.signal, np.float32)
        try:
            return read_signal(self.path, self.channel)
        except ValueError as error:
            raise ValueError(f"utterance {self.identity}: {error}") from error
