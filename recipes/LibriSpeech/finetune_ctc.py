#!/usr/bin/env python3
"""CTC fine-tuning of a streaming encoder, or training from scratch.

> python finetune_ctc.py ../../hparams/finetune_small.yaml
      --data_folder FOLDER --pretrained_folder results/.../pretrained

FOLDER is in LibriSpeech layout; ``pretrained_folder`` is what ``pretrain.py``
wrote, and null trains from scratch. Any entry of the YAML file can be given on
the command line: ``--hop "[8, 1, 4]" --look_ahead "[8, 0]"`` trains one model
for many latencies. Running the same command again resumes the training.
``output_folder`` then holds the checkpoints (``save/``), the logs, the curves
(``curves.png``), the error rates offline and streamed (``error_rates.json`` and
an alignment for each split), and ``streaming/``: the model to stream with.
"""

import json
import sys
from pathlib import Path

import speechbrain as sb
import torch
from speechbrain.nnet.losses import ctc_loss
from speechbrain.utils.distributed import if_main_process
from speechbrain.utils.logger import get_logger
from speechbrain.utils.metric_stats import ErrorRateStats

from librispeech_prepare import prepare_librispeech
from speechbrain_llsa.decoders.options import BeamSearchOptions
from speechbrain_llsa.decoders.tokenizers import (
    CTCGreedyState,
    TextDecoder,
    ctc_greedy_decode_streaming,
)
from speechbrain_llsa.evaluation.word_events import estimate_offsets, find_words
from speechbrain_llsa.inference.asr import StreamingASR
from speechbrain_llsa.model_folder.write import write_streaming_folder
from speechbrain_llsa.training.bad_utterances import BadUtterances
from speechbrain_llsa.training.brain import StreamingBrain
from speechbrain_llsa.training.data import (
    keep_durations,
    load_manifests,
    shortest_duration,
)
from speechbrain_llsa.training.error_rates import (
    compare_offline_and_streamed,
    format_error_rates,
)
from speechbrain_llsa.training.learning_rates import (
    check_factors,
    parameter_groups,
    scale_learning_rates,
)
from speechbrain_llsa.training.ranks import on_main
from speechbrain_llsa.training.recipe import (
    begin_recipe,
    end_recipe,
    exit_on_bad_input,
    plan_batches,
    train,
)
from speechbrain_llsa.training.run_record import record_training
from speechbrain_llsa.training.shard_batches import load_shards
from speechbrain_llsa.training.teacher import Teacher
from speechbrain_llsa.training.units import (
    check_tokenizer,
    encode,
    make_tokenizer,
)
from speechbrain_llsa.training.unknown_characters import (
    fault_of_transcript,
    report_unknown_characters,
)
from speechbrain_llsa.training.warm_start import (
    adopt_tokenizer,
    describe_start,
    kind_of_units,
    load_pretrained,
)
from speechbrain_llsa.utils.normalization import (
    check_transcript_case,
    fold_transcript,
)
from speechbrain_llsa_runtime.transcripts.endpointer import Endpointer
from speechbrain_llsa_runtime.utils.atomic_files import write_atomically
from speechbrain_llsa_runtime.utils.checks import check_integer
from speechbrain_llsa_runtime.utils.errors import must_be
from speechbrain_llsa_runtime.utils.printing import all_characters

logger = get_logger(__name__)

_LEARNED_TRANSCRIPTS = 200_000
"""Transcripts of shards that SentencePiece learns its pieces from."""


