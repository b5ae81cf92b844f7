"""Frames of any layer: streaming gives what offline gives."""

import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechbrain_llsa.inference.streaming_encoder import StreamingEncoder
from speechbrain_llsa.lobes.layer_features import WeightedLayerSum
from speechbrain_llsa.lobes.wav2vec2 import StreamingEncoderWrapper
from speechbrain_llsa.nnet.encoder import StreamingTransformerEncoder
from speechbrain_llsa.nnet.frontend import StreamingLatentExtractor
from tiny_model import CONFORMER, make_signal, split

LAYERS = 3
LOOK_AHEAD = 4
GEOMETRIES = (("maa", 1), ("sa", 1), ("llsa", 1), ("llsa", 3))
CHOICES = (None, *range(LAYERS + 1), "all", "sum", "normalised sum")


def make_encoder(
    attention="llsa",
    hop=3,
    layer=None,
    dtype=torch.float32,
    look_ahead=LOOK_AHEAD,
    **options,
):
    """Three layers of 16 features, with weights that matter."""
    torch.manual_seed(0)
    encoder = StreamingTransformerEncoder(
        num_layers=LAYERS,
        nhead=2,
        d_ffn=32,
        d_model=16,
        attention=attention,
        look_back=10,
        look_ahead=look_ahead,
        hop=hop,
        **options,
    )
    if isinstance(layer, str) and layer.endswith("sum"):
        layer = WeightedLayerSum(LAYERS + 1, normalize=layer != "sum")
        torch.nn.init.normal_(layer.weights)
    return StreamingEncoder(
        StreamingLatentExtractor(out_channels=[8] * 7),
        StreamingEncoderWrapper(8, 16, encoder),
        layer,
    ).to(dtype)


def stream(session, pushes, sample_rate=None):
    """All frames of a stream."""
    frames = [session.push(samples, sample_rate) for samples in pushes]
    return torch.cat([*frames, session.finish()])


def largest_error(given, expected):
    assert given.shape == expected.shape
    return (given - expected).abs().max().item()


@pytest.mark.parametrize("layer", CHOICES)
@pytest.mark.parametrize(("attention", "hop"), GEOMETRIES)
def test_any_split(attention, hop, layer):
    """Each layer, all of them and their sums, in pushes of one sample, of a
    few and of many; more than three look-backs long."""
    encoder = make_encoder(attention, hop, layer)
    signal = make_signal(16000)
    expected = encoder(signal[None])[0][0].detach()
    assert len(expected) == 48
    for lengths in ([], [1] * 30 + [700], [0, 5000, 321, 319, 640, 0, 1, 9000]):
        given = stream(encoder.session(), split(signal, lengths))
        assert largest_error(given, expected) < 1e-4


@pytest.mark.parametrize("layer", ("all", "normalised sum", None))
@pytest.mark.parametrize(("attention", "hop"), GEOMETRIES)
@settings(max_examples=5, deadline=None)
@given(
    total=st.integers(0, 12000),
    lengths=st.lists(st.integers(0, 3000), max_size=8),
    fork_at=st.integers(0, 8),
)
def test_any_split_in_double_precision(
    attention, hop, layer, total, lengths, fork_at
):
    """Drawn splits, and so short streams, streams without a frame, and ends
    within a hop; a fork on the way changes nothing."""
    encoder = make_encoder(attention, hop, layer, torch.float64)
    signal = make_signal(total).double()
    expected = encoder(signal[None])[0][0].detach()
    pushes = split(signal, lengths)
    session = encoder.session()
    frames = [session.push(samples) for samples in pushes[:fork_at]]
    rest = stream(session.fork(), pushes[fork_at:])
    for tail in (rest, stream(session, pushes[fork_at:])):
        streamed = torch.cat([*frames, tail])
        assert streamed.shape == expected.shape
        assert not len(streamed) or largest_error(streamed, expected) < 1e-10
    assert session.frames == len(expected)


@pytest.mark.parametrize(("attention", "hop"), [*GEOMETRIES, ("aa", 1)])
def test_offline_is_the_encoder_itself(attention, hop):
    """The frames are the hidden states and the output of the encoder, which is
    the definition of a layer's frames."""
    encoder = make_encoder(attention, hop, "all")
    wavs = make_signal(12000)[None]
    wrapper = encoder.encoder_wrapper
    latents = wrapper.project(encoder.extractor(wavs))
    out, _, hidden_states = wrapper.latent_encoder(latents)
    frames, lengths = encoder(wavs)
    assert lengths.tolist() == [frames.shape[1]]
    assert torch.equal(frames, torch.stack(hidden_states, dim=2))
    encoder.layer = None
    assert torch.equal(encoder(wavs)[0], out)


