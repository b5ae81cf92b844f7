"""What is fuzzed: untrusted files, and what loads them.

A target needs a function that writes valid files into a folder, the name of
the one that is damaged there, and a function that loads the folder. To fuzz
another format, add a row to ``TARGETS``.
"""

import functools
import hashlib
import io
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

import pytest
import soundfile
import torch
from google.protobuf import text_format
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

from model_data import model_folder, reseal
from speechbrain_llsa.decoders.language_model import LanguageModel
from speechbrain_llsa.decoders.options import BeamSearchOptions
from speechbrain_llsa.decoders.tokenizers import TextDecoder
from speechbrain_llsa.inference.asr import StreamingASR
from speechbrain_llsa.inference.onnx_export import export_model
from speechbrain_llsa.model_folder.convert import convert_folder
from speechbrain_llsa.model_folder.write import write_streaming_folder
from speechbrain_llsa.pretrained import from_speechbrain
from speechbrain_llsa_runtime.dataio.audio_stream import AudioStream
from speechbrain_llsa_runtime.dataio.pcm import PCMDecoder
from speechbrain_llsa_runtime.inference.onnx import OnnxStreamingASR
from speechbrain_llsa_runtime.snapshot import CHECKSUM_PLACEHOLDER
from speechbrain_llsa_runtime.transcripts.endpointer import Endpointer
from speechbrain_llsa_runtime.transcripts.words import WordOffsets
from tiny_model import make_model, make_signal, make_tokenizer
from tiny_speechbrain import write_experiment
from tiny_transducer import make_transducer
from word_ngrams import make_arpa

RECIPES = Path(__file__).parents[2] / "recipes" / "Synthetic"

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
        num_threads=1,
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
        model = make_model(hop=[2, 3], look_ahead=[4, 0])
        tokenizer = make_tokenizer()
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
    transcribe(StreamingASR.from_hparams(folder).session())


def transcribe(session):
    """Pushes some audio, and ends the stream, unless it has ended."""
    if not session.finished:
        session.push(make_signal(3000))
        session.finish()


def prepare_sealed(folder, pieces=False):
    """Writes a model, of characters or of pieces."""
    shutil.copytree(good_folder(pieces), folder, dirs_exist_ok=True)


def load_sealed(folder):
    """Loads a model whose checksums are those of its files as they are, as
    whoever makes an untrusted folder would write them."""
    reseal(folder)
    load_folder(folder)


def load_unsealed(folder):
    """Loads a model. Weights are refused, or those that were written."""
    given = StreamingASR.from_hparams(folder).model.state_dict()
    for key, weights in good_model().model.state_dict().items():
        assert torch.equal(given[key], weights), f"{key} has changed"


def prepare_version_0(folder):
    """Writes a model of the version before."""
    model_folder(0, "ctc", folder / "old")


def load_version_0(folder):
    """Converts a model, and loads it."""
    new = folder / "new"
    convert_folder(folder / "old", new)
    transcribe(StreamingASR.from_hparams(new).session(search="greedy"))


def prepare_experiment(folder):
    """Writes a checkpoint of SpeechBrain's pre-training."""
    write_experiment(folder / "experiment")


def load_experiment(folder):
    """Imports an encoder, and uses it."""
    try:
        imported = from_speechbrain(folder / "experiment")
    except NAMED_ERRORS as error:
        raise ValueError(f"experiment: {error}") from error
    with torch.no_grad():
        latents = imported.extractor(make_signal(2000)[None])
        imported.encoder_wrapper(latents)


def write_audio(folder, name, **options):
    """Writes a third of a second of audio."""
    signal = make_signal(5000).view(-1, 2).numpy()
    soundfile.write(folder / name, signal, 16000, **options)


def load_audio(folder, name):
    """Transcribes a file, as a stream and at once."""
    good_model().transcribe_file(folder / name)
    good_model().transcribe_file_offline(folder / name)


def load_stream(folder, name):
    """Transcribes the bytes of a file as they come, without PyAV."""
    without = mock.patch.dict(sys.modules, {"av": None})
    with open(folder / name, "rb") as file, without:
        decoder = PCMDecoder()
        stream = AudioStream(lambda: file.read(1 << 14), decoder, str)
        session = good_model().session()
        for samples in stream:
            session.push(samples, stream.sample_rate)
        session.finish()


def prepare_arpa(folder):
    """Writes a language model."""
    sys.path.insert(0, str(RECIPES))
    make_arpa(folder / "words.arpa")


def load_arpa(folder):
    """Loads a language model, and scores with it."""
    model = LanguageModel(folder / "words.arpa")
    state = model.start_state()
    for word in ("A", "BC", "X", "CAB"):
        _, state = model.score(state, word)
        model.score_partial_word(word)


