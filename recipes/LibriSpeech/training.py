"""The host's Brain as both recipes need it: seeded, resumable, honest.

``StreamingBrain`` changes what the host's training loop gets wrong or leaves
open, and nothing about how a recipe is written:

- every step draws from random generators that are seeded by seed, rank, epoch
  and step, so that a training resumed in the middle of an epoch goes on
  exactly as one that was never stopped;
- the learning rate is set before a step, for that step;
- gradients of all parameter groups are clipped; steps with gradients that are
  not finite are left out;
- batches differ from epoch to epoch; a step limit is an integer;
- each batch takes one of the geometries that the encoder is trained for, by
  seed and step alone;
- a checkpoint cut short by a crash is passed over;
- values are averaged over ranks, logged by one, and drawn.
"""

import json
import random
import shutil
import time
from collections import Counter
from pathlib import Path

import numpy as np
import speechbrain as sb
import torch
from curves import CurveLog, draw_curves
from speechbrain.core import INTRA_EPOCH_CKPT_FLAG
from speechbrain.utils.checkpoints import (
    ckpt_recency,
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)
from speechbrain.utils.distributed import (
    get_rank,
    if_main_process,
    is_distributed_initialized,
    run_on_main,
)
from speechbrain.utils.logger import get_logger
from training_arguments import check_max_grad_norm, check_optimizer_step_limit

logger = get_logger(__name__)

_COMPLETE = "COMPLETE"


class Averages:
    """Weighted averages of named values.

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
            How much it counts: 1, or a number of frames.
        **values : float or torch.Tensor
            The values by name.
        """
        for name, value in values.items():
            total, weights = self.sums.get(name, (0.0, 0.0))
            weight = float(weight)
            if isinstance(value, torch.Tensor):
                value = value.detach()
            self.sums[name] = (total + float(value) * weight, weights + weight)

    def read(self):
        """The averages so far, over all ranks: every rank must call it.

        Returns
        -------
        dict
            Averages by name; NaN for a value whose weights add up to 0.
        """
        names = list(self.sums)
        sums = torch.tensor(
            [self.sums[name] for name in names], dtype=torch.float64
        ).view(-1, 2)
        if is_distributed_initialized():
            device = (
                "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
            )
            sums = sums.to(device)
            torch.distributed.all_reduce(sums)
        averages = (sums[:, 0] / sums[:, 1]).tolist()
        return dict(zip(names, averages, strict=True))


