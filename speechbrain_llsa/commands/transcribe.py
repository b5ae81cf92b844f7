"""Streams audio files through a model, and prints text as it is committed."""

import json
from pathlib import Path

from tqdm import tqdm

from speechbrain_llsa.commands.model import add_model_arguments, load_model
from speechbrain_llsa.commands.output import choose_output
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
        If the model or a file cannot be read.
    """
    asr = load_model(arguments)
    infos = {path: audio_info(path) for path in arguments.files}
    latency = asr.model.latency_report().declared_latency
    for path in arguments.files:
        info = infos[path]
        output = choose_output(arguments.json)
        if not arguments.json and len(arguments.files) > 1:
            output.write(f"{path}: ")
        text = _transcribe(asr.session(), path, info, output)
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
