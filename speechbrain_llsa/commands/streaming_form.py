"""Options of commands that give an imported model its streaming form, and how
they do so."""

from pathlib import Path

from speechbrain_llsa.commands.audio_folder import (
    find_audio,
    read_utterance,
    spread,
)
from speechbrain_llsa.commands.written_files import print_files
from speechbrain_llsa.pretrained.calibration import (
    calibrate,
    checked_samples,
)
from speechbrain_llsa.pretrained.output_changes import (
    measure_changes,
    streaming_steps,
)
from speechbrain_llsa.pretrained.writing import write_imported
from speechbrain_llsa.utils.markdown import markdown_table
from speechbrain_llsa_runtime.commands.warning_lines import warning_lines
from speechbrain_llsa_runtime.dataio.channels import CancelledChannelsWarning
from speechbrain_llsa_runtime.geometry import ATTENTIONS, StreamGeometry
from speechbrain_llsa_runtime.utils.checks import check_integer
from speechbrain_llsa_runtime.utils.errors import must_be

MOST_FILES = 200
"""Files that are calibrated on, unless the command line says otherwise."""

MOST_REPORTED = 20
"""Files on which the report measures."""

_NUMBERS = (
    ("look_back", 64, "frames that a layer sees behind a frame"),
    ("look_ahead", 8, "frames that a layer sees ahead"),
    ("hop", 8, "frames that llsa commits at once"),
    (
        "positional_look_ahead",
        0,
        "frames that a positional convolution goes on to see ahead",
    ),
)


def add_streaming_arguments(parser):
    """Declares the arguments of the streaming form.

    Arguments
    ---------
    parser : argparse.ArgumentParser
        Parser of the command.
    """
    parser.add_argument(
        "--out", required=True, metavar="FOLDER", help="model folder to write"
    )
    parser.add_argument(
        "--attention",
        choices=ATTENTIONS,
        default="llsa",
        help="attention of the model (default: %(default)s)",
    )
    for name, default, meaning in _NUMBERS:
        parser.add_argument(
            f"--{name}",
            type=int,
            default=default,
            metavar="N",
            help=f"{meaning} (default: {default})",
        )
    parser.add_argument(
        "--files",
        type=int,
        default=MOST_FILES,
        metavar="N",
        help="how many audio files to read at most, evenly spread over the "
        "folder (default: %(default)s)",
    )
    parser.add_argument(
        "--report",
        action="store_true",
        help="print how far outputs move with each step, on at most "
        f"{MOST_REPORTED} of the audio files",
    )


def check_streaming_arguments(arguments, audio_folder, name):
    """Rejects bad arguments before a model is read.

    Arguments
    ---------
    arguments : argparse.Namespace
        As :func:`add_streaming_arguments` declares them.
    audio_folder : str or None
        A folder with audio files.
    name : str
        The argument that names this folder, for errors.

    Returns
    -------
    list of pathlib.Path
        The audio files to read.

    Raises
    ------
    FileNotFoundError
        If there is no such folder with audio.
    FileExistsError
        If the folder to write holds something.
    ValueError
        If a number is out of range, the audio folder holds no audio, or the
        report wants one.
    """
    StreamGeometry(arguments.look_back, arguments.look_ahead, arguments.hop)
    check_integer("positional_look_ahead", arguments.positional_look_ahead, 0)
    check_integer("--files", arguments.files, 1)
    out = Path(arguments.out)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise FileExistsError(
            must_be("--out", "a new or empty folder", repr(arguments.out))
        )
    if audio_folder is not None:
        return find_audio(audio_folder, arguments.files, name)
    if arguments.report:
        raise ValueError(
            must_be(name, "a folder with speech for --report", "none")
        )
    return []


def write_streaming_form(model, arguments, files):
    """Calibrates an imported model, gives it its attention, and writes it.
    Then prints what changed, and with ``--report`` by how much.

    Arguments
    ---------
    model : ImportedModel
        The model, with ``attention="aa"``.
    arguments : argparse.Namespace
        As :func:`add_streaming_arguments` declares them.
    files : list of pathlib.Path
        The audio files, possibly none.

    Raises
    ------
    ValueError
        If audio is needed and missing, or cannot be used; or if the positional
        convolution does not see so far ahead.
    """
    names = ["attention", *(name for name, _, _ in _NUMBERS)]
    options = {name: getattr(arguments, name) for name in names}
    calibrated = model
    if model.extractor.norms_over_time:
        if files:
            calibrated = calibrate(model, _utterances(model, files))
        elif arguments.attention != "aa":
            model.extractor.check_can_stream()
    streaming = calibrated.streaming(**options)
    report = ""
    if arguments.report:
        steps = streaming_steps(model, calibrated, options)
        report = _report(model, steps, spread(files, MOST_REPORTED))
    write_imported(arguments.out, streaming)
    for note in _notes(streaming):
        print(f"- {note}")
    print(report)
    print_files(arguments.out)


def _notes(model):
    yield from model.notes
    if model.head is not None and model.labels is None:
        yield "the head is left out: the source has no labels for it"


def _utterances(model, files):
    for path in files:
        with warning_lines(CancelledChannelsWarning, f"{path}: "):
            signal = read_utterance(path)
        yield checked_samples(model.extractor, signal, repr(str(path)))


def _report(model, steps, files):
    signals = list(_utterances(model, files))
    rows = [
        (change.step, f"{change.mean:.2g}", f"{change.maximum:.2g}")
        for change in measure_changes(model, steps, signals)
    ]
    table = markdown_table(("step", "mean", "largest"), rows, right=(1, 2))
    return (
        "\nRelative difference of the last layer from the exact model, "
        f"{len(signals)} utterances:\n\n{table}\n"
    )
