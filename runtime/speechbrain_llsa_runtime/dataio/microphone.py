"""Microphone input through PortAudio."""

import queue

from speechbrain_llsa_runtime.dataio.resampling import check_rate
from speechbrain_llsa_runtime.utils.checks import check_integer
from speechbrain_llsa_runtime.utils.errors import must_be, reason

BLOCK_SECONDS = 0.05
"""Duration of the blocks that the device delivers."""

LONGEST_WAIT_SECONDS = 30
"""Maximum duration of audio in the queue."""


class Microphone:
    """An input device while it records; a context manager.

    Arguments
    ---------
    sample_rate : int, optional
        Samples per second; by default that of the device.
    channels : int
        Number of channels.
    device : int or str, optional
        Number of the device, or a part of its name; by default the system's
        default input.

    Raises
    ------
    ImportError
        If sounddevice is not installed.
    OSError
        If PortAudio is not installed, or if there is no such device, or it does
        not support these settings.
    TypeError
        If a number is not an integer.
    ValueError
        If a number is out of range.

    Example
    -------
    >>> with Microphone() as microphone:  # doctest: +SKIP
    ...     samples = microphone.read(0.1)
    """

    def __init__(self, sample_rate=None, channels=1, device=None):
        check_integer("channels", channels, 1)
        if sample_rate is not None:
            check_rate("sample_rate", sample_rate)
        sounddevice = _import_sounddevice()
        self.overruns = 0
        self._blocks = queue.Queue(round(LONGEST_WAIT_SECONDS / BLOCK_SECONDS))
        try:
            if sample_rate is None:
                about = sounddevice.query_devices(device, "input")
                sample_rate = round(about["default_samplerate"])
            self.sample_rate = check_rate("sample_rate", sample_rate)
            self._stream = sounddevice.InputStream(
                samplerate=sample_rate,
                blocksize=round(sample_rate * BLOCK_SECONDS),
                device=device,
                channels=channels,
                dtype="float32",
                callback=self._callback,
            )
        except (sounddevice.PortAudioError, ValueError) as error:
            raise _no_device(device, error) from error
        self._error = sounddevice.PortAudioError
        self._device = device

    def __enter__(self):
        try:
            self._stream.start()
        except self._error as error:
            self._stream.close()
            raise _no_device(self._device, error) from error
        return self

    def __exit__(self, *_):
        self._stream.close()

    def read(self, timeout_seconds):
        """The next samples.

        Arguments
        ---------
        timeout_seconds : float
            How long to wait.

        Returns
        -------
        numpy.ndarray or None
            float32 (samples, channels); ``None`` on timeout.

        Raises
        ------
        OSError
            If the device has stopped, as when it is unplugged.
        """
        try:
            return self._blocks.get(timeout=timeout_seconds)
        except queue.Empty:
            if not self._stream.active:
                raise _no_device(self._device, "it has stopped") from None
            return None

    def _callback(self, samples, frames, time, status):
        """Called by PortAudio in a thread of its own."""
        self.overruns += bool(status.input_overflow)
        try:
            self._blocks.put_nowait(samples.copy())
        except queue.Full:
            self.overruns += 1


def _import_sounddevice():
    try:
        import sounddevice
    except ImportError as error:
        raise ImportError(
            "sounddevice is needed to record a microphone, got no such "
            'package: pip install "speechbrain-llsa[microphone]"'
        ) from error
    except OSError as error:
        raise OSError(
            "sounddevice: the library PortAudio is needed to record a "
            f"microphone, got {reason(error)!r}"
        ) from error
    return sounddevice


def _no_device(device, error):
    name = "the default input" if device is None else repr(device)
    why = error if isinstance(error, str) else reason(error)
    return OSError(
        must_be("device", "an input device that records", f"{name}: {why}")
    )
