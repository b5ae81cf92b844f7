"""Bad input to every public entry: a named error of the right type, and valid
edge cases that give an empty text."""

import functools
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from speechbrain.utils.dynamic_chunk_training import DynChunkTrainConfig

import speechbrain_llsa
from speechbrain_llsa import (
    LatencyReport,
    Session,
    StreamGeometry,
    StreamingASR,
    StreamingCTC,
    StreamingEncoder,
    StreamingEncoderWrapper,
    StreamingLatentExtractor,
    StreamingTransducer,
    StreamingTransformerASR,
    StreamingTransformerEncoder,
    TrainedGeometries,
    WeightedLayerSum,
)
from speechbrain_llsa.decoders.tokenizers import (
    CTCGreedyState,
    TextDecoder,
    ctc_greedy_decode_streaming,
    pieces,
)
from speechbrain_llsa.dependency_picture import draw_dependencies
from speechbrain_llsa.inference.batcher import SessionBatcher
from speechbrain_llsa.inference.speechbrain_interface import (
    ChunkFeatureExtractor,
)
from speechbrain_llsa.lobes.contrastive import (
    MaskedContrastiveLoss,
    sample_negatives,
    stack_rows,
)
from speechbrain_llsa.lobes.masking import SpanMasker
from speechbrain_llsa.lobes.padding import padding_mask, sample_counts
from speechbrain_llsa.model_folder.labels import load_tokenizer
from speechbrain_llsa.model_folder.pretrainer import FolderPretrainer
from speechbrain_llsa.model_folder.weights import load_weights
from speechbrain_llsa.model_folder.write import write_streaming_folder
from speechbrain_llsa.visibility import dependency_matrix
from speechbrain_llsa_runtime.dataio.audio_files import audio_info, read_blocks
from speechbrain_llsa_runtime.dataio.resampling import StreamingResampler
from speechbrain_llsa_runtime.inference.onnx import OnnxStreamingASR
from tiny_model import make_model, make_signal, make_tokenizer

NAN = float("nan")


@functools.cache
def model():
    return make_model()


