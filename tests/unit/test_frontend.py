"""The front end: SpeechBrain's weights and frames, its state, bad input."""

import copy

import pytest
import torch
from speechbrain.lobes.models.wav2vec import W2VLatentExtractor

from speechbrain_llsa.nnet.frontend import (
    StreamingLatentExtractor,
    _convolve,
    _convolve_by_backend,
)
from speechbrain_llsa.utils.precision import full_float32


def make_extractor(**arguments):
    torch.manual_seed(0)
    arguments = {"out_channels": [6] * 7, **arguments}
    return StreamingLatentExtractor(**arguments).eval()


def test_frames_are_those_of_speechbrain():
    """SpeechBrain's weights load, and give SpeechBrain's frames."""
    reference = W2VLatentExtractor(out_channels=[6] * 7).eval()
    ours = make_extractor()
    ours.load_state_dict(reference.state_dict(), strict=True)
    wavs = torch.randn(2, 5000)
    expected = reference(wavs, normalize_signal=False)
    assert (ours(wavs) - expected).abs().max() < 1e-5
    assert torch.equal(ours(wavs, normalize_signal=False), ours(wavs))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize(
    ("taps", "stride", "more"),
    [(11, 5, 0), (11, 5, 4), (3, 2, 1), (2, 2, 0), (5, 3, 2), (3, 1, 7)],
)
def test_products_are_the_convolution(taps, stride, more, rows, bias):
    """Frames and gradients are those of PyTorch's convolution, also where
    samples are left over and where it has the least input."""
    conv = torch.nn.Conv1d(4, 5, taps, stride, bias=bias).double()
    for samples in (taps, taps + 6 * stride + more):
        x = torch.randn(rows, samples, 4, dtype=torch.float64)
        x.requires_grad_()
        expected = conv(x.transpose(1, 2)).transpose(1, 2)
        weights = torch.randn_like(expected)
        wanted = [x, *conv.parameters()]
        gradients = torch.autograd.grad((expected * weights).sum(), wanted)
        for convolve in (_convolve, _convolve_by_backend):
            frames = convolve(conv, x)
            assert frames.shape == expected.shape
            assert (frames - expected).abs().max() < 1e-12
            found = torch.autograd.grad((frames * weights).sum(), wanted)
            for one, other in zip(found, gradients, strict=True):
                assert (one - other).abs().max() < 1e-12


def test_changed_weights_are_used():
    """Inference keeps a convolution's weight in another layout, until it
    changes; a copy keeps its own."""
    front_end, x = make_extractor(), torch.randn(1, 3000)
    front_end.requires_grad_(False)
    with torch.no_grad():
        before = front_end(x)
        copied = copy.deepcopy(front_end)
        for parameter in front_end.parameters():
            parameter.mul_(-0.5)
        assert torch.equal(copied(x), before)
        changed = front_end(x)
    expected = front_end(x)
    assert not torch.equal(changed, before)
    assert (changed - expected).abs().max() < 1e-6


