#!/usr/bin/env python3
"""Self-supervised pre-training of a streaming encoder, as in wav2vec 2.0.

> python pretrain.py ../../hparams/pretrain_small.yaml --data_folder FOLDER

FOLDER is in LibriSpeech layout. Any entry of the YAML file can be given on the
command line: ``--attention sa`` trains another attention, ``--hop "[8, 1, 4]"``
one model for many latencies. Running the same command again resumes the
training. ``output_folder`` then holds the checkpoints (``save/``), the logs,
the curves (``curves.png``) and ``pretrained/``: the encoder of the best epoch,
for ``finetune_ctc.py`` and ``StreamingEncoder.from_hparams``.
"""

import copy
import sys
from pathlib import Path

import speechbrain as sb
import torch
from torch.nn.parallel import DistributedDataParallel

from librispeech_prepare import prepare_librispeech
from speechbrain_llsa.lobes.contrastive import sample_negatives, stack_rows
from speechbrain_llsa.lobes.padding import padding_mask, sample_counts
from speechbrain_llsa.model_folder.write import write_encoder_folder
from speechbrain_llsa.training.brain import StreamingBrain
from speechbrain_llsa.training.checkpoints import best_parameters
from speechbrain_llsa.training.data import (
    keep_durations,
    load_manifests,
    shortest_duration,
)
from speechbrain_llsa.training.ranks import on_main
from speechbrain_llsa.training.recipe import (
    begin_recipe,
    end_recipe,
    exit_on_bad_input,
    plan_batches,
    train,
)
from speechbrain_llsa.training.shard_batches import load_shards

_LEAST_FRAMES = 3
"""Minimum number of frames of an utterance; shorter ones are useless."""


class PretrainBrain(StreamingBrain):
    """Masks latent frames, and learns to identify their quantised targets."""

    def on_fit_batch_start(self, batch, should_step):
        """Sets the temperature of the quantiser, which depends only on the
        step.

        Arguments
        ---------
        batch : speechbrain.dataio.batch.PaddedBatch
            The batch.
        should_step : bool
            Whether the optimiser steps after it.
        """
        super().on_fit_batch_start(batch, should_step)
        target_quantiser = self.modules.target_quantiser
        if isinstance(target_quantiser, DistributedDataParallel):
            target_quantiser = target_quantiser.module
        target_quantiser.quantiser.update_temp(self.optimizer_step)

    def compute_forward(self, batch, stage):
        """Computes embeddings and targets of the masked frames.

        Arguments
        ---------
        batch : bad_utterances.UtteranceBatch
            With the waveforms ``sig``.
        stage : speechbrain.Stage
            The stage of the batch.

        Returns
        -------
        dict
            ``embeddings`` and ``targets``, (masked frames of all rows,
            final_dim); ``counts``, masked frames of each row, (batch,);
            ``ratio_masked``; and the quantiser's values.
        """
        waveforms, relative_lengths = self.augment(
            stage, *batch.to(self.device).sig
        )
        latents = self.modules.latent_extractor(
            waveforms, normalize_signal=False
        )
        frame_counts = self.hparams.extractor.get_output_lengths(
            sample_counts(waveforms, relative_lengths)
        )
        frames = latents.shape[1]
        mask = self.hparams.masker(frame_counts, frames)
        if batch.is_empty:
            mask = torch.zeros_like(mask)
        encoded = self.modules.latent_encoder(
            latents,
            padding_mask=padding_mask(frame_counts, frames),
            mask=mask,
            geometry=self.geometry(stage),
        )
        targets, outputs = self.modules.target_quantiser(
            latents[mask].unsqueeze(0)
        )
        outputs["targets"] = targets.squeeze(0)
        outputs["embeddings"] = self.modules.feat_proj(
            encoded["embeddings"][mask]
        )
        outputs["counts"] = mask.sum(dim=1)
        outputs["ratio_masked"] = encoded["ratio_masked"]
        return outputs

    def compute_objectives(self, outputs, batch, stage):
        """Computes the contrastive and the diversity loss.

        Arguments
        ---------
        outputs : dict
            The result of ``compute_forward``.
        batch : bad_utterances.UtteranceBatch
            The batch.
        stage : speechbrain.Stage
            The stage of the batch.

        Returns
        -------
        torch.Tensor
            Contrastive loss per predicted frame, in nats, plus the weighted
            diversity loss, (). In training on several ranks the former is this
            rank's share of the joined batch.
        """
        counts = outputs["counts"]
        result = self.hparams.loss(
            stack_rows(outputs["embeddings"], counts),
            stack_rows(outputs["targets"], counts),
            sample_negatives(counts, self.hparams.num_negatives),
            counts,
        )
        self.measure(
            stage,
            weight=result.predicted,
            loss=result.mean_loss,
            accuracy=result.accuracy,
        )
        self.measure(
            stage,
            weight=float(not batch.is_empty),
            diversity_loss=outputs["diversity_loss"],
            code_perplexity=outputs["code_perplex"],
            probability_perplexity=outputs["prob_perplex"],
            ratio_masked=outputs["ratio_masked"],
        )
        if stage == sb.Stage.TRAIN:
            self.measure(stage, temperature=outputs["temp"])
        weight = self.hparams.diversity_loss_weight
        share = self.joined_share(stage, result.predicted)
        return share * result.mean_loss + weight * outputs["diversity_loss"]

    def on_stage_end(self, stage, stage_loss, epoch=None):
        """Logs the validation and saves a checkpoint.

        Arguments
        ---------
        stage : speechbrain.Stage
            What has ended.
        stage_loss : float
            Its average loss.
        epoch : int or None
            The number of the epoch.
        """
        if stage == sb.Stage.VALID:
            self.end_epoch(
                num_to_keep=self.hparams.checkpoints_to_keep,
                max_keys=["accuracy"],
            )


