#!/usr/bin/env python3
"""Fine-tuning of a streaming encoder as a transducer, or training from scratch.

> python finetune_transducer.py ../../hparams/finetune_transducer_small.yaml
      --data_folder FOLDER --pretrained_folder results/.../pretrained

Everything but the loss is as in ``finetune_ctc.py``: its command line, its
YAML files but for ``decoder``, ``fast_emit``, ``ctc_head``, ``ctc_weight`` and
``teacher``, its output folder, and ``streaming/``, which the same classes and
commands load.
"""

import sys

import torch

import finetune_ctc
from finetune_ctc import run
from speechbrain_llsa.lobes.transducer_loss import transducer_loss
from speechbrain_llsa.training.recipe import end_recipe, exit_on_bad_input
from speechbrain_llsa_runtime.utils.checks import check_number
from speechbrain_llsa_runtime.utils.errors import must_be


class TransducerBrain(finetune_ctc.FinetuneBrain):
    """Learns transcripts with the loss of a transducer, and that of CTC beside
    it (Watanabe et al., "Hybrid CTC/attention architecture for end-to-end
    speech recognition", 2017, where the other loss is that of attention).

    In addition to the hyperparameters of ``FinetuneBrain``, it reads
    ``decoder``; ``fast_emit``, how much more emissions count in gradients; and
    ``ctc_weight`` (optional), the part of CTC in the loss, from 0 to 1. Unless
    it is 0, ``modules`` hold ``ctc_head``, from embeddings to units, which no
    model folder keeps.
    """

    learns_decoder = True

    @property
    def ctc_weight(self):
        """The part of CTC in the loss."""
        return getattr(self.hparams, "ctc_weight", 0)

    def apply_model(self, batch, wavs, wav_lens, masker, geometry):
        """Computes what :meth:`losses` and :meth:`labels` take.

        Arguments
        ---------
        batch : bad_utterances.UtteranceBatch
            With ``tokens``.
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
        tuple
            Frames for the joiner, (batch, frames, features); its logits,
            (batch, frames, units + 1, labels); log-probabilities of CTC,
            (batch, frames, units), ``None`` where it has no part in the loss.
        torch.Tensor
            Frames of each row, (batch,).
        torch.Tensor
            Frames of the encoder, (batch, frames, features).
        """
        tokens, _ = batch.tokens
        # of the whole model, whose forward pass is what ranks share
        frames, lengths, embeddings, logits = self.modules.model(
            wavs,
            wav_lens,
            masker,
            geometry,
            with_embeddings=True,
            targets=tokens,
        )
        log_probs = None
        if self.ctc_weight:
            ctc_logits = self.modules.ctc_head(embeddings)
            log_probs = ctc_logits.log_softmax(-1, torch.float32)
        return (frames, logits, log_probs), lengths, embeddings

    def losses(self, outputs, lengths, tokens, token_lengths):
        """Computes the loss of each utterance.

        Arguments
        ---------
        outputs : tuple
            What :meth:`apply_model` gives.
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
        counts = (token_lengths * tokens.shape[1]).round().int()
        _, logits, log_probs = outputs
        losses = transducer_loss(
            logits, tokens, lengths, counts, self.hparams.fast_emit
        ) / counts.clamp(min=1)
        if log_probs is None:
            return losses
        ctc_losses = super().losses(log_probs, lengths, tokens, token_lengths)
        return torch.lerp(losses, ctc_losses, self.ctc_weight)

    def labels(self, outputs, lengths):
        """Finds the units of each utterance greedily.

        Arguments
        ---------
        outputs : tuple
            What :meth:`apply_model` gives.
        lengths : torch.Tensor
            Frames of each row, (batch,).

        Returns
        -------
        list of list of int
        """
        frames, *_ = outputs
        search = self.hparams.model.greedy_search()
        return [
            [
                token.label
                for token in search.advance(
                    row[:length], search.make_streaming_context(), final=True
                )
            ]
            for row, length in zip(
                frames.detach().cpu(), lengths.tolist(), strict=True
            )
        ]

    @staticmethod
    def alignment_fault(units, frames):
        """Says why a search could not find units, if it cannot.

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
        """
        return None if frames else "has no frame"


def prepare(arguments):
    """Prepares the training, and validates all input.

    Arguments
    ---------
    arguments : list of str
        The command line without the name of the program.

    Returns
    -------
    TransducerBrain
        Before training.
    dict
        The datasets by name.
    """
    brain, datasets = finetune_ctc.prepare(arguments, TransducerBrain)
    check_number("fast_emit", brain.hparams.fast_emit, 0)
    check_number("ctc_weight", brain.ctc_weight, 0, 1)
    if brain.ctc_weight and "ctc_head" not in brain.modules:
        raise ValueError(
            must_be(
                "modules", "with a ctc_head where ctc_weight is not 0", "none"
            )
        )
    return brain, datasets


def main(arguments):
    """Runs the recipe.

    Arguments
    ---------
    arguments : list of str
        The command line without the name of the program.

    Returns
    -------
    TransducerBrain
        After training.
    """
    return run(*prepare(arguments))


if __name__ == "__main__":
    run(*exit_on_bad_input(prepare, sys.argv[1:]))
    end_recipe()
