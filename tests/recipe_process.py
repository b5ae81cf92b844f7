"""Recipes in processes of their own, which can be killed at any moment.

They are forked from a server that has imported everything, so that a start
costs no import.
"""

import importlib
import multiprocessing
import os
import resource
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
RECIPES = ROOT / "recipes" / "LibriSpeech"

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["recipe_process", "finetune_ctc", "pretrain"])

MODEL = {
    "num_layers": 1,
    "embedding_dim": 16,
    "nhead": 2,
    "d_ffn": 32,
    "extractor_channels": "[8, 8, 8, 8, 8, 8, 8]",
    "extractor_dim": 8,
}
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
    """The command line of a toy run of "pretrain" or "finetune_ctc"."""
    name = {"pretrain": "pretrain", "finetune_ctc": "finetune"}[recipe]
    options = {
        **{"pretrain": PRETRAIN, "finetune_ctc": FINETUNE}[recipe],
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
        folders = [str(Path(__file__).parent), str(RECIPES), str(ROOT)]
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
