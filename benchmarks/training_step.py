#!/usr/bin/env python3
"""Where the time of a training step goes, from reading files to the optimiser.

    python benchmarks/training_step.py --out results/training_step.md

trains with the recipes' own classes and small YAML files, on the CPU, and
writes a table in Markdown: the share of each part of a step, seconds for each
step, seconds of audio for each second, and the part of an epoch's frames that
is padding. Without ``--data_folder`` it first synthesises strings of digits,
as ``make demo`` does, and keeps them in ``--work_folder``.

At any moment exactly one part is on the clock, so that the parts add up to
the time that passed, and nothing is profiled but moments:

front end
    the convolutions: waveforms to latent frames.
encoder
    projection, mask embedding, and all layers.
loss
    pre-training: the quantiser, negatives, contrastive and diversity loss.
    Fine-tuning: CTC.
head
    pre-training: the projection of the embeddings. Fine-tuning: the linear
    layer and the softmax over the units.

Each of them forward and backward. The engine of autograd goes through the
operations of the forward pass in reverse, last first; so a hook on the output
of a part says when that part's backward pass begins and that of the part
behind it ends. Everything else (reading and collating, augmentation, choosing
masked frames, clipping, optimiser, logging, and ``other``: what no part
claims) is overhead, and its sum is shown.

Steps are taken out of a first epoch in random order. The first few of them
are not counted. Shares come from sums over all steps of a run; with
``--repeats`` the run is repeated, and a range is given.
"""

import argparse
import contextlib
import functools
import platform
import statistics
import time
from collections import defaultdict
from pathlib import Path
from unittest import mock

import torch
from torch.utils.data.dataloader import _BaseDataLoaderIter

import _paths  # noqa: F401
import finetune_ctc
import pretrain
from librispeech_prepare import prepare_librispeech
from speechbrain_llsa.training.data import train_loader_options
from speechbrain_llsa.training.recipe import begin_recipe

ROOT = Path(__file__).resolve().parents[1]

CORE = ("front end", "encoder", "loss")
"""The parts that a step is for."""

OVERHEAD = (
    "head",
    "data loading",
    "augmentation",
    "masking",
    "clipping",
    "optimiser",
    "logging",
    "other",
)
"""What a step needs besides."""

_BACKWARD = " backward"


class Clock:
    """Seconds spent in each of the parts, one of which runs at any moment.

    Example
    -------
    >>> clock = Clock()
    >>> add = clock.watch(lambda a, b: a + b, "adding")
    >>> add(1, 2)
    3
    >>> sorted(clock.read())
    ['adding', 'other']
    """

    def __init__(self):
        self.running = "other"
        self.restart()

    def restart(self):
        """Forgets all seconds."""
        self.seconds = defaultdict(float)
        self.since = time.perf_counter()

    def switch(self, part):
        """Lets another part run.

        Arguments
        ---------
        part : str
            Which one.

        Returns
        -------
        str
            The part that ran until now.
        """
        now = time.perf_counter()
        before = self.running
        self.seconds[before] += now - self.since
        self.running, self.since = part, now
        return before

    def read(self):
        """The seconds so far.

        Returns
        -------
        dict of str to float
            By part.
        """
        self.switch(self.running)
        return dict(self.seconds)

    def watch(self, function, part):
        """Has the time of a function counted, and that of its gradient.

        Arguments
        ---------
        function : callable
            Gives a tensor, or a dict or a tuple of tensors and others.
        part : str
            What its time counts as; that of its gradient counts as the same
            with " backward".

        Returns
        -------
        callable
            Does the same.
        """

        @functools.wraps(function)
        def watched(*args, **kwargs):
            before = self.switch(part)
            try:
                outputs = function(*args, **kwargs)
            finally:
                self.switch(before)
            for output in _tensors(outputs):
                if output.requires_grad:
                    output.register_hook(begin_backward)
            return outputs

        def begin_backward(gradient):
            self.switch(part + _BACKWARD)

        return watched


def _tensors(outputs):
    if isinstance(outputs, dict):
        outputs = outputs.values()
    elif not isinstance(outputs, tuple):
        outputs = (outputs,)
    return [output for output in outputs if isinstance(output, torch.Tensor)]


