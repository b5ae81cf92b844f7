"""The Brain of both recipes: seeded, exactly resumable, safe on several ranks.

``StreamingBrain`` fixes what SpeechBrain's training loop gets wrong or leaves
open, without changing how a recipe is written:

- every step draws from random generators that are seeded by seed, rank, epoch
  and step, so that a training resumed in the middle of an epoch continues
  exactly as if it had never stopped; with a different number of ranks, or
  different batches, that epoch restarts;
- the learning rate is set before a step, for that step;
- gradients of all parameter groups are clipped; steps with non-finite gradients
  are skipped;
- batches differ from epoch to epoch; a step limit is an integer;
- each batch uses one of the geometries that the encoder is trained for, chosen
  by seed and step alone;
- a checkpoint cut short by a crash is skipped;
- bad utterances are skipped and counted, or raise an error;
- with several ranks, gradients equal those of one process on the joined batch,
  and an error on one rank is raised on all;
- values are averaged over ranks, logged by one rank, and plotted.
"""

import json
import math
import random
import time
from collections import Counter
from pathlib import Path

import numpy as np
import speechbrain as sb
import torch
from speechbrain.core import INTRA_EPOCH_CKPT_FLAG
from speechbrain.utils.checkpoints import (
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)
from speechbrain.utils.distributed import get_rank, is_distributed_initialized
from speechbrain.utils.logger import get_logger

from speechbrain_llsa.training.arguments import (
    check_max_grad_norm,
    check_optimizer_step_limit,
)
from speechbrain_llsa.training.bad_utterances import (
    BadUtteranceError,
    BadUtterances,
)
from speechbrain_llsa.training.checkpoints import (
    is_complete,
    set_incomplete_aside,
    write_checkpoint,
)
from speechbrain_llsa.training.curves import CurveLog, draw_curves
from speechbrain_llsa.training.data import RankBatchSampler
from speechbrain_llsa.training.learning_rates import scale_learning_rates
from speechbrain_llsa.training.ranks import join_faults, on_main
from speechbrain_llsa.training.resuming import restart_reason
from speechbrain_llsa.utils.distributed import rank_count, sum_over_ranks
from speechbrain_llsa_runtime.utils.atomic_files import naming_write_errors
from speechbrain_llsa_runtime.utils.errors import must_be

logger = get_logger(__name__)


class Averages:
    """Weighted averages of named values. Non-finite values are ignored.

    Example
    -------
    >>> averages = Averages()
    >>> averages.add(loss=1.0)
    >>> averages.add(weight=3, loss=torch.tensor(2.0))
    >>> averages.read()
    {'loss': 1.75}
    """

    def __init__(self):
        self.sums = {}

    def add(self, weight=1.0, **values):
        """Adds one measurement of each value.

        Arguments
        ---------
        weight : float
            Weight of the measurement: 1, or a number of frames.
        **values : float or torch.Tensor
            The values by name.
        """
        for name, value in values.items():
            total, weights = self.sums.get(name, (0.0, 0.0))
            weight = float(weight)
            if isinstance(value, torch.Tensor):
                value = value.detach()
            summand = float(value) * weight
            if not math.isfinite(summand):
                summand = weight = 0.0
            self.sums[name] = (total + summand, weights + weight)

    def read(self):
        """Averages so far, over all ranks. Every rank must call this.

        Returns
        -------
        dict
            Averages by name; NaN for a value whose weights add up to 0.
        """
        sums = sum_over_ranks(self._tensor())
        averages = (sums[:, 0] / sums[:, 1]).tolist()
        return dict(zip(self.sums, averages, strict=True))

    def rank_share(self):
        """Sums over all ranks, divided by the number of ranks: what each rank
        continues from after resuming. Every rank must call this.

        Returns
        -------
        dict
            Pairs of weighted sum and weight, by name.
        """
        sums = (sum_over_ranks(self._tensor()) / rank_count()).tolist()
        return dict(zip(self.sums, sums, strict=True))

    def _tensor(self):
        sums = list(self.sums.values())
        return torch.tensor(sums, dtype=torch.float64).view(-1, 2)