class FinetuneBrain(StreamingBrain):
    """Learns transcripts with the CTC loss.

    What is of CTC alone are :meth:`apply_model`, :meth:`losses`,
    :meth:`labels` and :meth:`alignment_fault`.

    In addition to the hyperparameters of ``StreamingBrain``, it reads
    ``freeze_extractor``, ``freeze_encoder_steps``, ``head_lr_factor`` and
    ``layer_lr_decay`` (optional), ``masker`` (for training only, or ``None``),
    ``epoch_chosen_by``, "wer" or "cer"; and the attributes ``tokenizer`` and
    ``teacher``, a model that the trained one follows, or ``None``.
    """

    learns_decoder = False
    """Whether the model is a transducer."""

    tokenizer = None
    teacher = None

    def __init__(self, *args, opt_class, **kwargs):
        def make_optimizer(parameters):
            heads = dict(self.modules)
            heads.pop("model")
            groups = parameter_groups(
                self.hparams.model,
                getattr(self.hparams, "head_lr_factor", 1),
                getattr(self.hparams, "layer_lr_decay", 1),
                heads.values(),
            )
            optimizer = opt_class(groups)
            scale_learning_rates(optimizer)
            return optimizer

        super().__init__(*args, opt_class=make_optimizer, **kwargs)

    def on_fit_batch_start(self, batch, should_step):
        """Freezes the parameters that the step must not train.

        Arguments
        ---------
        batch : speechbrain.dataio.batch.PaddedBatch
            The batch.
        should_step : bool
            Whether the optimiser steps after it.
        """
        super().on_fit_batch_start(batch, should_step)
        hparams = self.hparams
        hparams.extractor.requires_grad_(not hparams.freeze_extractor)
        hparams.encoder_wrapper.requires_grad_(
            self.optimizer_step >= hparams.freeze_encoder_steps
        )

    def compute_forward(self, batch, stage):
        """Applies the model.

        Arguments
        ---------
        batch : bad_utterances.UtteranceBatch
            With the waveforms ``sig``.
        stage : speechbrain.Stage
            The stage of the batch.

        Returns
        -------
        torch.Tensor
            Log-probabilities, (batch, frames, units).
        torch.Tensor
            Frames of each row, (batch,).
        torch.Tensor or None
            In training with a teacher: how far each row is from it, (batch,).
        """
        is_training = stage == sb.Stage.TRAIN
        waveforms = self.augment(stage, *batch.to(self.device).sig)
        outputs = self.apply_model(
            batch,
            *waveforms,
            self.hparams.masker if is_training else None,
            self.geometry(stage),
        )
        distances = None
        if is_training and self.teacher is not None:
            distances = self.teacher(*waveforms, *outputs)
        return *outputs[:2], distances

    def compute_objectives(self, outputs, batch, stage):
        """Computes the losses, and the error rates of the validation.

        Arguments
        ---------
        outputs : tuple
            The result of ``compute_forward``.
        batch : bad_utterances.UtteranceBatch
            With ``tokens``, ``wrd`` and ``id``.
        stage : speechbrain.Stage
            The stage of the batch.

        Returns
        -------
        torch.Tensor
            CTC loss of an utterance divided by its units, mean over the
            utterances of the batch that have a transcript and can be aligned,
            in nats, (); in training with a teacher, plus the mean of their
            distances from it, also of those without a transcript.
        """
        log_probs, lengths, distances = outputs
        losses = self.losses(log_probs, lengths, *batch.tokens)
        good = self.find_alignable(batch, lengths)
        has_transcript = torch.tensor(
            [bool(transcript) for transcript in batch.wrd], device=self.device
        )
        loss = self.mean_over(good & has_transcript, stage, loss=losses)
        if distances is not None:
            loss = loss + self.mean_over(
                good, stage, distance_from_teacher=distances
            )
        if stage == sb.Stage.VALID:
            rows = self.labels(log_probs, lengths)
            texts = [self.text_decoder.decode(row) for row in rows]
            self.word_errors.append(
                batch.id,
                [text.split() for text in texts],
                [transcript.split() for transcript in batch.wrd],
            )
            self.character_errors.append(
                batch.id, list(map(list, texts)), list(map(list, batch.wrd))
            )
        return loss

    def apply_model(self, batch, wavs, wav_lens, masker, geometry):
        """Computes what :meth:`losses` and :meth:`labels` take.

        Arguments
        ---------
        batch : bad_utterances.UtteranceBatch
            The batch.
        wavs : torch.Tensor
            Its waveforms, augmented, (batch, samples).
        wav_lens : torch.Tensor
            Length of each row relative to the longest, (batch,).
        masker : SpanMasker or None
            As for the model.
        geometry : StreamGeometry
            As for the model.

        Returns
        -------
        torch.Tensor
            Log-probabilities, (batch, frames, units).
        torch.Tensor
            Frames of each row, (batch,).
        torch.Tensor
            Frames of the encoder, (batch, frames, features).
        """
        return self.modules.model(
            wavs, wav_lens, masker, geometry, with_embeddings=True
        )

    def losses(self, log_probs, lengths, tokens, token_lengths):
        """Computes the loss of each utterance.

        Arguments
        ---------
        log_probs : torch.Tensor
            What :meth:`apply_model` gives, (batch, frames, units).
        lengths : torch.Tensor
            Frames of each row, (batch,).
        tokens : torch.Tensor
            Units, padded at the end, (batch, units).
        token_lengths : torch.Tensor
            Length of each row relative to the longest, (batch,).

        Returns
        -------
        torch.Tensor
            Divided by the number of units, in nats, (batch,).
        """
        return ctc_loss(
            log_probs,
            tokens,
            lengths / log_probs.shape[1],
            token_lengths,
            blank_index=0,
            reduction="batch",
        )

    def labels(self, log_probs, lengths):
        """Finds the units of each utterance greedily.

        Arguments
        ---------
        log_probs : torch.Tensor
            What :meth:`apply_model` gives, (batch, frames, units).
        lengths : torch.Tensor
            Frames of each row, (batch,).

        Returns
        -------
        list of list of int
        """
        return ctc_greedy_decode_streaming(log_probs, CTCGreedyState(), lengths)

    @staticmethod
    def alignment_fault(units, frames):
        """Says why CTC cannot align units, if it cannot: it needs one frame per
        unit, and one for a blank between equal units.

        Arguments
        ---------
        units : torch.Tensor
            Without blanks, int64 (units,).
        frames : int
            Encoder frames of the utterance.

        Returns
        -------
        str or None
            What is wrong, ``None`` if nothing is.

        Example
        -------
        >>> FinetuneBrain.alignment_fault(torch.tensor([3, 3, 1]), 3)
        'has 3 frames for a transcript that needs 4'
        """
        needed = len(units) + int((units[1:] == units[:-1]).sum())
        return _fault_of_frames(frames, needed)

    def mean_over(self, rows, stage, **values):
        """Averages a loss over rows of the batch, and logs it.

        Arguments
        ---------
        rows : torch.Tensor
            True for the rows that count, (batch,).
        stage : speechbrain.Stage
            The stage of the batch.
        **values : torch.Tensor
            The loss of each row by its name, (batch,).

        Returns
        -------
        torch.Tensor
            The mean, (); in training on several ranks: this rank's share of
            that over the joined batch.
        """
        ((name, losses),) = values.items()
        count = int(rows.sum())
        mean = (losses * rows).sum() / max(count, 1)
        self.measure(stage, weight=count, **{name: mean})
        return self.joined_share(stage, count) * mean

    def find_alignable(self, batch, lengths):
        """Finds the utterances with enough frames, and leaves out the others.

        Arguments
        ---------
        batch : bad_utterances.UtteranceBatch
            With ``tokens``.
        lengths : torch.Tensor
            Frames of each row, (batch,).

        Returns
        -------
        torch.Tensor
            True for the rows that count, (batch,).
        """
        tokens, token_lengths = batch.tokens
        unit_counts = (token_lengths * tokens.shape[1]).round().int().tolist()
        faults = [
            self.alignment_fault(row[:count], frames)
            for row, count, frames in zip(
                tokens.cpu(), unit_counts, lengths.tolist(), strict=True
            )
        ]
        # a batch that is empty has no names
        self.leave_out(
            {
                name: fault
                for name, fault in zip(batch.names, faults, strict=False)
                if fault is not None
            }
        )
        return torch.tensor(
            [fault is None and not batch.is_empty for fault in faults],
            device=self.device,
        )

    def on_stage_start(self, stage, epoch=None):
        """Resets the error rates of a validation.

        Arguments
        ---------
        stage : speechbrain.Stage
            What begins.
        epoch : int or None
            The number of the epoch.
        """
        super().on_stage_start(stage, epoch)
        if stage == sb.Stage.VALID:
            self.text_decoder = TextDecoder(self.tokenizer)
            self.word_errors = ErrorRateStats()
            self.character_errors = ErrorRateStats()

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
            self.measure(
                stage,
                wer=self.word_errors.summarize("error_rate"),
                cer=self.character_errors.summarize("error_rate"),
            )
            self.end_epoch(
                num_to_keep=self.hparams.checkpoints_to_keep,
                min_keys=[self.hparams.epoch_chosen_by],
            )