def watch_brain(clock, brain):
    """Puts the parts of a Brain of the recipes on the clock.

    Arguments
    ---------
    clock : Clock
        What counts.
    brain : training.StreamingBrain
        What trains, of ``pretrain.py`` or ``finetune_ctc.py``.

    Returns
    -------
    contextlib.ExitStack
        Within it, what is not the Brain's own is on the clock too.
    """
    hparams = brain.hparams
    owners = [
        (hparams.extractor, "forward", "front end"),
        (hparams.encoder_wrapper, "forward", "encoder"),
        (brain, "compute_objectives", "loss"),
        (brain, "optimizers_step", "optimiser"),
        (brain, "measure", "logging"),
        (brain, "check_loss_isfinite", "logging"),
        (brain, "on_fit_batch_end", "logging"),
        (hparams, "masker", "masking"),
        (hparams, "augmentation", "augmentation"),
    ]
    if isinstance(brain, pretrain.PretrainBrain):
        owners += [
            (hparams.target_quantiser, "forward", "loss"),
            (hparams.feat_proj, "forward", "head"),
        ]
    else:
        owners.append((hparams.model, "classify", "head"))
    patches = contextlib.ExitStack()
    owners += [
        (_BaseDataLoaderIter, "__next__", "data loading"),
        (torch.nn.utils, "clip_grad_norm_", "clipping"),
        # the loss is the first to be differentiated
        (torch.Tensor, "backward", "loss" + _BACKWARD),
    ]
    for owner, name, part in owners:
        watched = clock.watch(getattr(owner, name), part)
        patches.enter_context(mock.patch.object(owner, name, watched))
    return patches


class _Done(Exception):
    """Enough steps."""


def time_steps(brain, loader_options, train_data, steps, warm_up):
    """Trains, and counts the seconds of each part.

    Arguments
    ---------
    brain : training.StreamingBrain
        What trains.
    loader_options : dict
        For ``Brain.fit``.
    train_data : speechbrain.dataio.dataset.DynamicItemDataset
        Utterances to train with.
    steps : int
        How many steps count.
    warm_up : int
        How many steps come before them.

    Returns
    -------
    dict
        ``seconds`` by part, ``steps``, and ``audio_seconds`` without the
        padding.
    """
    clock, fit_batch = Clock(), brain.fit_batch
    done, audio_samples = -warm_up, 0.0

    def counted(batch):
        nonlocal done, audio_samples
        loss = fit_batch(batch)
        done += 1
        if done > 0:
            waveforms, lengths = batch.sig
            audio_samples += float(lengths.sum()) * waveforms.shape[1]
        if done == 0:
            clock.restart()
        if done == steps:
            raise _Done
        return loss

    brain.fit_batch = counted
    with contextlib.suppress(_Done), watch_brain(clock, brain):
        brain.fit(
            iter(range(1, 10**9)),
            train_data,
            progressbar=False,
            train_loader_kwargs=loader_options,
        )
    return {
        "seconds": clock.read(),
        "steps": done,
        "audio_seconds": audio_samples / brain.hparams.sample_rate,
    }


def padding_share(sampler, frame_counts, epochs=(1, 2, 3)):
    """Which part of the frames of whole epochs is padding.

    Arguments
    ---------
    sampler : training_data.ShortFirstBatchSampler
        Gives the batches.
    frame_counts : list of int
        Encoder frames of each utterance.
    epochs : iterable of int
        Numbers of the epochs.

    Returns
    -------
    float
        0 to 1.
    """
    real = laid_out = 0
    for epoch in epochs:
        sampler.set_epoch(epoch)
        for batch in sampler:
            counts = [frame_counts[place] for place in batch]
            real += sum(counts)
            laid_out += max(counts) * len(counts)
    return 1 - real / laid_out


