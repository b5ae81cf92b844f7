"""Packed weights change nothing but the time."""

import copy
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from speechbrain.inference.ASR import StreamingASR as SpeechBrainStreamingASR

from speechbrain_llsa import StreamingASR, StreamingEncoder
from speechbrain_llsa.model_folder.write import write_streaming_folder
from speechbrain_llsa.nnet.packed import PackedLinear, pack_linears
from tiny_model import make_model, make_signal, make_tokenizer

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="needs oneDNN"
)


def make_packed(*sizes, **options):
    """A plain layer, and a packed one with the same parameters."""
    linear = torch.nn.Linear(*sizes, **options).requires_grad_(False)
    packed = copy.deepcopy(linear)
    pack_linears(packed)
    assert type(packed) is PackedLinear
    return linear, packed


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [0, 1, 9, 12, 100])
def test_same_numbers(rows, bias):
    """For any number of rows, with and without bias, to rounding."""
    linear, packed = make_packed(48, 80, bias=bias)
    x = torch.randn(1, rows, 48)
    with torch.no_grad():
        assert packed(x).shape == (1, rows, 80)
        assert torch.allclose(packed(x), linear(x), atol=1e-5)


def test_a_packed_model_streams_the_same():
    """The names of the parameters, the numbers and the gradients stay."""
    model, signal = make_model(), make_signal(16000)[None]
    model.requires_grad_(False)
    names = list(model.state_dict())
    with torch.no_grad():
        expected, _ = model(signal)
    assert pack_linears(model) == 10
    assert list(model.state_dict()) == names
    with torch.no_grad():
        given, _ = model(signal)
        context = model.make_streaming_context()
        pushes = [
            model.forward_streaming(samples, context)
            for samples in signal.split(999, dim=1)
        ]
    streamed = torch.cat([*pushes, model.flush(context)], dim=1)
    assert (given - expected).abs().max() < 1e-4
    assert (streamed - expected).abs().max() < 1e-4
    model.requires_grad_(True)
    model(signal)[0].sum().backward()
    assert all(
        parameter.grad is not None for parameter in model.head.parameters()
    )


CHANGES = {
    "in place": lambda layer: layer.weight.zero_(),
    "a loaded state": lambda layer: layer.load_state_dict(
        {"weight": torch.zeros(8, 8), "bias": layer.bias}
    ),
    "another parameter": lambda layer: setattr(
        layer, "weight", torch.nn.Parameter(torch.zeros(8, 8))
    ),
    "other memory": lambda layer: setattr(
        layer.weight, "data", torch.zeros(8, 8)
    ),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changed_weights_are_packed_anew(change):
    """However they change."""
    _, packed = make_packed(8, 8)
    x = torch.rand(3, 8)
    with torch.no_grad():
        assert not torch.equal(packed(x), packed.bias.expand(3, 8))
        change(packed)
        assert torch.equal(packed(x), packed.bias.expand(3, 8))


@pytest.mark.parametrize("fused", [False, True])
def test_a_training_goes_on(fused):
    """An optimiser's step shows in the next inference; PyTorch keeps no account
    of a fused one's."""
    linear, packed = make_packed(8, 8)
    x = torch.rand(3, 8)
    for layer in (linear, packed):
        with torch.no_grad():
            layer(x)
        layer.requires_grad_(True)
        optimizer = torch.optim.SGD(layer.parameters(), lr=1.0, fused=fused)
        for _ in range(2):
            with torch.no_grad():
                layer(x)
            optimizer.zero_grad()
            layer(x).square().sum().backward()
            optimizer.step()
    with torch.no_grad():
        assert torch.equal(packed(x), linear(x))
        for layer in (linear, packed):
            layer.requires_grad_(False)
        # frozen again, it is packed again
        assert torch.allclose(packed(x), linear(x), atol=1e-5)
        assert packed.prepared._made is not None


@pytest.mark.parametrize("autocast", [False, True])
def test_a_trained_model_is_frozen_again(autocast):
    """All of a model that was used, trained by a fused optimiser and frozen."""
    model = make_model().requires_grad_(False)
    pack_linears(model)
    signal = make_signal(8000)[None]
    with torch.no_grad():
        before, _ = model(signal)
    model.requires_grad_(True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, fused=True)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        loss = model(signal)[0].square().sum()
    loss.backward()
    optimizer.step()
    model.requires_grad_(False)
    with torch.no_grad():
        given, _ = model(signal)
        expected, _ = copy.deepcopy(model)(signal)
        assert (given - before).abs().max() > 0.1
        assert (given - expected).abs().max() < 1e-5


@pytest.mark.parametrize(
    "view", [lambda x: x.t(), lambda x: x[:4], lambda x: x[:, :4]]
)
def test_another_view_of_the_same_memory_is_packed_anew(view):
    _, packed = make_packed(8, 8, bias=False)
    with torch.no_grad():
        packed(torch.rand(3, 8))
        packed.weight = torch.nn.Parameter(view(packed.weight), False)
        x = torch.rand(3, packed.weight.shape[1])
        assert torch.allclose(packed(x), x @ packed.weight.t(), atol=1e-6)


def test_transforms_of_functions_see_a_plain_layer():
    """An ensemble by vmap, and forward-mode derivatives, with what was packed
    before; the layer is as before then."""
    model = make_model().requires_grad_(False)
    pack_linears(model)
    signal = make_signal(4000)[None]
    others = [make_model().requires_grad_(False) for _ in range(2)]
    with torch.no_grad():
        for parameter in others[1].parameters():
            parameter.mul_(1.1)
    weights, _ = torch.func.stack_module_state(others)

    def call(weights):
        return torch.func.functional_call(model, weights, (signal,))[0]

    with torch.no_grad():
        expected, _ = model(signal)
        given = torch.func.vmap(call)(
            {name: each.detach() for name, each in weights.items()}
        )
        for one, other in zip(given, others, strict=True):
            assert (one - other(signal)[0]).abs().max() < 1e-4
        assert torch.equal(model(signal)[0], expected)
    linear, packed = make_packed(8, 8)
    x, tangent = torch.rand(2, 3, 8)
    with torch.no_grad():
        packed(x)
        for layer in (linear, packed):
            _, slope = torch.func.jvp(layer, (x,), (tangent,))
            assert torch.allclose(slope, tangent @ linear.weight.t(), atol=1e-6)


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.bfloat16, torch.float16]
)
def test_other_types_are_a_plain_layers(dtype):
    """What oneDNN does not pack is computed as ever, to the bit."""
    linear, packed = make_packed(8, 8)
    x = torch.rand(3, 8)
    with torch.no_grad():
        packed(x)
        linear.to(dtype), packed.to(dtype)
        assert packed.prepared._made is None
        assert torch.equal(packed(x.to(dtype)), linear(x.to(dtype)))