def transcript_case(hparams):
    """Case that transcripts are folded to, from the YAML file.

    Arguments
    ---------
    hparams : dict
        With ``transcript_case``, or without for "as_is".

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If it is unknown.
    """
    case = hparams.get("transcript_case", "as_is")
    check_transcript_case(case)
    return case


def prepare_datasets(hparams, tokenizer_folder, alignment_fault):
    """Loads the utterances, and the tokenizer for their transcripts.

    Arguments
    ---------
    hparams : dict
        The hyperparameters, as loaded from the YAML file.
    tokenizer_folder : str or pathlib.Path
        Folder of the tokenizer.
    alignment_fault : callable
        As ``FinetuneBrain.alignment_fault``.

    Returns
    -------
    dict
        "train" and "valid", a dataset each, of utterances whose characters
        are units, "train" with a teacher also without a transcript; and
        "scored", a dict with a dataset for each split of ``valid_splits`` and
        ``test_splits``, where other characters count as errors. All
        transcripts are folded (``transcript_case``).
    CTCTextEncoder or sentencepiece.SentencePieceProcessor
        The tokenizer.
    """
    folder = Path(hparams["manifest_folder"])
    bad_utterances = BadUtterances(hparams["on_bad_utterance"])
    start = hparams["units"], hparams["pretrained_folder"]
    kind = kind_of_units(*start)
    # pieces are learned with straight apostrophes
    units = hparams["characters"] if kind == "character" else "'"
    case = transcript_case(hparams)

    def load(splits, keep_unlabelled=False):
        dataset = load_manifests(
            [folder / f"{split}.csv" for split in splits],
            hparams["sample_rate"],
        )
        for item in dataset.data.values():
            item["wrd"] = fold_transcript(item["wrd"], case, units)
        return bad_utterances.keep_good(
            dataset,
            lambda item: (
                None if item["wrd"] or keep_unlabelled else "has no transcript"
            ),
        )

    evaluated = [*hparams["valid_splits"], *hparams["test_splits"]]
    scored = {split: load([split]) for split in evaluated}
    valid = load(hparams["valid_splits"])
    learns_unlabelled = hparams.get("teacher") is not None
    train_limits = {
        "shortest_seconds": max(
            shortest_duration(hparams["extractor"], 1, hparams["sample_rate"]),
            hparams["avoid_if_shorter_than"],
        ),
        "longest_seconds": hparams["avoid_if_longer_than"],
    }
    in_shards = hparams.get("train_shards") is not None
    if in_shards:
        train = load_shards(
            hparams["train_shards"],
            hparams["train_splits"],
            hparams["on_bad_utterance"],
            sample_rate=hparams["sample_rate"],
            **train_limits,
        )
        transcripts = []
        if kind == "sentencepiece":
            transcripts = [
                fold_transcript(transcript, case, units)
                for transcript in train.transcripts(_LEARNED_TRANSCRIPTS)
            ]
    else:
        train = load(hparams["train_splits"], learns_unlabelled)
        transcripts = [train.data[name]["wrd"] for name in train.data_ids]
    on_main(lambda: adopt_tokenizer(tokenizer_folder, *start))
    tokenizer = run_on_all(
        make_tokenizer,
        tokenizer_folder,
        kind,
        hparams["output_units"],
        hparams["characters"],
        filter(None, transcripts),
    )
    report_unknown_characters(
        tokenizer,
        learned=[valid] if in_shards else [train, valid],
        scored=scored.values(),
        is_error=hparams["on_bad_utterance"] == "error",
    )

    def fault_of(item):
        return fault_of_transcript(tokenizer, item["wrd"])

    def fault_in_training(item):
        return _fault_of_duration(item, tokenizer, hparams, alignment_fault)

    def prepare_item(item):
        transcript = fold_transcript(item["wrd"], case, units)
        duration = len(item["sig"]) / hparams["sample_rate"]
        folded = {"wrd": transcript, "duration": duration}
        fault = item["fault"]
        if not fault and not transcript and not learns_unlabelled:
            fault = "has no transcript"
        fault = fault or fault_of(folded) or fault_in_training(folded)
        tokens = torch.tensor([1])
        if not fault:
            tokens = _units_of(tokenizer, transcript)
        return {"wrd": transcript, "fault": fault or "", "tokens": tokens}

    valid = bad_utterances.keep_good(valid, fault_of)
    made_of_files = [valid]
    if in_shards:
        # what is wrong shows as each is read
        train.prepare = prepare_item
    else:
        train = bad_utterances.keep_good(train, fault_of)
        train = keep_durations(train, **train_limits)
        train = bad_utterances.keep_good(train, fault_in_training)
        made_of_files.append(train)
    keys = ["id", "wav", "sig", "fault", "wrd"]
    for dataset in made_of_files:
        dataset.add_dynamic_item(
            lambda transcript: _units_of(tokenizer, transcript),
            takes="wrd",
            provides="tokens",
        )
        dataset.set_output_keys([*keys, "tokens"])
    for dataset in scored.values():
        dataset.set_output_keys(keys)
    return {"train": train, "valid": valid, "scored": scored}, tokenizer


