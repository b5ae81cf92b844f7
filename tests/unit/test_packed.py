"""Packed weights change nothing but the time."""

import copy
import pickle

import pytest
import torch

from speechbrain_llsa.nnet.packed import PackedLinear, pack_linears
from tiny_model import make_model, make_signal

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="needs oneDNN"
)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 9, 12, 100])
def test_same_numbers(rows, bias):
    """For any number of rows, with and without bias, to rounding."""
    linear = torch.nn.Linear(48, 80, bias=bias)
    x = torch.randn(1, rows, 48)
    with torch.no_grad():
        packed = PackedLinear(linear)(x)
        assert (packed - linear(x)).abs().max() < 1e-5


def test_a_packed_model_streams_the_same():
    """The names of the parameters, the numbers and the gradients stay."""
    model, signal = make_model(), make_signal(16000)[None]
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
    model(signal)[0].sum().backward()
    assert all(
        parameter.grad is not None for parameter in model.head.parameters()
    )


def test_packing_again_follows_changed_weights():
    """Weights that changed are packed anew."""
    model = torch.nn.Sequential(torch.nn.Linear(8, 8))
    pack_linears(model)
    with torch.no_grad():
        model[0].weight.zero_()
        pack_linears(model)
        assert torch.equal(model(torch.rand(3, 8)), model[0].bias.expand(3, 8))


def test_other_types_are_left_alone():
    """What oneDNN does not pack stays as it is."""
    assert pack_linears(torch.nn.Linear(8, 8).double()) == 0
    layer = torch.nn.Sequential(torch.nn.Linear(8, 8).double())
    assert pack_linears(layer) == 0


def pickled(value):
    return pickle.loads(pickle.dumps(value))


@pytest.mark.parametrize("copied", [copy.deepcopy, pickled])
def test_copies_are_packed_too(copied):
    """With parameters of their own."""
    model = make_model()
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
