"""Measures error rates, latency, time and memory of models on a test set."""

import itertools
import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from speechbrain_llsa.commands.models import add_model_arguments
from speechbrain_llsa.commands.search_options import (
    add_search_arguments,
    choose_search,
)
from speechbrain_llsa.evaluation.corpus import (
    MANIFEST_READERS,
    read_manifest,
    read_split,
)
from speechbrain_llsa.evaluation.error_rate_picture import (
    draw_error_rates,
    points_of,
)
from speechbrain_llsa.evaluation.error_rates import RESAMPLES
from speechbrain_llsa.evaluation.measure import TIMING_RUNS, evaluate
from speechbrain_llsa.evaluation.table import format_table
from speechbrain_llsa.inference.asr import StreamingASR
from speechbrain_llsa.model_folder.shipped import find_model
from speechbrain_llsa_runtime.commands.channel import add_channel_argument
from speechbrain_llsa_runtime.commands.models import (
    add_geometry_arguments,
    check_folder,
)
from speechbrain_llsa_runtime.commands.signals import Interrupted
from speechbrain_llsa_runtime.commands.warning_lines import warning_lines
from speechbrain_llsa_runtime.dataio.channels import CancelledChannelsWarning
from speechbrain_llsa_runtime.inference.onnx import OnnxStreamingASR
from speechbrain_llsa_runtime.model_folder.description import (
    PRECISIONS,
    is_exported,
)
from speechbrain_llsa_runtime.utils.atomic_files import write_atomically
from speechbrain_llsa_runtime.utils.checks import check_integer
from speechbrain_llsa_runtime.utils.errors import must_be
from speechbrain_llsa_runtime.utils.processes import available_cpus

NAME = "evaluate"

RESULTS = "evaluation"
"""Name of the files in ``--output``, without suffix."""


def add_arguments(parser):
    """Declares the arguments of the command.

    Arguments
    ---------
    parser : argparse.ArgumentParser
        Parser of the command.
    """
    add_model_arguments(
        parser,
        "streaming/ folders of fine-tuning, or exported ones",
        several=True,
    )
    parser.add_argument(
        "--data",
        required=True,
        metavar="TREE",
        help="a folder in LibriSpeech layout, where SPEAKER-CHAPTER.ctm may "
        "say when words end; or a manifest, CSV or JSON",
    )
    parser.add_argument(
        "--split", metavar="NAME", help="folder of the tree to evaluate on"
    )
    add_geometry_arguments(parser, several=True)
    add_search_arguments(parser)
    add_channel_argument(parser)
    parser.add_argument(
        "--output",
        metavar="FOLDER",
        help=f"folder to write {RESULTS}.json, .md and .png and the "
        "alignments to",
    )
    parser.add_argument("--json", metavar="FILE", help="JSON file to write")
    parser.add_argument(
        "--limit", type=int, metavar="N", help="take the first utterances only"
    )
    parser.add_argument(
        "--on_bad_file",
        choices=("error", "skip"),
        default="error",
        help="what to do about bad files of the tree (default: %(default)s)",
    )
    parser.add_argument(
        "--device",
        default="cpu",
        help="where PyTorch computes, such as cuda (default: %(default)s)",
    )
    parser.add_argument(
        "--threads",
        type=int,
        default=1,
        metavar="N",
        help="threads that a model may use (default: %(default)s)",
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        help="graph of an exported model (default: int8 if there is one)",
    )
    parser.add_argument(
        "--push_seconds",
        type=float,
        metavar="S",
        help="audio that is pushed at once, for delays (default: a frame)",
    )
    parser.add_argument(
        "--runs",
        type=int,
        default=TIMING_RUNS,
        metavar="N",
        help="how often a minute is timed (default: %(default)s)",
    )
    parser.add_argument(
        "--resamples",
        type=int,
        default=RESAMPLES,
        metavar="N",
        help="resamples of the intervals (default: %(default)s)",
    )


