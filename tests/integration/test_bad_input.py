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
from tiny_model import make_model, make_signal, make_tokenizer

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
    StreamingTransformerASR,
    StreamingTransformerEncoder,
    TrainedGeometries,
    WeightedLayerSum,
)
from speechbrain_llsa.dataio.audio_files import audio_info, read_blocks
from speechbrain_llsa.dataio.resampling import StreamingResampler
from speechbrain_llsa.decoders.tokenizers import (
    CTCGreedyState,
    TextDecoder,
    ctc_greedy_decode_streaming,
    pieces,
)
from speechbrain_llsa.dependency_picture import draw_dependencies
from speechbrain_llsa.inference.batcher import SessionBatcher
from speechbrain_llsa.inference.onnx import OnnxStreamingASR
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
        ("geometry", lambda: StreamGeometry(-1, 0), ValueError, "look_back: "),
        ("geometry", lambda: StreamGeometry(1.5, 0), TypeError, "look_back: "),
        ("geometry", lambda: StreamGeometry(1, "2"), TypeError, "look_ahead: "),
        ("geometry", lambda: StreamGeometry(1, True), TypeError, "look_ahead:"),
        ("geometry", lambda: StreamGeometry(1, 1, 0), ValueError, "hop: got 0"),
        (
            "geometry",
            lambda: StreamGeometry(1, 1).stack_look_ahead("full", 2),
            ValueError,
            "attention: got 'full'",
        ),
        (
            "geometries",
            lambda: TrainedGeometries(1, [1, "2"]),
            TypeError,
            "look_ahead: got '2'",
        ),
        (
            "geometries",
            lambda: TrainedGeometries(1, 1, []),
            ValueError,
            "hop: got []",
        ),
        (
            "geometries",
            lambda: TrainedGeometries(1, 1).choose(hop=2),
            ValueError,
            "hop: got 2, allowed is 1, which the model is trained for",
        ),
        (
            "geometries",
            lambda: TrainedGeometries(1, 1).check((1, 1, 1)),
            TypeError,
            "geometry: got tuple",
        ),
        (
            "geometries",
            lambda: TrainedGeometries(1, 1, [1, 2]).of_chunk("llsa", "2"),
            TypeError,
            "chunk_size: got '2'",
        ),
        (
            "geometries",
            lambda: TrainedGeometries(1, 1).draw("full", 0),
            ValueError,
            "attention: got 'full'",
        ),
        (
            "report",
            lambda: LatencyReport("none", StreamGeometry(1, 1), 2),
            ValueError,
            "attention: got 'none'",
        ),
        (
            "report",
            lambda: LatencyReport("sa", (1, 1), 2),
            TypeError,
            "geometry: got tuple",
        ),
        (
            "report",
            lambda: LatencyReport("sa", StreamGeometry(1, 1), "2"),
            TypeError,
            "num_layers: got '2'",
        ),
        (
            "dependencies",
            lambda: dependency_matrix(StreamGeometry(1, 1), "sa", 1, -1),
            ValueError,
            "frames: got -1",
        ),
        (
            "dependencies",
            lambda: dependency_matrix(StreamGeometry(1, 1), "x", 1, 3),
            ValueError,
            "attention: got 'x'",
        ),
        (
            "picture",
            lambda: draw_dependencies("x.png", StreamGeometry(1, 1), 0),
            ValueError,
            "num_layers: got 0",
        ),
        (
            "picture",
            lambda: draw_dependencies("x.png", StreamGeometry(1, 1), 1, 2.5),
            TypeError,
            "frames: got 2.5",
        ),
        ("encoder", lambda: encoder(attention="x"), ValueError, "attention: "),
        ("encoder", lambda: encoder(attention=None), ValueError, "attention: "),
        ("encoder", lambda: encoder(attention=["sa"]), ValueError, "attention"),
        ("encoder", lambda: encoder(num_layers=0), ValueError, "num_layers: "),
        ("encoder", lambda: encoder(nhead=3), ValueError, "d_model: got 8"),
        ("encoder", lambda: encoder(d_model="8"), TypeError, "d_model: got"),
        ("encoder", lambda: encoder(hop=1.0), TypeError, "hop: got 1.0"),
        ("encoder", lambda: encoder(dropout=2.0), ValueError, "dropout"),
        ("encoder", lambda: encoder(dropout="a"), TypeError, "dropout: got"),
        ("encoder", lambda: encoder(dropout=NAN), ValueError, "dropout: got"),
        (
            "encoder",
            lambda: encoder(attention_dropout=-1),
            ValueError,
            "attention_dropout: got -1",
        ),
        (
            "encoder",
            lambda: encoder(layerdrop_prob="a"),
            TypeError,
            "layerdrop_prob: got 'a'",
        ),
        (
            "encoder",
            lambda: encoder(activation="gelu"),
            TypeError,
            "activation: got 'gelu'",
        ),
        (
            "encoder",
            lambda: encoder(positional_encoding="sine"),
            ValueError,
            "positional_encoding: got",
        ),
        ("encoder", lambda: encoder()([1]), TypeError, "src: got list"),
        ("encoder", lambda: encoder()(one.long()), TypeError, "src: got"),
        ("encoder", lambda: encoder()(one[0]), ValueError, "src: got shape"),
        (
            "encoder",
            lambda: encoder()(one, src_key_padding_mask=[True]),
            TypeError,
            "src_key_padding_mask: got list",
        ),
        (
            "encoder",
            lambda: encoder().forward_streaming(one, None),
            TypeError,
            "context: got NoneType",
        ),
        (
            "encoder",
            lambda: encoder(attention="aa").make_streaming_context(),
            ValueError,
            "attention: got 'aa'",
        ),
        (
            "front end",
            lambda: front_end(out_channels=[4]),
            ValueError,
            "out_channels, kernel_sizes, strides: got",
        ),
        (
            "front end",
            lambda: front_end(out_channels=4),
            TypeError,
            "out_channels: got 4",
        ),
        (
            "front end",
            lambda: front_end(out_channels=[4] * 6 + [0]),
            ValueError,
            "out_channels: got 0",
        ),
        (
            "front end",
            lambda: front_end(kernel_sizes=[2.5] * 7),
            TypeError,
            "kernel_sizes: got 2.5",
        ),
        ("front end", lambda: front_end()(wav[0]), ValueError, "samples: got"),
        ("front end", lambda: front_end()(None), TypeError, "samples: got"),
        ("front end", lambda: front_end()(wav.int()), TypeError, "samples: "),
        (
            "front end",
            lambda: front_end().forward_streaming(wav, None),
            TypeError,
            "context: got NoneType",
        ),
        (
            "front end",
            lambda: front_end(dropout=3.0),
            ValueError,
            "dropout",
        ),
        ("wrapper", lambda: wrapper(in_dim=0), ValueError, "in_dim: got 0"),
        (
            "wrapper",
            lambda: wrapper(embedding_dim=6),
            ValueError,
            "embedding_dim: got 6",
        ),
        (
            "wrapper",
            lambda: wrapper(embedding_dim="8"),
            TypeError,
            "embedding_dim: got '8'",
        ),
        (
            "wrapper",
            lambda: wrapper()(torch.zeros(1, 5, 3)),
            ValueError,
            "latents: got shape (1, 5, 3)",
        ),
        (
            "wrapper",
            lambda: wrapper()(torch.zeros(1, 5, 4), torch.ones(3)),
            ValueError,
            "wav_lens: got shape (3,)",
        ),
        (
            "wrapper",
            lambda: wrapper()(torch.zeros(1, 5, 4), mask=torch.ones(2, 2)),
            ValueError,
            "mask: got shape (2, 2)",
        ),
        (
            "features",
            lambda: StreamingEncoder(None, wrapper()),
            TypeError,
            "extractor: got NoneType",
        ),
        ("features", lambda: features(layer=2), ValueError, "layer: got 2"),
        ("features", lambda: features(layer=[1]), TypeError, "layer: got l"),
        ("features", lambda: features()(wav[0]), ValueError, "wavs: got shape"),
        ("features", lambda: features()([0.0]), TypeError, "wavs: got list"),
        ("features", lambda: features()(wav, hop=7), ValueError, "hop: got 7"),
        (
            "features",
            lambda: features().session(look_ahead=1),
            ValueError,
            "look_ahead: got 1",
        ),
        (
            "features",
            lambda: features().session().push(None),
            TypeError,
            "samples: got N",
        ),
        (
            "features",
            lambda: features().stream(wav[0], None),
            TypeError,
            "context: got NoneType",
        ),
        (
            "features",
            lambda: features().encode_file("missing"),
            FileNotFoundError,
            "path: got 'missing'",
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
            "num_layers: got 0",
        ),
        (
            "layer sum",
            lambda: WeightedLayerSum(2, normalize=1),
            TypeError,
            "normalize: got int",
        ),
        (
            "layer sum",
            lambda: WeightedLayerSum(2)(one),
            ValueError,
            "frames: got shape (1, 5, 8)",
        ),
        (
            "transformer",
            lambda: transformer(attention="x"),
            ValueError,
            "attention: got 'x'",
        ),
        (
            "transformer",
            lambda: transformer(num_encoder_layers=0),
            ValueError,
            "num_encoder_layers: got 0",
        ),
        (
            "transformer",
            lambda: transformer(num_decoder_layers="1"),
            TypeError,
            "num_decoder_layers: got '1'",
        ),
        ("ctc", lambda: model()(wav[0]), ValueError, "samples: got shape"),
        ("ctc", lambda: model()(np.zeros((1, 9))), TypeError, "samples: got"),
        ("ctc", lambda: model()(wav, torch.ones(2)), ValueError, "wav_lens: "),
        ("ctc", lambda: model()(wav, [1.0]), TypeError, "wav_lens: got list"),
        (
            "ctc",
            lambda: model().forward_streaming(wav, None),
            TypeError,
            "context: got NoneType",
        ),
        ("ctc", lambda: model().flush(None), TypeError, "context: got"),
        (
            "ctc",
            lambda: StreamingCTC(None, wrapper(), torch.nn.Linear(8, 3)),
            TypeError,
            "extractor: got NoneType",
        ),
        (
            "batcher",
            lambda: SessionBatcher(None, TextDecoder(make_tokenizer())),
            TypeError,
            "model: got NoneType",
        ),
        (
            "batcher",
            lambda: SessionBatcher(
                model(), TextDecoder(make_tokenizer()), slots=0
            ),
            ValueError,
            "slots: got 0",
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
            "model: got NoneType",
        ),
        (
            "session",
            lambda: Session(model(), None),
            TypeError,
            "text_decoder: got NoneType",
        ),
        (
            "session",
            lambda: Session(make_model("aa"), TextDecoder(make_tokenizer())),
            ValueError,
            "attention: got 'aa'",
        ),
        ("session", lambda: session().push(None), TypeError, "samples: got N"),
        (
            "session",
            lambda: session().push(torch.full((9,), NAN)),
            ValueError,
            "samples: got NaN",
        ),
        (
            "session",
            lambda: session().push(torch.zeros(50, 9)),
            ValueError,
            "samples: got shape (50, 9)",
        ),
        (
            "session",
            lambda: session().push(np.zeros(5, np.uint8)),
            TypeError,
            "samples: got an array of uint8",
        ),
        (
            "session",
            lambda: session().push(torch.zeros(9), 999),
            ValueError,
            "sample_rate: got 999",
        ),
        (
            "session",
            lambda: session().push(torch.zeros(9), 2**31 - 1),
            ValueError,
            "sample_rate: got 2147483647",
        ),
        (
            "resampler",
            lambda: StreamingResampler(16000, None),
            TypeError,
            "target_rate: got None",
        ),
        (
            "resampler",
            lambda: StreamingResampler(10**9, 16000),
            ValueError,
            "source_rate: got 1000000000",
        ),
        ("decoder", lambda: TextDecoder(None), TypeError, "tokenizer: got N"),
        ("decoder", lambda: pieces("AB"), TypeError, "tokenizer: got str"),
        (
            "decoder",
            lambda: TextDecoder(make_tokenizer()).decode([99]),
            ValueError,
            "labels: got 99",
        ),
        (
            "decoder",
            lambda: TextDecoder(make_tokenizer()).decode([-1]),
            ValueError,
            "labels: got -1",
        ),
        (
            "decoder",
            lambda: ctc_greedy_decode_streaming(one[0], CTCGreedyState()),
            ValueError,
            "log_probs: got shape (5, 8)",
        ),
        (
            "decoder",
            lambda: ctc_greedy_decode_streaming(
                one, CTCGreedyState(), torch.ones(3)
            ),
            ValueError,
            "lengths: got shape (3,)",
        ),
        ("masker", lambda: SpanMasker(NAN), ValueError, "mask_prob: got nan"),
        ("masker", lambda: SpanMasker("a"), TypeError, "mask_prob: got 'a'"),
        ("masker", lambda: SpanMasker(0.5, 0), ValueError, "mask_length: got"),
        ("masker", lambda: SpanMasker(0.5, None), TypeError, "mask_length: "),
        (
            "masker",
            lambda: SpanMasker()(torch.tensor([9]), 5),
            ValueError,
            "frame_counts: got 9",
        ),
        (
            "loss",
            lambda: MaskedContrastiveLoss(0),
            ValueError,
            "logit_temp: got 0",
        ),
        (
            "loss",
            lambda: MaskedContrastiveLoss("a"),
            TypeError,
            "logit_temp: got 'a'",
        ),
        (
            "loss",
            lambda: MaskedContrastiveLoss()(
                one, one[:, :3], torch.zeros(1, 5, 2).long(), torch.tensor([5])
            ),
            ValueError,
            "targets: got shape (1, 3, 8)",
        ),
        (
            "negatives",
            lambda: sample_negatives(torch.tensor([3]), 0),
            ValueError,
            "num_negatives: got 0",
        ),
        (
            "rows",
            lambda: stack_rows(one[0], torch.tensor([2])),
            ValueError,
            "counts: got [2]",
        ),
        (
            "padding",
            lambda: sample_counts(wav, torch.tensor([NAN])),
            ValueError,
            "wav_lens: got [nan]",
        ),
        (
            "padding",
            lambda: sample_counts(wav[0]),
            ValueError,
            "wavs: got shape (1000,)",
        ),
        (
            "host",
            lambda: ChunkFeatureExtractor(front_end(), 0),
            ValueError,
            "hold_seconds: got 0",
        ),
    ]