def _units_of(tokenizer, transcript):
    # a batch cannot pad nothing: without a transcript, a unit that no loss sees
    return encode(tokenizer, transcript) if transcript else torch.tensor([1])


def run_on_all(function, *arguments):
    """Calls a function first on the main process, which writes files, then on
    the others, which read them; returns its result on all."""
    result = None

    def call():
        nonlocal result
        result = function(*arguments)

    on_main(call)
    return function(*arguments) if result is None else result


def _fault_of_frames(frames, needed):
    if frames >= needed:
        return None
    return f"has {int(frames)} frames for a transcript that needs {needed}"


def _fault_of_duration(item, tokenizer, hparams, alignment_fault):
    """Says why an utterance cannot be aligned at its fastest speed, if it
    cannot."""
    speed = max([100, *hparams["speeds"]]) / 100
    samples = round(item["duration"] / speed * hparams["sample_rate"])
    frames = hparams["extractor"].get_output_lengths(torch.tensor(samples))
    return alignment_fault(encode(tokenizer, item["wrd"]), int(frames))


def record_finetuning(hparams):
    """Records the settings of the fine-tuning, or rejects an output folder that
    was started with different ones or from different pre-trained weights. The
    path of the weights may change.

    Arguments
    ---------
    hparams : dict
        The hyperparameters, as loaded from the YAML file.

    Raises
    ------
    FileNotFoundError
        If the pre-trained weights do not exist.
    ValueError
        If settings or weights differ.
    """
    check_tokenizer(
        hparams["save_folder"],
        hparams["characters"],
        units=kind_of_units(hparams["units"], hparams["pretrained_folder"]),
        output_units=hparams["output_units"],
    )
    record_training(
        hparams, pretrained_folder=describe_start(hparams["pretrained_folder"])
    )


