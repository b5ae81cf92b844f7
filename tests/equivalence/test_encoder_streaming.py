"""Whatever the pushes, streaming and flushing gives what offline gives."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tiny_model import CONFORMER, IMPORTED, make_encoder

TOLERANCE = 1e-5
FRAMES = 64


@torch.no_grad()
def stream(encoder, src, pushes):
    """Pushes as many frames as each entry says, then the rest, then flushes."""
    context = encoder.make_streaming_context()
    outs, start = [], 0
    for push in [*pushes, src.shape[1]]:
        chunk = src[:, start : start + push]
        outs.append(encoder.forward_streaming(chunk, context)[0])
        start += chunk.shape[1]
    outs.append(encoder.flush(context)[0])
    return torch.cat(outs, dim=1)


def assert_streams(encoder, src, pushes):
    with torch.no_grad():
        offline, _ = encoder(src)
    streamed = stream(encoder, src, pushes)
    assert streamed.shape == offline.shape
    if offline.numel():
        assert (streamed - offline).abs().max() < TOLERANCE


@pytest.mark.parametrize("hop", [1, 3, 8])
@pytest.mark.parametrize("attention", ["maa", "sa", "llsa"])
@given(
    pushes=st.lists(st.integers(0, 40), max_size=12),
    look_ahead=st.integers(0, 9),
    look_back=st.integers(0, 16),
    frames=st.integers(0, FRAMES),
)
@settings(max_examples=25, deadline=None)
def test_any_split(attention, hop, pushes, look_ahead, look_back, frames):
    """Hypothesis chooses the pushes, the geometry and the length."""
    encoder = make_encoder(
        attention=attention,
        hop=hop,
        look_ahead=look_ahead,
        look_back=look_back,
    )
    assert_streams(encoder, torch.randn(2, frames, 16), pushes)


@pytest.mark.parametrize("attention", ["maa", "sa", "llsa"])
@pytest.mark.parametrize("hop", [1, 4])
def test_one_frame_at_a_time(attention, hop):
    """Pushes of one frame."""
    encoder = make_encoder(attention=attention, hop=hop)
    assert_streams(encoder, torch.randn(1, FRAMES, 16), [1] * FRAMES)


@pytest.mark.parametrize(
    "changes",
    [
        {"normalize_before": False},
        {"positional_encoding": None},
        {"activation": torch.nn.ReLU},
        {"num_layers": 1},
        {"look_back": 200},
        {"output_hidden_states": True},
        {"rotary_features": 4},
        {"positional_encoding": "convolution", "positional_groups": 4},
        IMPORTED,
        CONFORMER,
        {**CONFORMER, "macaron": False, "conv_look_ahead": 0},
        {**CONFORMER, "conv_look_back": 0, "output_hidden_states": True},
        {**CONFORMER, "conv_look_back": 70, "conv_look_ahead": 9},
        {
            **CONFORMER,
            "positional_encoding": "convolution",
            "positional_groups": 4,
        },
    ],
    ids=str,
)
@pytest.mark.parametrize("attention", ["sa", "llsa"])
def test_every_option(attention, changes):
    """The options of the encoder do not touch the equivalence."""
    encoder = make_encoder(attention=attention, hop=2, **changes)
    src = torch.randn(2, FRAMES, 16)
    with torch.no_grad():
        offline = encoder(src)[0]
    streamed = stream(encoder, src, [5, 0, 1, 30])
    assert (streamed - offline).abs().max() < TOLERANCE


@pytest.mark.parametrize(
    "options",
    [{}, IMPORTED, CONFORMER],
    ids=["rope", "convolution", "conformer"],
)
@pytest.mark.parametrize("attention", ["maa", "sa", "llsa"])
def test_latency_is_as_declared(attention, options):
    """A frame comes out with the push that completes its look-ahead and its
    hop, not later and not earlier."""
    encoder = make_encoder(attention=attention, hop=4, **options)
    declared = encoder.latency_report().declared_latency
    context = encoder.make_streaming_context()
    given_back = 0
    for pushed in range(1, FRAMES + 1):
        with torch.no_grad():
            out, _ = encoder.forward_streaming(torch.randn(1, 1, 16), context)
        given_back += out.shape[1]
        ready = max(0, pushed - declared.look_ahead)
        if attention == "llsa":
            ready -= ready % 4
        assert given_back == ready
        assert pushed - given_back <= declared.look_ahead + declared.hop_wait


@pytest.mark.parametrize("options", [{}, CONFORMER], ids=str)
@pytest.mark.parametrize("attention", ["maa", "sa", "llsa"])
def test_rows_that_end_within_a_batch(attention, options):
    """Rows of a batch of streams end at different times; each gives what it
    gives alone, whatever is pushed behind its end."""
    encoder = make_encoder(attention=attention, hop=3, **options)
    src = torch.randn(3, FRAMES, 16)
    lengths = torch.tensor([FRAMES, 17, 40])
    context = encoder.make_streaming_context()
    outs, start = [], 0
    with torch.no_grad():
        for push in (10, 11, 0, 25, 18):
            chunk = src[:, start : start + push]
            ended = (lengths <= start + push) & (lengths >= start)
            end = torch.where(ended, lengths, -1)
            outs.append(encoder.forward_streaming(chunk, context, end=end)[0])
            start += push
        outs.append(encoder.flush(context)[0])
        streamed = torch.cat(outs, dim=1)
        for row, length in enumerate(lengths):
            alone, _ = encoder(src[row : row + 1, :length])
            difference = streamed[row, :length] - alone[0]
            assert difference.abs().max() < TOLERANCE


@pytest.mark.parametrize("hop", [1, 5])
def test_provisional_frames(hop):
    """After each push, the provisional frames are what the newest hop says of
    its look-ahead: the same as offline on the frames heard so far, whose last
    hop ends there."""
    encoder = make_encoder(attention="llsa", hop=hop, look_ahead=4)
    src = torch.randn(2, 40, 16)
    context = encoder.make_streaming_context()
    committed = 0
    with torch.no_grad():
        for start in range(0, 40, 5):
            out, _ = encoder.forward_streaming(
                src[:, start : start + 5], context
            )
            committed += out.shape[1]
            if committed == 0:
                assert context.provisional is None
                continue
            fresh = encoder.make_streaming_context()
            encoder.forward_streaming(src[:, : committed + 4], fresh)
            assert context.provisional.shape == (2, 4, 16)
            difference = context.provisional - fresh.provisional
            assert difference.abs().max() < TOLERANCE
        encoder.flush(context)
    assert context.provisional.shape[1] < 4


def test_fork_and_reset():
    """A fork goes its own way, and a reset state is as new."""
    encoder = make_encoder(attention="llsa", hop=2)
    src = torch.randn(1, FRAMES, 16)
    context = encoder.make_streaming_context()
    with torch.no_grad():
        encoder.forward_streaming(src[:, :30], context)
        fork = context.fork()
        encoder.forward_streaming(torch.randn(1, 20, 16), fork)
        encoder.flush(fork)
        rest, _ = encoder.forward_streaming(src[:, 30:], context)
        tail, _ = encoder.flush(context)
        offline, _ = encoder(src)
        streamed = torch.cat([rest, tail], dim=1)
        expected = offline[:, -streamed.shape[1] :]
        assert (streamed - expected).abs().max() < TOLERANCE
        assert context.nbytes() > 0
        context.reset()
        assert context.nbytes() == 0
        again, _ = encoder.forward_streaming(src, context)
    difference = again - offline[:, : again.shape[1]]
    assert difference.abs().max() < TOLERANCE


def test_no_drift_after_a_day():
    """After 24 hours of frames a step gives what it gives at the start: the
    state is moved 4,320,000 frames on, which changes positions alone."""
    encoder = make_encoder(attention="llsa", hop=2, look_back=20)
    src = torch.randn(1, FRAMES, 16)
    day = 24 * 3600 * 50
    outs = []
    for offset in (0, day):
        context = encoder.make_streaming_context()
        context.received = context.committed = offset
        with torch.no_grad():
            encoder.forward_streaming(src[:, :40], context)
            outs.append(encoder.forward_streaming(src[:, 40:], context)[0])
    # the keys in reach of the second push are real ones in both
    assert (outs[0] - outs[1]).abs().max() < TOLERANCE


@pytest.mark.parametrize("options", [{}, CONFORMER], ids=str)
def test_state_does_not_grow(options):
    """What a state holds is bounded by the geometry, not by the audio."""
    for attention in ("sa", "llsa"):
        encoder = make_encoder(attention=attention, hop=2, **options)
        context = encoder.make_streaming_context()
        sizes = set()
        with torch.no_grad():
            for _ in range(30):
                encoder.forward_streaming(torch.randn(1, 8, 16), context)
                sizes.add(context.nbytes())
        assert len(sizes) <= 8
        assert max(sizes) == context.nbytes()


@pytest.mark.parametrize("attention", ["maa", "sa", "llsa"])
def test_streaming_is_inference(attention):
    """No layer is dropped and no gradient kept, also in training mode."""
    encoder = make_encoder(attention=attention, layerdrop_prob=0.5)
    src = torch.randn(1, FRAMES, 16)
    with torch.no_grad():
        offline, _ = encoder(src)
    encoder.train()
    context = encoder.make_streaming_context()
    outs = [
        encoder.forward_streaming(chunk, context)[0]
        for chunk in src.split(7, dim=1)
    ]
    outs.append(encoder.flush(context)[0])
    streamed = torch.cat(outs, dim=1)
    assert not streamed.requires_grad
    assert (streamed - offline).abs().max() < TOLERANCE