def check(call, error, words):
    """One line that names the argument, in an error of exactly this kind."""
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    assert words in message
    assert "\n" not in message
    named = r"[a-z_, ]+(: got | must be )|[a-z_.]+(: | is damaged)"
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
    ("model", FileNotFoundError, "allowed is an existing audio file"),
    ("text.wav", ValueError, "text.wav"),
    ("nothing.wav", ValueError, "nothing.wav"),
    ("nine.wav", ValueError, "channels: got 9"),
    ("slow.wav", ValueError, "sample_rate: got 10"),
    ("fast.wav", ValueError, "sample_rate: got 2000000"),
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
        (lambda: load(None), TypeError, "source: got NoneType"),
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
        (lambda: asr.transcribe_file(None), TypeError, "path: got NoneType"),
        (lambda: asr.transcribe_file(7), TypeError, "path: got int"),
        (
            lambda: asr.transcribe_file(
                place / "nan.wav", DynChunkTrainConfig(4)
            ),
            ValueError,
            "samples: got NaN",
        ),
        (
            lambda: asr.transcribe_file_offline(place / "nan.wav"),
            ValueError,
            "samples: got NaN",
        ),
        (
            lambda: asr.transcribe_file(place / "good.wav", 16),
            TypeError,
            "dynchunktrain_config: got int",
        ),
        (
            lambda: asr.transcribe_batch(wavs[0]),
            ValueError,
            "wavs: got shape (1000,)",
        ),
        (lambda: asr.transcribe_batch([0.0]), TypeError, "wavs: got list"),
        (
            lambda: asr.transcribe_batch(wavs * NAN),
            ValueError,
            "wavs: got NaN",
        ),
        (
            lambda: asr.transcribe_batch(wavs, torch.ones(2)),
            ValueError,
            "wav_lens: got shape (2,)",
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
            "folder: got",
        ),
        (
            lambda: write_streaming_folder(
                place / "new", None, make_tokenizer()
            ),
            TypeError,
            "model: got NoneType",
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
