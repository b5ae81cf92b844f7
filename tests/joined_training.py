"""Trainings of several ranks, and of one process on the joined batches, that
must give the same.

What is random in a step is replaced by functions of each utterance, so that it
does not matter which process sees it.
"""

import importlib
import os
import signal
import socket
from pathlib import Path

import torch
from torch.nn import functional as F

from recipe_process import Process

RANKS = 2


def start_ranks(function, *arguments, log, ranks=RANKS, **options):
    """Processes as ``torchrun`` starts them, in the order of their ranks."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = []
    for rank in range(ranks):
        environment = {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(ranks),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
        processes.append(
            Process(
                function,
                *arguments,
                log=f"{log}.rank{rank}",
                environment=environment,
                **options,
            )
        )
    return processes


def run_ranks(function, *arguments, log, timeout=240, **options):
    """Exit status and output of each rank."""
    processes = start_ranks(function, *arguments, log=log, **options)
    try:
        status = [process.wait(timeout) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return status, [process.log.read_text() for process in processes]


def write_gradients(recipe, arguments, steps, path):
    """Writes the gradients of some optimiser steps, taken from the same
    weights.

    ``steps`` holds batches, those of an optimiser step for each step; a batch
    holds the numbers of the utterances of each rank.
    """
    rank = int(os.environ.get("RANK", 0))
    brain, datasets = _prepare(recipe, arguments)
    dataset = datasets[0] if recipe == "pretrain" else datasets["train"]
    collate = importlib.import_module(
        "speechbrain_llsa.training.bad_utterances"
    ).UtteranceBatch
    stage = importlib.import_module("speechbrain").Stage.TRAIN
    brain.on_fit_start()
    brain.on_stage_start(stage, 1)
    brain.modules.train()
    gradients = []

    def optimizers_step():
        gradients.append(
            {
                name.replace("module.", ""): parameter.grad
                for name, parameter in brain.modules.named_parameters()
                if parameter.grad is not None
            }
        )
        for parameter in brain.modules.parameters():
            parameter.grad = None

    brain.optimizers_step = optimizers_step
    for batches in steps:
        brain.grad_accumulation_factor = len(batches)
        brain.step = 0
        for numbers in batches:
            brain.step += 1
            brain.fit_batch(collate([dataset[n] for n in numbers[rank]]))
    if rank == 0:
        torch.save(gradients, path)


def train(recipe, arguments, ranks=RANKS):
    """Runs a recipe without randomness; as a single process on the batches
    that so many ranks would have at the same time, joined."""
    brain, datasets = _prepare(recipe, arguments)
    if "RANK" not in os.environ:
        options = brain.train_loader_options
        sampler = JoinedBatchSampler(options["batch_sampler"], ranks)
        brain.train_loader_options = {**options, "batch_sampler": sampler}
    importlib.import_module(recipe).run(brain, datasets)


def train_with_an_infinite_loss(recipe, arguments, rank, step):
    """Runs a recipe; the loss of one rank is infinite after some steps."""
    brain, datasets = _prepare(recipe, arguments)
    compute_objectives = brain.compute_objectives

    def infinite(outputs, batch, stage):
        loss = compute_objectives(outputs, batch, stage)
        is_now = stage.name == "TRAIN" and brain.optimizer_step == step
        if is_now and os.environ["RANK"] == str(rank):
            return loss * float("inf")
        return loss

    brain.compute_objectives = infinite
    importlib.import_module(recipe).run(brain, datasets)


def train_and_note(recipe, arguments, notes, kill_at=None):
    """Runs a recipe, and writes the names of the utterances of each step to a
    file of the rank; all ranks are killed before a step."""
    rank = os.environ.get("RANK", "0")
    brain, datasets = _prepare(recipe, arguments)
    fit_batch = brain.fit_batch

    def noting(batch):
        if brain.optimizer_step == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        with Path(f"{notes}.{rank}").open("a", encoding="utf-8") as stream:
            stream.write("".join(f"{name}\n" for name in batch.id))
        return fit_batch(batch)

    brain.fit_batch = noting
    importlib.import_module(recipe).run(brain, datasets)


class JoinedBatchSampler:
    """As many batches of a sampler as there are ranks, as one; the last one is
    filled up with the first."""

    def __init__(self, sampler, ranks):
        self.sampler = sampler
        self.ranks = ranks

    def set_epoch(self, epoch):
        self.sampler.set_epoch(epoch)

    def __len__(self):
        return -(-len(self.sampler) // self.ranks)

    def __iter__(self):
        batches = list(self.sampler)
        for first in range(0, len(batches), self.ranks):
            places = range(first, first + self.ranks)
            yield [
                number
                for place in places
                for number in batches[place % len(batches)]
            ]


def _prepare(recipe, arguments):
    module = importlib.import_module(recipe)
    brain, datasets = module.prepare(arguments)
    hparams = brain.hparams
    hparams.augmentation = None
    if recipe == "pretrain":
        hparams.masker = _mask
        module.sample_negatives = _negatives
        F.gumbel_softmax = _straight_through
    else:
        hparams.masker = None
    return brain, datasets


def _mask(frame_counts, frames):
    place = torch.arange(frames)
    return (place % 5 < 3) & (place < frame_counts.view(-1, 1))


def _negatives(counts, num_negatives):
    own = torch.arange(int(counts.max())).view(1, -1, 1)
    step = torch.arange(num_negatives).view(1, 1, -1)
    counts = counts.view(-1, 1, 1)
    other = (own + 1 + step % (counts - 1).clamp(min=1)) % counts.clamp(min=1)
    return other * (own < counts) * (counts > 1)


def _straight_through(logits, tau, hard):
    soft = (logits / tau).softmax(dim=-1)
    best = F.one_hot(logits.argmax(dim=-1), logits.shape[-1])
    return best + soft - soft.detach()