def load_teacher(hparams, tokenizer, device):
    """Loads the model that the trained one follows.

    Arguments
    ---------
    hparams : dict
        With ``teacher``, a model folder or ``None``, and the weights
        ``teacher_embedding_weight`` and ``teacher_label_weight``; without
        ``teacher`` as with ``None``.
    tokenizer : CTCTextEncoder or SentencePieceProcessor
        The units of the trained model.
    device : str or torch.device
        Device of the training.

    Returns
    -------
    Teacher or None

    Raises
    ------
    ValueError
        If the trained model cannot follow it.
    """
    if hparams.get("teacher") is None:
        return None
    teacher = Teacher(
        hparams["teacher"],
        hparams["teacher_embedding_weight"],
        hparams["teacher_label_weight"],
    )
    teacher.check_student(hparams["model"], tokenizer)
    return teacher.to(device)


def check_epoch_chosen_by(epoch_chosen_by):
    """Checks that the epoch is chosen by an error rate of the validation.

    Arguments
    ---------
    epoch_chosen_by : str
        The value from the YAML file.

    Raises
    ------
    ValueError
        If it is neither "wer" nor "cer".
    """
    if epoch_chosen_by not in ("wer", "cer"):
        raise ValueError(
            must_be("epoch_chosen_by", "'wer' or 'cer'", repr(epoch_chosen_by))
        )


