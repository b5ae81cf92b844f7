"""Writes imported models as model folders."""

from __future__ import annotations

from pathlib import Path

from speechbrain.dataio.encoder import CTCTextEncoder

from speechbrain_llsa.lobes.ctc import StreamingCTC
from speechbrain_llsa.model_folder.labels import set_characters
from speechbrain_llsa.model_folder.write import (
    write_encoder_folder,
    write_streaming_folder,
)
from speechbrain_llsa.pretrained.imported import ImportedModel


def write_imported(folder: str | Path, model: ImportedModel) -> Path:
    """Writes a model: with a head and labels one that transcribes, otherwise
    an encoder.

    Arguments
    ---------
    folder : str or pathlib.Path
        Path of the folder, which is complete or absent. A model folder of an
        earlier call is replaced.
    model : ImportedModel
        The model.

    Returns
    -------
    pathlib.Path
        The folder, which ``StreamingEncoder.from_hparams`` and fine-tuning
        take; with labels ``StreamingASR.from_hparams`` as well.

    Raises
    ------
    ValueError
        If labels do not fit, or the outputs of the written model differ.
    FileExistsError
        If something else already exists at the path.

    Example
    -------
    >>> from speechbrain_llsa.pretrained import from_torchaudio
    >>> model = from_torchaudio(getfixture("tiny_wav2vec2"))
    >>> model.labels = ["<blank>", " ", "A", "B", "C"]
    >>> folder = write_imported(getfixture("tmp_path") / "model", model)
    >>> sorted(path.name for path in folder.glob("*.safetensors"))
    ['encoder_wrapper.safetensors', 'extractor.safetensors', 'head.safetensors']
    """
    if model.head is None or model.labels is None:
        return write_encoder_folder(
            folder, model.extractor, model.encoder_wrapper
        )
    tokenizer = CTCTextEncoder()
    set_characters(
        tokenizer,
        {
            "labels": model.labels,
            "special_labels": {"blank_label": model.labels[0]},
        },
    )
    ctc = StreamingCTC(model.extractor, model.encoder_wrapper, model.head)
    return write_streaming_folder(folder, ctc, tokenizer)
