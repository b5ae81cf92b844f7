"""Transcribes live, from a microphone or from standard input."""

import contextlib
import os
import queue
import sys
import threading
import time

from tqdm import tqdm

from speechbrain_llsa_runtime.commands.sessions import (
    add_session_arguments,
    load_sessions,
)
from speechbrain_llsa_runtime.commands.signals import finish_on_signal
from speechbrain_llsa_runtime.commands.text_output import choose_output
from speechbrain_llsa_runtime.commands.warning_lines import warning_lines
from speechbrain_llsa_runtime.commands.word_files import (
    add_word_file_arguments,
    word_files,
    write_word_files,
)
from speechbrain_llsa_runtime.dataio.audio_stream import AudioStream
from speechbrain_llsa_runtime.dataio.channels import CancelledChannelsWarning
from speechbrain_llsa_runtime.dataio.microphone import Microphone
from speechbrain_llsa_runtime.dataio.pcm import PCMDecoder
from speechbrain_llsa_runtime.geometry import SAMPLE_RATE
from speechbrain_llsa_runtime.utils.errors import must_be

NAME = "listen"

WAIT_SECONDS = 0.1
"""How often signals are checked for while no audio arrives."""

PIPE_BYTES = 1 << 14
"""Maximum number of bytes per read from a pipe."""

PIPE_BLOCKS = 64
"""Maximum number of blocks in the queue; while it is full, the pipe waits."""


def add_arguments(parser, models=None):
    """Declares the arguments of the command.

    Arguments
    ---------
    parser : argparse.ArgumentParser
        Parser of the command.
    models : ExportedModels, optional
        The models that the command may work with.
    """
    parser.add_argument(
        "input",
        nargs="?",
        choices=["-"],
        metavar="-",
        help="standard input in place of the microphone: raw samples, or any "
        "format that soundfile or PyAV can decode",
    )
    add_session_arguments(parser, models, endpoint=True)
    parser.add_argument(
        "--sample_rate",
        type=int,
        metavar="N",
        help="samples per second (default: of the device; of standard input "
        f"{SAMPLE_RATE}; a header says it by itself, as the following two)",
    )
    parser.add_argument(
        "--channels", type=int, default=1, metavar="N", help="(default: 1)"
    )
    parser.add_argument(
        "--encoding",
        choices=["s16", "f32"],
        default="s16",
        help="samples of standard input (default: s16)",
    )
    parser.add_argument(
        "--device",
        metavar="NAME",
        help="number of the input device, or a part of its name",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print a line of JSON for each segment, with words and times",
    )
    add_word_file_arguments(parser, "listen-DATE-TIME", "the current one")


def run(arguments):
    """Runs the command until the input ends or a signal asks it to finish. In
    either case, the stream is finished and the rest of its text printed.

    Arguments
    ---------
    arguments : argparse.Namespace
        Its arguments.

    Raises
    ------
    FileNotFoundError
        If the model does not exist.
    ImportError
        If the microphone is used and sounddevice is not installed.
    OSError
        If there is no PortAudio, or no such device.
    ValueError
        If the model cannot be read, or an argument is not allowed.
    """
    name = time.strftime("listen-%Y%m%d-%H%M%S")
    targets = word_files(arguments, ".", name)
    source = _open_source(arguments)
    sessions = load_sessions(arguments)
    metadata = {
        "heard_seconds": 0.0,
        "look_ahead_seconds": sessions.look_ahead_seconds,
    }
    output = choose_output(
        arguments.json,
        sessions.endpointer,
        "",
        {},
        metadata,
        reserved_columns=0,
    )
    bar = tqdm(disable=None, leave=False, bar_format="{desc}", mininterval=0)
    # an unwritable path should fail now, not at the end of the stream
    write_word_files(targets, [])
    received_samples, warned = 0, False
    with (
        bar,
        finish_on_signal() as finish_requested,
        warning_lines(CancelledChannelsWarning),
        source,
        contextlib.ExitStack() as cleanup,
    ):
        transcription = sessions.begin(output, bar, bool(targets))
        # however the stream ends, its text is kept
        cleanup.callback(write_word_files, targets, transcription.words)
        cleanup.callback(transcription.finish)
        while not finish_requested.is_set():
            samples = source.read(WAIT_SECONDS)
            if samples is END:
                break
            if samples is None:
                continue
            received_samples += len(samples)
            metadata["heard_seconds"] = round(
                received_samples / source.sample_rate, 3
            )
            transcription.push(samples, source.sample_rate)
            bar.refresh()
            if source.overruns and not warned:
                warned = True
                bar.write("the device loses audio", file=sys.stderr)
    if source.overruns:
        print(f"{source.overruns} overruns of the device", file=sys.stderr)


END = object()
"""Sentinel that is read once the input has ended."""


def _open_source(arguments):
    device = arguments.device
    if arguments.input is None:
        if device is not None and device.isdecimal():
            device = int(device)
        return Microphone(arguments.sample_rate, arguments.channels, device)
    if device is not None:
        raise ValueError(
            must_be(
                "--device",
                "absent with -, which is standard input",
                repr(device),
            )
        )
    rate = arguments.sample_rate
    rate = SAMPLE_RATE if rate is None else rate
    decoder = PCMDecoder(rate, arguments.channels, arguments.encoding)
    descriptor = sys.stdin.fileno()
    return Pipe(
        AudioStream(
            lambda: os.read(descriptor, PIPE_BYTES), decoder, _print_message
        )
    )


def _print_message(text):
    tqdm.write(text, file=sys.stderr)


class Pipe:
    """Reads a stream in a thread of its own, so that waiting for it can time
    out.

    Arguments
    ---------
    stream : AudioStream
        The stream to read.
    """

    overruns = 0

    def __init__(self, stream):
        self._stream = stream
        self._blocks = queue.Queue(PIPE_BLOCKS)

    @property
    def sample_rate(self):
        """Samples per second; known once there are samples."""
        return self._stream.sample_rate

    def __enter__(self):
        threading.Thread(target=self._fill, daemon=True).start()
        return self

    def __exit__(self, *_):
        """Does nothing: the daemon thread ends with the program."""

    def read(self, timeout_seconds):
        """Returns the next samples, ``None`` on timeout, or ``END``."""
        try:
            samples = self._blocks.get(timeout=timeout_seconds)
        except queue.Empty:
            return None
        if isinstance(samples, Exception):
            raise samples
        return samples

    def _fill(self):
        try:
            for samples in self._stream:
                self._blocks.put(samples)
        except Exception as error:
            self._blocks.put(error)
        self._blocks.put(END)