def seed_step(*numbers):
    """Seeds Python's, NumPy's and PyTorch's generators by some numbers.

    Arguments
    ---------
    *numbers : int
        What the randomness may depend on, each at least 0.

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
    """A Brain whose trainings can be trusted, repeated and resumed.

    A recipe overrides ``compute_forward`` and ``compute_objectives`` as usual,
    calls ``self.measure(stage, ...)`` in the latter, and in ``on_stage_end``
    of the validation calls ``self.end_epoch(...)``.

    It reads these hyper-parameters: ``seed``; ``log_interval``, optimiser steps
    between two lines of the step log; ``output_folder``, where ``curves.jsonl``
    and ``curves.png`` go; ``train_steps_logger`` and ``train_stage_logger``,
    host's loggers (optional); ``lr_scheduler`` (optional), called with the
    optimiser and the number of the step to come, from 1 on, before that step;
    ``max_grad_norm`` (0 or less: no clipping); ``optimizer_step_limit``;
    ``encoder`` (optional), which says for :meth:`geometry` what there is to
    choose from; and the host's other run options.

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
        self.nonfinite_count = 0
        self.step_averages = Averages()
        self.stage_averages = {stage: Averages() for stage in sb.Stage}
        self.geometry_counts = Counter()
        self.train_generator = None
        self.time_drawn = time.monotonic()

    def fit(self, epoch_counter, *args, **kwargs):
        """Trains as the host does, and stops at once if nothing is left.

        Arguments
        ---------
        epoch_counter : iterable
            Gives the numbers of the epochs.
        *args, **kwargs
            As for ``speechbrain.Brain.fit``.
        """
        super().fit(self._epochs_left(epoch_counter), *args, **kwargs)
        self._draw_curves(every_seconds=0)

    def _epochs_left(self, epoch_counter):
        iterator = iter(epoch_counter)
        # Within an epoch (step > 0) its validation is still to come.
        while self.step > 0 or not self._optimizer_step_limit_exceeded:
            try:
                yield next(iterator)
            except StopIteration:
                return
        logger.info(f"All {self.optimizer_step} optimiser steps are done")

    def make_dataloader(self, dataset, stage, *args, **kwargs):
        """Makes a loader as the host does, and tells its sampler the epoch.

        Arguments
        ---------
        dataset : torch.utils.data.Dataset
            The utterances.
        stage : speechbrain.Stage
            What they are for.
        *args, **kwargs
            As for ``speechbrain.Brain.make_dataloader``.

        Returns
        -------
        torch.utils.data.DataLoader
            The loader.
        """
        loader = super().make_dataloader(dataset, stage, *args, **kwargs)
        if stage == sb.Stage.TRAIN:
            self.train_generator = getattr(loader, "generator", None)
            if self.train_sampler is None:
                self.train_sampler = loader.batch_sampler
        return loader

    def geometry(self, stage):
        """The geometry of a batch. In training it is one of those that the
        encoder is trained for: drawn by seed and step, the same on all ranks,
        and so that each comes as often as the others. Otherwise it is the
        encoder's default one.

        Arguments
        ---------
        stage : speechbrain.Stage
            What the batch is for.

        Returns
        -------
        speechbrain_llsa.geometry.StreamGeometry
        """
        encoder = self.hparams.encoder
        if stage != sb.Stage.TRAIN:
            return encoder.geometry
        # batches that make one optimiser step may differ
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
        if self.checkpointer is not None:
            self.checkpointer.recover_if_possible(ckpt_predicate=is_complete)
        if if_main_process():
            self.curve_log.rewind(self.optimizer_step)
        if self._several_geometries():
            encoder = self.hparams.encoder
            choices = map(_name, encoder.geometries.all(encoder.attention))
            logger.info(
                f"Each batch is trained with one of: {'; '.join(choices)}. "
                f"Validation is with {_name(encoder.geometry)}"
            )

    def on_evaluate_start(self, max_key=None, min_key=None):
        """Loads the best complete checkpoint.

        Arguments
        ---------
        max_key : str or None
            The value whose greatest is best.
        min_key : str or None
            The value whose least is best.
        """
        if self.checkpointer is not None:
            self.checkpointer.recover_if_possible(
                max_key=max_key, min_key=min_key, ckpt_predicate=is_complete
            )

    def on_stage_start(self, stage, epoch=None):
        """Starts the averages of a stage, and seeds the loader of training.

        Arguments
        ---------
        stage : speechbrain.Stage
            What begins.
        epoch : int or None
            The number of the epoch.
        """
        self.epoch = epoch or 0
        resumed = stage == sb.Stage.TRAIN and self.step > 0
        if not resumed:
            self.stage_averages[stage] = Averages()
        if stage == sb.Stage.TRAIN and self.train_generator is not None:
            sequence = np.random.SeedSequence([self.seed, self.epoch])
            self.train_generator.manual_seed(int(sequence.generate_state(1)[0]))

    def on_fit_batch_start(self, batch, should_step):
        """Seeds the step, sets its learning rate and counts its geometry.

        Arguments
        ---------
        batch : object
            The batch to come.
        should_step : bool
            Whether the optimiser steps after it.
        """
        seed_step(self.seed, get_rank() or 0, self.epoch, self.step)
        scheduler = getattr(self.hparams, "lr_scheduler", None)
        if scheduler is not None:
            scheduler(self.optimizer, self.optimizer_step + 1)
        if self._several_geometries():
            self.geometry_counts[_name(self.geometry(sb.Stage.TRAIN))] += 1

    @torch.no_grad()
    def evaluate_batch(self, batch, stage):
        """Evaluates a batch with the same randomness each time.

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
        seed_step(self.seed, self.step)
        return super().evaluate_batch(batch, stage)

    def optimizers_step(self):
        """Clips the gradients of all parameter groups and takes a step.

        A step whose gradients are not finite is left out; more than
        ``nonfinite_patience`` of them in an epoch end the training.

        Raises
        ------
        ValueError
            If the patience is exhausted.
        """
        if self.optimizers_dict is None:
            return
        optimizers = self.freeze_optimizers(self.optimizers_dict).values()
        parameters = []
        for optimizer in optimizers:
            self.scaler.unscale_(optimizer)
            for group in optimizer.param_groups:
                parameters += group["params"]
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
        self.nonfinite_count += 1
        logger.warning(
            f"Gradients of step {self.optimizer_step + 1} are not finite; "
            "the step is left out"
        )
        if self.nonfinite_count > self.nonfinite_patience:
            raise ValueError(
                f"gradients: got {self.nonfinite_count} steps that are not "
                f"finite in epoch {self.epoch}, allowed are "
                f"{self.nonfinite_patience} (nonfinite_patience)"
            )

    def measure(self, stage, weight=1.0, **values):
        """Notes values of a batch for the logs.

        Arguments
        ---------
        stage : speechbrain.Stage
            What the batch was for.
        weight : float
            How much it counts in averages: 1, or a number of frames.
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
            What ``compute_forward`` gave.
        loss : torch.Tensor
            What ``compute_objectives`` gave.
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
        counts = {}
        if self.geometry_counts:
            counts = {"geometry_counts": dict(self.geometry_counts)}
        if if_main_process():
            self.curve_log.append(
                "train",
                self.optimizer_step,
                epoch=self.epoch,
                **values,
                **counts,
            )
        steps_logger = getattr(self.hparams, "train_steps_logger", None)
        if steps_logger is not None:
            steps_logger.log_stats(
                {"epoch": self.epoch, "step": self.optimizer_step},
                train_stats=values,
                verbose=False,
            )

    def end_epoch(self, num_to_keep=1, max_keys=(), min_keys=()):
        """Logs an epoch, draws the curves and saves a checkpoint.

        To be called by every rank at the end of the validation stage.

        Arguments
        ---------
        num_to_keep : int
            Checkpoints to keep, of the newest and of each key.
        max_keys : list of str
            Validation values whose greatest is best.
        min_keys : list of str
            Validation values whose least is best.

        Returns
        -------
        dict
            The averages of the validation.
        """
        train = self.stage_averages[sb.Stage.TRAIN].read()
        valid = self.stage_averages[sb.Stage.VALID].read()
        if if_main_process():
            self.curve_log.append(
                "valid", self.optimizer_step, epoch=self.epoch, **valid
            )
        self._draw_curves()
        stage_logger = getattr(self.hparams, "train_stage_logger", None)
        if stage_logger is not None:
            rate = self.optimizer.param_groups[0]["lr"]
            stage_logger.log_stats(
                {
                    "epoch": self.epoch,
                    "step": self.optimizer_step,
                    "learning_rate": rate,
                    **{
                        f"batches with {name}": count
                        for name, count in self.geometry_counts.items()
                    },
                },
                train_stats=train,
                valid_stats=valid,
            )
        if self.checkpointer is not None:
            self._save_checkpoint(
                valid,
                num_to_keep=num_to_keep,
                max_keys=list(max_keys),
                min_keys=list(min_keys),
            )
        return valid

    def check_loss_isfinite(self, loss):
        """Warns of a loss that is not finite; its step will be left out.

        Arguments
        ---------
        loss : torch.Tensor
            The loss before ``backward``.
        """
        if self.scaler.is_enabled():
            super().check_loss_isfinite(loss)
        elif not torch.isfinite(loss):
            logger.warning(f"Loss of batch {self.step} is not finite")

    def _draw_curves(self, every_seconds=60):
        """Drawing takes seconds, and epochs may be short."""
        now = time.monotonic()
        if if_main_process() and now - self.time_drawn >= every_seconds:
            draw_curves(self.curve_log.read(), self.curve_picture)
            self.time_drawn = now

    def _save_intra_epoch_ckpt(self):
        self._draw_curves()
        self._save_checkpoint(
            {INTRA_EPOCH_CKPT_FLAG: True},
            end_of_epoch=False,
            ckpt_predicate=lambda ckpt: INTRA_EPOCH_CKPT_FLAG in ckpt.meta,
        )

    def _save_checkpoint(
        self, meta, end_of_epoch=True, ckpt_predicate=None, **keep
    ):
        checkpoint = self.checkpointer.save_checkpoint(
            meta=meta, end_of_epoch=end_of_epoch
        )
        # by one rank: each would list the folder at another moment, and those
        # that find other checkpoints to delete wait for each other for ever
        run_on_main(
            self._complete_checkpoint, args=[checkpoint, ckpt_predicate, keep]
        )

    def _complete_checkpoint(self, checkpoint, ckpt_predicate, keep):
        (checkpoint.path / _COMPLETE).touch()
        self.checkpointer.delete_checkpoints(
            **keep,
            importance_keys=[ckpt_recency],
            ckpt_predicate=lambda ckpt: (
                is_complete(ckpt)
                and (ckpt_predicate is None or ckpt_predicate(ckpt))
            ),
        )

    @mark_as_saver
    def _save_progress(self, path):
        progress = {
            "step": self.step,
            "avg_train_loss": self.avg_train_loss,
            "optimizer_step": self.optimizer_step,
            "step_sums": self.step_averages.sums,
            "train_sums": self.stage_averages[sb.Stage.TRAIN].sums,
            "geometry_counts": self.geometry_counts,
        }
        Path(path).write_text(json.dumps(progress), encoding="utf-8")

    @mark_as_loader
    def _load_progress(self, path, end_of_epoch):
        progress = json.loads(Path(path).read_text(encoding="utf-8"))
        self.step = progress["step"]
        self.avg_train_loss = progress["avg_train_loss"]
        self.optimizer_step = progress["optimizer_step"]
        self.step_averages.sums = progress["step_sums"]
        self.geometry_counts = Counter(progress.get("geometry_counts", {}))
        if not end_of_epoch:
            train = self.stage_averages[sb.Stage.TRAIN]
            train.sums = progress["train_sums"]


