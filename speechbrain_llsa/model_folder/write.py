"""Writes model folders, and verifies them by loading.

A folder holds ``model.json``, which describes the model, a ``safetensors``
file for each part, SpeechBrain's ``hyperparams.yaml``, and possibly the files
of a tokenizer and a language model. It can be moved.
"""

import copy
import json
import shutil
from dataclasses import asdict

import torch

from speechbrain_llsa.decoders.language_model import check_exists
from speechbrain_llsa.decoders.options import BeamSearchOptions
from speechbrain_llsa.decoders.tokenizers import TextDecoder, pieces
from speechbrain_llsa.lobes.ctc import StreamingCTC
from speechbrain_llsa.lobes.transducer import StreamingTransducer
from speechbrain_llsa.model_folder.hyperparameters import hyperparameters_of
from speechbrain_llsa.model_folder.labels import describe_tokenizer
from speechbrain_llsa.model_folder.load import load_model
from speechbrain_llsa.model_folder.parts import describe_encoder, describe_part
from speechbrain_llsa.model_folder.weights import write_weights
from speechbrain_llsa.utils.precision import full_float32
from speechbrain_llsa_runtime.geometry import SAMPLE_RATE
from speechbrain_llsa_runtime.model_folder.description import (
    FORMAT,
    FORMAT_VERSION,
    HPARAMS_FILE,
    MODEL_FILE,
    PARTS_OF,
    check_description,
)
from speechbrain_llsa_runtime.transcripts.endpointer import Endpointer
from speechbrain_llsa_runtime.transcripts.words import WordOffsets
from speechbrain_llsa_runtime.utils.atomic_files import (
    check_replaceable,
    written_atomically,
)
from speechbrain_llsa_runtime.utils.checks import check_type
from speechbrain_llsa_runtime.utils.checksums import file_checksum
from speechbrain_llsa_runtime.utils.errors import must_be


def write_streaming_folder(
    folder, model, tokenizer, endpointer=None, word_offsets=None, search=None
):
    """Writes a model so that ``StreamingASR.from_hparams`` loads it.

    The folder is complete or absent: it is written to a temporary path, loaded
    and compared with the model, and then renamed.

    Arguments
    ---------
    folder : str or pathlib.Path
        Path of the folder. A folder of an earlier call is replaced.
    model : StreamingCTC or StreamingTransducer
        The model. Its head is a ``torch.nn.Linear`` or SpeechBrain's
        ``Linear``.
    tokenizer : CTCTextEncoder or SentencePieceProcessor
        Its labels, with the blank at 0.
    endpointer : Endpointer, optional
        Decides where segments close, unless a session says otherwise. By
        default they never do.
    word_offsets : WordOffsets, optional
        Start and end of words relative to the frames of their labels; by
        default 0.
    search : BeamSearchOptions, optional
        Options of beam search; the file of its language model is copied. By
        default the search is greedy.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    TypeError
        If model, head, encoder, tokenizer or an option has an unsupported type.
    FileNotFoundError
        If there is no such language model.
    ValueError
        If the tokenizer does not match the head, the outputs of the written
        model differ, or an option of the search is out of range.
    FileExistsError
        If something else already exists at the path.
    """
    folder = check_replaceable(folder, HPARAMS_FILE)
    check_type("model", model, StreamingCTC)
    if endpointer is not None:
        check_type("endpointer", endpointer, Endpointer)
    if word_offsets is not None:
        check_type("word_offsets", word_offsets, WordOffsets)
    language_model = None
    if search is not None:
        check_type("search", search, BeamSearchOptions)
        language_model = search.language_model
        if language_model is not None:
            check_exists(language_model)
    labels = len(pieces(tokenizer))
    if labels != model.labels:
        raise ValueError(
            must_be(
                "tokenizer",
                f"of {model.labels} labels, as many as the model has",
                f"one of {labels}",
            )
        )
    if search is not None:
        greedy = model.greedy_search()
        search.make_search(TextDecoder(tokenizer), greedy, language_model=None)
    section, content = describe_tokenizer(tokenizer)
    kind = "transducer" if isinstance(model, StreamingTransducer) else "ctc"
    sections = {
        "kind": kind,
        **describe_encoder(model.extractor, model.encoder_wrapper),
        **{
            name: describe_part(name, getattr(model, name))
            for name in PARTS_OF[kind]
            if name in ("head", "decoder")
        },
        "tokenizer": section,
        "endpointer": endpointer and endpointer.to_dict(),
        "word_offsets": word_offsets and asdict(word_offsets),
        "search": search and search.to_dict(),
    }
    weights = {
        name: getattr(model, name).state_dict() for name in PARTS_OF[kind]
    }
    with written_atomically(folder) as new:
        write_files(new, sections, weights, content, language_model)
        _check_outputs(model, new, "complete", lambda loaded: loaded["model"])
    return folder


