"""What a model is evaluated on."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speechbrain_llsa_runtime.dataio.audio_files import read_signal


@dataclass(frozen=True)
class SpokenWord:
    """A word, and where it was said."""

    word: str
    """Its text."""

    start_seconds: float
    """Where it begins, since the utterance began."""

    end_seconds: float
    """Where it ends."""


@dataclass(frozen=True)
class Utterance:
    """What was said, and how it sounds.

    Example
    -------
    >>> utterance = Utterance("1", "ONE TWO", signal=np.zeros(8000))
    >>> utterance.read().dtype, len(utterance.read())
    (dtype('float32'), 8000)
    """

    identity: str
    """Its name."""

    transcript: str
    """What was said."""

    path: str | Path | None = None
    """An audio file of any rate, read when it is needed. ``None`` where there
    is a signal."""

    signal: np.ndarray | None = None
    """Samples at 16 kHz, (samples,), in place of a file."""

    words: tuple[SpokenWord, ...] | None = None
    """Where each word of the transcript was said. ``None`` where nobody
    knows."""

    channel: int | None = None
    """Which channel of the file is taken, counted from 0. ``None`` for the
    mean of all."""

    def read(self):
        """The audio.

        Returns
        -------
        numpy.ndarray
            Samples at 16 kHz, float32 (samples,).

        Raises
        ------
        FileNotFoundError
            If the file does not exist.
        ValueError
            If it cannot be read.
        """
        if self.signal is not None:
            return np.asarray(self.signal, np.float32)
        try:
            return read_signal(self.path, self.channel)
        except ValueError as error:
            raise ValueError(f"utterance {self.identity}: {error}") from error
