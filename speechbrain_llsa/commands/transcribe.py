"""Streams audio files through a model, and prints text as it is committed."""

import json
import shutil
import sys
from pathlib import Path

from tqdm import tqdm

from speechbrain_llsa.commands.model import (
    add_geometry_arguments,
    add_model_arguments,
    load_model,
)
from speechbrain_llsa.inference.audio import audio_info, read_blocks

NAME = "transcribe"

BLOCK_SECONDS = 0.1
"""Audio that is pushed at once; the text does not depend on it."""


def add_arguments(parser):
    """Declares the arguments of the command.

    Arguments
    ---------
    parser : argparse.ArgumentParser
        Parser of the command.
    """
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="audio of any rate, with up to 8 channels",
    )
    add_model_arguments(parser)
    add_geometry_arguments(parser)
    parser.add_argument(
        "--json",
        action="store_true",
        help="print one line of JSON for each file, when it ends",
    )


def run(arguments):
    """Runs the command.

    Arguments
    ---------
    arguments : argparse.Namespace
        Its arguments.

    Raises
    ------
    FileNotFoundError
        If the model or a file does not exist.
    ValueError
        If the model or a file cannot be read, or the model is not trained for
        the hop or the look-ahead.
    """
    asr = load_model(arguments)
    infos = {path: audio_info(path) for path in arguments.files}
    geometry = {"hop": arguments.hop, "look_ahead": arguments.look_ahead}
    latency = asr.latency_report(**geometry).declared_latency
    for path in arguments.files:
        info = infos[path]
        output = _output(arguments.json)
        if not arguments.json and len(arguments.files) > 1:
            output.write(f"{path}: ")
        session = asr.session(**geometry)
        text = _transcribe(session, path, info, output)
        if arguments.json:
            result = {
                "file": path,
                "text": text,
                "duration_seconds": round(info.duration_seconds, 6),
                "look_ahead_seconds": latency.look_ahead_seconds,
            }
            print(json.dumps(result, ensure_ascii=False), flush=True)


def _transcribe(session, path, info, output):
    """Streams one file. Its text goes to the output as it is committed."""
    bar = tqdm(
        total=round(info.duration_seconds, 3),
        desc=Path(path).name,
        disable=None,
        leave=False,
        bar_format="{percentage:3.0f}% |{bar:20}| {desc}",
    )
    with bar:
        for block in read_blocks(path, BLOCK_SECONDS):
            transcript = session.push(block, info.sample_rate)
            output.show(transcript, bar)
            bar.update(len(block) / info.sample_rate)
        output.show(session.finish(), bar)
        output.end(bar)
    return session.text


def _output(as_json):
    """What shows text: nothing, a plain stream, or lines over a bar."""
    if as_json:
        return SilentOutput()
    if sys.stdout.isatty() and sys.stderr.isatty():
        return TerminalOutput()
    return PlainOutput()


class SilentOutput:
    """Shows nothing before the end."""

    def write(self, text):
        """Takes text that is not of the transcript."""

    def show(self, transcript, bar):
        """Takes what a session says, with the bar that stands below."""

    def end(self, bar):
        """Takes the end of a file."""


class PlainOutput(SilentOutput):
    """Prints committed text at once, as into a pipe."""

    def write(self, text):
        """Prints text that is not of the transcript."""
        print(text, end="", flush=True)

    def show(self, transcript, bar):
        """Prints the committed text."""
        self.write(transcript.committed)

    def end(self, bar):
        """Ends the line."""
        self.write("\n")


class TerminalOutput(SilentOutput):
    """Shows the line that grows, with its provisional text, in the bar, and
    prints it above the bar when it is full."""

    def __init__(self):
        self.line = ""

    def write(self, text):
        """Begins a line."""
        self.line += text

    def show(self, transcript, bar):
        """Shows committed and provisional text."""
        self.line += transcript.committed
        columns = shutil.get_terminal_size().columns - 1
        while len(self.line) > columns:
            cut = self.line.rfind(" ", 1, columns + 1)
            cut = columns if cut < 0 else cut
            bar.write(self.line[:cut])
            self.line = self.line[cut:].lstrip()
        room = max(10, columns - 30)
        newest = (self.line + transcript.provisional)[-room:]
        bar.set_description_str(newest, refresh=False)

    def end(self, bar):
        """Prints what is left."""
        bar.write(self.line)
        self.line = ""
