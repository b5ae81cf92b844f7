"""FlexAttention agrees with the reference, outputs and gradients.

Everything but the compiled kernel runs on the CPU: there FlexAttention is
called as it is, uncompiled. In double precision the difference is rounding.
"""

import shutil
from types import SimpleNamespace

import pytest
import torch
from torch._dynamo.backends.debugging import aot_eager
from torch.nn.attention import flex_attention as torch_flex

from speechbrain_llsa.nnet.encoder import StreamingTransformerEncoder
from speechbrain_llsa.ops import attend, flex, reference
from speechbrain_llsa.visibility import (
    frame_tags,
    hop_tags,
    same_frame,
    visible,
)
from speechbrain_llsa_runtime.geometry import StreamGeometry

GEOMETRIES = [
    StreamGeometry(0, 0, 1),
    StreamGeometry(5, 2, 1),
    StreamGeometry(5, 2, 3),
    StreamGeometry(3, 0, 4),
    StreamGeometry(20, 9, 5),
    StreamGeometry(60, 50, 30),
]
FRAMES = 45


@pytest.fixture
def eager(monkeypatch):
    """FlexAttention uncompiled, in blocks of 16. PyTorch refuses gradients on
    the CPU, although the uncompiled function has them: it does not here."""
    monkeypatch.setattr(flex, "BLOCK_FRAMES", 16)
    monkeypatch.setattr(flex, "_kernel", lambda: torch_flex.flex_attention)
    monkeypatch.setattr(torch_flex, "_validate_device", lambda *tensors: None)
    monkeypatch.setattr(
        torch_flex, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True
    )
    monkeypatch.setattr(attend, "_pays_off", lambda *args: True)
    flex._layout.cache_clear()
    yield
    flex._layout.cache_clear()


