"""Streams audio files through a model, and prints text as it is committed."""

import argparse
import json
import os
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
from speechbrain_llsa.inference.endpointer import Endpointer, EndpointRule
from speechbrain_llsa.inference.subtitles import FORMATS
from speechbrain_llsa.inference.transcript import SegmentCollector

NAME = "transcribe"

BLOCK_SECONDS = 0.1
"""Audio that is pushed at once; the text does not depend on it."""

RULES = {
    "without_speech": (
        "silence_without_speech",
        "silence_seconds",
        "silence in which nothing has been said",
    ),
    "after_speech": (
        "silence_after_speech",
        "silence_seconds",
        "silence behind what has been said",
    ),
    "maximum_length": (
        "maximum_length",
        "length_seconds",
        "length of a segment, up to the next word",
    ),
}
"""For each rule its option, the field that the option sets, and its help."""


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
        help="print a line of JSON for each segment, with words and times",
    )
    parser.add_argument(
        "--format",
        action="append",
        choices=FORMATS,
        default=[],
        help="write words with times into FILE's name with this extension; "
        "give it several times for several formats",
    )
    parser.add_argument(
        "--output",
        metavar="FOLDER",
        help="where --format writes to (default: beside the audio)",
    )
    parser.add_argument(
        "--endpoint",
        action=argparse.BooleanOptionalAction,
        help="close segments at endpoints, and print a line for each "
        "(default: as the model's YAML file says)",
    )
    for name, (option, field, meaning) in RULES.items():
        default = getattr(Endpointer().rules[name], field)
        parser.add_argument(
            f"--{option}",
            type=float,
            metavar="SECONDS",
            help=f"{meaning} that closes it, 0 for never; implies --endpoint "
            f"(default: as the YAML file says, or {default:g})",
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
        If the model or a file cannot be read, options do not fit, or the model
        is not trained for the hop or the look-ahead.
    """
    rules = _given_rules(arguments)
    targets = _targets(arguments)
    asr = load_model(arguments)
    asr.endpointer = _endpointer(arguments, rules, asr.endpointer)
    infos = {path: audio_info(path) for path in arguments.files}
    geometry = {"hop": arguments.hop, "look_ahead": arguments.look_ahead}
    latency = asr.latency_report(**geometry).declared_latency
    for path in arguments.files:
        about = {
            "duration_seconds": round(infos[path].duration_seconds, 6),
            "look_ahead_seconds": latency.look_ahead_seconds,
        }
        many = len(arguments.files) > 1
        output = _output(arguments.json, asr.endpointer, path, many, about)
        session = asr.session(**geometry)
        words = _transcribe(session, path, infos[path], output)
        for kind, target in targets[path].items():
            _write(target, FORMATS[kind](words, Path(path).stem))


def _given_rules(arguments):
    """The rules that options name, ``None`` for those that are off."""
    rules = {}
    for name, (option, field, _) in RULES.items():
        seconds = getattr(arguments, option)
        if seconds is None:
            continue
        if arguments.endpoint is False:
            raise ValueError(
                f"--{option}: got {seconds:g} with --no-endpoint, allowed is "
                "one of them"
            )
        try:
            rule = EndpointRule(name == "after_speech", **{field: seconds})
        except ValueError as error:
            if seconds != 0:
                raise ValueError(f"--{option}: {error}") from error
            rule = None
        rules[name] = rule
    return rules


def _endpointer(arguments, rules, own):
    """Where segments close: as options say, or else as the model does."""
    if arguments.endpoint is False:
        return None
    if arguments.endpoint is None and not rules:
        return own
    return Endpointer(**{**(own or Endpointer()).rules, **rules})


def _targets(arguments):
    """Paths of the files to write, by format, for each audio file."""
    if arguments.output is not None and not arguments.format:
        raise ValueError(
            f"--output: got {arguments.output!r} without --format, allowed is "
            "both or none"
        )
    targets, taken = {}, set(map(Path, arguments.files))
    for path in dict.fromkeys(arguments.files):
        folder = Path(arguments.output or Path(path).parent)
        targets[path] = {
            kind: folder / f"{Path(path).stem}.{kind}"
            for kind in dict.fromkeys(arguments.format)
        }
        for target in targets[path].values():
            if target in taken:
                raise ValueError(
                    f"--format: got two files for {str(target)!r}, allowed is "
                    "audio files of different names"
                )
            taken.add(target)
    return targets


def _write(path, content):
    """Writes a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        scratch.write_text(content, encoding="utf-8")
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)