def prepare_datasets(hparams):
    """Loads the utterances for training and validation.

    Arguments
    ---------
    hparams : dict
        The hyperparameters, as loaded from the YAML file.

    Returns
    -------
    DynamicItemDataset or ShardedDataset
        For training.
    DynamicItemDataset
        For validation.
    """
    shortest = shortest_duration(
        hparams["extractor"], _LEAST_FRAMES, hparams["sample_rate"]
    )
    train_limits = {
        "shortest_seconds": max(shortest, hparams["avoid_if_shorter_than"]),
        "longest_seconds": hparams["avoid_if_longer_than"],
    }

    def load(splits, **limits):
        manifests = [
            Path(hparams["manifest_folder"], f"{split}.csv") for split in splits
        ]
        dataset = load_manifests(manifests, hparams["sample_rate"])
        return keep_durations(dataset, **limits)

    if hparams.get("train_shards") is None:
        train_data = load(hparams["train_splits"], **train_limits)
    else:
        train_data = load_shards(
            hparams["train_shards"],
            hparams["train_splits"],
            hparams["on_bad_utterance"],
            sample_rate=hparams["sample_rate"],
            **train_limits,
        )
    return train_data, load(hparams["valid_splits"], shortest_seconds=shortest)


def prepare(arguments):
    """Prepares the training, and validates all input.

    Arguments
    ---------
    arguments : list of str
        The command line without the name of the program.

    Returns
    -------
    PretrainBrain
        Before training.
    tuple of speechbrain.dataio.dataset.DynamicItemDataset
        For training, for validation.
    """
    hparams, run_options = begin_recipe(
        arguments, ["train_splits", "valid_splits"], prepare_librispeech
    )
    datasets = prepare_datasets(hparams)
    brain = PretrainBrain(
        modules=hparams["modules"],
        opt_class=hparams["optimizer"],
        hparams=hparams,
        run_opts=run_options,
        checkpointer=hparams["checkpointer"],
    )
    plan_batches(brain, hparams, datasets[0])
    return brain, datasets


def run(brain, datasets):
    """Trains, and writes the weights of the best epoch.

    Arguments
    ---------
    brain : PretrainBrain
        Before training.
    datasets : tuple of speechbrain.dataio.dataset.DynamicItemDataset
        For training, for validation.

    Returns
    -------
    PretrainBrain
        After training.
    """
    hparams = vars(brain.hparams)
    train(brain, hparams, *datasets)
    on_main(write_best_encoder, hparams)
    return brain


def write_best_encoder(hparams):
    """Writes the encoder of the best epoch, for fine-tuning or feature
    extraction.

    Arguments
    ---------
    hparams : dict
        With ``output_folder`` and ``checkpointer``, and the modules
        ``extractor`` and ``encoder_wrapper``, which are not modified.
    """
    best = best_parameters(
        hparams["checkpointer"],
        ["latent_extractor", "latent_encoder"],
        max_key="accuracy",
    )
    extractor = copy.deepcopy(hparams["extractor"])
    extractor.load_state_dict(best["latent_extractor"])
    encoder_wrapper = copy.deepcopy(hparams["encoder_wrapper"])
    encoder_wrapper.load_state_dict(best["latent_encoder"])
    write_encoder_folder(
        Path(hparams["output_folder"], "pretrained"),
        extractor,
        encoder_wrapper,
    )


def main(arguments):
    """Runs the recipe.

    Arguments
    ---------
    arguments : list of str
        The command line without the name of the program.

    Returns
    -------
    PretrainBrain
        After training.
    """
    return run(*prepare(arguments))


if __name__ == "__main__":
    run(*exit_on_bad_input(prepare, sys.argv[1:]))
    end_recipe()