def check_streamed_count(streamed_count):
    """Checks the number of utterances to stream; ``None`` stands for all.

    Arguments
    ---------
    streamed_count : int or None
        The value from the YAML file.

    Raises
    ------
    TypeError
        If it has the wrong type.
    ValueError
        If it is negative.
    """
    if streamed_count is not None:
        check_integer("streamed_count", streamed_count, 0)


def read_endpointer(hparams):
    """Reads the endpointer from the YAML file.

    Arguments
    ---------
    hparams : dict
        With ``endpoints``, and ``endpoint_rules``: a dict of conditions for
        each rule, or ``None``.

    Returns
    -------
    Endpointer or None

    Raises
    ------
    TypeError
        If a condition or rule has the wrong type.
    ValueError
        If one is unknown or out of range.
    """
    endpointer = Endpointer(**hparams["endpoint_rules"])
    return endpointer if hparams["endpoints"] else None


def read_search(hparams, tokenizer):
    """Reads the search options from the YAML file.

    Arguments
    ---------
    hparams : dict
        With ``search``, "greedy" or "beam", and ``beam_search``: a dict of
        arguments.
    tokenizer : CTCTextEncoder or sentencepiece.SentencePieceProcessor
        The units to search.

    Returns
    -------
    BeamSearchOptions or None

    Raises
    ------
    FileNotFoundError
        If there is no such language model.
    ImportError
        If KenLM is needed and not installed.
    TypeError
        If an argument is unknown or of another type.
    ValueError
        If an entry is out of range, or the language model is damaged.
    """
    if hparams["search"] not in ("greedy", "beam"):
        raise ValueError(
            must_be("search", "greedy or beam", repr(hparams["search"]))
        )
    options = BeamSearchOptions(**hparams["beam_search"])
    if hparams["search"] == "greedy":
        return None
    options.make_search(TextDecoder(tokenizer))
    return options


def find_word_offsets(asr, dataset):
    """Estimates the word offsets of the model, if the word times of the
    validation data are known.

    Arguments
    ---------
    asr : speechbrain_llsa.inference.asr.StreamingASR
        The model, without word offsets.
    dataset : speechbrain.dataio.dataset.DynamicItemDataset
        Utterances with ``wav`` and ``fault``; good ones with a CTM file of
        their chapter count.

    Returns
    -------
    WordOffsets or None
    """
    utterances = []
    for index, identity in enumerate(dataset.data_ids):
        wav = dataset.data[identity]["wav"]
        spoken = find_words(wav)
        # to look for a fault is to read the audio
        if spoken is not None and not dataset[index]["fault"]:
            transcript = asr.transcript_offline(wav, endpointer=False)
            utterances.append((transcript.words, spoken))
    offsets = estimate_offsets(utterances)
    if offsets is None:
        logger.info("No word offsets: too few words whose times are known")
    else:
        logger.info(f"Word offsets of the validation: {offsets}")
    return offsets


def evaluate(hparams, tokenizer, datasets, device):
    """Writes the streaming model, loads it, and evaluates it offline and
    streamed.

    Arguments
    ---------
    hparams : dict
        With the trained ``model``.
    tokenizer : CTCTextEncoder or sentencepiece.SentencePieceProcessor
        Its units.
    datasets : dict
        The result of :func:`prepare_datasets`.
    device : str or torch.device
        Device for the evaluation.
    """
    output_folder = Path(hparams["output_folder"])
    folder = output_folder / "streaming"
    model, endpointer = hparams["model"], read_endpointer(hparams)
    search = read_search(hparams, tokenizer)

    def write(offsets=None):
        write_streaming_folder(
            folder, model, tokenizer, endpointer, offsets, search
        )
        return StreamingASR.from_hparams(
            folder, trust=True, run_opts={"device": str(device)}
        )

    asr = write()
    offsets = find_word_offsets(asr, datasets["valid"])
    if offsets is not None:
        asr = write(offsets)
    splits = [*hparams["valid_splits"], *hparams["test_splits"]]
    error_rates = {
        split: compare_offline_and_streamed(
            asr,
            datasets["scored"][split],
            hparams["push_seconds"],
            output_folder / f"errors_{split}.txt",
            name=split,
            bad_utterances=BadUtterances(hparams["on_bad_utterance"]),
            streamed_count=hparams["streamed_count"],
        )
        for split in splits
    }
    write_atomically(
        output_folder / "error_rates.json",
        json.dumps(error_rates, indent=2) + "\n",
    )
    print(asr.model.latency_report())
    print(format_error_rates(error_rates))
    print(f"The model to stream with is in {folder}")