@dataclass(frozen=True)
class Row:
    """A model and a geometry: a row of the table."""

    folder: str
    """Folder of the model."""

    name: str
    """Name of the model."""

    hop: int | None
    """Frames that llsa commits at once; ``None`` for the model's default."""

    look_ahead: int | None
    """Frames that a layer sees ahead; ``None`` for the model's default."""


def run(arguments):
    """Runs the command.

    Arguments
    ---------
    arguments : argparse.Namespace
        Its arguments.

    Raises
    ------
    FileNotFoundError
        If a model or the data do not exist.
    FileExistsError
        If something else already exists at the output path.
    ValueError
        If a model or the data cannot be read, or an option is out of range.
    """
    _check_arguments(arguments)
    utterances = _read_utterances(arguments)
    rows = make_rows(arguments.model, arguments.hop, arguments.look_ahead)
    if len(rows) > 1:
        _check_rows(rows, arguments)
    evaluations = []
    for row in rows:
        evaluations.append(
            _evaluate_in_subprocess(row, utterances, arguments)
            if len(rows) > 1
            else evaluate_row(row, utterances, arguments)
        )
        _write_results(evaluations, arguments)
    print(_table(evaluations, arguments))


def make_rows(folders, hops, look_aheads):
    """Lists every geometry of every model.

    Arguments
    ---------
    folders : list of str
        Folders of the models.
    hops : list of int or None
        Frames that llsa commits at once; ``None`` for a model's default.
    look_aheads : list of int or None
        Frames that a layer sees ahead; ``None`` for a model's default.

    Returns
    -------
    list of Row
    """
    models = zip(folders, short_names(folders), strict=True)
    return [
        Row(folder, name, hop, look_ahead)
        for (folder, name), look_ahead, hop in itertools.product(
            models, look_aheads, hops
        )
    ]


def short_names(folders):
    """Shortens folders to distinct names, without their common leading and
    trailing parts.

    Arguments
    ---------
    folders : list of str
        The folders.

    Returns
    -------
    list of str

    Example
    -------
    >>> short_names(["results/sa/streaming", "results/llsa/streaming"])
    ['sa', 'llsa']
    >>> short_names(["demo/finetune/streaming"])
    ['demo/finetune/streaming']
    """
    parts = [list(Path(folder).parts) for folder in folders]
    if len(folders) > 1:
        for end in (-1, 0):
            while (
                len({each[end] for each in parts}) == 1
                and min(map(len, parts)) > 1
            ):
                for each in parts:
                    del each[end]
    return [str(Path(*each)) for each in parts]


def evaluate_row(row, utterances, arguments):
    """Evaluates one model with one geometry.

    Arguments
    ---------
    row : Row
        The model and the geometry.
    utterances : list of Utterance
        The test set.
    arguments : argparse.Namespace
        Arguments of the command.

    Returns
    -------
    Evaluation
    """
    torch.set_num_threads(min(arguments.threads, available_cpus()))
    with warning_lines(CancelledChannelsWarning):
        return evaluate(
            _load(row.folder, arguments),
            utterances,
            name=row.name,
            hop=row.hop,
            look_ahead=row.look_ahead,
            push_seconds=arguments.push_seconds,
            timing_runs=arguments.runs,
            resamples=arguments.resamples,
            progress=True,
        )


def _check_rows(rows, arguments):
    """Loads every model once, so that a fault in the last one shows before the
    first is evaluated."""
    for folder, folder_rows in itertools.groupby(rows, lambda row: row.folder):
        asr = _load(folder, arguments)
        for row in folder_rows:
            asr.latency_report(hop=row.hop, look_ahead=row.look_ahead)


