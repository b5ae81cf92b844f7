"""What the trainings of a plan cost: floating-point operations, counted while
one utterance goes forward and backward through each model, on the CPU."""

import math
import tempfile
from dataclasses import dataclass
from types import SimpleNamespace

import speechbrain as sb
import torch
from torch.utils.flop_counter import FlopCounterMode

from comparison.plan import TRANSDUCER_SCRIPT, as_arguments
from finetune_ctc import FinetuneBrain
from pretrain import PretrainBrain
from speechbrain_llsa.training.arguments import load_hparams, parse_arguments
from speechbrain_llsa.utils.markdown import markdown_table
from speechbrain_llsa_runtime.utils.errors import must_be

UTTERANCE_SECONDS = 15.0
"""Duration of the utterance, about that of most speech in LibriSpeech."""

_DAY_SECONDS = 86400


class _Counted:
    """A training, of which single steps are counted, each with the geometry
    ``counted``."""

    counted = None

    def geometry(self, stage):
        """The geometry of every batch."""
        return self.counted


class CountedPretraining(_Counted, PretrainBrain):
    """A pre-training, of which single steps are counted."""

    def loss(self, batch):
        """The loss of a batch in training."""
        outputs = self.compute_forward(batch, sb.Stage.TRAIN)
        return self.compute_objectives(outputs, batch, sb.Stage.TRAIN)


class CountedFinetuning(_Counted, FinetuneBrain):
    """A fine-tuning, of which single steps are counted. CTC itself has no
    products of matrices."""

    def loss(self, batch):
        """A loss of a batch with the gradients of CTC's."""
        log_probs, *_ = self.compute_forward(batch, sb.Stage.TRAIN)
        return log_probs.sum()


_BRAINS = {"pretrain": CountedPretraining, "finetune": CountedFinetuning}


@dataclass(frozen=True)
class Estimate:
    """Operations of a training."""

    parameters: int
    """Parameters of the model, including what only the training needs."""

    forward: float
    """Operations of the forward pass for each second of audio."""

    step: float
    """Operations of forward and backward pass for each second of audio."""

    audio_seconds: float
    """Audio of the whole training on one device, in seconds."""

    @property
    def total(self):
        """Operations of the whole training."""
        return self.step * self.audio_seconds


def estimate_training(
    recipe, hparams_file, overrides, seconds=UTTERANCE_SECONDS
):
    """Counts the operations of a training.

    A multiplication and an addition are two operations, and products of
    matrices, convolutions and attention alone count, as they are computed on
    the CPU: a band by blocks. A model for several latencies costs the mean of
    them. Dropped layers are counted as if they were computed, and so is what a
    training freezes in the beginning. Augmentation, which makes utterances
    shorter and longer, and a teacher are left out. Masks are those of one seed,
    whatever the seed of the training.

    Arguments
    ---------
    recipe : str
        "pretrain" or "finetune".
    hparams_file : pathlib.Path
        The YAML file of the recipe.
    overrides : dict
        Entries of the file that are replaced.
    seconds : float
        Duration of the utterance that is counted.

    Returns
    -------
    Estimate
    """
    with tempfile.TemporaryDirectory() as folder:
        overrides = {
            "data_folder": folder,
            "output_folder": folder,
            **overrides,
            "device": "cpu",
            "seed": 0,
        }
        path, run_options, overrides = parse_arguments(
            [str(hparams_file), *as_arguments(overrides)]
        )
        hparams = load_hparams(path, overrides)
        hparams["augmentation"] = None
        brain = _BRAINS[recipe](
            modules=hparams["modules"],
            opt_class=hparams["optimizer"],
            hparams=hparams,
            run_opts=run_options,
        )
        encoder = hparams["encoder"]
        encoder.layerdrop_prob = 0.0
        brain.init_optimizers()
        brain.modules.train()
        samples = round(seconds * hparams["sample_rate"])
        batch = SimpleNamespace(
            sig=(torch.randn(1, samples), torch.ones(1)), is_empty=False
        )
        batch.to = lambda device: batch
        # the last step: nothing is frozen for a while any more
        brain.optimizer_step = hparams["optimizer_step_limit"] - 1
        forward = step = 0
        geometries = encoder.geometries.all(encoder.attention)
        for brain.counted in geometries:
            brain.on_fit_batch_start(batch, True)
            with (
                FlopCounterMode(
                    display=False, custom_mapping=_FORMULAS
                ) as counter,
                torch.autograd.graph.saved_tensors_hooks(_forget, _remake),
            ):
                loss = brain.loss(batch)
                forward += counter.get_total_flops()
                loss.backward()
                step += counter.get_total_flops()
    return Estimate(
        sum(each.numel() for each in brain.modules.parameters()),
        forward / len(geometries) / seconds,
        step / len(geometries) / seconds,
        hparams["optimizer_step_limit"]
        * hparams["seconds_per_batch"]
        * hparams["grad_accumulation_factor"],
    )


