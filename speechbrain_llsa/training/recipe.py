"""How a recipe begins and trains: the same in all of them."""

import logging
import sys
import time
from contextlib import suppress

import speechbrain as sb
from ruamel.yaml import YAMLError
from speechbrain.utils.distributed import ddp_init_group
from torch import distributed

from speechbrain_llsa.training.arguments import load_hparams, parse_arguments
from speechbrain_llsa.training.claims import claim_training
from speechbrain_llsa.training.data import (
    train_loader_options,
    valid_loader_options,
)
from speechbrain_llsa.training.ranks import on_main
from speechbrain_llsa_runtime.utils.atomic_files import naming
from speechbrain_llsa_runtime.utils.errors import reason

BAD_INPUT = (
    OSError,
    TypeError,
    ValueError,
    LookupError,
    ImportError,
    YAMLError,
)
"""What a bad command line, YAML file or folder raises before training."""

LETTING_GO_SECONDS = 1.0
"""How long a rank waits for the threads of its group before it ends."""


def exit_on_bad_input(prepare, arguments):
    """Prepares a recipe, or ends the program with 2 and one line that says
    what is wrong. Errors of the training itself are not for this.

    Arguments
    ---------
    prepare : callable
        Takes the arguments.
    arguments : list of str
        The command line without the name of the program.

    Returns
    -------
    object
        What it gives.
    """
    try:
        return prepare(arguments)
    except BAD_INPUT as error:
        print(f"{sys.argv[0]}: error: {reason(error)}", file=sys.stderr)
        sys.exit(2)


def begin_recipe(arguments, split_entries, prepare, claim=claim_training):
    """Reads the command line and the YAML file, makes the output folder and
    the manifests.

    Arguments
    ---------
    arguments : list of str
        The command line without the name of the program.
    split_entries : list of str
        The entries of the YAML file that name splits to prepare.
    prepare : callable
        Writes the manifests, as ``prepare_librispeech`` does.
    claim : callable
        Takes what the YAML file describes, and refuses an output folder that
        was begun with other settings, before anything is written.

    Returns
    -------
    hparams : dict
        What the YAML file describes.
    run_options : speechbrain.utils.run_opts.RunOptions
        SpeechBrain's run options.
    """
    hparams_file, run_options, overrides = parse_arguments(arguments)
    ddp_init_group(run_options)
    hparams = load_hparams(hparams_file, overrides)
    splits = [split for entry in split_entries for split in hparams[entry]]

    def write():
        claim(hparams)
        sb.create_experiment_directory(
            experiment_directory=hparams["output_folder"],
            hyperparams_to_save=hparams_file,
            overrides=overrides,
        )
        _name_lost_lines()
        prepare(
            data_folder=hparams["data_folder"],
            save_folder=hparams["manifest_folder"],
            splits=list(dict.fromkeys(splits)),
            on_bad_file=hparams["on_bad_utterance"],
        )

    on_main(write)
    return hparams, run_options


def end_recipe():
    """Leaves the group of ranks, where there is one.

    The threads of gloo may still hold tensors of the last exchange, and a
    thread that lets go of one while Python ends aborts the process. So they
    get time to do it before.
    """
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
        time.sleep(LETTING_GO_SECONDS)


def _name_lost_lines():
    """Lets a line that does not fit into a log file raise ``WriteError``;
    Python's ``logging`` would print it, and every other that is lost."""
    root = logging.getLogger()

    def raising(handler):
        def raise_named(record):
            root.removeHandler(handler)
            # what did not fit is written once more
            with suppress(OSError):
                handler.close()
            with naming(handler.baseFilename):
                raise sys.exc_info()[1]

        return raise_named

    for handler in root.handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handleError = raising(handler)


def train(brain, hparams, train_data, valid_data):
    """Trains as the YAML file says. Progress bars show on a terminal alone,
    unless ``--noprogressbar`` forbids them there.

    Arguments
    ---------
    brain : training.StreamingBrain
        What trains.
    hparams : dict
        What the YAML file describes.
    train_data : speechbrain.dataio.dataset.DynamicItemDataset
        Utterances to train with.
    valid_data : speechbrain.dataio.dataset.DynamicItemDataset
        Utterances to validate with.
    """
    brain.fit(
        hparams["epoch_counter"],
        train_data,
        valid_data,
        progressbar=None if sys.stderr.isatty() else False,
        train_loader_kwargs=train_loader_options(
            train_data,
            seed=hparams["seed"],
            num_workers=hparams["num_workers"],
            max_batch_length=hparams["seconds_per_batch"],
            num_buckets=hparams["num_buckets"],
            sorted_epochs=hparams["sorted_epochs"],
        ),
        valid_loader_kwargs=valid_loader_options(
            hparams["valid_batch_size"], hparams["num_workers"]
        ),
    )