def _evaluate_in_subprocess(row, utterances, arguments):
    """Evaluates a row in a process of its own, so that its peak memory is
    measured separately."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as pool:
        try:
            result = pool.submit(evaluate_row, row, utterances, arguments)
            return result.result()
        except BrokenProcessPool as error:
            raise OSError(
                f"--model: the evaluation of {row.folder!r} was ended from "
                "outside, perhaps for want of memory"
            ) from error
        except Interrupted:
            # the pool would otherwise wait until the row is evaluated
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def _load(folder, arguments):
    if not is_exported(folder):
        asr = StreamingASR.from_hparams(
            folder,
            trust=arguments.trust,
            run_opts={"device": arguments.device},
        )
        search = choose_search(
            asr.beam_search, asr.model.greedy_search, arguments
        )
        asr.search = asr.search if search is None else search
        return asr
    choose_search(_refuse_beams, lambda: None, arguments)
    return OnnxStreamingASR.from_folder(
        folder, arguments.precision, arguments.threads
    )


def _refuse_beams(**_):
    raise ValueError(
        must_be("--search", "greedy for an exported model", "options of beams")
    )


def _check_arguments(arguments):
    """Rejects bad arguments now rather than after hours of evaluation."""
    for name in ("threads", "runs", "resamples"):
        check_integer(f"--{name}", getattr(arguments, name), 1)
    if arguments.limit is not None:
        check_integer("--limit", arguments.limit, 1)
    for folder in arguments.model:
        check_folder(find_model(folder))
    try:
        torch.zeros(1, device=arguments.device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            must_be(
                "--device",
                "a device that PyTorch finds here, such as cpu",
                repr(arguments.device),
            )
        ) from error
    exported = [folder for folder in arguments.model if is_exported(folder)]
    if exported and torch.device(arguments.device).type != "cpu":
        raise ValueError(
            must_be(
                "--device",
                f"cpu for the exported model {exported[0]!r}",
                repr(arguments.device),
            )
        )
    if arguments.output and Path(arguments.output).is_file():
        raise FileExistsError(
            must_be("--output", "a folder", repr(arguments.output))
        )
    if arguments.json and not Path(arguments.json).parent.is_dir():
        raise FileNotFoundError(
            must_be(
                "--json", "a file in a folder that exists", repr(arguments.json)
            )
        )


def _read_utterances(arguments):
    """Reads the test set that the arguments name."""
    is_manifest = Path(arguments.data).suffix.lower() in MANIFEST_READERS
    if is_manifest and not Path(arguments.data).is_dir():
        if arguments.split is not None:
            raise ValueError(
                must_be(
                    "--split", "absent for a manifest", repr(arguments.split)
                )
            )
        utterances = read_manifest(arguments.data)
    elif arguments.split is None:
        raise ValueError(
            must_be(
                "--split",
                "the name of a split where --data is a folder",
                "none",
            )
        )
    else:
        utterances = read_split(
            arguments.data,
            arguments.split,
            arguments.on_bad_file,
            progress=True,
        )
    return [
        replace(each, channel=arguments.channel)
        for each in utterances[: arguments.limit]
    ]


def _table(evaluations, arguments):
    split = f", {arguments.split}" if arguments.split else ""
    return f"{arguments.data}{split}\n\n{format_table(evaluations)}"


def _write_results(evaluations, arguments):
    """Writes the results so far."""
    results = {
        "data": arguments.data,
        "split": arguments.split,
        "evaluations": [each.to_json() for each in evaluations],
    }
    text = json.dumps(results, indent=2) + "\n"
    if arguments.json:
        # not atomically: it may be a pipe, or /dev/stdout
        Path(arguments.json).write_text(text, encoding="utf-8")
    if not arguments.output:
        return
    folder = Path(arguments.output)
    write_atomically(folder / f"{RESULTS}.json", text)
    write_atomically(
        folder / f"{RESULTS}.md", _table(evaluations, arguments) + "\n"
    )
    draw_error_rates(folder / f"{RESULTS}.png", points_of(evaluations))
    evaluations[-1].write_alignments(
        folder / f"alignments_{len(evaluations)}.txt"
    )
