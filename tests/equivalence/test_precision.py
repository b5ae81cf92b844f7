"""Other precisions: streaming against offline, and against float64.

The bounds are maximum errors of a log-probability. The tiny model's logits
are between -15 and 15, so that float16 (11 bits) and bfloat16 (8 bits) are
far off in numbers, and seldom in labels.
"""

import pytest
import soundfile
import torch
from speechbrain.inference.ASR import StreamingASR as SpeechBrainStreamingASR
from speechbrain.utils.dynamic_chunk_training import DynChunkTrainConfig

from speechbrain_llsa.decoders.tokenizers import TextDecoder
from speechbrain_llsa.inference.asr import StreamingASR
from speechbrain_llsa.model_folder.write import write_streaming_folder
from speechbrain_llsa.nnet.rotary import rotary_angles, rotate
from speechbrain_llsa_runtime.inference.session import Session
from tiny_model import CONFORMER, make_model, make_signal, make_tokenizer

ATTENTIONS = ["llsa", "sa", "maa"]

STREAMING_BOUNDS = {
    "float64": 1e-12,
    "float32": 1e-4,
    "float16": 0.04,
    "bfloat16": 0.25,
}
"""Streaming against offline in the same precision."""

REFERENCE_BOUNDS = {"float32": 1e-4, "float16": 0.3, "bfloat16": 3.0}
"""Streaming against offline in float64."""

LABEL_BOUNDS = {"float64": 0, "float32": 0, "float16": 0.01, "bfloat16": 0.03}
"""The part of frames whose label differs from offline."""


@torch.no_grad()
def offline(model, signal):
    return model(signal[None])[0][0]


@torch.no_grad()
def streamed(model, signal, length=1777):
    context = model.make_streaming_context()
    log_probs = [
        model.forward_streaming(part[None], context)
        for part in signal.split(length)
    ]
    return torch.cat([*log_probs, model.flush(context)], dim=1)[0]


def error(one, other):
    return (one.double() - other.double()).abs().max().item()


def check_precision(attention, precision, seconds, allowance=1, **options):
    signal = make_signal(round(16000 * seconds), seed=round(seconds * 10))
    model = make_model(attention, **options).to(getattr(torch, precision))
    reference = offline(make_model(attention, **options).double(), signal)
    whole, parts = offline(model, signal), streamed(model, signal)
    assert whole.dtype == parts.dtype
    assert whole.dtype == (
        torch.float64 if precision == "float64" else torch.float32
    )
    labels = whole.argmax(1) != parts.argmax(1)
    against_offline = error(parts, whole)
    against_reference = error(parts, reference)
    print(
        f"{attention:5}{precision:9}{seconds:6} s  offline "
        f"{against_offline:.2g}  float64 {against_reference:.2g}  labels "
        f"{int(labels.sum())} of {len(labels)}"
    )
    assert against_offline < allowance * STREAMING_BOUNDS[precision]
    assert labels.float().mean() <= LABEL_BOUNDS[precision]
    if precision != "float64":
        assert against_reference < allowance * REFERENCE_BOUNDS[precision]


@pytest.mark.parametrize("seconds", [0.1, 1, 10])
@pytest.mark.parametrize("precision", STREAMING_BOUNDS)
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_precision(attention, precision, seconds):
    """Each precision streams as it is offline, whatever the length."""
    check_precision(attention, precision, seconds)


@pytest.mark.parametrize("precision", STREAMING_BOUNDS)
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_precision_of_a_conformer(attention, precision):
    """The same, for layers with a convolution."""
    check_precision(attention, precision, 10, **CONFORMER)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("seconds", [60, 180])
@pytest.mark.parametrize("precision", STREAMING_BOUNDS)
@pytest.mark.parametrize("attention", ["llsa", "sa"])
def test_precision_long(attention, precision, seconds):
    """Twice the bounds: among more frames there are quieter ones, at which
    rounding weighs more. In float64 one sees that nothing drifts."""
    check_precision(attention, precision, seconds, allowance=2)