def _transcribe(session, path, info, output):
    """Streams one file; gives its words. Text goes to the output as it is
    committed."""
    words, collector = [], SegmentCollector()
    bar = tqdm(
        total=round(info.duration_seconds, 3),
        desc=Path(path).name,
        disable=None,
        leave=False,
        bar_format="{percentage:3.0f}% |{bar:20}| {desc}",
    )

    def show(transcript):
        words.extend(transcript.final_words)
        output.show(transcript, collector.take(transcript), bar)
        return transcript

    with bar:
        for block in read_blocks(path, BLOCK_SECONDS):
            show(session.push(block, info.sample_rate))
            bar.update(len(block) / info.sample_rate)
        number = show(session.finish()).segment
        output.end(session.text, number, collector.finish(), bar)
    return words


def _output(as_json, endpointer, path, many, about):
    """What shows text: JSON, a line for each segment, a plain stream, or
    lines over a bar."""
    prefix = f"{path}: " if many else ""
    if as_json:
        return JsonOutput({"file": path}, about)
    if endpointer is not None:
        return SegmentOutput(prefix)
    if sys.stdout.isatty() and sys.stderr.isatty():
        return TerminalOutput(prefix)
    return PlainOutput(prefix)


class JsonOutput:
    """Prints a line of JSON for each segment when it closes, and for the last
    one, which may have no words, when the file ends."""

    def __init__(self, head, about):
        self.head = head
        self.about = about

    def _print(self, text, number, words, end_of_file):
        line = {
            **self.head,
            "text": text,
            **self.about,
            "segment": number,
            "end_of_file": end_of_file,
            "words": [word.to_dict() for word in words],
        }
        print(json.dumps(line, ensure_ascii=False), flush=True)

    def show(self, transcript, segments, bar):
        """Takes what a session says, the segments that it closes, and the bar
        that stands below."""
        for segment in segments:
            self._print(segment.text, segment.number, segment.words, False)

    def end(self, text, number, segments, bar):
        """Takes the end of a file: text and number of the segment that it
        ends in, and this segment, if it has words."""
        words = [word for segment in segments for word in segment.words]
        self._print(text, number, words, True)


class SegmentOutput:
    """Prints a line for each segment when it closes, over the bar, which
    shows what goes on."""

    def __init__(self, prefix):
        self.prefix = prefix
        self.words = []

    def show(self, transcript, segments, bar):
        """Prints the closed segments."""
        for segment in segments:
            bar.write(self.prefix + segment.text)
        self.words += transcript.final_words
        self.words = [
            word for word in self.words if word.segment == transcript.segment
        ]
        going_on = [word for word in transcript.words if not word.final]
        line = " ".join(word.text for word in [*self.words, *going_on])
        bar.set_description_str(line[-_room() :], refresh=False)

    def end(self, text, number, segments, bar):
        """Prints the last one."""
        for segment in segments:
            bar.write(self.prefix + segment.text)


def _room():
    """Characters of text beside the bar."""
    return max(10, shutil.get_terminal_size().columns - 31)


class PlainOutput:
    """Prints committed text at once, as into a pipe."""

    def __init__(self, prefix):
        self.prefix = prefix

    def _write(self, text):
        print(text, end="", flush=True)

    def show(self, transcript, segments, bar):
        """Prints the committed text."""
        self._write(self.prefix + transcript.committed)
        self.prefix = ""

    def end(self, text, number, segments, bar):
        """Ends the line."""
        self._write("\n")


class TerminalOutput:
    """Shows the line that grows, with its provisional text, in the bar, and
    prints it above the bar when it is full."""

    def __init__(self, prefix):
        self.line = prefix

    def show(self, transcript, segments, bar):
        """Shows committed and provisional text."""
        self.line += transcript.committed
        columns = shutil.get_terminal_size().columns - 1
        while len(self.line) > columns:
            cut = self.line.rfind(" ", 1, columns + 1)
            cut = columns if cut < 0 else cut
            bar.write(self.line[:cut])
            self.line = self.line[cut:].lstrip()
        newest = (self.line + transcript.provisional)[-_room() :]
        bar.set_description_str(newest, refresh=False)

    def end(self, text, number, segments, bar):
        """Prints what is left."""
        bar.write(self.line)
