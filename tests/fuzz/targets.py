"""What is fuzzed: files that come from strangers, and what loads them.

A target needs a function that writes valid files into a folder, the name of
the one that is damaged there, and a function that loads the folder. To fuzz
another format, add a row to ``TARGETS``.
"""

import copy
import functools
import io
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import soundfile
import torch
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer
from speechbrain.dataio.encoder import CTCTextEncoder
from tiny_model import make_model, make_signal, make_tokenizer

from speechbrain_llsa.inference.asr import StreamingASR
from speechbrain_llsa.inference.endpointer import Endpointer
from speechbrain_llsa.inference.folder import (
    FolderPretrainer,
    write_streaming_folder,
)
from speechbrain_llsa.inference.words import WordOffsets
from speechbrain_llsa.lobes.decoding import TextDecoder

NAMED_ERRORS = (OSError, TypeError, ValueError)
"""What a loader may answer; everything else is a failure."""


@dataclass(frozen=True)
class Target:
    """One kind of file."""

    name: str
    """For tests and reports."""

    file_name: str
    """The file in the folder that is damaged."""

    prepare: Callable[[Path], None]
    """Writes valid files into a new folder."""

    load: Callable[[Path], None]
    """Loads the folder and uses what it gives, or raises a named error."""

    tokens: tuple[bytes, ...] = ()
    """Text with a meaning in the format, to be put anywhere."""


@functools.cache
def sentencepieces():
    """A SentencePiece model of 18 pieces."""
    content = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(["one two three", "four five six"] * 20),
        model_writer=content,
        vocab_size=18,
        pad_id=0,
        unk_id=1,
        bos_id=-1,
        eos_id=-1,
        normalization_rule_name="identity",
        minloglevel=2,
    )
    tokenizer = SentencePieceProcessor()
    tokenizer.load_from_serialized_proto(content.getvalue())
    return tokenizer


@functools.cache
def good_folder(pieces=False):
    """A folder of a model, written once."""
    folder = Path(tempfile.mkdtemp(prefix="good-")) / "streaming"
    if pieces:
        model, tokenizer = make_model(labels=18), sentencepieces()
    else:
        model, tokenizer = make_model(), make_tokenizer()
    return write_streaming_folder(
        folder, model, tokenizer, Endpointer(), WordOffsets(-0.1, 0.3)
    )


@functools.cache
def good_model():
    """A model, loaded once."""
    return StreamingASR.from_hparams(good_folder())


def prepare_folder(folder):
    """Writes a model."""
    shutil.copytree(good_folder(), folder, dirs_exist_ok=True)


def load_folder(folder):
    """Loads a model, and transcribes with it."""
    asr = StreamingASR.from_hparams(folder)
    session = asr.session()
    session.push(make_signal(3000))
    session.finish()


def prepare_part(folder, file_name, pieces=False):
    """Writes one file of a model."""
    shutil.copy(good_folder(pieces) / file_name, folder)


def copy_of(name):
    """A part of the model, to be loaded into."""
    return copy.deepcopy(getattr(good_model().model, name))


def load_part(folder, name, file_name, make):
    """Loads one file of a model as the whole folder would be. Weights are
    refused, or those that were written."""
    part = make()
    pretrainer = FolderPretrainer({name: part}, {name: file_name})
    pretrainer.collect_files(folder)
    pretrainer.load_collected()
    if name == "tokenizer":
        decoder = TextDecoder(part)
        decoder.decode(range(len(decoder.pieces)))
        return
    expected = getattr(good_model().model, name).state_dict()
    for key, weights in part.state_dict().items():
        assert torch.equal(weights, expected[key]), f"{key} has changed"


def write_audio(folder, name, **options):
    """Writes a third of a second of audio."""
    signal = make_signal(5000).view(-1, 2).numpy()
    soundfile.write(folder / name, signal, 16000, **options)


def load_audio(folder, name):
    """Transcribes a file, as a stream and at once."""
    good_model().transcribe_file(folder / name)
    good_model().transcribe_file_offline(folder / name)


YAML_TOKENS = (
    b"!new:os.system [ls]",
    b"!name:os.system",
    b"!apply:os.system",
    b"!include:hyperparams.yaml",
    b"!ref <encoder>",
    b"!ref <encoder.x>",
    b"!ref <sample_rate> ** 9 ** 9",
    b"!copy <model>",
    b"(1, 2)",
    b"&a [*a]",
    b"*a",
    b"<<: ",
    b"999999999999",
    b"-1",
    b"1e400",
    b".nan",
    b"0x7fffffff",
    b"null",
    b"[[[[[[[[[[[[",
    b"{a: {b: {c: ",
    b"- - - - - -",
    b"? ",
    b"|\n",
    b"%TAG !n! !new:\n---\n",
    b"\n---\n",
    b"\t",
    b"\xef\xbb\xbf",
)

LABEL_TOKENS = (
    b" => ",
    b"=" * 16 + b"\n",
    b"[1]",
    b"(" * 50,
    b"-" * 50,
    b"{}",
    b"'" + b"A" * 1000 + b"'",
    b"9" * 50,
    b"None",
    b"b'x'",
)


def _audio(name, extension, **options):
    file_name = f"a.{extension}"
    return Target(
        name,
        file_name,
        functools.partial(write_audio, name=file_name, **options),
        functools.partial(load_audio, name=file_name),
        tokens=(b"RIFF", b"data", b"fmt ", b"LIST", b"fLaC", b"OggS", b"ID3"),
    )


def _part(name, file_name, part, make, pieces=False, tokens=()):
    return Target(
        name,
        file_name,
        functools.partial(prepare_part, file_name=file_name, pieces=pieces),
        functools.partial(load_part, name=part, file_name=file_name, make=make),
        tokens,
    )


TARGETS = {
    target.name: target
    for target in (
        _audio("wav", "wav", subtype="PCM_16"),
        _audio("wav-float", "wav", subtype="FLOAT"),
        _audio("flac", "flac"),
        _audio("ogg", "ogg"),
        Target(
            "hyperparams",
            "hyperparams.yaml",
            prepare_folder,
            load_folder,
            YAML_TOKENS,
        ),
        _part(
            "labels",
            "label_encoder.txt",
            "tokenizer",
            CTCTextEncoder,
            tokens=LABEL_TOKENS,
        ),
        _part(
            "sentencepiece",
            "tokenizer.model",
            "tokenizer",
            SentencePieceProcessor,
            pieces=True,
        ),
        _part("head", "head.ckpt", "head", functools.partial(copy_of, "head")),
        _part(
            "extractor",
            "extractor.ckpt",
            "extractor",
            functools.partial(copy_of, "extractor"),
        ),
    )
}