ARPA_TOKENS = (
    b"\\end\\",
    b"\\data\\",
    b"\\1-grams:\n",
    b"\n\n",
    b"\t",
    b"<s>",
    b"<unk>",
    b"nan",
    b"-inf",
    b"1e400",
    b"99999999999999999999",
    b"ngram 1=4294967295\n",
    b"-1.5\tA\t-0.2\n",
    b"\0",
)


@functools.cache
def good_export(make=make_model):
    """An exported model of one layer, written once."""
    pytest.importorskip("onnx")
    model = make(look_back=4, look_ahead=2)
    del model.encoder_wrapper.latent_encoder.layers[1:]
    folder = Path(tempfile.mkdtemp(prefix="good-")) / "exported"
    return export_model(folder, model, TextDecoder(make_tokenizer()))


def prepare_export(folder, make=make_model):
    """Writes an exported model."""
    shutil.copytree(good_export(make), folder, dirs_exist_ok=True)


def load_sealed_export(folder):
    """Loads an exported model whose checksums are those of its files."""
    reseal(folder)
    load_export(folder)


def load_export(folder):
    """Loads an exported model, and transcribes with it."""
    transcribe(OnnxStreamingASR.from_folder(folder, threads=1).session())


def prepare_graph_text(folder):
    """Writes an exported model, and its graph as text."""
    onnx = pytest.importorskip("onnx")
    prepare_export(folder)
    graph = onnx.load(folder / "step.onnx")
    text = text_format.MessageToBytes(graph)
    (folder / "step.txt").write_bytes(text)


def load_graph_text(folder):
    """Loads an exported model with a graph that is whole, whatever it may
    say."""
    onnx = pytest.importorskip("onnx")
    try:
        graph = text_format.Parse(
            (folder / "step.txt").read_bytes(), onnx.ModelProto()
        )
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise ValueError("text: no graph can be read from it") from error
    (folder / "step.onnx").write_bytes(graph.SerializeToString())
    load_export(folder)


@functools.cache
def good_exported_model():
    """An exported model, loaded once."""
    return OnnxStreamingASR.from_folder(good_export(), threads=1)


@functools.cache
def good_beam_model():
    """A model that is searched with beams, whose words are scored."""
    folder = Path(tempfile.mkdtemp(prefix="good-")) / "streaming"
    options = {"beam_size": 3, "hotwords": ["AB EGG", "FED"]}
    if ARPA:
        prepare_arpa(folder.parent)
        options["language_model"] = folder.parent / "words.arpa"
    return StreamingASR.from_hparams(
        write_streaming_folder(
            folder,
            make_model(),
            make_tokenizer(),
            Endpointer(),
            search=BeamSearchOptions(**options),
        )
    )


@functools.cache
def good_transducer(beams=False):
    """A transducer, loaded once."""
    search = None
    if beams:
        search = BeamSearchOptions(beam_size=3, hotwords=["AB EGG", "FED"])
    folder = Path(tempfile.mkdtemp(prefix="good-")) / "streaming"
    write_streaming_folder(
        folder,
        make_transducer(),
        make_tokenizer(),
        Endpointer(),
        search=search,
    )
    return StreamingASR.from_hparams(folder)


@functools.cache
def good_transducer_folder():
    """A folder of a transducer, written once."""
    folder = Path(tempfile.mkdtemp(prefix="good-")) / "streaming"
    return write_streaming_folder(folder, make_transducer(), make_tokenizer())


def prepare_transducer(folder):
    """Writes a transducer."""
    shutil.copytree(good_transducer_folder(), folder, dirs_exist_ok=True)


def prepare_snapshot(folder, model):
    """Writes what a session remembers after a third of a second."""
    session = model().session()
    session.push(make_signal(8000), 22050)
    (folder / "snapshot").write_bytes(session.snapshot())


def load_snapshot(folder, model, sealed):
    """Goes on from a snapshot. A sealed one has the checksum of its own
    content, as somebody could write it."""
    data = (folder / "snapshot").read_bytes()
    if sealed:
        data = seal(data)
    transcribe(model().session(snapshot=data))


def seal(data):
    """Puts the right checksum in the place of the first one."""
    blanked = re.sub(
        rb"[0-9a-f]{64}", CHECKSUM_PLACEHOLDER.encode(), data, count=1
    )
    checksum = hashlib.sha256(blanked).hexdigest()
    return blanked.replace(CHECKSUM_PLACEHOLDER.encode(), checksum.encode(), 1)


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