def test_autocast_is_a_plain_layers():
    """Its results have its type."""
    linear, packed = make_packed(8, 8)
    x = torch.rand(3, 8)
    with torch.no_grad():
        packed(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert packed(x).dtype == torch.bfloat16
            assert torch.equal(packed(x), linear(x))


def test_weights_of_inference_mode_are_a_plain_layers():
    """PyTorch keeps no account of their changes."""
    with torch.inference_mode():
        _, packed = make_packed(8, 8)
        x = torch.rand(3, 8)
        packed(x)
        packed.weight.zero_()
        assert torch.equal(packed(x), packed.bias.expand(3, 8))


def test_an_exported_layer_is_a_plain_one():
    """Its graph has no packed weights."""
    _, packed = make_packed(8, 8)
    x = torch.rand(3, 8)
    with torch.no_grad():
        expected = packed(x)
        program = torch.export.export(packed, (x,))
        assert "mkldnn" not in str(program.graph)
        assert torch.allclose(program.module()(x), expected, atol=1e-6)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # trace is deprecated
            traced = torch.jit.trace(packed, (x,))
    assert "mkldnn" not in str(traced.graph)


def test_threads_share_a_layer():
    """Whoever comes first packs."""
    linear, packed = make_packed(64, 64)
    x = torch.rand(3, 64)
    with torch.no_grad():
        expected = linear(x)

    def run(_):
        with torch.no_grad():
            return packed(x)

    with ThreadPoolExecutor(8) as pool:
        for given in pool.map(run, range(64)):
            assert torch.allclose(given, expected, atol=1e-5)


def test_what_is_loaded_for_inference_packs(tmp_path):
    """By any of the three ways, and with another device it would not."""
    folder = write_streaming_folder(
        tmp_path / "a", make_model(), make_tokenizer()
    )
    asr = StreamingASR.from_hparams(folder)
    encoder = StreamingEncoder.from_hparams(folder)
    host = SpeechBrainStreamingASR.from_hparams(str(folder))
    for layer in (
        asr.model.head,
        encoder.encoder_wrapper.latent_encoder.layers[0].pos_ffn.ffn[0],
        host.hparams.encoder_wrapper.latent_encoder.layers[0].pos_ffn.ffn[0],
    ):
        assert type(layer) is PackedLinear
    assert asr.model.head.prepared._made is None
    asr.session().push(make_signal(8000))
    assert asr.model.head.prepared._made is not None


def pickled(value):
    return pickle.loads(pickle.dumps(value))


@pytest.mark.parametrize("copied", [copy.deepcopy, pickled])
def test_copies_are_packed_too(copied):
    """With parameters of their own."""
    model = make_model().requires_grad_(False)
    pack_linears(model.encoder_wrapper)
    copied = copied(model)
    signal = make_signal(8000)[None]
    with torch.no_grad():
        expected, _ = model(signal)
        assert (copied(signal)[0] - expected).abs().max() < 1e-5
        for parameter in model.parameters():
            parameter.zero_()
        assert (copied(signal)[0] - expected).abs().max() < 1e-5
    kinds = [type(module) for module in model.modules()]
    assert kinds == [type(module) for module in copied.modules()]
    assert PackedLinear in kinds