def check_model(hparams, brain_class):
    """Checks that the model is one that a Brain can train.

    Arguments
    ---------
    hparams : dict
        The resolved YAML file.
    brain_class : type
        Class of the Brain.

    Raises
    ------
    ValueError
        If a CTC model is to be trained as a transducer, or the reverse, or a
        transducer is given a teacher.
    """
    model = hparams["model"]
    if brain_class.learns_decoder == model.gives_labels:
        raise ValueError(
            must_be(
                "model",
                "a StreamingCTC for finetune_ctc.py, a StreamingTransducer for "
                "finetune_transducer.py",
                f"a {type(model).__name__}",
            )
        )
    if brain_class.learns_decoder and hparams.get("teacher") is not None:
        raise ValueError(
            must_be(
                "teacher", "null for a transducer", repr(hparams["teacher"])
            )
        )


def prepare(arguments, brain_class=FinetuneBrain):
    """Prepares the training, and validates all input.

    Arguments
    ---------
    arguments : list of str
        The command line without the name of the program.
    brain_class : type
        Class of the Brain: ``FinetuneBrain`` or one of its own.

    Returns
    -------
    FinetuneBrain
        Before training.
    dict
        The datasets by name, the result of :func:`prepare_datasets`.
    """
    hparams, run_options = begin_recipe(
        arguments,
        ["train_splits", "valid_splits", "test_splits"],
        prepare_librispeech,
        record_finetuning,
    )
    check_model(hparams, brain_class)
    transcript_case(hparams)
    check_epoch_chosen_by(hparams["epoch_chosen_by"])
    check_streamed_count(hparams["streamed_count"])
    check_factors(
        hparams.get("head_lr_factor", 1), hparams.get("layer_lr_decay", 1)
    )
    read_endpointer(hparams)
    datasets, tokenizer = prepare_datasets(
        hparams, hparams["save_folder"], brain_class.alignment_fault
    )
    read_search(hparams, tokenizer)
    names = ("pretrained_folder", "extractor", "encoder_wrapper", "head")
    load_pretrained(
        *(hparams[name] for name in names), tokenizer, hparams.get("decoder")
    )
    brain = brain_class(
        modules=hparams["modules"],
        opt_class=hparams["optimizer"],
        hparams=hparams,
        run_opts=run_options,
        checkpointer=hparams["checkpointer"],
    )
    plan_batches(brain, hparams, datasets["train"])
    brain.tokenizer = tokenizer
    brain.teacher = load_teacher(hparams, tokenizer, brain.device)
    return brain, datasets


@all_characters()
def run(brain, datasets):
    """Trains, writes the streaming model, and evaluates it.

    Arguments
    ---------
    brain : FinetuneBrain
        Before training.
    datasets : dict
        The result of :func:`prepare_datasets`.

    Returns
    -------
    FinetuneBrain
        After training.
    """
    hparams = vars(brain.hparams)
    train(brain, hparams, datasets["train"], datasets["valid"])
    brain.on_evaluate_start(min_key=hparams["epoch_chosen_by"])
    if if_main_process():
        evaluate(hparams, brain.tokenizer, datasets, brain.device)
    return brain


def main(arguments):
    """Runs the recipe.

    Arguments
    ---------
    arguments : list of str
        The command line without the name of the program.

    Returns
    -------
    FinetuneBrain
        After training.
    """
    return run(*prepare(arguments))


if __name__ == "__main__":
    run(*exit_on_bad_input(prepare, sys.argv[1:]))
    end_recipe()
