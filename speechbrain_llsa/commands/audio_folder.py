"""Audio files of a folder, for commands that want some speech."""

from pathlib import Path

import torch

from speechbrain_llsa_runtime.dataio.audio_files import read_signal
from speechbrain_llsa_runtime.geometry import SAMPLE_RATE
from speechbrain_llsa_runtime.utils.errors import must_be

AUDIO_SUFFIXES = (".aiff", ".flac", ".mp3", ".ogg", ".opus", ".wav")

LONGEST_SECONDS = 30
"""Longer files are cut."""


def find_audio(folder, most, name):
    """Finds audio files in a folder and below it.

    Arguments
    ---------
    folder : str or pathlib.Path
        The folder.
    most : int
        How many files to take at most, evenly spread over their sorted names.
    name : str
        Name of the argument, for errors.

    Returns
    -------
    list of pathlib.Path

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    ValueError
        If it holds no audio files.

    Example
    -------
    >>> folder = getfixture("tmp_path")
    >>> for number in range(6):
    ...     (folder / f"{number}.wav").touch()
    >>> [path.name for path in find_audio(folder, 3, "--calibrate")]
    ['0.wav', '2.wav', '4.wav']
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(
            must_be(name, "an existing folder", repr(str(folder)))
        )
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file()
    )
    if not paths:
        raise ValueError(
            must_be(
                name,
                f"a folder with audio files ({', '.join(AUDIO_SUFFIXES)})",
                f"{str(folder)!r} without any",
            )
        )
    return spread(paths, most)


def spread(values, most):
    """Takes some values, evenly spread.

    Arguments
    ---------
    values : list
        All of them.
    most : int
        How many to take at most.

    Returns
    -------
    list

    Example
    -------
    >>> spread(list("abcdefg"), 3), spread(list("ab"), 3)
    (['a', 'c', 'e'], ['a', 'b'])
    """
    count = min(most, len(values))
    return [values[number * len(values) // count] for number in range(count)]


def read_utterance(path):
    """Reads the beginning of a file.

    Arguments
    ---------
    path : pathlib.Path
        The file, of any sample rate.

    Returns
    -------
    torch.Tensor
        At most 30 s at 16 kHz, (samples,).

    Raises
    ------
    ValueError
        If it cannot be read.
    """
    signal = torch.from_numpy(read_signal(path))
    return signal[: LONGEST_SECONDS * SAMPLE_RATE]
