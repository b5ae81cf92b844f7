"""Recipes in processes of their own, which can be killed at any moment.

They are forked from a server that has imported everything, so that a start
costs no import.
"""

import importlib
import logging
import multiprocessing
import os
import resource
import signal
import sys
from pathlib import Path

from source_files import PYTHON_PATH
from toy_recipe import MODEL

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "recipes" / "LibriSpeech"
FULL = Path("/dev/full")

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "recipe_process",
        "finetune_ctc",
        "finetune_transducer",
        "pretrain",
        "comparison.measure",
        # imported late, by optimisers and pictures
        "torch._dynamo",
        "torch.nn.parallel",
        "matplotlib.backends.backend_agg",
        "matplotlib.figure",
    ]
)

PRETRAIN = {
    **MODEL,
    "final_dim": 8,
    "num_vars": 8,
    "num_negatives": 5,
    "seconds_per_batch": 8,
    "num_buckets": 2,
    "log_interval": 1,
    "warmup": 2,
    "lr": 0.01,
}
FINETUNE = {
    **MODEL,
    "seconds_per_batch": 8,
    "num_buckets": 2,
    "log_interval": 1,
    "warmup": 2,
    "lr": 0.01,
}


def command_line(recipe, corpus, output, **overrides):
    """The command line of a toy run of a recipe."""
    name = "finetune" if recipe == "finetune_ctc" else recipe
    options = {
        **(PRETRAIN if recipe == "pretrain" else FINETUNE),
        "data_folder": corpus,
        "output_folder": output,
        "device": "cpu",
        **overrides,
    }
    line = [str(ROOT / "hparams" / f"{name}_small.yaml"), "--noprogressbar"]
    for option, value in options.items():
        line += [f"--{option}", str(value)]
    return line


class Process:
    """A process that calls a function, and leads its group.

    What it prints goes to ``log``.
    """

    def __init__(self, function, *arguments, log, **options):
        folders = [str(Path(__file__).parent), str(RECIPES), PYTHON_PATH]
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join(folders)
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        try:
            self.process = _CONTEXT.Process(
                target=_begin, args=(function, arguments, str(log), options)
            )
            self.process.start()
        finally:
            if before is None:
                del os.environ["PYTHONPATH"]
            else:
                os.environ["PYTHONPATH"] = before
        self.log = Path(log)

    @property
    def is_running(self):
        return self.process.exitcode is None

    def kill(self):
        """SIGKILL to the group, or to the process before it has one."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            self.process.kill()
        self.process.join()
        return self.process.exitcode == -signal.SIGKILL

    def wait(self, timeout=240):
        """The exit status; whoever is late is killed."""
        self.process.join(timeout)
        if self.is_running:
            self.kill()
            raise TimeoutError(self.log.read_text()[-3000:])
        return self.process.exitcode


def run_recipe(recipe, arguments):
    """What the command line of a recipe does."""
    importlib.import_module(recipe).main(arguments)


def run_until_full(recipe, arguments, name, step):
    """The same, with a log file that is on a full disk from a step on."""
    training = importlib.import_module("speechbrain_llsa.training.brain")
    begin = training.StreamingBrain.on_fit_batch_start

    def on_fit_batch_start(self, batch, should_step):
        begin(self, batch, should_step)
        if self.optimizer_step == step:
            _fill[name](self)

    training.StreamingBrain.on_fit_batch_start = on_fit_batch_start
    run_recipe(recipe, arguments)


def _fill_curves(brain):
    brain.curve_log.path = FULL


def _fill_steps(brain):
    brain.hparams.train_steps_logger.save_file = FULL


def _fill_stages(brain):
    brain.hparams.train_stage_logger.save_file = FULL


def _fill_log(brain):
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.setStream(FULL.open("a"))


_fill = {
    "curves.jsonl": _fill_curves,
    "train_steps_log.txt": _fill_steps,
    "train_stage_log.txt": _fill_stages,
    "log.txt": _fill_log,
}


def damage(path):
    """Zeros in the middle of an audio file: its header and its end are as
    before."""
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 200] = bytes(200)
    path.write_bytes(content)


def _begin(function, arguments, log, options):
    os.setsid()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, sys.stdout.fileno())
    os.dup2(output, sys.stderr.fileno())
    os.environ.update(options.get("environment", {}))
    if "file_bytes" in options:
        limit = options["file_bytes"]
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    import speechbrain.utils.logger
    import torch

    torch.set_num_threads(1)
    # listing the installed packages takes seconds
    speechbrain.utils.logger.get_environment_description = str
    function(*arguments)
