"""Streams audio files through a model, and prints text as it is committed."""

from pathlib import Path

from tqdm import tqdm

from speechbrain_llsa_runtime.commands.bad_files import BadFiles
from speechbrain_llsa_runtime.commands.sessions import (
    add_session_arguments,
    load_sessions,
)
from speechbrain_llsa_runtime.commands.text_output import choose_output
from speechbrain_llsa_runtime.commands.warning_lines import warning_lines
from speechbrain_llsa_runtime.commands.word_files import (
    add_word_file_arguments,
    word_files,
    write_word_files,
)
from speechbrain_llsa_runtime.dataio.audio_files import audio_info, read_blocks
from speechbrain_llsa_runtime.dataio.channels import CancelledChannelsWarning
from speechbrain_llsa_runtime.utils.errors import must_be

NAME = "transcribe"

BLOCK_SECONDS = 0.1
"""Audio per push; the text does not depend on it."""


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
        "files",
        nargs="+",
        metavar="FILE",
        help="audio of any rate, with up to 8 channels",
    )
    add_session_arguments(parser, models)
    parser.add_argument(
        "--json",
        action="store_true",
        help="print a line of JSON for each segment, with words and times",
    )
    add_word_file_arguments(parser, "FILE's name", "beside the audio")


def run(arguments):
    """Runs the command.

    Arguments
    ---------
    arguments : argparse.Namespace
        Its arguments.

    Raises
    ------
    BadFiles
        If files cannot be read, or their words cannot be written. All other
        files are processed.
    FileNotFoundError
        If the model does not exist.
    ValueError
        If the model cannot be read, options contradict each other, or the model
        is not trained for the hop or the look-ahead.
    """
    targets = _targets(arguments)
    sessions = load_sessions(arguments)
    errors = {}
    for path in arguments.files:
        try:
            with warning_lines(CancelledChannelsWarning, f"{path}: "):
                words = _transcribe(path, arguments, sessions)
            write_word_files(targets[path], words)
        except BrokenPipeError:
            raise
        except (FloatingPointError, OSError, ValueError) as error:
            errors[path] = error
    if errors:
        raise BadFiles(errors)


def _transcribe(path, arguments, sessions):
    """Streams one file; returns its words if they are to be written."""
    info = audio_info(path)
    metadata = {
        "duration_seconds": round(info.duration_seconds, 6),
        "look_ahead_seconds": sessions.look_ahead_seconds,
    }
    output = choose_output(
        arguments.json,
        sessions.endpointer,
        f"{path}: " if len(arguments.files) > 1 else "",
        {"file": path},
        metadata,
    )
    bar = tqdm(
        total=round(info.duration_seconds, 3),
        desc=Path(path).name,
        disable=None,
        leave=False,
        bar_format="{percentage:3.0f}% |{bar:20}| {desc}",
    )
    with bar:
        transcription = sessions.begin(output, bar, bool(arguments.format))
        pushed_samples = 0
        try:
            for block in read_blocks(path, BLOCK_SECONDS):
                transcription.push(block, info.sample_rate)
                pushed_samples += len(block)
                bar.update(len(block) / info.sample_rate)
        except ValueError as error:
            if pushed_samples:
                metadata["error"] = str(error)
                transcription.finish()
            raise
        transcription.finish()
    return transcription.words


def _targets(arguments):
    """Paths of the files to write, by format, for each audio file."""
    targets, taken = {}, set(map(Path, arguments.files))
    for path in dict.fromkeys(arguments.files):
        audio_path = Path(path)
        targets[path] = word_files(
            arguments, audio_path.parent, audio_path.stem
        )
        for target in targets[path].values():
            if target in taken:
                raise ValueError(
                    must_be(
                        "names of audio files",
                        "different where files are written",
                        f"two that give {str(target)!r}",
                    )
                )
            taken.add(target)
    return targets