def write_encoder_folder(folder, extractor, encoder_wrapper):
    """Writes a pre-trained encoder so that ``StreamingEncoder.from_hparams``
    and fine-tuning load it. The folder is complete or absent.

    Arguments
    ---------
    folder : str or pathlib.Path
        Path of the folder. A folder of an earlier call is replaced.
    extractor : StreamingLatentExtractor
        The front end.
    encoder_wrapper : StreamingEncoderWrapper
        The encoder.

    Returns
    -------
    pathlib.Path
        The folder.

    Raises
    ------
    TypeError
        If front end or encoder has an unsupported class.
    ValueError
        If the outputs of the written encoder differ.
    FileExistsError
        If something else already exists at the path.
    """
    folder = check_replaceable(folder, HPARAMS_FILE)
    sections = {
        "kind": "encoder",
        **describe_encoder(extractor, encoder_wrapper),
    }
    parts = {"extractor": extractor, "encoder_wrapper": encoder_wrapper}
    weights = {name: part.state_dict() for name, part in parts.items()}
    with written_atomically(folder) as new:
        write_files(new, sections, weights)
        _check_outputs(_Embedder(parts), new, "encoder", _Embedder)
    return folder


def write_files(folder, sections, weights, tokenizer=None, language_model=None):
    """Writes the files of a folder.

    Arguments
    ---------
    folder : pathlib.Path
        The folder, which does not exist yet.
    sections : dict
        The ``kind`` and the sections of ``model.json``, without ``weights``.
    weights : dict of str to dict
        The tensors of each part.
    tokenizer : bytes, optional
        Content of the tokenizer's file, if it has one.
    language_model : pathlib.Path, optional
        The language model, which is copied.

    Raises
    ------
    ValueError
        If a value of a section is out of range.
    """
    folder.mkdir()
    files = {}
    for name, tensors in weights.items():
        path = folder / f"{name}.safetensors"
        write_weights(path, tensors)
        files[name] = {"file": path.name, "sha256": file_checksum(path)}
    if tokenizer is not None:
        path = folder / sections["tokenizer"]["file"]
        path.write_bytes(tokenizer)
        section = {**sections["tokenizer"], "sha256": file_checksum(path)}
        sections = {**sections, "tokenizer": section}
    if language_model is not None:
        shutil.copy(language_model, folder)
    description = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "kind": sections["kind"],
        "sample_rate": SAMPLE_RATE,
        **sections,
        "weights": files,
    }
    check_description(description, (sections["kind"],))
    write_description(folder, description)
    content = hyperparameters_of(description)
    (folder / HPARAMS_FILE).write_text(content, encoding="utf-8")


def write_description(folder, description):
    """Writes ``model.json``.

    Arguments
    ---------
    folder : pathlib.Path
        The folder.
    description : dict
        Its content.
    """
    text = json.dumps(description, ensure_ascii=False, indent=1) + "\n"
    (folder / MODEL_FILE).write_text(text, encoding="utf-8")


class _Embedder(torch.nn.Module):
    """Front end and encoder as one module, whose embeddings are compared."""

    def __init__(self, parts):
        super().__init__()
        self.extractor = parts["extractor"]
        self.encoder_wrapper = parts["encoder_wrapper"]

    def forward(self, wavs):
        return self.encoder_wrapper(self.extractor(wavs))["embeddings"], None


@torch.no_grad()
@full_float32()
def _check_outputs(model, folder, kind, take):
    """Loads the written model, and compares its outputs for noise."""
    written = load_model(folder, kind, take, trust=True).eval()
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(
        1, SAMPLE_RATE, generator=generator, dtype=torch.float32, device="cpu"
    )
    noise /= 10
    # as it is loaded: few bits of a type, or a GPU's TF32, would round more
    # than a small mistake changes
    expected, _ = copy.deepcopy(model).cpu().float().eval()(noise)
    actual, _ = written.float()(noise)
    if not torch.allclose(actual, expected, atol=1e-3):
        error = (actual - expected).abs().max().item()
        raise ValueError(
            "model must be what its sections in model.json describe: written "
            f"and loaded, what it gives differs by up to {error:.3g}"
        )