@pytest.mark.parametrize(("attention", "hop"), GEOMETRIES)
def test_when_a_frame_is_final(attention, hop):
    """With sa and maa each layer waits for its own look-ahead. With llsa all
    wait for that of the hop, however deep they are."""
    signal = make_signal(641 + 320 * 39)
    for layer in range(LAYERS + 1):
        encoder = make_encoder(attention, hop, layer)
        given = len(encoder.session().push(signal))
        waiting = LOOK_AHEAD if attention == "llsa" else layer * LOOK_AHEAD
        assert given == (40 - waiting) // hop * hop
        latency = encoder.latency_report().declared_latency
        assert latency.look_ahead == waiting
    everything = make_encoder(attention, hop, "all").session().push(signal)
    assert len(everything) == given


@pytest.mark.parametrize("layer", [0, 2, "all", None])
@pytest.mark.parametrize(("attention", "hop"), GEOMETRIES)
def test_frames_of_a_conformer(attention, hop, layer):
    """They come as soon as their latency says, whatever the pushes."""
    encoder = make_encoder(attention, hop, layer, torch.float64, **CONFORMER)
    signal = make_signal(641 + 320 * 44).double()
    expected = encoder(signal[None])[0][0].detach()
    streamed = stream(encoder.session(), split(signal, [1, 700, 0, 5000]))
    assert largest_error(streamed, expected) < 1e-10
    latency = encoder.latency_report().declared_latency
    given = len(encoder.session().push(signal))
    assert given == (45 - latency.look_ahead) // hop * hop


@pytest.mark.parametrize(("attention", "hop"), GEOMETRIES)
def test_no_later_sample_matters(attention, hop):
    """What was given does not depend on what is pushed next, and the newest
    frame of an inner layer does depend on its look-ahead."""
    signal = make_signal(641 + 320 * 39)
    encoder = make_encoder(attention, hop, 2)
    session = encoder.session()
    given = session.push(signal)
    for seed in (1, 2):
        whole = torch.cat([signal, make_signal(9000, seed)])
        offline = encoder(whole[None])[0][0, : len(given)]
        assert largest_error(given, offline) < 1e-4
    changed = signal.clone()
    changed[-641:] = make_signal(641, 3)
    newest = encoder.session().push(changed)[-1]
    assert largest_error(newest, given[-1]) > 1e-3


def test_any_rate():
    """44.1 kHz in stereo, as integers: pushes do not matter there either."""
    encoder = make_encoder(layer=2)
    signal = make_signal(44100).view(-1, 2)
    signal = (signal * 2**15).to(torch.int16)
    whole = stream(encoder.session(), [signal], 44100)
    pieces = stream(encoder.session(), signal.split(777), 44100)
    assert len(whole) == 23
    assert largest_error(pieces, whole) < 1e-4


@pytest.mark.parametrize(("attention", "hop"), [("llsa", [3, 1]), ("sa", 1)])
def test_many_latencies(attention, hop, tmp_path):
    """Sessions of one encoder with different geometries, one beside the other:
    each gives what an encoder of that geometry alone gives, which is what
    offline gives."""
    look_aheads = [LOOK_AHEAD, 2]
    signal = make_signal(14000)
    soundfile.write(tmp_path / "a.wav", signal.numpy(), 16000, subtype="FLOAT")
    for layer in (2, "all"):
        both = make_encoder(attention, hop, layer, look_ahead=look_aheads)
        sessions, expected = [], []
        for look_ahead in look_aheads:
            one = hop[1] if isinstance(hop, list) else hop
            chosen = {"hop": one, "look_ahead": look_ahead}
            alone = make_encoder(attention, one, layer, look_ahead=look_ahead)
            expected.append(alone(signal[None])[0][0])
            offline = both.encode_file(tmp_path / "a.wav", **chosen)
            assert largest_error(offline, expected[-1]) < 1e-4
            sessions.append(both.session(**chosen))
            declared = both.latency_report(**chosen)
            assert declared == alone.latency_report()
        assert largest_error(*expected) > 1e-2
        pushed = [
            [session.push(part) for session in sessions]
            for part in signal.split(999)
        ]
        for index, session in enumerate(sessions):
            frames = [row[index] for row in pushed] + [session.finish()]
            assert largest_error(torch.cat(frames), expected[index]) < 1e-4
            session.reset()
            assert session.geometry.look_ahead == look_aheads[index]
            frames = torch.cat([session.push(signal), session.finish()])
            assert largest_error(frames, expected[index]) < 1e-4
        with pytest.raises(ValueError, match=r"look_ahead must .*got 3"):
            both.session(look_ahead=3)
        with pytest.raises(ValueError, match=r"look_ahead must .*got 3"):
            both(signal[None], look_ahead=3)