class Recipe:
    """A recipe with its small YAML file, ready to be measured.

    Arguments
    ---------
    name : str
        "pretrain" or "finetune".
    data_folder : str or pathlib.Path
        In LibriSpeech layout.
    train_splits : list of str
        Its sub-folders to train with.
    folder : str or pathlib.Path
        Where manifests and logs go.
    overrides : list of str
        More of the recipe's command line.
    """

    def __init__(self, name, data_folder, train_splits, folder, overrides=()):
        self.name = name
        self.folder = Path(folder)
        splits = f"[{', '.join(train_splits)}]"
        self.line = [str(ROOT / "hparams" / f"{name}_small.yaml")]
        self.line += ["--data_folder", str(data_folder), "--device", "cpu"]
        self.line += ["--train_splits", splits, "--valid_splits", splits]
        self.line += ["--sorted_epochs", "0", *overrides]
        if name == "finetune":
            self.line += ["--test_splits", "[]"]

    def build(self, run):
        """Builds the Brain, the data and the loader's options anew.

        Arguments
        ---------
        run : int
            Its number.

        Returns
        -------
        tuple
            training.StreamingBrain, DynamicItemDataset and dict.
        """
        output = self.folder / f"{self.name}-{run}"
        hparams, run_options = begin_recipe(
            [*self.line, "--output_folder", str(output)],
            ["train_splits"],
            prepare_librispeech,
        )
        if self.name == "pretrain":
            kind, tokenizer = pretrain.PretrainBrain, None
            train_data, _ = pretrain.prepare_datasets(hparams)
        else:
            kind = finetune_ctc.FinetuneBrain
            datasets, tokenizer = finetune_ctc.prepare_datasets(
                hparams, output / "save", kind.alignment_fault
            )
            train_data = datasets["train"]
        brain = kind(
            modules=hparams["modules"],
            opt_class=hparams["optimizer"],
            hparams=hparams,
            run_opts=run_options,
        )
        brain.tokenizer = tokenizer
        options = train_loader_options(
            train_data,
            seed=hparams["seed"],
            num_workers=hparams["num_workers"],
            max_batch_length=hparams["seconds_per_batch"],
            num_buckets=hparams["num_buckets"],
            sorted_epochs=hparams["sorted_epochs"],
        )
        return brain, train_data, options

    def padding(self):
        """Which part of the frames of an epoch is padding.

        Returns
        -------
        float
            0 to 1.
        """
        brain, train_data, options = self.build(0)
        durations = [
            train_data.data[name]["duration"] for name in train_data.data_ids
        ]
        samples = torch.tensor(durations) * brain.hparams.sample_rate
        frames = brain.hparams.extractor.get_output_lengths(samples.round())
        return padding_share(options["batch_sampler"], frames.tolist())

    def measure(self, steps, warm_up, repeats):
        """Times the steps of several runs.

        Arguments
        ---------
        steps : int
            How many count in each run.
        warm_up : int
            How many come before them.
        repeats : int
            Runs.

        Returns
        -------
        list of dict
            As :func:`time_steps` gives them.
        """
        runs = []
        for run in range(repeats):
            brain, train_data, options = self.build(run)
            runs.append(time_steps(brain, options, train_data, steps, warm_up))
        return runs


def overhead_share(run):
    """The part of the time outside of front end, encoder and loss.

    Arguments
    ---------
    run : dict
        As :func:`time_steps` gives it.

    Returns
    -------
    float
        0 to 1.
    """
    return 1 - sum(
        _share(run, part) + _share(run, part + _BACKWARD) for part in CORE
    )


def format_table(runs, padding):
    """A table of the recipes, in Markdown.

    Arguments
    ---------
    runs : dict of str to list of dict
        By recipe, as ``Recipe.measure`` gives them.
    padding : dict of str to float
        By recipe, 0 to 1.

    Returns
    -------
    str
        The median of the runs, and their range where there are several.

    Example
    -------
    >>> seconds = {"encoder": 1.0, "encoder backward": 2.0, "other": 1.0}
    >>> run = {"seconds": seconds, "steps": 4, "audio_seconds": 80.0}
    >>> print(format_table({"pretrain": [run]}, {"pretrain": 0.05}))
    | part | pretrain |
    | --- | --- |
    | encoder | 25.0% |
    | encoder backward | 50.0% |
    | other | 25.0% |
    | outside of front end, encoder and loss | 25.0% |
    | seconds for each step | 1.000 |
    | seconds of audio for each second | 20.0 |
    | padding, of the frames of an epoch | 5.0% |
    """
    measured = {
        part
        for some in runs.values()
        for run in some
        for part in run["seconds"]
    }
    lines = [
        f"| part | {' | '.join(runs)} |",
        "| --- |" + " --- |" * len(runs),
    ]

    def add_line(title, value, form="{:.1%}"):
        cells = []
        for some in runs.values():
            values = [value(run) for run in some]
            cell = form.format(statistics.median(values))
            if len(values) > 1:
                low, high = form.format(min(values)), form.format(max(values))
                cell += f" ({low} to {high})"
            cells.append(cell)
        lines.append(f"| {title} | {' | '.join(cells)} |")

    for part in (*CORE, *OVERHEAD):
        for name in (part, part + _BACKWARD):
            if name in measured:
                add_line(name, lambda run, name=name: _share(run, name))
    add_line("outside of front end, encoder and loss", overhead_share)
    add_line(
        "seconds for each step",
        lambda run: _total(run) / run["steps"],
        "{:.3f}",
    )
    add_line(
        "seconds of audio for each second",
        lambda run: run["audio_seconds"] / _total(run),
        "{:.1f}",
    )
    shares = " | ".join(f"{padding[name]:.1%}" for name in runs)
    lines.append(f"| padding, of the frames of an epoch | {shares} |")
    return "\n".join(lines)


