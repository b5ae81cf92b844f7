"""Speech from text by espeak-ng, through ctypes.

espeak-ng is free software under the GNU General Public License, version 3.
It is not part of this project: the optional pip package espeakng-loader
brings its shared library and its data.
"""

import _ctypes
import ctypes
import os
import re
import signal
import sys
import tempfile
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_SYNCHRONOUS_RETRIEVAL = 2
_PHONEME_EVENTS_AND_NEVER_EXIT = 0x8001
_UTF8 = 1
_RATE, _VOLUME, _PITCH, _PITCH_RANGE = 1, 2, 3, 4
_EVENT_END_OF_LIST, _EVENT_WORD, _EVENT_PHONEME = 0, 1, 7
_LONGEST_DATA_PATH = 120  # espeak-ng has room for 160 characters
_QUIET_ENOUGH_NOT_TO_CLIP = 25


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    ]


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.POINTER(ctypes.c_short),
    ctypes.c_int,
    ctypes.POINTER(_Event),
)


@dataclass(frozen=True)
class Speech:
    """One spoken text.

    Arguments
    ---------
    samples : numpy.ndarray
        The waveform, int16, shape (samples,).
    sample_rate : int
        Samples per second.
    words : tuple of (str, int, int)
        The words of the text in order, each with the sample where it starts
        and the sample where it ends. Where espeak-ng speaks several words as
        one ("of the"), their common span is shared out by their letters.
    """

    samples: np.ndarray
    sample_rate: int
    words: tuple


def _find_library():
    """Paths of espeak-ng's shared library and of its data."""
    try:
        import espeakng_loader
    except ImportError as error:
        raise ImportError(
            "Speech synthesis needs the package espeakng-loader, which is "
            "not installed; get it by "
            'pip install "speechbrain-llsa[synthesis]".'
        ) from error
    return (
        str(espeakng_loader.get_library_path()),
        str(espeakng_loader.get_data_path()),
    )


def available_variants():
    """Names of the voice variants in espeak-ng's data.

    Returns
    -------
    set of str

    Raises
    ------
    ImportError
        If espeakng-loader is not installed.
    """
    folder = Path(_find_library()[1]) / "voices" / "!v"
    return {path.name for path in folder.iterdir() if path.is_file()}


class SpeechSynthesizer:
    """espeak-ng, made deterministic.

    espeak-ng keeps the phase of its pitch flutter and of its noise in static
    variables, so that the same text sounds different the second time. Each
    call of `say` therefore loads the library afresh (about 4 ms). One process
    must not speak in two threads at once.

    Raises
    ------
    ImportError
        If espeakng-loader is not installed.
    RuntimeError
        If espeak-ng does not start, or something else in this process uses
        it, so that speech would not be repeatable.

    Example
    -------
    >>> import pytest
    >>> espeakng_loader = pytest.importorskip("espeakng_loader")
    >>> speech = SpeechSynthesizer().say("one two", "en-us", "m3")
    >>> [word for word, start, end in speech.words]
    ['one', 'two']
    """

    def __init__(self):
        self._library_path, self._data_path = _find_library()
        if len(self._data_path) > _LONGEST_DATA_PATH:
            self._folder = tempfile.TemporaryDirectory()
            link = Path(self._folder.name) / "data"
            link.symlink_to(self._data_path, target_is_directory=True)
            self._data_path = str(link)
        self._variants = available_variants()
        self._pieces = []
        self._events = []
        self._failure = None
        self._callback = _Callback(self._receive)
        self._library = None
        try:
            self._load()
        finally:
            self._unload()

    def say(
        self,
        text,
        language,
        variant,
        rate=175,
        pitch=50,
        pitch_range=50,
        seed=0,
    ):
        """Speaks a text.

        Arguments
        ---------
        text : str
            English text; commas make short pauses.
        language : str
            A language of espeak-ng, for example "en-us".
        variant : str
            One of `available_variants()`.
        rate : int
            Words per minute, 80 to 450.
        pitch : int
            0 to 99, 50 being the usual pitch of the variant.
        pitch_range : int
            0 (monotone) to 99, 50 being usual.
        seed : int
            Seed of the noise in the voice.

        Returns
        -------
        Speech

        Raises
        ------
        ValueError
            If the language or the variant does not exist, or the text has no
            words.
        RuntimeError
            If espeak-ng fails.
        """
        if variant not in self._variants:
            raise ValueError(
                f"variant must be one of {sorted(self._variants)}, "
                f"got {variant!r}."
            )
        written = list(re.finditer(r"[^\s,.;:!?]+", text))
        if not written:
            raise ValueError(f"text must hold a word, got {text!r}.")
        self._pieces.clear()
        self._events.clear()
        self._failure = None
        with _interrupts_deferred():
            try:
                sample_rate = self._load()
                self._library.espeak_ng_SetRandSeed(seed % 2**31)
                status = self._speak(
                    text, f"{language}+{variant}", rate, pitch, pitch_range
                )
            finally:
                self._unload()
        if self._failure is not None:
            raise self._failure
        if status == "unknown voice":
            raise ValueError(
                f"language must be one that espeak-ng knows, got {language!r}."
            )
        if status or not self._pieces:
            raise RuntimeError(
                f"espeak-ng failed with status {status} on {text!r}."
            )
        samples = np.concatenate(self._pieces)
        words = _align(written, self._events, len(samples))
        return Speech(samples, sample_rate, words)

    def _speak(self, text, voice, rate, pitch, pitch_range):
        library = self._library
        if library.espeak_SetVoiceByName(voice.encode()):
            return "unknown voice"
        for parameter, value in (
            (_RATE, rate),
            (_VOLUME, _QUIET_ENOUGH_NOT_TO_CLIP),
            (_PITCH, pitch),
            (_PITCH_RANGE, pitch_range),
        ):
            library.espeak_SetParameter(parameter, int(value), 0)
        encoded = text.encode()
        return library.espeak_Synth(
            encoded, len(encoded) + 1, 0, 1, 0, _UTF8, None, None
        )

    def _receive(self, samples, count, events):
        # ctypes would swallow an exception.
        try:
            if samples and count > 0:
                self._pieces.append(
                    np.ctypeslib.as_array(samples, (count,)).copy()
                )
            index = 0
            while events[index].type != _EVENT_END_OF_LIST:
                event = events[index]
                self._events.append(
                    (event.type, event.text_position, event.sample, event.id)
                )
                index += 1
        except Exception as error:
            self._failure = error
            return 1
        return 0

    def _load(self):
        """Loads and starts the library; returns its samples per second."""
        if _is_loaded(self._library_path):
            raise RuntimeError(
                "espeak-ng is in use already in this process, so that speech "
                "would not be repeatable; synthesise in a process of its own."
            )
        self._library = library = ctypes.CDLL(self._library_path)
        library.espeak_Synth.argtypes = [
            ctypes.c_char_p,
            ctypes.c_size_t,
            ctypes.c_uint,
            ctypes.c_int,
            ctypes.c_uint,
            ctypes.c_uint,
            ctypes.c_void_p,
            ctypes.c_void_p,
        ]
        library.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
        library.espeak_ng_SetRandSeed.restype = None
        sample_rate = library.espeak_Initialize(
            _SYNCHRONOUS_RETRIEVAL,
            0,
            self._data_path.encode(),
            _PHONEME_EVENTS_AND_NEVER_EXIT,
        )
        if sample_rate <= 0:
            raise RuntimeError(
                f"espeak-ng did not start with its data in {self._data_path}."
            )
        library.espeak_SetSynthCallback(self._callback)
        return sample_rate

    def _unload(self):
        """Removes the library, and with it its static variables."""
        library, self._library = self._library, None
        if library is not None:
            library.espeak_Terminate()
            _close(library)