def test_batch_mates_do_not_matter():
    """Rows of a padded batch give what they give alone."""
    encoder = make_encoder(layer="all")
    signals = [make_signal(12000), make_signal(7000, 1), make_signal(300, 2)]
    wavs = torch.nn.utils.rnn.pad_sequence(signals, batch_first=True)
    relative = torch.tensor([1.0, 7000 / 12000, 300 / 12000])
    frames, lengths = encoder(wavs, relative)
    assert lengths.tolist() == [36, 20, 0]
    for row, count, signal in zip(frames, lengths, signals, strict=True):
        alone = encoder(signal[None])[0][0]
        assert len(alone) == count
        assert count == 0 or largest_error(row[:count], alone) < 1e-5


def test_a_trained_sum_streams():
    """Weights are trained offline on frozen features, and then stream."""
    layer_sum = WeightedLayerSum(LAYERS + 1)
    encoder = make_encoder(layer=layer_sum)
    before = {name: p.clone() for name, p in encoder.named_parameters()}
    target = make_encoder(layer=2)
    wavs = make_signal(16000).view(2, 8000)
    optimizer = torch.optim.Adam(layer_sum.parameters(), 0.3)
    encoder.train()
    for _ in range(60):
        loss = (encoder(wavs)[0] - target(wavs)[0]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert layer_sum.weights.softmax(0)[2] > 0.9
    for name, parameter in encoder.named_parameters():
        changed = not torch.equal(parameter, before[name])
        assert changed == (name == "layer.weights")
        assert parameter.requires_grad == changed
    signal = make_signal(12000, 5)
    given = stream(encoder.session(), signal.split(1000))
    assert not given.requires_grad
    assert largest_error(given, encoder(signal[None])[0][0].detach()) < 1e-4


def test_sessions_are_values():
    """Fork, reset, finish, and calls that fail."""
    encoder = make_encoder(layer="all")
    signal = make_signal(16000)
    session = encoder.session()
    session.push(signal[:9000])
    forked = session.fork()
    for samples, rate in (
        (signal / 0, None),
        (signal.long(), None),
        (signal, 8000),
        (signal.view(100, 160), None),
    ):
        with pytest.raises((TypeError, ValueError), match=r"samples|rate"):
            session.push(samples, rate)
    first = stream(session, [signal[9000:]])
    assert torch.equal(first, stream(forked, [signal[9000:]]))
    assert session.finished and session.frames == 48
    with pytest.raises(
        ValueError, match=r"session must .*got a call after finish"
    ):
        session.push(signal)
    session.reset()
    assert not session.finished and session.frames == 0
    again = [session.push(signal[:9000]), stream(session, [signal[9000:]])]
    assert torch.equal(again[1], first)
    assert len(torch.cat(again)) == 48


def test_times():
    """Frame i begins at i * 20 ms, also after a day."""
    encoder = make_encoder()
    assert encoder.frame_seconds == 0.02
    assert encoder.frame_times(3).tolist() == [0.0, 0.02, 0.04]
    day = encoder.frame_times(1, first=24 * 3600 * 50)
    assert day.tolist() == [24 * 3600]
    with pytest.raises(ValueError, match=r"frames must .*got -1"):
        encoder.frame_times(-1)


@pytest.mark.parametrize(
    ("layer", "error", "message"),
    [
        (4, ValueError, r"layer must be 0 \(the input\) to 3.*got 4"),
        (-1, ValueError, r"layer must .*got -1"),
        ("last", ValueError, r"layer must .*got 'last'"),
        (True, TypeError, r"layer must .*got bool"),
        (1.0, TypeError, r"layer must .*got float"),
        (
            WeightedLayerSum(3),
            ValueError,
            r"layer must be a sum over 4",
        ),
    ],
)
def test_bad_layers(layer, error, message):
    """What is no layer gets an error that says which there are."""
    with pytest.raises(error, match=message):
        make_encoder(layer=layer)


def test_bad_input():
    """Errors name the argument."""
    with pytest.raises(ValueError, match=r"attention must .*got 'aa'"):
        make_encoder("aa").session()
    encoder = make_encoder()
    with pytest.raises(TypeError, match=r"wavs must .*got list"):
        encoder([0.0])
    with pytest.raises(ValueError, match=r"wavs must be of shape"):
        encoder(torch.zeros(5))
    with pytest.raises(ValueError, match=r"frames must be of shape"):
        WeightedLayerSum(3)(torch.zeros(4, 2, 16))
    with pytest.raises(ValueError, match=r"num_layers must .*got 0"):
        WeightedLayerSum(0)
