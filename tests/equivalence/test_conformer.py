"""The Conformer is what its definition says, and a transformer where it has
neither taps nor half feed-forward networks."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from speechbrain_llsa.nnet.rotary import rotary_angles, rotate
from speechbrain_llsa.ops import reference
from speechbrain_llsa.visibility import frame_tags, hop_tags
from speechbrain_llsa_runtime.geometry import ATTENTIONS
from tiny_model import CONFORMER, make_encoder

TOLERANCE = 1e-10


def layer_by_definition(layer, x, tags, encoder, end):
    """A layer as a plain loop over frames, with its parameters."""
    place = encoder.geometry, encoder.attention
    x = x + layer.macaron_ffn(layer.macaron_norm(x)) / 2
    normed = layer.norm1(x)
    query, key, value = (
        part.unflatten(2, (layer.self_att.nhead, -1)).transpose(1, 2)
        for part in layer.self_att.in_proj(normed).chunk(3, dim=2)
    )
    angles = rotary_angles(tags.position, query.shape[3], dtype=query.dtype)
    attended = reference.attend(
        rotate(query, *angles),
        rotate(key, *angles),
        value,
        tags,
        tags,
        *place,
        end,
    )
    x = x + layer.self_att.out_proj(attended.transpose(1, 2).flatten(2))
    module = layer.convolution
    gated = module.bottleneck(module.layer_norm(x))
    convolved = reference.convolve(
        gated,
        module.conv.weight,
        module.conv.bias,
        tags,
        *place,
        encoder.conv_look_back,
        encoder.conv_look_ahead,
        end,
    )
    x = x + module.after_conv(convolved)
    return layer.closing_norm(x + layer.pos_ffn(layer.norm2(x)) / 2)


def encoder_by_definition(encoder, src, lengths):
    end, frames, hop = torch.tensor(lengths), src.shape[1], encoder.geometry.hop
    if encoder.attention == "llsa":
        tags = hop_tags(0, -(-frames // hop), encoder.geometry)
    else:
        tags = frame_tags(0, frames)
    padded = torch.nn.functional.pad(src, (0, 0, 0, int(tags.position.max())))
    out = padded[:, tags.position]
    for layer in encoder.layers:
        out = layer_by_definition(layer, out, tags, encoder, end)
    return encoder.norm(out)[:, ~tags.provisional][:, :frames]


@pytest.mark.parametrize("hop", [1, 4])
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_it_is_what_its_definition_says(attention, hop):
    """Outputs and gradients of a padded batch are those of the plain loops."""
    encoder = make_encoder(
        attention=attention, hop=hop, num_layers=2, **CONFORMER
    ).double()
    lengths = [21, 13]
    padding_mask = torch.arange(21) >= torch.tensor(lengths)[:, None]
    src = torch.randn(2, 21, 16, dtype=torch.float64)
    src = src.masked_fill(padding_mask[..., None], 0.0).requires_grad_()
    actual, _ = encoder(src, src_key_padding_mask=padding_mask)
    expected = encoder_by_definition(encoder, src, lengths)
    weight = torch.randn_like(src).masked_fill(padding_mask[..., None], 0.0)
    assert ((actual - expected) * (weight != 0)).abs().max() < TOLERANCE
    inputs = src, *encoder.parameters()
    gradients = [
        torch.autograd.grad((out * weight).sum(), inputs)
        for out in (actual, expected)
    ]
    for first, second in zip(*gradients, strict=True):
        assert (first - second).abs().max() < TOLERANCE


@pytest.mark.parametrize("hop", [1, 3])
@pytest.mark.parametrize("attention", ["maa", "sa", "llsa"])
@given(
    pushes=st.lists(st.integers(0, 40), max_size=12),
    look_ahead=st.integers(0, 9),
    taps=st.tuples(st.integers(0, 20), st.integers(0, 12)),
    frames=st.integers(0, 64),
)
@settings(max_examples=25, deadline=None)
def test_any_split(attention, hop, pushes, look_ahead, taps, frames):
    """Hypothesis chooses the pushes, the look-ahead, the taps and the
    length."""
    encoder = make_encoder(
        encoder_module="conformer",
        attention=attention,
        hop=hop,
        look_ahead=look_ahead,
        conv_look_back=taps[0],
        conv_look_ahead=taps[1],
    ).double()
    src = torch.randn(2, frames, 16, dtype=torch.float64)
    context, pieces = encoder.make_streaming_context(), []
    for push in [*pushes, frames]:
        start = context.received
        pieces.append(
            encoder.forward_streaming(src[:, start : start + push], context)[0]
        )
    pieces.append(encoder.flush(context)[0])
    streamed = torch.cat(pieces, dim=1)
    with torch.no_grad():
        offline, _ = encoder(src)
    assert streamed.shape == offline.shape
    assert torch.allclose(streamed, offline, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("attention", ["sa", "llsa"])
def test_each_geometry_of_many(attention):
    """A stream and an utterance of the same geometry are the same."""
    encoder = make_encoder(
        attention=attention, look_ahead=[3, 0, 5], hop=[2, 1], **CONFORMER
    ).double()
    src = torch.randn(1, 40, 16, dtype=torch.float64)
    outs = []
    for geometry in encoder.geometries.all(attention):
        context = encoder.make_streaming_context(geometry=geometry)
        first, _ = encoder.forward_streaming(src[:, :17], context)
        rest, _ = encoder.forward_streaming(src[:, 17:], context)
        tail, _ = encoder.flush(context)
        with torch.no_grad():
            offline, _ = encoder(src, geometry=geometry)
        streamed = torch.cat([first, rest, tail], dim=1)
        assert (streamed - offline).abs().max() < TOLERANCE
        outs.append(offline)
    assert all((outs[0] - out).abs().max() > 1e-3 for out in outs[1:])


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_without_taps_and_macaron_it_is_the_transformer(attention):
    """One tap, that of the frame itself, convolves nothing: the same
    parameters, and the same numbers from them."""
    plain = make_encoder(attention=attention)
    conformer = make_encoder(
        attention=attention,
        encoder_module="conformer",
        macaron=False,
        conv_look_back=0,
        conv_look_ahead=0,
    )
    for (name, weight), (other, same) in zip(
        plain.named_parameters(), conformer.named_parameters(), strict=True
    ):
        assert name == other
        assert torch.equal(weight, same)
    src = torch.randn(2, 30, 16)
    assert torch.equal(plain(src)[0], conformer(src)[0])


def test_the_last_layer_gives_committed_frames_once_it_has_convolved():
    """Its convolution sees provisional frames; what follows does not run on
    them."""
    encoder = make_encoder(hop=2, **CONFORMER)
    seen = {}
    last = encoder.layers[-1]
    for name in ("convolution", "pos_ffn"):
        getattr(last, name).register_forward_hook(
            lambda module, inputs, out, name=name: seen.update(
                {name: inputs[0].shape[1]}
            )
        )
    encoder(torch.randn(1, 20, 16))
    assert seen == {"convolution": 10 * (2 + 3), "pos_ffn": 20}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"encoder_module": "branchformer"}, ValueError, "encoder_module must"),
        ({"conv_look_back": -1}, ValueError, "conv_look_back must"),
        ({"conv_look_ahead": 1.5}, TypeError, "conv_look_ahead must"),
        ({"normalize_before": False}, ValueError, "normalize_before must"),
        ({"closing_norm_eps": -1}, ValueError, "closing_norm_eps must"),
    ],
)
def test_bad_options(changes, error, message):
    with pytest.raises(error, match=f"^{message}"):
        make_encoder(**{**CONFORMER, **changes})


def test_a_state_belongs_to_its_taps():
    """A state of other taps is refused."""
    context = make_encoder(**CONFORMER).make_streaming_context()
    other = make_encoder(**{**CONFORMER, "conv_look_back": 5})
    with pytest.raises(ValueError, match=r"^context must .*conformer"):
        other.forward_streaming(torch.randn(1, 3, 16), context)
