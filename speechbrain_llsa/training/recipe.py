"""Start-up, training and shutdown, shared by all recipes."""

import logging
import sys
import time
from contextlib import suppress

import speechbrain as sb
from ruamel.yaml import YAMLError
from speechbrain.utils.distributed import ddp_init_group
from torch import distributed

from speechbrain_llsa.training.arguments import load_hparams, parse_arguments
from speechbrain_llsa.training.data import (
    train_loader_options,
    valid_loader_options,
)
from speechbrain_llsa.training.log_mel_statistics import (
    UTTERANCES,
    measure_statistics,
)
from speechbrain_llsa.training.ranks import on_main
from speechbrain_llsa.training.run_record import record_training
from speechbrain_llsa.training.shard_batches import (
    ShardedDataset,
    shard_loader_options,
)
from speechbrain_llsa.utils.distributed import rank_count
from speechbrain_llsa_runtime.utils.atomic_files import naming_write_errors
from speechbrain_llsa_runtime.utils.checks import check_integer
from speechbrain_llsa_runtime.utils.errors import must_be, reason

BAD_INPUT = (
    OSError,
    TypeError,
    ValueError,
    LookupError,
    ImportError,
    YAMLError,
)
"""Errors that a bad command line, YAML file or folder raises before training
starts."""

SHUTDOWN_SECONDS = 1.0
"""How long a rank waits for the threads of its process group before exiting."""


def exit_on_bad_input(prepare, arguments):
    """Prepares a recipe; on bad input, exits with status 2 and one line that
    says what is wrong. Not meant for errors during training.

    Arguments
    ---------
    prepare : callable
        Called with the arguments.
    arguments : list of str
        The command line without the name of the program.

    Returns
    -------
    object
        The result of ``prepare``.
    """
    try:
        return prepare(arguments)
    except BAD_INPUT as error:
        print(f"{sys.argv[0]}: error: {reason(error)}", file=sys.stderr)
        sys.exit(2)


def begin_recipe(arguments, split_entries, prepare, record=record_training):
    """Reads the command line and the YAML file, and creates the output folder
    and the manifests.

    Arguments
    ---------
    arguments : list of str
        The command line without the name of the program.
    split_entries : list of str
        The entries of the YAML file that list splits to prepare.
    prepare : callable
        Writes the manifests, as ``prepare_librispeech`` does.
    record : callable
        Called with the hyperparameters before anything else is written. Records
        them, and rejects an output folder that was started with others.

    Returns
    -------
    hparams : dict
        The hyperparameters, as loaded from the YAML file.
    run_options : speechbrain.utils.run_opts.RunOptions
        SpeechBrain's run options.
    """
    hparams_file, run_options, overrides = parse_arguments(arguments)
    ddp_init_group(run_options)
    hparams = load_hparams(hparams_file, overrides)
    if hparams.get("train_shards") is not None:
        # their index takes the place of manifests
        split_entries = [
            each for each in split_entries if each != "train_splits"
        ]
    splits = [split for entry in split_entries for split in hparams[entry]]
    count = hparams.get("statistics_utterances", UTTERANCES)
    check_integer("statistics_utterances", count, 1)

    def write():
        record(hparams)
        sb.create_experiment_directory(
            experiment_directory=hparams["output_folder"],
            hyperparams_to_save=hparams_file,
            overrides=overrides,
        )
        _raise_on_lost_log_lines()
        prepare(
            data_folder=hparams["data_folder"],
            save_folder=hparams["manifest_folder"],
            splits=list(dict.fromkeys(splits)),
            on_bad_file=hparams["on_bad_utterance"],
        )

    on_main(write)
    return hparams, run_options


def end_recipe():
    """Leaves the process group, if there is one.

    Threads of gloo may still hold tensors of the last exchange, and a thread
    that frees one while Python shuts down aborts the process. So they get time
    to do it beforehand.
    """
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
        time.sleep(SHUTDOWN_SECONDS)


def _raise_on_lost_log_lines():
    """Makes a log line that cannot be written, as on a full disk, raise
    ``WriteError``; Python's ``logging`` would only print a traceback for it and
    for every later one."""
    root = logging.getLogger()

    def raising(handler):
        def raise_named(record):
            root.removeHandler(handler)
            # closing writes once more what did not fit
            with suppress(OSError):
                handler.close()
            with naming_write_errors(handler.baseFilename):
                raise sys.exc_info()[1]

        return raise_named

    for handler in root.handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handleError = raising(handler)


def train(brain, hparams, train_data, valid_data):
    """Trains as the YAML file says, in the batches of :func:`plan_batches`,
    which comes before. Progress bars appear only on a terminal, and not there
    either with ``--noprogressbar``. A front end that normalises by statistics
    of the data measures them first.

    Arguments
    ---------
    brain : training.StreamingBrain
        The Brain of the recipe.
    hparams : dict
        The hyperparameters, as loaded from the YAML file.
    train_data : speechbrain.dataio.dataset.DynamicItemDataset
        Training utterances.
    valid_data : speechbrain.dataio.dataset.DynamicItemDataset
        Validation utterances.
    """
    measure_statistics(
        hparams["extractor"],
        train_data,
        hparams.get("statistics_utterances", UTTERANCES),
    )
    brain.fit(
        hparams["epoch_counter"],
        train_data,
        valid_data,
        progressbar=None if sys.stderr.isatty() else False,
        train_loader_kwargs=brain.train_loader_options,
        valid_loader_kwargs=valid_loader_options(
            hparams["valid_batch_size"], hparams["num_workers"]
        ),
    )


def plan_batches(brain, hparams, train_data):
    """Plans the batches of the training, and gives them to the Brain.

    Arguments
    ---------
    brain : training.StreamingBrain
        The Brain of the recipe.
    hparams : dict
        The hyperparameters, as loaded from the YAML file.
    train_data : DynamicItemDataset or ShardedDataset
        Training utterances.

    Raises
    ------
    TypeError
        If an entry has the wrong type.
    ValueError
        If one is out of range, or an epoch has no step.
    """
    options = {
        "seed": hparams["seed"],
        "num_workers": hparams["num_workers"],
        "max_batch_length": hparams["seconds_per_batch"],
        "num_buckets": hparams["num_buckets"],
    }
    check_integer("num_buckets", hparams["num_buckets"], 1)
    if isinstance(train_data, ShardedDataset):
        if hparams["sorted_epochs"]:
            raise ValueError(
                must_be(
                    "sorted_epochs",
                    "0 for shards, which are read in sequence",
                    hparams["sorted_epochs"],
                )
            )
        loader = shard_loader_options(
            train_data,
            ranks=rank_count(),
            shuffle_buffer=hparams["shuffle_buffer"],
            **options,
        )
    else:
        loader = train_loader_options(
            train_data, sorted_epochs=hparams["sorted_epochs"], **options
        )
    batches = -(-len(loader["batch_sampler"]) // rank_count())
    if batches < brain.grad_accumulation_factor:
        raise ValueError(
            must_be(
                "grad_accumulation_factor",
                f"at most {batches}, the batches of an epoch",
                brain.grad_accumulation_factor,
            )
        )
    brain.train_loader_options = loader