def _convolution_backward(gradient_shape, _, weight_shape, *others, **outputs):
    """Operations of the backward pass of a convolution: as many for each
    gradient, of input and weight, as for the forward pass. PyTorch's formula
    leaves out that a channel sees those of its group alone."""
    *_, wanted = others
    batch, _, *positions = gradient_shape
    forward = 2 * batch * math.prod(positions) * math.prod(weight_shape)
    return forward * sum(wanted[:2])


_FORMULAS = {torch.ops.aten.convolution_backward: _convolution_backward}


def _forget(saved):
    """Keeps of what the backward pass needs the shape alone: operations do not
    depend on values, and a large model would fill the memory."""
    if not saved.is_floating_point() or isinstance(saved, torch.nn.Parameter):
        return saved
    return saved.size(), saved.stride(), saved.dtype


def _remake(kept):
    if isinstance(kept, torch.Tensor):
        return kept
    size, stride, dtype = kept
    return torch.empty_strided(size, stride, dtype=dtype).zero_()


def check_rows(plan):
    """Rejects rows whose cost is not known.

    Arguments
    ---------
    plan : comparison.plan.Plan
        The plan.

    Raises
    ------
    ValueError
        If a row is a transducer.
    """
    for row in plan.rows:
        for recipe, hparams in row.hparams.items():
            if row.script(recipe) == TRANSDUCER_SCRIPT:
                raise ValueError(
                    must_be(
                        f"finetune of row {row.name!r}",
                        "a YAML file for CTC where costs are estimated",
                        repr(hparams.name),
                    )
                )


def estimate_plan(plan, operations_per_second, pretrained_folder=None):
    """Estimates the trainings of a plan.

    Arguments
    ---------
    plan : comparison.plan.Plan
        The plan.
    operations_per_second : float
        What a device does.
    pretrained_folder : str, optional
        The model folder that fine-tunings start from, where their sizes are
        those of the folder.

    Returns
    -------
    str
        A table in Markdown, with a row for each training of a seed. A row with
        the weights of another costs what its own training would. Where a
        teacher is left out, the table says so.
    """
    rows = []
    for row in plan.rows:
        trained = plan.trained(row)
        for recipe, hparams in trained.hparams.items():
            overrides = {
                **trained.overrides[recipe],
                **row.overrides.get("swaps", {}),
            }
            if recipe == "finetune":
                overrides["pretrained_folder"] = str(pretrained_folder)
            found = estimate_training(recipe, hparams, overrides)
            days = found.total / operations_per_second / _DAY_SECONDS
            stage = recipe
            if trained.teacher or trained.entries[recipe].get("teacher"):
                stage += ", without its teacher"
            rows.append(
                [
                    row.name,
                    stage,
                    f"{found.parameters / 1e6:.3g}",
                    f"{found.forward / 1e9:.3g}",
                    f"{found.step / 1e9:.3g}",
                    f"{found.audio_seconds / 3600:,.0f}",
                    f"{found.total / 1e18:.3g}",
                    f"{days:.3g}",
                ]
            )
    head = [
        "row",
        "stage",
        "parameters, M",
        "forward, GFLOP a second of audio",
        "forward and backward",
        "audio, h",
        "in all, EFLOP",
        f"days at {operations_per_second:.3g} FLOP/s",
    ]
    return markdown_table(head, rows, right=range(2, len(head)))