@pytest.mark.parametrize(
    ("place", "gradients", "backend"),
    [("cpu", True, False), ("meta", True, True), ("meta", False, False)],
)
def test_the_backend_is_for_training(place, gradients, backend, monkeypatch):
    """On a device that is not the CPU, and there alone."""
    calls = []

    def convolve(conv, x):
        calls.append(x)
        return _convolve_by_backend(conv, x)

    monkeypatch.setattr(
        "speechbrain_llsa.nnet.frontend._convolve_by_backend", convolve
    )
    extractor = make_extractor().to(place)
    with torch.set_grad_enabled(gradients):
        extractor(torch.zeros(1, 5000, device=place))
    assert len(calls) == (7 if backend else 0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@torch.no_grad()
def test_streamed_frames_on_cuda():
    """Those of the whole utterance, in float32 as on the CPU."""
    extractor = make_extractor(out_channels=[64] * 7)
    wavs = torch.randn(1, 50000)
    expected = extractor(wavs)
    extractor.cuda()
    context = extractor.make_streaming_context()
    with full_float32():
        whole = extractor(wavs.cuda())
        frames = torch.cat(
            [
                extractor.forward_streaming(samples, context)
                for samples in wavs.cuda().split(5120, dim=1)
            ],
            dim=1,
        )
    assert (whole.cpu() - expected).abs().max() < 1e-4
    assert (frames.cpu() - expected).abs().max() < 1e-4


def test_default_sizes():
    """The default stack is SpeechBrain's: 641 samples in, one frame per 320."""
    extractor = StreamingLatentExtractor()
    assert extractor.out_dim == W2VLatentExtractor().out_dim
    assert extractor.receptive_field_samples == 641
    assert extractor.stride_samples == 320


def test_frame_depends_on_its_samples_only():
    """Frame k sees samples 320 k up to 320 k + 640, and no others."""
    extractor = make_extractor()
    wavs = torch.randn(1, 4000, requires_grad=True)
    extractor(wavs)[0, 5].abs().sum().backward()
    seen = wavs.grad[0].nonzero().flatten()
    assert (seen.min().item(), seen.max().item()) == (1600, 1600 + 640)


@pytest.mark.parametrize("samples", [0, 1, 10, 640])
def test_short_audio_gives_no_frames(samples):
    """Audio shorter than the receptive field gives zero frames, no error."""
    extractor = make_extractor()
    assert extractor(torch.randn(3, samples)).shape == (3, 0, 6)
    context = extractor.make_streaming_context()
    frames = extractor.forward_streaming(torch.randn(3, samples), context)
    assert frames.shape == (3, 0, 6)


def test_output_lengths():
    """The lengths are those of the frames; 0 where SpeechBrain goes below."""
    extractor = make_extractor()
    lengths = torch.tensor([0, 1, 640, 641, 960, 961, 16000])
    assert extractor.get_output_lengths(lengths).tolist() == [
        extractor(torch.zeros(1, length)).shape[1] for length in lengths
    ]
    long = torch.arange(641, 3000)
    reference = W2VLatentExtractor(out_channels=[6] * 7)
    assert torch.equal(
        extractor.get_output_lengths(long), reference.get_output_lengths(long)
    )
    assert extractor.get_output_lengths(16000).item() == 48


def test_no_sample_is_convolved_twice():
    """Over all pushes each convolution gives as many frames as offline."""
    extractor = make_extractor()
    counts = torch.zeros(7, dtype=torch.int64)

    def count(index):
        def hook(module, inputs, output):
            counts[index] += output.shape[1]

        return hook

    for index, block in enumerate(extractor.extractor.values()):
        block.register_forward_hook(count(index))
    wavs = torch.randn(1, 5000)
    extractor(wavs)
    offline = counts.clone()
    counts.zero_()
    context = extractor.make_streaming_context()
    for samples in wavs.split(333, dim=1):
        extractor.forward_streaming(samples, context)
    assert counts.tolist() == offline.tolist()


def test_state_is_small_whatever_the_push():
    """After a long push no more is kept than after short ones."""
    extractor = make_extractor()
    wavs = torch.randn(1, 50000)
    long, short = (extractor.make_streaming_context() for _ in range(2))
    extractor.forward_streaming(wavs, long)
    for samples in wavs.split(500, dim=1):
        extractor.forward_streaming(samples, short)
    assert long.nbytes() == short.nbytes()
    assert long.samples == short.samples == 50000
    for tensor in long.carried:
        assert tensor.untyped_storage().nbytes() == tensor.nbytes


def test_fork_goes_its_own_way():
    """Two forks go on with other samples, and each is as if it was alone."""
    extractor = make_extractor()
    common, one, other = (torch.randn(1, 900) for _ in range(3))
    context = extractor.make_streaming_context()
    extractor.forward_streaming(common, context)
    before = [tensor.clone() for tensor in context.carried]
    fork = context.fork()
    frames = extractor.forward_streaming(one, fork)
    assert context.samples == 900
    assert all(map(torch.equal, context.carried, before))
    expected = extractor(torch.cat([common, one], dim=1))[:, 1:]
    assert torch.allclose(frames, expected, atol=1e-5)
    frames = extractor.forward_streaming(other, context)
    expected = extractor(torch.cat([common, other], dim=1))[:, 1:]
    assert torch.allclose(frames, expected, atol=1e-5)


def test_reset_forgets():
    """After a reset the state takes another batch size."""
    extractor = make_extractor()
    context = extractor.make_streaming_context()
    extractor.forward_streaming(torch.randn(1, 900), context)
    context.reset()
    wavs = torch.randn(2, 900)
    frames = extractor.forward_streaming(wavs, context)
    assert torch.allclose(frames, extractor(wavs), atol=1e-5)


def test_normalize_signal_is_refused():
    """What cannot be streamed is refused, with the reason."""
    with pytest.raises(ValueError, match=r"normalize_signal must .*got True"):
        make_extractor()(torch.randn(1, 1000), normalize_signal=True)


@pytest.mark.parametrize(
    ("samples", "error", "message"),
    [
        (torch.randn(1000), ValueError, r"got \(1000,\)"),
        (torch.randn(1, 1000, 1), ValueError, r"got \(1, 1000, 1\)"),
        (torch.randn(3, 1000), ValueError, "must be of 2 rows, .*got 3"),
        (torch.zeros(2, 9, dtype=torch.int16), TypeError, "torch.int16"),
        ([[0.0, 0.0]], TypeError, "got list"),
    ],
)
def test_bad_push_leaves_the_state(samples, error, message):
    """A push that is refused changes nothing."""
    extractor = make_extractor()
    context = extractor.make_streaming_context()
    extractor.forward_streaming(torch.randn(2, 700), context)
    before = context.fork()
    with pytest.raises(error, match=message):
        extractor.forward_streaming(samples, context)
    assert context.samples == 700
    assert context.carried is before.carried


def test_state_of_another_front_end_is_refused():
    """A state with other channels does not fit."""
    context = make_extractor().make_streaming_context()
    make_extractor().forward_streaming(torch.randn(1, 700), context)
    other = make_extractor(out_channels=[5] * 7)
    with pytest.raises(ValueError, match=r"context must .*got that of one"):
        other.forward_streaming(torch.randn(1, 700), context)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"out_channels": [6] * 6}, "got 6, 7 and 7 entries"),
        ({"strides": [12, 2, 2, 2, 2, 2, 2]}, "got 12 for a kernel of 11"),
        ({"strides": [0, 2, 2, 2, 2, 2, 2]}, r"strides must .*got 0"),
    ],
)
def test_bad_convolutions_are_refused(arguments, message):
    """Lists that describe no stack that can stream are refused."""
    with pytest.raises(ValueError, match=message):
        make_extractor(**arguments)