def seed_step(*numbers):
    """Seeds the generators of Python, NumPy and PyTorch from some numbers.

    Arguments
    ---------
    *numbers : int
        The numbers that the randomness depends on, each at least 0.

    Example
    -------
    >>> seed_step(1986, 0, 3, 14)
    >>> first = torch.rand(2)
    >>> seed_step(1986, 0, 3, 14)
    >>> torch.equal(first, torch.rand(2))
    True
    """
    words = np.random.SeedSequence(numbers).generate_state(3, np.uint32)
    random.seed(int(words[0]))
    np.random.seed(int(words[1]))
    torch.manual_seed(int(words[2]))


@register_checkpoint_hooks
class StreamingBrain(sb.Brain):
    """A Brain whose trainings are reproducible and resume exactly.

    A recipe overrides ``compute_forward`` and ``compute_objectives`` as usual,
    calls ``self.measure(stage, ...)`` in the latter, and in ``on_stage_end``
    of the validation calls ``self.end_epoch(...)``.

    It reads these hyperparameters: ``seed``; ``log_interval``, optimiser steps
    between two lines of the step log; ``output_folder``, where ``curves.jsonl``
    and ``curves.png`` go; ``train_steps_logger`` and ``train_stage_logger``,
    SpeechBrain's loggers (optional); ``lr_scheduler`` (optional), called before
    each step with the optimiser and the number of that step, from 1 on;
    ``max_grad_norm`` (0 or less: no clipping); ``optimizer_step_limit``;
    ``encoder`` (optional), whose geometries :meth:`geometry` chooses from;
    ``on_bad_utterance`` (optional), "skip" or "error";
    ``augmentation`` (optional), for :meth:`augment`; and SpeechBrain's other
    run options.

    Arguments are those of ``speechbrain.Brain``. Pass ``run_opts`` as
    ``training_arguments.parse_arguments`` gives them.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.max_grad_norm = check_max_grad_norm(self.max_grad_norm)
        if self.max_grad_norm is None:
            logger.info("max_grad_norm is 0 or less: gradients are not clipped")
        self.optimizer_step_limit = check_optimizer_step_limit(
            self.optimizer_step_limit
        )
        folder = Path(self.hparams.output_folder)
        self.curve_log = CurveLog(folder / "curves.jsonl")
        self.curve_picture = folder / "curves.png"
        self.seed = int(self.hparams.seed)
        self.epoch = 0
        self.gradient_norm = 0.0
        self.bad_utterances = BadUtterances(
            getattr(self.hparams, "on_bad_utterance", "skip")
        )
        self.skips = _zero_skips()
        self.batch_names = []
        self.shared_sums = {}
        self.step_averages = Averages()
        self.stage_averages = {stage: Averages() for stage in sb.Stage}
        self.geometry_counts = Counter()
        self.train_generator = None
        self.train_loader = None
        self.saved_plan = {}
        self.time_drawn = time.monotonic()

    def fit(self, epoch_counter, *args, **kwargs):
        """Trains as SpeechBrain does; returns at once if no step is left to do.

        Arguments
        ---------
        epoch_counter : iterable
            Yields the numbers of the epochs.
        *args, **kwargs
            As for ``speechbrain.Brain.fit``.
        """
        super().fit(self._epochs_left(epoch_counter), *args, **kwargs)
        on_main(self._draw_curves, every_seconds=0)
        if torch.device(self.device).type == "cuda":
            peak = torch.cuda.max_memory_allocated(self.device) / 2**30
            logger.info(
                f"Most memory allocated on {self.device}: {peak:.2f} GiB"
            )

    def _epochs_left(self, epoch_counter):
        iterator = iter(epoch_counter)
        # Within an epoch (step > 0), its validation is still due.
        while self.step > 0 or not self._optimizer_step_limit_exceeded:
            try:
                yield next(iterator)
            except StopIteration:
                return
        logger.info(f"All {self.optimizer_step} optimiser steps are done")

    def make_dataloader(self, dataset, stage, *args, **kwargs):
        """Makes a loader as SpeechBrain does, and keeps the sampler and the
        generator of training, which :meth:`on_stage_start` gives the epoch.

        Arguments
        ---------
        dataset : torch.utils.data.Dataset
            The utterances.
        stage : speechbrain.Stage
            The stage that they are used in.
        *args, **kwargs
            As for ``speechbrain.Brain.make_dataloader``.

        Returns
        -------
        torch.utils.data.DataLoader
            The loader.
        """
        loader = super().make_dataloader(dataset, stage, *args, **kwargs)
        if stage == sb.Stage.TRAIN:
            self.train_loader = loader
            self.train_generator = getattr(loader, "generator", None)
            if self.train_sampler is None:
                self.train_sampler = loader.batch_sampler
        return loader

    def _train_loader_specifics(self, dataset, loader_kwargs):
        if not self.distributed_launch:
            return super()._train_loader_specifics(dataset, loader_kwargs)
        self.train_sampler = RankBatchSampler(loader_kwargs["batch_sampler"])
        return {**loader_kwargs, "batch_sampler": self.train_sampler}

    def geometry(self, stage):
        """Geometry for a batch. In training, one of those that the encoder is
        trained for: drawn by seed and step, identical on all ranks, and each
        used equally often. Otherwise the encoder's default.

        Arguments
        ---------
        stage : speechbrain.Stage
            The stage of the batch.

        Returns
        -------
        speechbrain_llsa_runtime.geometry.StreamGeometry
        """
        encoder = self.hparams.encoder
        if stage != sb.Stage.TRAIN:
            return encoder.geometry
        # batches accumulated into one optimiser step may differ
        batches = self.grad_accumulation_factor
        number = self.optimizer_step * batches + (self.step - 1) % batches
        return encoder.geometries.draw(encoder.attention, number, self.seed)

    def _several_geometries(self):
        encoder = getattr(self.hparams, "encoder", None)
        geometries = getattr(encoder, "geometries", None)
        return geometries and len(geometries.all(encoder.attention)) > 1

    def on_fit_start(self):
        """Prepares training and loads the newest complete checkpoint."""
        self._compile()
        self._wrap_distributed()
        self.init_optimizers()
        checkpoint = self._recover_complete()
        within_epoch = checkpoint is not None and self.step > 0
        on_main(self.curve_log.rewind, self.optimizer_step, within_epoch)
        # once all steps are done, only the validation is still due
        if within_epoch and not self._optimizer_step_limit_exceeded:
            self._restart_epoch_if_needed()
        if self._several_geometries():
            encoder = self.hparams.encoder
            choices = map(
                _geometry_name, encoder.geometries.all(encoder.attention)
            )
            logger.info(
                f"Each batch is trained with one of: {'; '.join(choices)}. "
                f"Validation is with {_geometry_name(encoder.geometry)}"
            )

    def _batch_plan(self):
        """What determines the batches of an epoch on this rank."""
        sampler = getattr(self.train_sampler, "sampler", self.train_sampler)
        return {
            "ranks": rank_count(),
            "batches": getattr(sampler, "fingerprint", None),
        }

    def _restart_epoch_if_needed(self):
        why = restart_reason(self.saved_plan, self._batch_plan())
        if why is not None:
            logger.warning(f"The epoch begins anew: {why}")
            self.step, self.avg_train_loss = 0, 0.0
            self.train_loader._speechbrain_recovery_skip_to = None

    def _recover_complete(self, **best):
        if self.checkpointer is None:
            return None
        on_main(set_incomplete_aside, self.checkpointer)
        return self.checkpointer.recover_if_possible(
            ckpt_predicate=is_complete, **best
        )

    def on_evaluate_start(self, max_key=None, min_key=None):
        """Loads the best complete checkpoint.

        Arguments
        ---------
        max_key : str or None
            A value where higher is better.
        min_key : str or None
            A value where lower is better.
        """
        self._recover_complete(max_key=max_key, min_key=min_key)

    def on_stage_start(self, stage, epoch=None):
        """Resets the averages of a stage, and seeds the training loader.

        Arguments
        ---------
        stage : speechbrain.Stage
            The stage that begins.
        epoch : int or None
            The number of the epoch.
        """
        self.epoch = epoch or 0
        resumed = stage == sb.Stage.TRAIN and self.step > 0
        if not resumed:
            self.stage_averages[stage] = Averages()
            if stage == sb.Stage.TRAIN:
                self.skips = _zero_skips()
        if stage == sb.Stage.TRAIN and self.train_generator is not None:
            sequence = np.random.SeedSequence([self.seed, self.epoch])
            self.train_generator.manual_seed(int(sequence.generate_state(1)[0]))

    def on_fit_batch_start(self, batch, should_step):
        """Seeds the step, sets its learning rate and counts its geometry.

        Arguments
        ---------
        batch : object
            The batch.
        should_step : bool
            Whether the optimiser steps after it.
        """
        seed_step(self.seed, get_rank() or 0, self.epoch, self.step)
        self.batch_names = getattr(batch, "names", [])
        scheduler = getattr(self.hparams, "lr_scheduler", None)
        if scheduler is not None:
            scheduler(self.optimizer, self.optimizer_step + 1)
            scale_learning_rates(self.optimizer)
        if self._several_geometries():
            self.geometry_counts[
                _geometry_name(self.geometry(sb.Stage.TRAIN))
            ] += 1

    def fit_batch(self, batch):
        """Trains on the good utterances of a batch.

        Arguments
        ---------
        batch : object
            The batch. A ``bad_utterances.UtteranceBatch`` says which utterances
            it left out.

        Returns
        -------
        torch.Tensor
            The loss, NaN where no rank has a good utterance.
        """
        self.leave_out(getattr(batch, "faults", {}))
        if self._has_work(batch):
            return super().fit_batch(batch)
        should_step = self.step % self.grad_accumulation_factor == 0
        self.on_fit_batch_start(batch, should_step)
        if should_step:
            self.optimizers_step()
        loss = torch.tensor(float("nan"))
        self.on_fit_batch_end(batch, None, loss, should_step)
        return loss

    def _has_work(self, batch):
        """Whether the model has to run. All ranks must agree; with gradient
        accumulation they synchronise in the last batch, so it always runs."""
        good = getattr(batch, "good_count", 1)
        if not is_distributed_initialized():
            return good > 0
        good = int(sum_over_ranks(torch.tensor(float(good))))
        return good > 0 or self.grad_accumulation_factor > 1

    def leave_out(self, faults):
        """Counts the bad utterances of an epoch and logs each once, or raises.
        Every rank must call this.

        Arguments
        ---------
        faults : dict of str to str
            The faults found on this rank, by name of the utterance.

        Raises
        ------
        BadUtteranceError
            If any rank has one, and they are not to be skipped.
        """
        self.skips["utterances"] += self.bad_utterances.report(
            join_faults(faults)
        )

    def augment(self, stage, waveforms, lengths):
        """Augments training waveforms, if the recipe defines an augmentation.

        Arguments
        ---------
        stage : speechbrain.Stage
            The stage of the batch.
        waveforms : torch.Tensor
            (batch, samples).
        lengths : torch.Tensor
            Length of each waveform relative to the longest, (batch,).

        Returns
        -------
        tuple of torch.Tensor
            Waveforms, possibly longer ones, and their relative lengths.
        """
        augmentation = getattr(self.hparams, "augmentation", None)
        if stage != sb.Stage.TRAIN or augmentation is None:
            return waveforms, lengths
        return augmentation(waveforms, lengths)

    def joined_share(self, stage, weight):
        """Factor for the mean loss of this rank that makes the gradients, which
        are averaged over ranks, those of the mean over the joined batch. Every
        rank must call this.

        Arguments
        ---------
        stage : speechbrain.Stage
            The stage of the batch.
        weight : float or torch.Tensor
            Number of utterances or frames that this rank's loss averages over.

        Returns
        -------
        float
            1 on a single rank, and outside of training.
        """
        if stage != sb.Stage.TRAIN or not is_distributed_initialized():
            return 1.0
        total = float(sum_over_ranks(torch.tensor(float(weight))))
        return rank_count() * float(weight) / max(total, 1.0)

    @torch.no_grad()
    def evaluate_batch(self, batch, stage):
        """Evaluates a batch with the same random numbers each time.

        Arguments
        ---------
        batch : object
            The batch.
        stage : speechbrain.Stage
            Validation or test.

        Returns
        -------
        torch.Tensor
            The loss.
        """
        self.leave_out(getattr(batch, "faults", {}))
        if getattr(batch, "is_empty", False):
            return torch.tensor(float("nan"))
        seed_step(self.seed, self.step)
        return super().evaluate_batch(batch, stage)

    def optimizers_step(self):
        """Clips the gradients of all parameter groups and takes a step.

        A step with non-finite gradients is skipped; more than
        ``nonfinite_patience`` of them in an epoch end the training.

        Raises
        ------
        ValueError
            If the patience is exhausted.
        """
        if self.optimizers_dict is None:
            return
        optimizers = self.freeze_optimizers(self.optimizers_dict).values()
        parameters = [
            parameter
            for optimizer in optimizers
            for group in optimizer.param_groups
            for parameter in group["params"]
        ]
        if all(parameter.grad is None for parameter in parameters):
            self.gradient_norm = 0.0
            self.skips["steps"] += 1
            self.optimizer_step += 1
            return
        for optimizer in optimizers:
            self.scaler.unscale_(optimizer)
        norm = torch.nn.utils.clip_grad_norm_(
            parameters, self.max_grad_norm or float("inf")
        )
        self.gradient_norm = float(norm)
        finite = bool(torch.isfinite(norm))
        if not finite and not self.scaler.is_enabled():
            self._count_nonfinite()
        for optimizer in optimizers:
            if finite or self.scaler.is_enabled():
                self.scaler.step(optimizer)
            optimizer.zero_grad(set_to_none=True)
        self.scaler.update()
        self.optimizer_step += 1

    def _count_nonfinite(self):
        self.skips["steps"] += 1
        self.skips["nonfinite_steps"] += 1
        logger.warning(
            f"Gradients of step {self.optimizer_step + 1} are not finite; "
            "the step is left out"
        )
        if self.skips["nonfinite_steps"] > self.nonfinite_patience:
            raise ValueError(
                must_be(
                    "gradients",
                    (
                        f"finite in all but {self.nonfinite_patience} steps "
                        "of an epoch "
                        "(nonfinite_patience)"
                    ),
                    (
                        f"{self.skips['nonfinite_steps']} steps where they "
                        "were not in "
                        f"epoch {self.epoch}"
                    ),
                )
            )

    def measure(self, stage, weight=1.0, **values):
        """Adds values of a batch to the averages that are logged.

        Arguments
        ---------
        stage : speechbrain.Stage
            The stage of the batch.
        weight : float
            Weight of the batch in averages: 1, or a number of frames.
        **values : float or torch.Tensor
            The values by name, such as ``loss`` or ``accuracy``.
        """
        self.stage_averages[stage].add(weight, **values)
        if stage == sb.Stage.TRAIN:
            self.step_averages.add(weight, **values)

    def on_fit_batch_end(self, batch, outputs, loss, should_step):
        """Writes a line of the step log every ``log_interval`` steps.

        Arguments
        ---------
        batch : object
            The batch.
        outputs : object
            The result of ``compute_forward``.
        loss : torch.Tensor
            The result of ``compute_objectives``.
        should_step : bool
            Whether the optimiser stepped.
        """
        if not should_step:
            return
        self.step_averages.add(
            gradient_norm=self.gradient_norm,
            learning_rate=self.optimizer.param_groups[0]["lr"],
        )
        if self.optimizer_step % self.hparams.log_interval == 0:
            self._log_step()

    def _log_step(self):
        values = self.step_averages.read()
        self.step_averages = Averages()
        on_main(self._write_step, values)

    def _write_step(self, values):
        counts = {}
        if self.geometry_counts:
            counts = {"geometry_counts": dict(self.geometry_counts)}
        self.curve_log.append(
            "train", self.optimizer_step, epoch=self.epoch, **values, **counts
        )
        self._write_stats(
            "train_steps_logger",
            {"epoch": self.epoch, "step": self.optimizer_step},
            train_stats=values,
            verbose=False,
        )

    def _write_stats(self, logger_name, *args, **kwargs):
        """Calls a SpeechBrain logger, if the recipe defines it."""
        stats_logger = getattr(self.hparams, logger_name, None)
        if stats_logger is not None:
            with naming_write_errors(
                getattr(stats_logger, "save_file", logger_name)
            ):
                stats_logger.log_stats(*args, **kwargs)

    def end_epoch(self, num_to_keep=1, max_keys=(), min_keys=()):
        """Logs an epoch, draws the curves and saves a checkpoint.

        Every rank must call this at the end of the validation stage.

        Arguments
        ---------
        num_to_keep : int
            Number of checkpoints to keep: of the newest, and of the best by
            each key.
        max_keys : list of str
            Validation values where higher is better.
        min_keys : list of str
            Validation values where lower is better.

        Returns
        -------
        dict
            Averages of the validation.
        """
        train = self.stage_averages[sb.Stage.TRAIN].read()
        valid = self.stage_averages[sb.Stage.VALID].read()
        on_main(self._write_epoch, train, valid)
        if self.checkpointer is not None:
            self._save_checkpoint(
                valid,
                num_to_keep=num_to_keep,
                max_keys=list(max_keys),
                min_keys=list(min_keys),
            )
        return valid

    def _write_epoch(self, train, valid):
        if self.skips["utterances"] or self.skips["steps"]:
            logger.warning(
                f"Epoch {self.epoch} left out {self.skips['utterances']} bad "
                f"utterances and {self.skips['steps']} optimiser steps"
            )
        self.curve_log.append(
            "valid", self.optimizer_step, epoch=self.epoch, **valid
        )
        self._draw_curves()
        self._write_stats(
            "train_stage_logger",
            {
                "epoch": self.epoch,
                "step": self.optimizer_step,
                "learning_rate": self.optimizer.param_groups[0]["lr"],
                **{
                    f"batches with {name}": count
                    for name, count in self.geometry_counts.items()
                },
            },
            train_stats=train,
            valid_stats=valid,
        )

    def check_loss_isfinite(self, loss):
        """Names the utterances behind a non-finite loss, whose step will be
        skipped. Every rank must call this.

        Arguments
        ---------
        loss : torch.Tensor
            The loss before ``backward``.

        Raises
        ------
        BadUtteranceError
            If bad utterances are not to be skipped.
        """
        names = ", ".join(self.batch_names) or "unknown utterances"
        found = join_faults(
            {} if torch.isfinite(loss) else {names: "gives such a loss"}
        )
        if not found:
            return
        message = (
            f"The loss of batch {self.step} is not finite: {', '.join(found)}"
        )
        if self.bad_utterances.on_bad_utterance == "error":
            raise BadUtteranceError(f"on_bad_utterance: {message}")
        logger.warning(message)
        if self.scaler.is_enabled():
            super().check_loss_isfinite(torch.tensor(float("nan")))

    def _draw_curves(self, every_seconds=60):
        """Draws at most once a minute: it takes seconds, and epochs may be
        short."""
        now = time.monotonic()
        if now - self.time_drawn >= every_seconds:
            draw_curves(self.curve_log.read(), self.curve_picture)
            self.time_drawn = now

    def _should_save_intra_epoch_ckpt(self, *args, **kwargs):
        """Not amid gradient accumulation: checkpoints hold no gradients."""
        should_save = super()._should_save_intra_epoch_ckpt(*args, **kwargs)
        return should_save and self.step % self.grad_accumulation_factor == 0

    def _save_intra_epoch_ckpt(self):
        on_main(self._draw_curves)
        self._save_checkpoint(
            {INTRA_EPOCH_CKPT_FLAG: True},
            end_of_epoch=False,
            predicate=lambda ckpt: INTRA_EPOCH_CKPT_FLAG in ckpt.meta,
        )

    def _save_checkpoint(self, meta, end_of_epoch=True, **keep):
        self.shared_sums = {
            "step_sums": self.step_averages.rank_share(),
            "train_sums": self.stage_averages[sb.Stage.TRAIN].rank_share(),
        }
        # on one rank only: ranks would list the folder at different moments,
        # and those that found different checkpoints to delete would deadlock
        on_main(write_checkpoint, self.checkpointer, meta, end_of_epoch, **keep)

    @mark_as_saver
    def _save_progress(self, path):
        progress = {
            "step": self.step,
            "avg_train_loss": self.avg_train_loss,
            "optimizer_step": self.optimizer_step,
            "skips": self.skips,
            "geometry_counts": self.geometry_counts,
            "plan": self._batch_plan(),
            **self.shared_sums,
        }
        Path(path).write_text(json.dumps(progress), encoding="utf-8")

    @mark_as_loader
    def _load_progress(self, path, end_of_epoch):
        progress = json.loads(Path(path).read_text(encoding="utf-8"))
        self.step = progress["step"]
        self.avg_train_loss = progress["avg_train_loss"]
        self.optimizer_step = progress["optimizer_step"]
        self.saved_plan = progress.get("plan", {})
        self.step_averages.sums = progress["step_sums"]
        self.geometry_counts = Counter(progress.get("geometry_counts", {}))
        if not end_of_epoch:
            train = self.stage_averages[sb.Stage.TRAIN]
            train.sums = progress["train_sums"]
            self.skips = progress["skips"]


def _zero_skips():
    """What an epoch has skipped so far, on all ranks: utterances, optimiser
    steps, and those among them skipped for non-finite gradients."""
    return {"utterances": 0, "steps": 0, "nonfinite_steps": 0}


def _geometry_name(geometry):
    """Name of a geometry in the logs."""
    return f"hop {geometry.hop} look_ahead {geometry.look_ahead}"