@contextmanager
def _interrupts_deferred():
    """Defers Ctrl-C, which would get lost in a ctypes callback."""
    here = threading.current_thread() is threading.main_thread()
    if not here or signal.getsignal(signal.SIGINT) is None:
        yield
        return
    received = []
    previous = signal.signal(
        signal.SIGINT, lambda number, frame: received.append(number)
    )
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
        if received:
            signal.raise_signal(signal.SIGINT)


def _is_loaded(path):
    """Whether this process has the library loaded, if that can be
    determined."""
    if not hasattr(os, "RTLD_NOLOAD"):
        return False
    try:
        library = ctypes.CDLL(path, mode=os.RTLD_NOLOAD)
    except OSError:
        return False
    _close(library)
    return True


def _close(library):
    if sys.platform == "win32":
        _ctypes.FreeLibrary(library._handle)
    else:
        _ctypes.dlclose(library._handle)


def _align(written, events, total_samples):
    """Assigns each written word its span of samples.

    Arguments
    ---------
    written : list of re.Match
        The words of the text and their positions.
    events : list of (int, int, int, bytes)
        What espeak-ng reported: type, position in the text (from 1), sample,
        name of the phoneme.
    total_samples : int
        Length of the speech.

    Returns
    -------
    tuple of (str, int, int)
    """
    ends = [match.end() for match in written]
    starts = {}
    for kind, position, sample, _ in events:
        if kind != _EVENT_WORD:
            continue
        index = next(
            (i for i, end in enumerate(ends) if position - 1 < end), None
        )
        if index is not None:
            starts.setdefault(index, sample)
    starts.setdefault(0, 0)
    pauses = [
        sample
        for kind, _, sample, name in events
        if kind == _EVENT_PHONEME and name.startswith(b"_")
    ]
    anchors = sorted(starts)
    words = []
    for anchor, following in zip(
        anchors, [*anchors[1:], len(written)], strict=True
    ):
        begin = max(starts[anchor], words[-1][2] if words else 0)
        limit = starts.get(following, total_samples)
        within = [pause for pause in pauses if begin < pause < limit]
        end = max(begin, min(within, default=limit))
        group = [match.group() for match in written[anchor:following]]
        letters = np.cumsum([0] + [len(word) for word in group])
        edges = begin + (end - begin) * letters // letters[-1]
        words += [
            (word, int(first), int(last))
            for word, first, last in zip(
                group, edges[:-1], edges[1:], strict=True
            )
        ]
    return tuple(words)