def session():
    return Session(model(), TextDecoder(make_tokenizer()))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a model, good audio and bad audio."""
    place = tmp_path_factory.mktemp("place")
    write_streaming_folder(place / "model", model(), make_tokenizer())
    signal = make_signal(4000).numpy()
    files = {
        "good.wav": (signal, 16000),
        "empty.wav": (signal[:0], 16000),
        "one.wav": (signal[:1], 16000),
        "nine.wav": (np.zeros((100, 9)), 16000),
        "slow.wav": (signal, 10),
        "fast.wav": (signal, 2_000_000),
    }
    for name, (samples, rate) in files.items():
        soundfile.write(place / name, samples, rate)
    signal[100] = NAN
    soundfile.write(place / "nan.wav", signal, 16000, subtype="FLOAT")
    (place / "text.wav").write_text("not audio")
    (place / "nothing.wav").write_bytes(b"")
    (place / "label_encoder.txt").write_text("nothing of that kind")
    return place


@pytest.fixture(scope="module")
def asr(place):
    return StreamingASR.from_hparams(place / "model")


def encoder(**changes):
    sizes = {"num_layers": 1, "nhead": 2, "d_ffn": 8, "d_model": 8}
    return StreamingTransformerEncoder(**{**sizes, **changes})


def wrapper(**changes):
    sizes = {"in_dim": 4, "embedding_dim": 8, "latent_encoder": encoder()}
    return StreamingEncoderWrapper(**{**sizes, **changes})


def front_end(**changes):
    return StreamingLatentExtractor(**{"out_channels": [4] * 7, **changes})


def features(**changes):
    return StreamingEncoder(front_end(), wrapper(), **changes)


def transformer(**changes):
    sizes = {
        "tgt_vocab": 5,
        "input_size": 8,
        "d_model": 8,
        "nhead": 2,
        "num_encoder_layers": 1,
        "num_decoder_layers": 0,
        "d_ffn": 8,
    }
    return StreamingTransformerASR(**{**sizes, **changes})


def classes():
    """Rows of what needs no files: name, call, error, words."""
    one = torch.zeros(1, 5, 8)
    wav = torch.zeros(1, 1000)
    return [
        (
            "geometry",
            lambda: StreamGeometry(-1, 0),
            ValueError,
            "look_back must",
        ),
        (
            "geometry",
            lambda: StreamGeometry(1.5, 0),
            TypeError,
            "look_back must",
        ),
        (
            "geometry",
            lambda: StreamGeometry(1, "2"),
            TypeError,
            "look_ahead must",
        ),
        (
            "geometry",
            lambda: StreamGeometry(1, True),
            TypeError,
            "look_ahead must",
        ),
        (
            "geometry",
            lambda: StreamGeometry(1, 1, 0),
            ValueError,
            r"hop must .*got 0",
        ),
        (
            "geometry",
            lambda: StreamGeometry(1, 1).stack_look_ahead("full", 2),
            ValueError,
            r"attention must .*got 'full'",
        ),
        (
            "geometries",
            lambda: TrainedGeometries(1, [1, "2"]),
            TypeError,
            r"look_ahead must .*got '2'",
        ),
        (
            "geometries",
            lambda: TrainedGeometries(1, 1, []),
            ValueError,
            r"hop must .*got \[\]",
        ),
        (
            "geometries",
            lambda: TrainedGeometries(1, 1).choose(hop=2),
            ValueError,
            r"hop must .*trained for, got 2",
        ),
        (
            "geometries",
            lambda: TrainedGeometries(1, 1).check((1, 1, 1)),
            TypeError,
            r"geometry must .*got tuple",
        ),
        (
            "geometries",
            lambda: TrainedGeometries(1, 1, [1, 2]).of_chunk("llsa", "2"),
            TypeError,
            r"chunk_size must .*got '2'",
        ),
        (
            "geometries",
            lambda: TrainedGeometries(1, 1).draw("full", 0),
            ValueError,
            r"attention must .*got 'full'",
        ),
        (
            "report",
            lambda: LatencyReport("none", StreamGeometry(1, 1), 2),
            ValueError,
            r"attention must .*got 'none'",
        ),
        (
            "report",
            lambda: LatencyReport("sa", (1, 1), 2),
            TypeError,
            r"geometry must .*got tuple",
        ),
        (
            "report",
            lambda: LatencyReport("sa", StreamGeometry(1, 1), "2"),
            TypeError,
            r"num_layers must .*got '2'",
        ),
        (
            "dependencies",
            lambda: dependency_matrix(StreamGeometry(1, 1), "sa", 1, -1),
            ValueError,
            r"frames must .*got -1",
        ),
        (
            "dependencies",
            lambda: dependency_matrix(StreamGeometry(1, 1), "x", 1, 3),
            ValueError,
            r"attention must .*got 'x'",
        ),
        (
            "picture",
            lambda: draw_dependencies("x.png", StreamGeometry(1, 1), 0),
            ValueError,
            r"num_layers must .*got 0",
        ),
        (
            "picture",
            lambda: draw_dependencies("x.png", StreamGeometry(1, 1), 1, 2.5),
            TypeError,
            r"frames must .*got 2.5",
        ),
        (
            "encoder",
            lambda: encoder(attention="x"),
            ValueError,
            "attention must",
        ),
        (
            "encoder",
            lambda: encoder(attention=None),
            ValueError,
            "attention must",
        ),
        ("encoder", lambda: encoder(attention=["sa"]), ValueError, "attention"),
        (
            "encoder",
            lambda: encoder(num_layers=0),
            ValueError,
            "num_layers must",
        ),
        (
            "encoder",
            lambda: encoder(nhead=3),
            ValueError,
            r"d_model must .*got 8",
        ),
        (
            "encoder",
            lambda: encoder(d_model="8"),
            TypeError,
            "d_model must .*got",
        ),
        (
            "encoder",
            lambda: encoder(hop=1.0),
            TypeError,
            r"hop must .*got 1.0",
        ),
        ("encoder", lambda: encoder(dropout=2.0), ValueError, "dropout"),
        (
            "encoder",
            lambda: encoder(dropout="a"),
            TypeError,
            "dropout must .*got",
        ),
        (
            "encoder",
            lambda: encoder(dropout=NAN),
            ValueError,
            "dropout must .*got",
        ),
        (
            "encoder",
            lambda: encoder(attention_dropout=-1),
            ValueError,
            r"attention_dropout must .*got -1",
        ),
        (
            "encoder",
            lambda: encoder(layerdrop_prob="a"),
            TypeError,
            r"layerdrop_prob must .*got 'a'",
        ),
        (
            "encoder",
            lambda: encoder(activation="gelu"),
            TypeError,
            r"activation must .*got 'gelu'",
        ),
        (
            "encoder",
            lambda: encoder(positional_encoding="sine"),
            ValueError,
            "positional_encoding must .*got",
        ),
        (
            "encoder",
            lambda: encoder()([1]),
            TypeError,
            r"src must .*got list",
        ),
        ("encoder", lambda: encoder()(one.long()), TypeError, "src must .*got"),
        (
            "encoder",
            lambda: encoder()(one[0]),
            ValueError,
            r"src must be of shape",
        ),
        (
            "encoder",
            lambda: encoder()(one, src_key_padding_mask=[True]),
            TypeError,
            r"src_key_padding_mask must .*got list",
        ),
        (
            "encoder",
            lambda: encoder().forward_streaming(one, None),
            TypeError,
            r"context must .*got NoneType",
        ),
        (
            "encoder",
            lambda: encoder(attention="aa").make_streaming_context(),
            ValueError,
            r"attention must .*got 'aa'",
        ),
        (
            "front end",
            lambda: front_end(out_channels=[4]),
            ValueError,
            "out_channels, kernel_sizes, strides must .*got",
        ),
        (
            "front end",
            lambda: front_end(out_channels=4),
            TypeError,
            r"out_channels must .*got 4",
        ),
        (
            "front end",
            lambda: front_end(out_channels=[4] * 6 + [0]),
            ValueError,
            r"out_channels must .*got 0",
        ),
        (
            "front end",
            lambda: front_end(kernel_sizes=[2.5] * 7),
            TypeError,
            r"kernel_sizes must .*got 2.5",
        ),
        (
            "front end",
            lambda: front_end()(wav[0]),
            ValueError,
            "samples must .*got",
        ),
        (
            "front end",
            lambda: front_end()(None),
            TypeError,
            "samples must .*got",
        ),
        (
            "front end",
            lambda: front_end()(wav.int()),
            TypeError,
            "samples must",
        ),
        (
            "front end",
            lambda: front_end().forward_streaming(wav, None),
            TypeError,
            r"context must .*got NoneType",
        ),
        (
            "front end",
            lambda: front_end(dropout=3.0),
            ValueError,
            "dropout",
        ),
        (
            "wrapper",
            lambda: wrapper(in_dim=0),
            ValueError,
            r"in_dim must .*got 0",
        ),
        (
            "wrapper",
            lambda: wrapper(embedding_dim=6),
            ValueError,
            r"embedding_dim must .*got 6",
        ),
        (
            "wrapper",
            lambda: wrapper(embedding_dim="8"),
            TypeError,
            r"embedding_dim must .*got '8'",
        ),
        (
            "wrapper",
            lambda: wrapper()(torch.zeros(1, 5, 3)),
            ValueError,
            r"latents must .*got \(1, 5, 3\)",
        ),
        (
            "wrapper",
            lambda: wrapper()(torch.zeros(1, 5, 4), torch.ones(3)),
            ValueError,
            r"wav_lens must .*got \(3,\)",
        ),
        (
            "wrapper",
            lambda: wrapper()(torch.zeros(1, 5, 4), mask=torch.ones(2, 2)),
            ValueError,
            r"mask must .*got \(2, 2\)",
        ),
        (
            "features",
            lambda: StreamingEncoder(None, wrapper()),
            TypeError,
            r"extractor must .*got NoneType",
        ),
        (
            "features",
            lambda: features(layer=2),
            ValueError,
            r"layer must .*got 2",
        ),
        (
            "features",
            lambda: features(layer=[1]),
            TypeError,
            r"layer must .*got l",
        ),
        (
            "features",
            lambda: features()(wav[0]),
            ValueError,
            r"wavs must be of shape",
        ),
        (
            "features",
            lambda: features()([0.0]),
            TypeError,
            r"wavs must .*got list",
        ),
        (
            "features",
            lambda: features()(wav, hop=7),
            ValueError,
            r"hop must .*got 7",
        ),
        (
            "features",
            lambda: features().session(look_ahead=1),
            ValueError,
            r"look_ahead must .*got 1",
        ),
        (
            "features",
            lambda: features().session().push(None),
            TypeError,
            r"samples must .*got N",
        ),
        (
            "features",
            lambda: features().stream(wav[0], None),
            TypeError,
            r"context must .*got NoneType",
        ),
        (
            "features",
            lambda: features().encode_file("missing"),
            FileNotFoundError,
            r"path must .*got 'missing'",
        ),
        (
            "features",
            lambda: StreamingEncoder.from_hparams("./missing"),
            FileNotFoundError,
            "source must be an existing model folder",
        ),
        (
            "layer sum",
            lambda: WeightedLayerSum(0),
            ValueError,
            r"num_layers must .*got 0",
        ),
        (
            "layer sum",
            lambda: WeightedLayerSum(2, normalize=1),
            TypeError,
            r"normalize must .*got int",
        ),
        (
            "layer sum",
            lambda: WeightedLayerSum(2)(one),
            ValueError,
            r"frames must .*got \(1, 5, 8\)",
        ),
        (
            "transformer",
            lambda: transformer(attention="x"),
            ValueError,
            r"attention must .*got 'x'",
        ),
        (
            "transformer",
            lambda: transformer(num_encoder_layers=0),
            ValueError,
            r"num_encoder_layers must .*got 0",
        ),
        (
            "transformer",
            lambda: transformer(num_decoder_layers="1"),
            TypeError,
            r"num_decoder_layers must .*got '1'",
        ),
        (
            "ctc",
            lambda: model()(wav[0]),
            ValueError,
            r"samples must be of shape",
        ),
        (
            "ctc",
            lambda: model()(np.zeros((1, 9))),
            TypeError,
            "samples must .*got",
        ),
        (
            "ctc",
            lambda: model()(wav, torch.ones(2)),
            ValueError,
            "wav_lens must",
        ),
        (
            "ctc",
            lambda: model()(wav, [1.0]),
            TypeError,
            r"wav_lens must .*got list",
        ),
        (
            "ctc",
            lambda: model().forward_streaming(wav, None),
            TypeError,
            r"context must .*got NoneType",
        ),
        ("ctc", lambda: model().flush(None), TypeError, "context must .*got"),
        (
            "ctc",
            lambda: StreamingCTC(None, wrapper(), torch.nn.Linear(8, 3)),
            TypeError,
            r"extractor must .*got NoneType",
        ),
        (
            "transducer",
            lambda: StreamingTransducer(
                front_end(), wrapper(), torch.nn.Linear(8, 3), None
            ),
            TypeError,
            r"decoder must .*got NoneType",
        ),
        (
            "batcher",
            lambda: SessionBatcher(None, TextDecoder(make_tokenizer())),
            TypeError,
            r"model must .*got NoneType",
        ),
        (
            "batcher",
            lambda: SessionBatcher(
                model(), TextDecoder(make_tokenizer()), slots=0
            ),
            ValueError,
            r"slots must .*got 0",
        ),
        (
            "onnx",
            lambda: OnnxStreamingASR.from_folder("missing"),
            FileNotFoundError,
            "folder must be an exported model, got 'missing'",
        ),
        (
            "session",
            lambda: Session(None, TextDecoder(make_tokenizer())),
            TypeError,
            r"model must .*got NoneType",
        ),
        (
            "session",
            lambda: Session(model(), None),
            TypeError,
            r"text_decoder must .*got NoneType",
        ),
        (
            "session",
            lambda: Session(make_model("aa"), TextDecoder(make_tokenizer())),
            ValueError,
            r"attention must .*got 'aa'",
        ),
        (
            "session",
            lambda: session().push(None),
            TypeError,
            r"samples must .*got N",
        ),
        (
            "session",
            lambda: session().push(torch.full((9,), NAN)),
            ValueError,
            r"samples must .*got NaN",
        ),
        (
            "session",
            lambda: session().push(torch.zeros(50, 9)),
            ValueError,
            r"samples must .*got \(50, 9\)",
        ),
        (
            "session",
            lambda: session().push(np.zeros(5, np.uint8)),
            TypeError,
            r"samples must .*got an array of uint8",
        ),
        (
            "session",
            lambda: session().push(torch.zeros(9), 999),
            ValueError,
            r"sample_rate must .*got 999",
        ),
        (
            "session",
            lambda: session().push(torch.zeros(9), 2**31 - 1),
            ValueError,
            r"sample_rate must .*got 2147483647",
        ),
        (
            "resampler",
            lambda: StreamingResampler(16000, None),
            TypeError,
            r"target_rate must .*got None",
        ),
        (
            "resampler",
            lambda: StreamingResampler(10**9, 16000),
            ValueError,
            r"source_rate must .*got 1000000000",
        ),
        (
            "decoder",
            lambda: TextDecoder(None),
            TypeError,
            r"tokenizer must .*got N",
        ),
        (
            "decoder",
            lambda: pieces("AB"),
            TypeError,
            r"tokenizer must .*got str",
        ),
        (
            "decoder",
            lambda: TextDecoder(make_tokenizer()).decode([99]),
            ValueError,
            r"labels must .*got 99",
        ),
        (
            "decoder",
            lambda: TextDecoder(make_tokenizer()).decode([-1]),
            ValueError,
            r"labels must .*got -1",
        ),
        (
            "decoder",
            lambda: ctc_greedy_decode_streaming(one[0], CTCGreedyState()),
            ValueError,
            r"log_probs must .*got \(5, 8\)",
        ),
        (
            "decoder",
            lambda: ctc_greedy_decode_streaming(
                one, CTCGreedyState(), torch.ones(3)
            ),
            ValueError,
            r"lengths must .*got \(3,\)",
        ),
        (
            "masker",
            lambda: SpanMasker(NAN),
            ValueError,
            r"mask_prob must .*got nan",
        ),
        (
            "masker",
            lambda: SpanMasker("a"),
            TypeError,
            r"mask_prob must .*got 'a'",
        ),
        (
            "masker",
            lambda: SpanMasker(0.5, 0),
            ValueError,
            "mask_length must .*got",
        ),
        (
            "masker",
            lambda: SpanMasker(0.5, None),
            TypeError,
            "mask_length must",
        ),
        (
            "masker",
            lambda: SpanMasker()(torch.tensor([9]), 5),
            ValueError,
            r"frame_counts must .*got 9",
        ),
        (
            "loss",
            lambda: MaskedContrastiveLoss(0),
            ValueError,
            r"logit_temp must .*got 0",
        ),
        (
            "loss",
            lambda: MaskedContrastiveLoss("a"),
            TypeError,
            r"logit_temp must .*got 'a'",
        ),
        (
            "loss",
            lambda: MaskedContrastiveLoss()(
                one, one[:, :3], torch.zeros(1, 5, 2).long(), torch.tensor([5])
            ),
            ValueError,
            r"targets must .*got \(1, 3, 8\)",
        ),
        (
            "negatives",
            lambda: sample_negatives(torch.tensor([3]), 0),
            ValueError,
            r"num_negatives must .*got 0",
        ),
        (
            "rows",
            lambda: stack_rows(one[0], torch.tensor([2])),
            ValueError,
            r"counts must .*got \[2\]",
        ),
        (
            "padding",
            lambda: sample_counts(wav, torch.tensor([NAN])),
            ValueError,
            r"wav_lens must .*got \[nan\]",
        ),
        (
            "padding",
            lambda: sample_counts(wav[0]),
            ValueError,
            r"wavs must .*got \(1000,\)",
        ),
        (
            "host",
            lambda: ChunkFeatureExtractor(front_end(), 0),
            ValueError,
            r"hold_seconds must .*got 0",
        ),
    ]


def check(call, error, words):
    """One line that names the argument, in an error of exactly this kind."""
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    assert re.search(words, message)
    assert "\n" not in message
    named = r"[a-z_, ]+( must .*got | must be )|[a-z_.]+(: | is damaged)"
    assert re.match(named, message), message


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [row[1:] for row in classes()],
    ids=[f"{row[0]}-{index}" for index, row in enumerate(classes())],
)
def test_bad_input_is_named(call, error, words):
    """Classes and functions."""
    check(call, error, words)


FILES = [
    ("missing.wav", FileNotFoundError, "missing.wav"),
    ("model", FileNotFoundError, "must be an existing audio file"),
    ("text.wav", ValueError, "text.wav"),
    ("nothing.wav", ValueError, "nothing.wav"),
    ("nine.wav", ValueError, r"channels must .*got 9"),
    ("slow.wav", ValueError, r"sample_rate must .*got 10"),
    ("fast.wav", ValueError, r"sample_rate must .*got 2000000"),
]
"""Audio: name, error, words."""


@pytest.mark.parametrize(("name", "error", "words"), FILES)
def test_bad_audio_is_named(asr, place, name, error, words):
    """Files, in everything that reads one."""
    path = place / name
    for call in (
        lambda: audio_info(path),
        lambda: list(read_blocks(path, 0.1)),
        lambda: asr.transcribe_file(path),
        lambda: list(asr.transcribe_file_streaming(path)),
        lambda: asr.transcribe_file_offline(path),
    ):
        check(call, error, words)


def models(place, asr):
    """Rows of what needs files: call, error, words."""
    load = StreamingASR.from_hparams
    wavs = torch.zeros(1, 1000)
    return [
        (lambda: load(None), TypeError, r"source must .*got NoneType"),
        (lambda: load(""), FileNotFoundError, "source must be a"),
        (lambda: load(place / "no"), FileNotFoundError, "source must be"),
        (lambda: load(place), FileNotFoundError, "holds no model.json"),
        (lambda: load(place / "good.wav"), FileNotFoundError, "source must"),
        (
            lambda: load(place / "model", "other.yaml"),
            ValueError,
            "hparams_file must be",
        ),
        (
            lambda: load(place / "model", overrides={"encoder": {"hop": 0}}),
            ValueError,
            "encoder.hop must be",
        ),
        (
            lambda: load(
                place / "model", overrides={"encoder": {"attention": "x"}}
            ),
            ValueError,
            "encoder.attention must be",
        ),
        (
            lambda: load(place / "model", unknown=1),
            TypeError,
            "unknown",
        ),
        (
            lambda: asr.transcribe_file(None),
            TypeError,
            r"path must .*got NoneType",
        ),
        (lambda: asr.transcribe_file(7), TypeError, r"path must .*got int"),
        (
            lambda: asr.transcribe_file(
                place / "nan.wav", DynChunkTrainConfig(4)
            ),
            ValueError,
            r"samples must .*got NaN",
        ),
        (
            lambda: asr.transcribe_file_offline(place / "nan.wav"),
            ValueError,
            r"samples must .*got NaN",
        ),
        (
            lambda: asr.transcribe_file(place / "good.wav", 16),
            TypeError,
            r"dynchunktrain_config must .*got int",
        ),
        (
            lambda: asr.transcribe_batch(wavs[0]),
            ValueError,
            r"wavs must .*got \(1000,\)",
        ),
        (
            lambda: asr.transcribe_batch([0.0]),
            TypeError,
            r"wavs must .*got list",
        ),
        (
            lambda: asr.transcribe_batch(wavs * NAN),
            ValueError,
            r"wavs must .*got NaN",
        ),
        (
            lambda: asr.transcribe_batch(wavs, torch.ones(2)),
            ValueError,
            r"wav_lens must .*got \(2,\)",
        ),
        (
            lambda: load_weights(place, asr.model),
            FileNotFoundError,
            "path must be",
        ),
        (
            lambda: load_weights(place / "one.wav", asr.model),
            ValueError,
            "one.wav is damaged",
        ),
        (
            lambda: load_tokenizer(
                make_tokenizer(), place / "label_encoder.txt"
            ),
            ValueError,
            "model.json: Expecting value",
        ),
        (
            lambda: load_tokenizer(make_tokenizer(), place / "no.txt"),
            FileNotFoundError,
            "no.txt",
        ),
        (
            lambda: FolderPretrainer({}, {"a": "no.ckpt"}),
            ValueError,
            "file_names must be one for each",
        ),
        (
            lambda: FolderPretrainer({"a": None}, {"a": "../no.ckpt"}),
            ValueError,
            "file_names must be names of files",
        ),
        (
            lambda: FolderPretrainer(
                {"a": None}, {"a": "no.ckpt"}
            ).collect_files(place),
            FileNotFoundError,
            "holds no no.ckpt",
        ),
        (
            lambda: write_streaming_folder(place, model(), make_tokenizer()),
            FileExistsError,
            "folder must .*got",
        ),
        (
            lambda: write_streaming_folder(
                place / "new", None, make_tokenizer()
            ),
            TypeError,
            r"model must .*got NoneType",
        ),
    ]


@pytest.mark.parametrize("index", range(27))
def test_bad_models_are_named(asr, place, index):
    """Models, and what is asked of one."""
    rows = models(place, asr)
    assert len(rows) == 27
    check(*rows[index])


def test_edge_cases_are_no_errors(asr, place):
    """No audio, one sample and less than a frame give an empty text."""
    for name in ("empty.wav", "one.wav"):
        assert asr.transcribe_file(place / name) == ""
        assert asr.transcribe_file_offline(place / name) == ""
    for samples in (0, 1, 640):
        for rows in (1, 3):
            wavs = torch.zeros(rows, samples)
            assert asr.transcribe_batch(wavs) == [""] * rows
        live = asr.session()
        assert live.push(torch.zeros(samples)).committed == ""
        assert live.finish().committed == "" == live.text
        stereo = asr.session()
        stereo.push(np.zeros((samples, 2), np.int16), 44100)
        assert stereo.finish().committed == ""
    assert asr.transcribe_batch(torch.zeros(0, 800)) == []
    assert padding_mask(torch.tensor([0]), 0).shape == (1, 0)
    log_probs = torch.zeros(2, 0, 4)
    assert ctc_greedy_decode_streaming(log_probs, CTCGreedyState()) == [[], []]


def test_the_table_has_every_public_name():
    """A public name that is added gets rows."""
    source = Path(__file__).read_text(encoding="utf-8")
    for name in speechbrain_llsa.__all__:
        if name not in ("__version__", "Transcript"):
            assert len(re.findall(rf"\b{name}\b", source)) > 1, name
