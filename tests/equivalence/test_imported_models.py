"""Parts of encoders that were trained elsewhere obey the same laws: frames of
24 ms, convolutional positions that see ahead, norms of other kinds. So do
Conformers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechbrain_llsa.decoders.tokenizers import TextDecoder
from speechbrain_llsa.inference.batcher import SessionBatcher
from speechbrain_llsa.inference.onnx_export import export_model
from speechbrain_llsa.model_folder.load import load_parts
from speechbrain_llsa.model_folder.write import write_streaming_folder
from speechbrain_llsa.nnet.convolutional_front_end import (
    ConvolutionalFrontEnd,
)
from speechbrain_llsa_runtime.inference.onnx import OnnxStreamingASR
from speechbrain_llsa_runtime.inference.session import Session
from speechbrain_llsa_runtime.transcripts.endpointer import (
    Endpointer,
    SegmentState,
)
from tiny_model import (
    CONFORMER,
    IMPORTED,
    make_encoder,
    make_front_end,
    make_model,
    make_signal,
    make_tokenizer,
    split,
)

SAMPLES = 20000
TOLERANCE = 1e-5
DOUBLE_TOLERANCE = 1e-10
ATTENTIONS = pytest.mark.parametrize("attention", ["maa", "sa", "llsa"])


def make_imported(attention="llsa", **options):
    torch.manual_seed(0)
    return make_model(
        attention,
        extractor=make_front_end(),
        **{**IMPORTED, "hop": 3, **options},
    )


def make_conformer(attention="llsa", **options):
    return make_model(attention, **{**CONFORMER, "hop": 3, **options})


MODELS = pytest.mark.parametrize("make", [make_imported, make_conformer])


@pytest.fixture(scope="module")
def decoder():
    return TextDecoder(make_tokenizer())


@MODELS
@ATTENTIONS
@given(lengths=st.lists(st.integers(0, 5000), max_size=8))
@settings(max_examples=10, deadline=None)
def test_any_split(attention, make, lengths):
    """From samples to log-probabilities, whatever the pushes."""
    model = make(attention).double()
    signal = make_signal(SAMPLES).double()
    with torch.no_grad():
        offline, _ = model(signal[None])
        context = model.make_streaming_context()
        pieces = [
            model.forward_streaming(push[None], context)
            for push in split(signal, lengths)
        ]
        streamed = torch.cat([*pieces, model.flush(context)], dim=1)
    assert (streamed - offline).abs().max() < DOUBLE_TOLERANCE


@MODELS
def test_gradients_and_rows(make):
    """A padded row gives what it gives alone, and so do the gradients."""
    model = make().double()
    rows = [make_signal(size, size)[None].double() for size in (SAMPLES, 9000)]
    padded = torch.zeros(2, SAMPLES, dtype=torch.float64)
    for row, signal in zip(padded, rows, strict=True):
        row[: signal.shape[1]] = signal[0]
    log_probs, lengths = model(padded, torch.tensor([1.0, 9000 / SAMPLES]))
    for row, signal, length in zip(log_probs, rows, lengths, strict=True):
        alone, _ = model(signal)
        assert alone.shape[1] == length
        assert (row[:length] - alone[0]).abs().max() < DOUBLE_TOLERANCE
    log_probs[1, : lengths[1]].square().sum().backward()
    weight = next(model.extractor.parameters())
    together = weight.grad.clone()
    model.zero_grad()
    model(rows[1])[0].square().sum().backward()
    alone = weight.grad
    assert (together - alone).abs().max() < 1e-9 * alone.abs().max()


@MODELS
@ATTENTIONS
def test_batched_sessions_and_snapshots(attention, make, decoder):
    """The step of fixed shapes gives what a session gives, and a session goes
    on from its snapshot at any sample."""
    model = make(attention)
    signal = make_signal(SAMPLES)
    session = Session(model, decoder)
    session.push(signal.numpy())
    session.finish()
    words = 0
    for cut in (0, 1, 894, 895, 3000, 11111):
        first = Session(model, decoder)
        pushed = first.push(signal[:cut].numpy())
        moved = Session(model, decoder, first.snapshot())
        said = moved.push(signal[cut:].numpy())
        ended = moved.finish()
        text = pushed.committed + said.committed + ended.committed
        assert text == session.text
        words += len(text.split())
    assert words
    steps = None if attention == "llsa" else 5
    batcher = SessionBatcher(model, decoder, slots=2, step_frames=steps)
    batched = batcher.session()
    batched.push(signal.numpy())
    batched.finish()
    while batcher.step():
        pass
    assert batched.text == session.text


def test_times_are_of_its_own_frames(decoder):
    """Words and endpoints of a model count its frames, of 24 ms."""
    model = make_imported()
    assert model.frame_seconds == 0.024
    report = model.latency_report()
    declared = report.declared_latency
    assert declared.look_ahead_seconds == round((4 + 3) * 0.024, 9)
    assert "positional look_ahead 3, hop 3 (frames of 0.024 s)" in str(report)
    session = Session(model, decoder)
    words = session.push(make_signal(SAMPLES).numpy()).words
    words += session.finish().words
    assert words
    for word in words:
        assert round(word.start / 0.024, 6) == round(word.start / 0.024)


def test_an_endpoint_is_as_long_for_frames_of_any_duration():
    rules = Endpointer(
        without_speech=None,
        after_speech={"speech": True, "silence_seconds": 0.48},
        maximum_length=None,
    )
    best = [5, *[0] * 40]
    for frame_seconds, frames in ((0.02, 24), (0.024, 20)):
        end = rules.find(best, 0, SegmentState(), frame_seconds=frame_seconds)
        assert end == 1 + frames


@MODELS
@ATTENTIONS
def test_a_folder_holds_it(tmp_path, attention, make):
    """Written, described and loaded it gives the same."""
    model = make(attention)
    write_streaming_folder(tmp_path / "model", model, make_tokenizer())
    loaded = load_parts(tmp_path / "model")["model"].eval()
    signal = make_signal(SAMPLES)[None]
    assert torch.equal(loaded(signal)[0], model(signal)[0])
    assert loaded.fingerprint() == model.fingerprint()


def test_fingerprints_tell_models_apart():
    """Sizes that no weight shows are part of it."""
    prints = {
        make_model(**options).fingerprint()
        for options in (
            {},
            {"rotary_features": 4},
            {"norm_eps": 1e-5},
            {"positional_encoding": None},
            {"norm_eps": 1e-5, "closing_norm_eps": 1e-6},
            {"encoder_module": "conformer", "conv_look_back": 4},
            *(
                {
                    **CONFORMER,
                    "conv_look_back": 6 - ahead,
                    "conv_look_ahead": ahead,
                }
                for ahead in (0, 2)
            ),
        )
    }
    prints |= {
        make_imported(
            positional_look_back=8 - ahead, positional_look_ahead=ahead
        ).fingerprint()
        for ahead in (0, 3)
    }
    assert len(prints) == 10


@pytest.mark.slow
@MODELS
@ATTENTIONS
def test_an_exported_graph_gives_the_same(tmp_path, attention, make, decoder):
    model = make(attention)
    steps = None if attention == "llsa" else 5
    folder = export_model(
        tmp_path / "exported", model, decoder, step_frames=steps
    )
    asr = OnnxStreamingASR.from_folder(folder, precision="fp32")
    assert asr.model.frame_seconds == model.frame_seconds
    assert str(asr.latency_report()) == str(model.latency_report())
    signal = make_signal(SAMPLES).numpy()
    state = asr.model.make_streaming_context()
    pieces = [
        asr.model.stream(push, state)[0]
        for push in (signal[:5000], signal[5000:5001], signal[5001:])
    ]
    pieces.append(asr.model.stream(signal[:0], state, final=True)[0])
    with torch.no_grad():
        offline, _ = model(torch.from_numpy(signal)[None])
    streamed = torch.cat([torch.from_numpy(piece) for piece in pieces])
    assert (streamed - offline[0]).abs().max() < 1e-4


@pytest.mark.parametrize("norm", ["instance_norm", "group_norm"])
def test_norms_over_time_cannot_stream(norm):
    """They give what PyTorch's group norm gives, offline alone."""
    torch.manual_seed(0)
    front_end = ConvolutionalFrontEnd(
        [4, 4], [8, 3], [4, 2], [True, True], [[norm], ["gelu"]]
    )
    with pytest.raises(ValueError, match=r"^front end must .*following.0.0$"):
        front_end.make_streaming_context()
    with pytest.raises(ValueError, match=r"^front end must .*following.0.0$"):
        front_end.initial_carried(1)
    signal = torch.randn(2, 500)
    first, second = front_end.convolutions
    groups = 4 if norm == "instance_norm" else 1
    normed = torch.nn.functional.group_norm(first(signal[:, None]), groups)
    expected = torch.nn.functional.gelu(second(normed)).transpose(1, 2)
    given_back = front_end(signal)
    expected = front_end.norm(expected)
    assert (given_back - expected).abs().max() < TOLERANCE


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"biases": [True]}, ValueError, "biases must be a list of 2"),
        ({"biases": True}, TypeError, "biases must be a list"),
        ({"functions": [["relu"], []]}, ValueError, "functions must be made"),
        ({"functions": ["gelu", []]}, TypeError, "functions must be a list"),
        ({"strides": [9, 2]}, ValueError, "strides must be"),
    ],
)
def test_bad_front_ends(changes, error, message):
    arguments = {
        "out_channels": [4, 4],
        "kernel_sizes": [8, 3],
        "strides": [4, 2],
        "biases": [True, True],
        "functions": [[], []],
    }
    with pytest.raises(error, match=f"^{message}"):
        ConvolutionalFrontEnd(**{**arguments, **changes})


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"rotary_features": 3}, ValueError, "rotary_features must be even"),
        ({"rotary_features": 10}, ValueError, "rotary_features must be even"),
        ({"rotary_features": "4"}, TypeError, "rotary_features must be"),
        (
            {"positional_encoding": "convolution", "positional_groups": 3},
            ValueError,
            "groups must be a divisor",
        ),
        (
            {"positional_encoding": "convolution", "positional_look_ahead": -1},
            ValueError,
            "look_ahead must be",
        ),
        ({"norm_eps": -1}, ValueError, "norm_eps must be"),
    ],
)
def test_bad_encoders(changes, error, message):
    with pytest.raises(error, match=f"^{message}"):
        make_encoder(**changes)