def case(attention, geometry, ends, **options):
    """Inputs, what the reference gives for them, and what flex gives."""
    if attention == "llsa":
        tags = hop_tags(0, -(-FRAMES // geometry.hop), geometry)
    else:
        tags = frame_tags(0, FRAMES)
    options = {"dtype": torch.float64, "requires_grad": True, **options}
    inputs = [
        torch.randn(2, 2, len(tags.position), 16, **options) for _ in range(3)
    ]
    end = None if ends is None else torch.tensor(ends)
    expected = reference.attend(*inputs, tags, tags, geometry, attention, end)
    return inputs, end, expected


def attend_flex(inputs, geometry, attention, end):
    if attention == "llsa":
        return flex.attend_hops(*inputs, geometry, end)
    return flex.attend_frames(*inputs, geometry, attention, end)


@pytest.mark.parametrize("ends", [None, (45, 38), (29, 3)])
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("attention", ["maa", "sa", "llsa"])
def test_agrees_with_the_reference(eager, attention, geometry, ends):
    """Outputs and gradients, at padding too."""
    inputs, end, expected = case(attention, geometry, ends)
    actual = attend_flex(inputs, geometry, attention, end)
    assert (expected - actual).abs().max() < 1e-12
    weight = torch.randn_like(expected)
    gradients = [
        torch.autograd.grad((out * weight).sum(), inputs)
        for out in (expected, actual)
    ]
    for first, second in zip(*gradients, strict=True):
        assert (first - second).abs().max() < 1e-11


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("attention", ["sa", "llsa"])
def test_blocks_are_those_that_the_rule_touches(eager, attention, geometry):
    """No block is missing, which the uncompiled function does not notice, and
    none is there in vain; forward and backward."""
    blocks = 7
    tags, order, mask = flex._layout(blocks, geometry, attention, None)
    keys = tags[order]
    seen = visible(tags.as_queries(), keys.as_keys(), geometry, attention)
    seen = seen | same_frame(tags.as_queries(), keys.as_keys())
    # (queries, keys) -> (blocks, 16, blocks, 16) -> (blocks, blocks)
    expected = seen.unflatten(1, (blocks, 16)).unflatten(0, (blocks, 16))
    expected = expected.any(3).any(1)
    for counts, indices, matrix in (
        (mask.kv_num_blocks, mask.kv_indices, expected),
        (mask.q_num_blocks, mask.q_indices, expected.T),
    ):
        for row in range(blocks):
            listed = indices[0, 0, row, : counts[0, 0, row]].tolist()
            assert sorted(listed) == matrix[row].nonzero().flatten().tolist()


def test_committed_keys_apart_are_less_work():
    """What attend_hops says of the order of keys, at the published sizes."""
    for hop, most in ((1, 4), (8, 4)):
        geometry = StreamGeometry(64, 8, hop)
        _, _, mask = flex._layout(40, geometry, "llsa", torch.device("cpu"))
        assert mask.kv_num_blocks.max() <= most


@pytest.mark.parametrize("attention", ["sa", "llsa"])
def test_cached_blocks_serve_other_lengths(eager, attention):
    """Utterances of as many blocks share them, each with its own end; so for
    each geometry, in any order."""
    for ends in ((45, 45), (40, 17), (1, 44)):
        for geometry in (StreamGeometry(5, 2, 3), StreamGeometry(5, 0, 1)):
            inputs, end, expected = case(attention, geometry, ends)
            actual = attend_flex(inputs, geometry, attention, end)
            assert (expected - actual).abs().max() < 1e-12
    assert flex._layout.cache_info().misses == 2


@pytest.mark.parametrize("attention", ["sa", "llsa"])
def test_dispatch(eager, monkeypatch, attention):
    """Where the rule says so the public functions go through flex, with the
    same result."""
    geometry = StreamGeometry(5, 2, 3)
    inputs, end, expected = case(attention, geometry, (45, 38))
    called = []
    monkeypatch.setattr(
        attend, "_uses_flex", lambda *args: called.append(args) or True
    )
    if attention == "llsa":
        actual = attend.attend_hops(*inputs, None, None, 0, geometry, end)
    else:
        actual = attend.attend_frames(*inputs, 0, 0, geometry, "sa", end)
    assert called[0][1:] == (True, 0.0)
    assert (expected - actual).abs().max() < 1e-12


@pytest.mark.parametrize("gradient_checkpointing", [False, True])
@pytest.mark.parametrize("attention", ["sa", "llsa"])
def test_encoder(eager, monkeypatch, attention, gradient_checkpointing):
    """A training step of an encoder with padding gives what it gives without
    flex, outputs at frames that exist and all gradients."""
    encoder = StreamingTransformerEncoder(
        num_layers=2,
        nhead=2,
        d_ffn=24,
        d_model=32,
        attention=attention,
        look_back=8,
        look_ahead=3,
        hop=2,
        gradient_checkpointing=gradient_checkpointing,
    )
    src = torch.randn(2, 41, 32)
    padding_mask = torch.arange(41) >= torch.tensor([[41], [13]])
    results = []
    for goes in (False, True):
        monkeypatch.setattr(attend, "_uses_flex", lambda *args, goes=goes: goes)
        out, _ = encoder(src, src_key_padding_mask=padding_mask)
        out = out[~padding_mask]
        gradients = torch.autograd.grad(
            out.square().sum(), list(encoder.parameters())
        )
        results.append([out, *gradients])
    for one, other in zip(*results, strict=True):
        assert (one - other).abs().max() < 1e-5 * one.abs().max().clamp(min=1)


def test_dispatch_rule():
    """Whole utterances on CUDA, in training, without dropout."""

    def goes(whole=True, dropout=0.0, **changes):
        settings = {
            "is_cuda": True,
            "dtype": torch.bfloat16,
            "shape": (2, 8, 100, 96),
        }
        query = SimpleNamespace(**{**settings, **changes})
        return attend._uses_flex(query, whole, dropout)

    assert goes()
    assert not goes(is_cuda=False)
    assert not goes(whole=False)
    assert not goes(dropout=0.1)
    assert not goes(dtype=torch.float64)
    assert not goes(shape=(2, 8, 100, 8))
    with torch.no_grad():
        assert not goes()


@pytest.mark.parametrize(
    ("frames", "is_cuda", "pays_off"),
    [
        (500, True, False),
        (600, True, True),
        (400, False, False),
        (500, False, True),
    ],
)
def test_short_utterances_take_all_pairs(frames, is_cuda, pays_off):
    """Up to where that was measured to be as fast: longer on CUDA."""
    query = SimpleNamespace(is_cuda=is_cuda, shape=(2, 8, frames, 96))
    geometry = StreamGeometry(64, 8)
    assert attend._pays_off(query, query, geometry) == pays_off


def batches(attention, geometry, sizes):
    """Inputs and ends without gradients: batch size and frames of each."""
    for batch, frames in sizes:
        if attention == "llsa":
            hops = frames // geometry.hop
            frames = hops * (geometry.hop + geometry.look_ahead)
        inputs = torch.randn(3, batch, 2, frames, 16)
        yield inputs, torch.randint(1, frames + 1, (batch,))


def attend_band(inputs, geometry, attention, end):
    if attention == "llsa":
        return attend.attend_hops(*inputs, None, None, 0, geometry, end)
    return attend.attend_frames(*inputs, 0, 0, geometry, attention, end)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
@pytest.mark.parametrize("attention", ["sa", "llsa"])
def test_compiled_agrees(monkeypatch, attention):
    """The compiled kernel, for one shape: PyTorch's kernel for the CPU knows
    neither gradients nor dynamic shapes."""
    torch._dynamo.reset()
    kernel = torch.compile(
        torch_flex.flex_attention, dynamic=False, fullgraph=True
    )
    monkeypatch.setattr(flex, "_kernel", lambda: kernel)
    geometry = StreamGeometry(20, 9, 5)
    for inputs, end in batches(attention, geometry, [(3, 300)]):
        expected = attend_band(inputs, geometry, attention, end)
        actual = attend_flex(inputs, geometry, attention, end)
        assert (expected - actual).abs().max() < 1e-5


@pytest.mark.parametrize("attention", ["sa", "llsa"])
def test_traced_once_for_all_lengths(monkeypatch, attention):
    """Other lengths, ends and batch sizes do not compile again, the graph is
    whole, and it agrees, outputs and gradients."""
    graphs = []

    def count(module, example_inputs):
        graphs.append(module)
        return aot_eager(module, example_inputs)

    torch._dynamo.reset()
    kernel = torch.compile(
        torch_flex.flex_attention, dynamic=True, fullgraph=True, backend=count
    )
    monkeypatch.setattr(flex, "_kernel", lambda: kernel)
    monkeypatch.setattr(torch_flex, "_validate_device", lambda *tensors: None)
    geometry = StreamGeometry(20, 9, 5)
    # none of the first sizes equals another: PyTorch would take them for one
    sizes = [(5, 900), (3, 45), (4, 300), (7, 500)]
    for inputs, end in batches(attention, geometry, sizes):
        inputs.requires_grad_()
        expected = attend_band(inputs, geometry, attention, end)
        actual = attend_flex(inputs, geometry, attention, end)
        assert (expected - actual).abs().max() < 1e-5
        weight = torch.randn_like(expected)
        first, second = (
            torch.autograd.grad((out * weight).sum(), inputs)[0]
            for out in (expected, actual)
        )
        assert (first - second).abs().max() < 1e-4
    assert len(graphs) == 1


def test_many_geometries(monkeypatch):
    """A model that is trained for many geometries compiles for each hop, above
    PyTorch's limit, and not again."""
    graphs = []

    def count(module, example_inputs):
        graphs.append(module)
        return module.forward

    torch._dynamo.reset()
    kernel = torch.compile(
        torch_flex.flex_attention, dynamic=True, fullgraph=True, backend=count
    )
    monkeypatch.setattr(flex, "_kernel", lambda: kernel)
    compiled = []
    with torch._dynamo.config.patch(recompile_limit=2):
        for _ in range(2):
            for hop, look_ahead in ((1, 4), (2, 4), (3, 2), (4, 9)):
                geometry = StreamGeometry(9, look_ahead, hop)
                for inputs, end in batches("llsa", geometry, [(3, 40)]):
                    attend_flex(inputs, geometry, "llsa", end)
            compiled.append(len(graphs))
        assert torch._dynamo.config.recompile_limit == 2
    assert compiled == [4, 4]


def test_geometry_is_compiled_as_constants(monkeypatch):
    """The kernel takes no expression of symbols, as -look_back would be: what
    the mask captures besides tensors are lengths."""
    captured = []

    def look(module, example_inputs):
        for node in module.graph.nodes:
            if "flex_attention" in str(node.target):
                captured.extend(node.args[8])
        return module.forward

    torch._dynamo.reset()
    kernel = torch.compile(
        torch_flex.flex_attention, dynamic=True, fullgraph=True, backend=look
    )
    monkeypatch.setattr(flex, "_kernel", lambda: kernel)
    geometry = StreamGeometry(20, 9, 5)
    for inputs, end in batches("sa", geometry, [(5, 900)]):
        attend_flex(inputs, geometry, "sa", end)
    assert captured
    for node in captured:
        value = node.meta["example_value"]
        if not isinstance(value, torch.Tensor):
            assert value.node.expr.is_Symbol


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-3), (torch.bfloat16, 3e-2)]
)
@pytest.mark.parametrize("ends", [None, (45, 38)])
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("attention", ["sa", "llsa"])
def test_compiled_on_cuda(
    attention, geometry, ends, dtype, tolerance, monkeypatch
):
    """The compiled kernel against the reference in double precision on the
    same, rounded, inputs; outputs and gradients."""
    monkeypatch.setattr(attend, "_pays_off", lambda *args: True)
    inputs, end, _ = case(
        attention, geometry, ends, dtype=dtype, requires_grad=False
    )
    wide = [tensor.double().requires_grad_() for tensor in inputs]
    tags = frame_tags(0, FRAMES)
    if attention == "llsa":
        tags = hop_tags(0, -(-FRAMES // geometry.hop), geometry)
    expected = reference.attend(*wide, tags, tags, geometry, attention, end)
    weight = torch.randn_like(expected).to(dtype)
    narrow = [tensor.cuda().requires_grad_() for tensor in inputs]
    end = None if end is None else end.cuda()
    torch._dynamo.reset()
    if attention == "llsa":
        actual = attend.attend_hops(*narrow, None, None, 0, geometry, end)
    else:
        actual = attend.attend_frames(*narrow, 0, 0, geometry, "sa", end)
    assert (expected - actual.cpu()).abs().max() < tolerance
    gradients = torch.autograd.grad((expected * weight).sum(), wide)
    actual_gradients = torch.autograd.grad(
        (actual * weight.cuda()).sum(), narrow
    )
    for first, second in zip(gradients, actual_gradients, strict=True):
        scale = first.abs().max().clamp(min=1.0)
        assert (first - second.cpu()).abs().max() < tolerance * scale


def test_training_follows_inference(eager):
    """What is kept between calls can be trained with, wherever it was made."""
    geometry = StreamGeometry(5, 2, 3)
    with torch.inference_mode():
        tags, order, _ = flex._layout(3, geometry, "llsa", torch.device("cpu"))
    assert not tags.position.is_inference()
    assert not order.is_inference()