@pytest.mark.parametrize("precision", ["float64", "float16", "bfloat16"])
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_sessions_in_other_precisions(attention, precision):
    """From float32 samples of any rate to the text of the log-probabilities
    that the model gives in that precision."""
    model = make_model(attention).to(getattr(torch, precision))
    decoder = TextDecoder(make_tokenizer())
    signal = make_signal(30000)
    session = Session(model, decoder)
    for part in signal.split(1777):
        session.push(part)
    session.finish()
    labels = torch.unique_consecutive(streamed(model, signal).argmax(dim=1))
    assert session.text == decoder.decode(labels[labels != 0].tolist()) != ""
    session.reset()
    session.push(signal.numpy(), 44100)
    session.finish()
    assert session.text


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_softmax_is_in_float32(precision):
    """The log-probabilities of a frame are a distribution to 1e-6, which half
    precision cannot say."""
    model = make_model().to(getattr(torch, precision))
    log_probs = offline(model, make_signal(16000))
    assert log_probs.dtype == torch.float32
    total = log_probs.double().exp().sum(dim=1)
    assert (total - 1).abs().max() < 1e-6


@pytest.mark.parametrize("first", [0, 4_320_000])
def test_rotation_is_in_float32(first):
    """Rotating in half precision costs its rounding alone, also after 24
    hours; float64 is rotated in float64."""
    position = torch.arange(first, first + 50)
    x = torch.randn(1, 2, 50, 16, dtype=torch.float64)
    exact = rotate(x, *rotary_angles(position, 16, dtype=torch.float64))
    assert (exact.norm(dim=-1) - x.norm(dim=-1)).abs().max() < 1e-12
    for dtype, bits in ((torch.float16, 11), (torch.bfloat16, 8)):
        half = x.to(dtype)
        angles = rotary_angles(position, 16, dtype=dtype)
        assert angles[0].dtype == torch.float32
        expected = rotate(
            half.double(), *rotary_angles(position, 16, dtype=torch.float64)
        )
        turned = rotate(half, *angles)
        assert turned.dtype == dtype
        assert (
            (turned.double() - expected).abs()
            <= (expected.abs() * 2.0**-bits + 1e-5)
        ).all()


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_the_host_in_other_precisions(tmp_path, precision):
    """A written model, converted after loading: batches, files, and
    SpeechBrain's own class."""
    folder = write_streaming_folder(
        tmp_path / "streaming", make_model(), make_tokenizer()
    )
    path, signal = tmp_path / "a.wav", make_signal(30000)
    soundfile.write(path, signal.numpy(), 16000, subtype="FLOAT")
    asr = StreamingASR.from_hparams(folder)
    speechbrain_asr = SpeechBrainStreamingASR.from_hparams(source=str(folder))
    for each in (asr.model, speechbrain_asr.hparams.model):
        each.to(getattr(torch, precision))
    labels = torch.unique_consecutive(offline(asr.model, signal).argmax(dim=1))
    text = asr.text_decoder.decode(labels[labels != 0].tolist())
    assert asr.transcribe_batch(signal[None]) == [text]
    assert len(text) > 10
    config = DynChunkTrainConfig(16)
    for each in (asr, speechbrain_asr):
        said = each.transcribe_file(
            str(path), config, use_torchaudio_streaming=False
        )
        assert abs(len(said) - len(text)) <= 2


def test_float32_samples_are_taken_in_any_precision():
    """Waveforms need not be converted by the caller, offline nor streamed."""
    for precision in STREAMING_BOUNDS:
        model = make_model().to(getattr(torch, precision))
        signal = make_signal(5000)
        dtype = next(model.parameters()).dtype
        assert torch.equal(
            offline(model, signal), offline(model, signal.to(dtype))
        )
