"""Log-mel energies and two-dimensional convolutions obey the same laws, and
are those of SpeechBrain."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechbrain_llsa.decoders.tokenizers import TextDecoder
from speechbrain_llsa.inference.batcher import SessionBatcher
from speechbrain_llsa.inference.onnx_export import export_model
from speechbrain_llsa.model_folder.load import load_parts
from speechbrain_llsa.model_folder.write import write_streaming_folder
from speechbrain_llsa.nnet.log_mel import LogMel
from speechbrain_llsa.nnet.log_mel_front_end import (
    LogMelFrontEnd,
    SpectralConvolution,
)
from speechbrain_llsa_runtime.inference.onnx import OnnxStreamingASR
from speechbrain_llsa_runtime.inference.session import Session
from tiny_model import (
    make_log_mel,
    make_model,
    make_signal,
    make_tokenizer,
    split,
)

SAMPLES = 24000
TOLERANCE = 1e-5
DOUBLE_TOLERANCE = 1e-10
ATTENTIONS = pytest.mark.parametrize("attention", ["maa", "sa", "llsa"])
OPTIONS = {
    "default": {},
    "25 ms": {"n_fft": 400, "window_samples": 400},
    "narrow window": {"window_samples": 300, "hop_samples": 100},
    "one convolution": {
        "cnn_channels": [3],
        "cnn_kernel_sizes": [5],
        "cnn_strides": [4],
    },
    "three": {
        "cnn_channels": [3, 4, 2],
        "cnn_kernel_sizes": [3, 1, 3],
        "cnn_strides": [2, 1, 3],
    },
}


def make_log_mel_model(attention="llsa", **options):
    return make_model(
        attention, extractor=make_log_mel(), **{"hop": 3, **options}
    )


@pytest.fixture(scope="module")
def decoder():
    return TextDecoder(make_tokenizer())


def stream(front_end, pushes):
    context = front_end.make_streaming_context()
    with torch.no_grad():
        frames = [front_end.forward_streaming(p, context) for p in pushes]
    return torch.cat(frames, dim=1)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)]
)
@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    samples=st.integers(0, 8000),
    lengths=st.lists(
        st.one_of(st.integers(0, 3), st.integers(0, 3000)), max_size=12
    ),
)
def test_any_split_of_the_front_end(
    options, dtype, tolerance, samples, lengths
):
    """Pushes of any lengths give the offline frames, in count and number."""
    front_end = make_log_mel(**options).eval().to(dtype)
    signal = torch.stack([make_signal(samples, seed) for seed in (0, 1)])
    with torch.no_grad():
        offline = front_end(signal.to(dtype))
    streamed = stream(front_end, split(signal, lengths))
    assert streamed.shape == offline.shape
    assert offline.shape[1] == front_end.get_output_lengths(samples)
    if offline.numel():
        assert (streamed - offline).abs().max() < tolerance


def test_one_sample_at_a_time():
    """A frame is there with the last sample that it needs: half a receptive
    field after its middle."""
    front_end = make_log_mel().eval()
    signal = make_signal(2100)[None]
    context = front_end.make_streaming_context()
    with torch.no_grad():
        frames = [
            front_end.forward_streaming(sample, context)
            for sample in signal.split(1, dim=1)
        ]
        offline = front_end(signal)
    came = [index for index, frame in enumerate(frames) if frame.shape[1]]
    assert came == [735, 735 + 640, 735 + 1280]
    assert (torch.cat(frames, dim=1) - offline).abs().max() < TOLERANCE


def test_what_a_frame_depends_on():
    """Frame k: the samples 640 k - 736 to 640 k + 735, and no others."""
    front_end = make_log_mel().eval().double()
    assert front_end.receptive_field_samples == 1472
    assert front_end.padding_samples == 736
    signal = make_signal(8000)[None].double().requires_grad_()
    for index in (0, 3, 8):
        (gradient,) = torch.autograd.grad(
            front_end(signal)[0, index].square().sum(), signal
        )
        (moved,) = gradient[0].nonzero(as_tuple=True)
        assert moved[0] == max(0, 640 * index - 736)
        assert moved[-1] == 640 * index + 735


@ATTENTIONS
@given(lengths=st.lists(st.integers(0, 5000), max_size=8))
@settings(max_examples=10, deadline=None)
def test_any_split_of_a_model(attention, lengths):
    """From samples to log-probabilities, whatever the pushes."""
    model = make_log_mel_model(attention).double()
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


def test_gradients_and_rows():
    """A padded row gives what it gives alone, and so do the gradients."""
    model = make_log_mel_model().double()
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
    weights = [each.conv.weight for each in model.extractor.convolutions]
    together = [weight.grad.clone() for weight in weights]
    model.zero_grad()
    model(rows[1])[0].square().sum().backward()
    for weight, gradient in zip(weights, together, strict=True):
        error = (gradient - weight.grad).abs().max()
        assert error < 1e-9 * weight.grad.abs().max()


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_products_are_the_convolution(kernel_size, stride):
    """The fast path on the CPU is PyTorch's convolution of padded frames, in
    outputs and gradients."""
    if stride > kernel_size:
        pytest.skip("no such convolution")
    torch.manual_seed(0)
    module = SpectralConvolution(9, 2, 3, kernel_size, stride).double()
    x = torch.randn(2, 12, 18, dtype=torch.float64, requires_grad=True)
    given_back = module(x)
    image = x.unflatten(2, (9, 2)).permute(0, 3, 2, 1)
    padding = (0, 0, kernel_size // 2, kernel_size // 2)
    image = torch.nn.functional.pad(image, padding, mode="reflect")
    expected = module.conv(image).permute(0, 3, 2, 1).flatten(2)
    assert (given_back - expected).abs().max() < 1e-12
    weight = torch.randn_like(expected)
    leaves = [x, module.conv.weight, module.conv.bias]
    ours = torch.autograd.grad((given_back * weight).sum(), leaves)
    theirs = torch.autograd.grad((expected * weight).sum(), leaves)
    for one, other in zip(ours, theirs, strict=True):
        assert (one - other).abs().max() < 1e-11


def test_the_product_is_the_transform():
    """What is exported is what is computed here."""
    log_mel = LogMel(n_mels=20)
    windows = torch.randn(2, 5, 512, dtype=torch.float64)
    power = log_mel._power_by_products(windows)
    spectrum = torch.fft.rfft(windows * log_mel.window)
    assert (power - spectrum.abs().square()).abs().max() < 1e-9


@ATTENTIONS
def test_batched_sessions_and_snapshots(attention, decoder):
    """The step of fixed shapes gives what a session gives, and a session goes
    on from its snapshot at any sample."""
    model = make_log_mel_model(attention)
    signal = make_signal(SAMPLES)
    session = Session(model, decoder)
    session.push(signal.numpy())
    session.finish()
    words = 0
    for cut in (0, 1, 735, 736, 1472, 3000, 11111):
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


def test_times_are_of_its_own_frames():
    """Latencies count frames of 40 ms, and what a frame waits for."""
    model = make_log_mel_model()
    assert model.frame_seconds == 0.04
    report = model.latency_report()
    latency = report.declared_latency
    assert latency.look_ahead_seconds == 4 * 0.04
    assert latency.receptive_field_seconds == 0.092
    assert round(latency.total_seconds, 9) == 0.332  # 160, 2 * 40 and 92 ms
    assert "hop 3 (frames of 0.04 s)" in str(report)


@ATTENTIONS
def test_a_folder_holds_it(tmp_path, attention):
    """Written, described and loaded it gives the same."""
    model = make_log_mel_model(attention)
    write_streaming_folder(tmp_path / "model", model, make_tokenizer())
    loaded = load_parts(tmp_path / "model")["model"].eval()
    signal = make_signal(SAMPLES)[None]
    assert torch.equal(loaded(signal)[0], model(signal)[0])
    assert loaded.fingerprint() == model.fingerprint()
    assert loaded.extractor.is_measured


def test_fingerprints_tell_models_apart():
    """Sizes and statistics that no weight shows are part of it."""
    options = (
        {},
        {"window_samples": 400},
        {"f_min": 50.0},
        {"f_max": 7000.0},
        {"floor_db": -60.0},
        {"hop_samples": 100},
        {"n_fft": 600},
    )
    prints = {
        make_model(extractor=make_log_mel(**each)).fingerprint()
        for each in options
    }
    assert len(prints) == len(options)
    model = make_log_mel_model()
    before = model.fingerprint()
    model.extractor.measure([make_signal(16000, 9)])
    assert model.fingerprint() != before


@pytest.mark.slow
@ATTENTIONS
def test_an_exported_graph_gives_the_same(tmp_path, attention, decoder):
    """In 32 bits; that in 8 bits is compared by the export itself, and has
    spectra in 64 bits, since energies of 8 bits would be noise."""
    onnx = pytest.importorskip("onnx")
    model = make_log_mel_model(attention)
    steps = None if attention == "llsa" else 5
    folder = export_model(
        tmp_path / "exported",
        model,
        decoder,
        precisions=("fp32", "int8"),
        step_frames=steps,
    )
    graph = onnx.load(folder / "step.int8.onnx").graph
    doubles = [
        list(constant.dims)
        for constant in graph.initializer
        if constant.data_type == onnx.TensorProto.DOUBLE
    ]
    assert [512, 2 * 257] in doubles and [257, 16] in doubles
    asr = OnnxStreamingASR.from_folder(folder, precision="fp32")
    assert asr.model.frame_seconds == 0.04
    assert str(asr.latency_report()) == str(model.latency_report())
    signal = make_signal(SAMPLES).numpy()
    state = asr.model.make_streaming_context()
    pieces = [
        asr.model.stream(push, state)[0]
        for push in (signal[:0], signal[:5000], signal[5000:5001])
    ]
    pieces.append(asr.model.stream(signal[5001:], state, final=True)[0])
    with torch.no_grad():
        offline, _ = model(torch.from_numpy(signal)[None])
    streamed = torch.cat([torch.from_numpy(piece) for piece in pieces])
    assert streamed.shape == offline[0].shape
    assert (streamed - offline[0]).abs().max() < 1e-4


def test_statistics():
    """They are those of all frames together; energies have mean 0 and
    deviation 1 then, and a type or a device changes nothing of the rest."""
    front_end = make_log_mel()
    signals = [make_signal(size, size) for size in (9000, 300, 20000)]
    assert front_end.measure(iter(signals)).is_measured
    log_mel = front_end.log_mel
    energies = torch.cat(
        [log_mel.decibels(signal[None])[0] for signal in signals[::2]]
    )
    assert log_mel.measured == len(energies)
    assert (log_mel.mean - energies.mean(0)).abs().max() < 1e-4
    deviation = energies.std(0, correction=0)
    assert (log_mel.deviation - deviation).abs().max() < 1e-4
    normal = log_mel(signals[2][None, :, None])
    assert normal.dtype == torch.float32
    half = front_end.to(torch.bfloat16).float().log_mel
    assert torch.equal(half.filters, LogMel(16).filters)
    assert half.window.dtype == torch.float64


def test_a_filter_that_hears_nothing():
    """Audio without high frequencies stays at the floor there: no deviation,
    and no number that is not finite."""
    front_end = LogMelFrontEnd(n_mels=16, cnn_channels=[4, 2])
    front_end.measure([torch.zeros(8000)])
    assert (front_end.log_mel.mean == -100).all()
    assert (front_end.log_mel.deviation == 1).all()
    assert front_end(make_signal(8000)[None]).isfinite().all()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"n_fft": 511}, ValueError, "n_fft must be even"),
        ({"window_samples": 513}, ValueError, "window_samples must be at most"),
        ({"hop_samples": 600}, ValueError, "hop_samples must be at most"),
        ({"f_min": 9000.0}, ValueError, "f_min must be"),
        ({"f_min": 500.0, "f_max": 400.0}, ValueError, "f_min must be below"),
        ({"n_mels": "80"}, TypeError, "n_mels must be"),
        ({"cnn_channels": 64}, TypeError, "cnn_channels must be a list"),
        ({"cnn_channels": [64]}, ValueError, "cnn_channels, cnn_kernel_sizes"),
        ({"cnn_kernel_sizes": [3, 2]}, ValueError, "cnn_kernel_sizes must be"),
        ({"cnn_kernel_sizes": [3, 99]}, ValueError, "cnn_kernel_sizes must be"),
        ({"cnn_strides": [4, 2]}, ValueError, "cnn_strides must be"),
        ({"dropout": 2}, ValueError, "dropout must be"),
    ],
)
def test_bad_arguments(changes, error, message):
    with pytest.raises(error, match=f"^{message}"):
        LogMelFrontEnd(**changes)


def test_bad_statistics():
    front_end = LogMelFrontEnd()
    assert not front_end.is_measured
    with pytest.raises(ValueError, match=r"^waveforms must be some of 512"):
        front_end.measure([torch.zeros(511)])
    with pytest.raises(ValueError, match=r"^mean must be of shape \(80,\)"):
        front_end.log_mel.set_statistics(torch.zeros(4), torch.ones(80), 1)
    with pytest.raises(ValueError, match=r"^deviation must be finite"):
        front_end.log_mel.set_statistics(
            torch.zeros(80), torch.full((80,), torch.nan), 1
        )
    with pytest.raises(ValueError, match=r"^deviation must be at least 0"):
        front_end.log_mel.set_statistics(torch.zeros(80), -torch.ones(80), 1)
    assert not front_end.is_measured
