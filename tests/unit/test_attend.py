"""Every fast path agrees with the reference, outputs and gradients."""

import pytest
import torch

from speechbrain_llsa.ops import reference
from speechbrain_llsa.ops.attend import attend_frames, attend_hops
from speechbrain_llsa.visibility import frame_tags, hop_tags, join_tags
from speechbrain_llsa_runtime.geometry import StreamGeometry

GEOMETRIES = [
    StreamGeometry(0, 0, 1),
    StreamGeometry(5, 2, 1),
    StreamGeometry(5, 2, 3),
    StreamGeometry(3, 0, 4),
    StreamGeometry(0, 4, 2),
    StreamGeometry(20, 9, 5),
    StreamGeometry(60, 50, 30),
]


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch):
    """Several blocks and groups fit into a short utterance."""
    monkeypatch.setattr("speechbrain_llsa.ops.attend.BLOCK_FRAMES", 16)


@pytest.fixture(params=["dense", "band", "segments"], autouse=True)
def path_of_sa(request, monkeypatch):
    """A short utterance is dense, one band, or a band of several segments."""
    module = "speechbrain_llsa.ops.attend"
    if request.param != "dense":
        monkeypatch.setattr(f"{module}.DENSE_WIDTHS", (0, 0))
    frames = 20 if request.param == "segments" else 1024
    monkeypatch.setattr(f"{module}.SEGMENT_FRAMES", frames)


def tensors(frames, count=3, batch=2):
    return tuple(
        torch.randn(
            batch, 2, frames, 4, dtype=torch.float64, requires_grad=True
        )
        for _ in range(count)
    )


def assert_agree(expected, actual, inputs, weight):
    """The largest difference of outputs and of gradients is rounding."""
    assert (expected - actual).abs().max() < 1e-12
    gradients = [
        torch.autograd.grad((out * weight).sum(), inputs)
        for out in (expected, actual)
    ]
    for first, second in zip(*gradients, strict=True):
        assert (first - second).abs().max() < 1e-11


@pytest.mark.parametrize("ends", [None, (45, 38)])
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("attention", ["aa", "maa", "sa"])
def test_frames(attention, geometry, ends):
    """aa, maa and sa over a whole utterance."""
    query, key, value = inputs = tensors(45)
    end = None if ends is None else torch.tensor(ends)
    tags = frame_tags(0, 45)
    expected = reference.attend(*inputs, tags, tags, geometry, attention, end)
    actual = attend_frames(query, key, value, 0, 0, geometry, attention, end)
    assert_agree(expected, actual, inputs, torch.randn_like(expected))


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("attention", ["maa", "sa"])
@pytest.mark.parametrize(
    ("first_query", "queries", "first_key", "keys"),
    [(30, 1, 0, 40), (30, 35, 25, 45), (7, 3, 0, 10), (90, 5, 80, 16)],
)
def test_frames_behind_a_state(
    attention, geometry, first_query, queries, first_key, keys
):
    """maa and sa, where queries and keys begin at different frames."""
    (query,), (key, value) = tensors(queries, 1), tensors(keys, 2)
    expected = reference.attend(
        query,
        key,
        value,
        frame_tags(first_query, queries),
        frame_tags(first_key, keys),
        geometry,
        attention,
    )
    actual = attend_frames(
        query, key, value, first_query, first_key, geometry, attention
    )
    assert_agree(
        expected, actual, (query, key, value), torch.randn_like(expected)
    )


@pytest.mark.parametrize("ends", [(29, 29), (29, 23)])
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_hops(geometry, ends):
    """llsa over a whole utterance that does not fill its last hop."""
    hops = -(-29 // geometry.hop)
    tags = hop_tags(0, hops, geometry)
    query, key, value = inputs = tensors(len(tags.position))
    end = torch.tensor(ends)
    expected = reference.attend(*inputs, tags, tags, geometry, "llsa", end)
    actual = attend_hops(query, key, value, None, None, 0, geometry, end)
    assert_agree(expected, actual, inputs, torch.randn_like(expected))


@pytest.mark.parametrize("past", [1, 25])
@pytest.mark.parametrize("hops", [1, 7])
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_hops_behind_a_state(geometry, hops, past):
    """llsa in the middle of an utterance, behind cached keys."""
    first_hop = -(-past // geometry.hop)
    new_tags = hop_tags(first_hop, hops, geometry)
    past_first = first_hop * geometry.hop - past
    past_tags = frame_tags(past_first, past, geometry.hop)
    query, key, value = tensors(len(new_tags.position))
    past_key, past_value = tensors(past, 2)
    expected = reference.attend(
        query,
        torch.cat([past_key, key], dim=2),
        torch.cat([past_value, value], dim=2),
        new_tags,
        join_tags(past_tags, new_tags),
        geometry,
        "llsa",
    )
    actual = attend_hops(
        query, key, value, past_key, past_value, first_hop, geometry
    )
    inputs = (query, key, value)
    assert_agree(expected, actual, inputs, torch.randn_like(expected))


def attend_sa(query, key, value):
    return attend_frames(query, key, value, 0, 0, GEOMETRIES[1], "sa")


def test_transforms_of_functions():
    """Gradients and batches by torch.func."""
    query, key, value = inputs = tensors(45)
    weight = torch.randn_like(query)

    def loss(*inputs):
        return (attend_sa(*inputs) * weight).sum()

    expected = torch.autograd.grad(loss(*inputs), inputs)
    for one, other in zip(
        torch.func.grad(loss, (0, 1, 2))(*inputs), expected, strict=True
    ):
        assert (one - other).abs().max() < 1e-11
    batches = torch.func.vmap(attend_sa, (0, None, None))(
        torch.stack([query, 2 * query]), key, value
    )
    for one, other in zip(batches, (query, 2 * query), strict=True):
        assert (one - attend_sa(other, key, value)).abs().max() < 1e-12


def test_autocast_casts_what_is_attended_with():
    """Outputs and gradients of each path are those of inputs in its type."""
    inputs = [each.detach().float().requires_grad_() for each in tensors(45)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        given = attend_sa(*inputs)
    expected = attend_sa(*(each.bfloat16() for each in inputs))
    assert given.dtype == torch.bfloat16
    assert torch.equal(given, expected)
    for one, other in zip(
        torch.autograd.grad(given.float().square().sum(), inputs),
        torch.autograd.grad(expected.float().square().sum(), inputs),
        strict=True,
    ):
        assert torch.equal(one, other)