def _total(run):
    return sum(run["seconds"].values())


def _share(run, part):
    return run["seconds"].get(part, 0.0) / _total(run)


def synthesize_digits(folder, utterances, voices):
    """Makes strings of 1 to 8 digits, or finds those made before.

    Arguments
    ---------
    folder : str or pathlib.Path
        Where they lie.
    utterances : int
        How many.
    voices : int
        How many voices speak them.

    Returns
    -------
    pathlib.Path
        The folder, with the split train.
    """
    from synthesize import synthesize_corpus

    folder = Path(folder) / f"digits-{utterances}"
    synthesize_corpus(
        folder, {"train": (voices, utterances)}, digits=(1, 8), progress=False
    )
    return folder


def main(arguments=None):
    """Measures both recipes.

    Arguments
    ---------
    arguments : list of str, optional
        The command line without the name of the program.

    Returns
    -------
    dict
        ``runs`` and ``padding``, both by recipe.
    """
    options, overrides = _parser().parse_known_args(arguments)
    if options.tiny:
        options.steps, options.warm_up, options.repeats = 2, 1, 1
        options.utterances, options.voices = 12, 2
    folder = Path(options.work_folder)
    data_folder = options.data_folder or synthesize_digits(
        folder, options.utterances, options.voices
    )
    corpus = Path(data_folder).name
    runs, padding = {}, {}
    for name in ("pretrain", "finetune"):
        recipe = Recipe(
            name, data_folder, options.train_splits, folder / corpus, overrides
        )
        padding[name] = recipe.padding()
        runs[name] = recipe.measure(
            options.steps, options.warm_up, options.repeats
        )
    table = format_table(runs, padding)
    table += (
        f"\n\n{corpus}: {', '.join(options.train_splits)}; {options.repeats} "
        f"runs of {options.steps} steps, median and range; PyTorch "
        f"{torch.__version__}, {torch.get_num_threads()} threads, "
        f"{platform.machine()}.\n"
    )
    print(table)
    if options.out:
        Path(options.out).parent.mkdir(parents=True, exist_ok=True)
        Path(options.out).write_text(table, encoding="utf-8")
    return {"runs": runs, "padding": padding}


def _parser():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        epilog="Any other --NAME VALUE goes to both recipes.",
    )
    parser.add_argument("--data_folder", help="a folder in LibriSpeech layout")
    parser.add_argument(
        "--train_splits",
        nargs="+",
        default=["train"],
        help="its sub-folders (default: train)",
    )
    parser.add_argument(
        "--work_folder",
        default="results/training_step",
        help="for synthetic speech, manifests and logs (default: %(default)s)",
    )
    parser.add_argument("--out", help="file for the table, in Markdown")
    for name, default, words in (
        ("steps", 40, "steps that count, of each run"),
        ("warm_up", 5, "steps before them"),
        ("repeats", 3, "runs"),
        ("utterances", 400, "synthetic utterances"),
        ("voices", 40, "voices that speak them"),
    ):
        parser.add_argument(
            f"--{name}",
            type=int,
            default=default,
            help=f"{words} (default: {default})",
        )
    parser.add_argument(
        "--tiny",
        action="store_true",
        help="two steps of few utterances: does it run?",
    )
    return parser


if __name__ == "__main__":
    main()