HEADER_TOKENS = (
    b'"shape":[',
    b'"dtype":"F64"',
    b'"dtype":"I8"',
    b'"data_offsets":[0,4]',
    b'"__metadata__":{"a":"b"},',
    b"18446744073709551615",
    b"-1",
    b"\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"[" * 200,
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

JSON_TOKENS = (
    b"{",
    b"[" * 2000,
    b'"',
    b"null",
    b"true",
    b"-1",
    b"0",
    b"1.5",
    b"1e400",
    b"NaN",
    b"9" * 30,
    b"9" * 5000,
    b'"\\ud800"',
    b'"../step.onnx"',
    b'"/dev/zero"',
    b'{"fp32": "model.json"}',
    b"\xef\xbb\xbf",
)

GRAPH_TOKENS = (
    b'"MatMul"',
    b'"Reshape"',
    b'"Expand"',
    b'"ConstantOfShape"',
    b'"Range"',
    b'"Tile"',
    b'"Loop"',
    b'"If"',
    b'"Identity"',
    b'"samples"',
    b'"position"',
    b'"end"',
    b'"log_probs"',
    b'"com.microsoft"',
    b'""',
    b"-1",
    b"0",
    b"1",
    b"2",
    b"7",
    b"1000000",
    b"2147483647",
    b"9223372036854775807",
    b"EXTERNAL",
    b"nan",
)


def _audio(name, extension, load=load_audio, **options):
    file_name = f"a.{extension}"
    return Target(
        name,
        file_name,
        functools.partial(write_audio, name=file_name, **options),
        functools.partial(load, name=file_name),
        tokens=(b"RIFF", b"data", b"fmt ", b"LIST", b"fLaC", b"OggS", b"ID3"),
    )


def _sealed(name, file_name, pieces=False):
    return Target(
        name,
        file_name,
        functools.partial(prepare_sealed, pieces=pieces),
        load_sealed,
        HEADER_TOKENS,
    )


def _version_0(name, file_name, tokens=()):
    return Target(
        f"version-0-{name}",
        f"old/{file_name}",
        prepare_version_0,
        load_version_0,
        tokens,
    )


def _experiment(name, file_name, tokens=()):
    return Target(
        f"experiment-{name}",
        f"experiment/{file_name}",
        prepare_experiment,
        load_experiment,
        tokens,
    )


ARPA = ()
if find_spec("kenlm") and find_spec("pygtrie"):
    ARPA = (Target("arpa", "words.arpa", prepare_arpa, load_arpa, ARPA_TOKENS),)


def _snapshot(name, model, sealed):
    return Target(
        name,
        "snapshot",
        functools.partial(prepare_snapshot, model=model),
        functools.partial(load_snapshot, model=model, sealed=sealed),
        JSON_TOKENS,
    )


TARGETS = {
    target.name: target
    for target in (
        _audio("wav", "wav", subtype="PCM_16"),
        _audio("wav-float", "wav", subtype="FLOAT"),
        _audio("flac", "flac"),
        _audio("ogg", "ogg"),
        _audio("aiff", "aiff"),
        _audio("caf", "caf"),
        _audio("w64", "w64"),
        _audio("rf64", "rf64"),
        _audio("stream-wav", "wav", load_stream, subtype="PCM_24"),
        _audio("stream-flac", "flac", load_stream),
        Target(
            "description",
            "model.json",
            prepare_folder,
            load_folder,
            JSON_TOKENS,
        ),
        Target("head", "head.safetensors", prepare_folder, load_unsealed),
        _sealed("head-sealed", "head.safetensors"),
        _sealed("extractor-sealed", "extractor.safetensors"),
        _sealed("sentencepiece-sealed", "tokenizer.model", pieces=True),
        _version_0("hyperparams", "hyperparams.yaml", YAML_TOKENS),
        _version_0("labels", "label_encoder.txt", LABEL_TOKENS),
        _version_0("head", "head.ckpt"),
        _experiment("hyperparams", "hyperparams.yaml", YAML_TOKENS),
        _experiment("encoder", "save/CKPT+tiny/latent_encoder.ckpt"),
        *ARPA,
        Target(
            "onnx-description",
            "model.json",
            prepare_export,
            load_export,
            JSON_TOKENS,
        ),
        Target(
            "onnx-graph",
            "step.onnx",
            prepare_export,
            load_export,
        ),
        Target(
            "onnx-graph-text",
            "step.txt",
            prepare_graph_text,
            load_graph_text,
            GRAPH_TOKENS,
        ),
        Target(
            "transducer-description",
            "model.json",
            prepare_transducer,
            load_folder,
            JSON_TOKENS,
        ),
        Target(
            "decoder-sealed",
            "decoder.safetensors",
            prepare_transducer,
            load_sealed,
            HEADER_TOKENS,
        ),
        Target(
            "onnx-decoder-sealed",
            "decoder.safetensors",
            functools.partial(prepare_export, make=make_transducer),
            load_sealed_export,
            HEADER_TOKENS,
        ),
        _snapshot("snapshot-transducer-sealed", good_transducer, sealed=True),
        _snapshot(
            "snapshot-transducer-beam-sealed",
            functools.partial(good_transducer, beams=True),
            sealed=True,
        ),
        _snapshot("snapshot", good_model, sealed=False),
        _snapshot("snapshot-sealed", good_model, sealed=True),
        _snapshot("snapshot-beam-sealed", good_beam_model, sealed=True),
        _snapshot("snapshot-onnx-sealed", good_exported_model, sealed=True),
    )
}