def _name(geometry):
    """What a geometry is called in the logs."""
    return f"hop {geometry.hop} look_ahead {geometry.look_ahead}"


def is_complete(checkpoint):
    """Whether a checkpoint of ``StreamingBrain`` was saved to its end.

    Arguments
    ---------
    checkpoint : speechbrain.utils.checkpoints.Checkpoint
        The checkpoint.

    Returns
    -------
    bool
        False if saving was interrupted.
    """
    complete = (checkpoint.path / _COMPLETE).exists()
    if not complete:
        logger.warning(f"Passing over the unfinished {checkpoint.path}")
    return complete


def export_parameters(checkpointer, names, folder, max_key=None, min_key=None):
    """Copies trained modules of the best checkpoint, for a Pretrainer.

    Arguments
    ---------
    checkpointer : speechbrain.utils.checkpoints.Checkpointer
        Holds the checkpoints.
    names : list of str
        Recoverables to copy; each becomes ``<name>.ckpt``.
    folder : str or pathlib.Path
        Where to.
    max_key : str or None
        The value whose greatest is best.
    min_key : str or None
        The value whose least is best. Without a key the newest counts.

    Returns
    -------
    pathlib.Path
        The checkpoint that was copied.

    Raises
    ------
    FileNotFoundError
        If there is no complete checkpoint.
    """
    checkpoint = checkpointer.find_checkpoint(
        max_key=max_key, min_key=min_key, ckpt_predicate=is_complete
    )
    if checkpoint is None:
        raise FileNotFoundError(
            f"checkpointer: got no complete checkpoint in "
            f"{checkpointer.checkpoints_dir}, one is needed"
        )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.copyfile(checkpoint.paramfiles[name], folder / f"{name}.ckpt")
    return checkpoint.path
