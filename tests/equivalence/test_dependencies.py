"""What an output depends on, as measured, is what the rule says."""

import pytest
import torch
from speechbrain.utils.streaming import infer_dependency_matrix

from speechbrain_llsa.nnet.encoder import StreamingTransformerEncoder
from speechbrain_llsa.visibility import dependency_matrix
from speechbrain_llsa_runtime.geometry import ATTENTIONS, StreamGeometry


def conformer(conv_look_back, conv_look_ahead):
    return {
        "encoder_module": "conformer",
        "conv_look_back": conv_look_back,
        "conv_look_ahead": conv_look_ahead,
    }


def measure(attention, num_layers, frames, **geometry):
    """SpeechBrain's dependency matrix of an encoder, [input, output]."""
    encoder = StreamingTransformerEncoder(
        num_layers=num_layers,
        nhead=2,
        d_ffn=16,
        d_model=8,
        attention=attention,
        **geometry,
    )
    encoder = encoder.double().eval()
    for layer in encoder.layers:
        if layer.convolution is not None:
            layer.convolution.after_conv[2].weight.data.mul_(30.0)
        # or what passes through many layers would be lost in rounding
        layer.self_att.out_proj.weight.data.mul_(30.0)
    first_out = None

    def magnified_change(src):
        # SpeechBrain compares with a tolerance that would hide what is faint
        nonlocal first_out
        out, _ = encoder(src.double())
        first_out = out if first_out is None else first_out
        return (out - first_out) * 1e12

    return infer_dependency_matrix(magnified_change, (1, frames, 8))


@pytest.mark.parametrize("taps", [None, (5, 0), (2, 3)], ids=str)
@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize("hop", [1, 4])
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_measured_dependencies_are_the_rule(attention, hop, num_layers, taps):
    """Each attention depends on what the composed rule says, no more and no
    less; with a convolution as well."""
    geometry = {"look_back": 4, "look_ahead": 2, "hop": hop}
    options = {} if taps is None else conformer(*taps)
    measured = measure(attention, num_layers, 30, **geometry, **options)
    expected = dependency_matrix(
        StreamGeometry(**geometry), attention, num_layers, 30, *(taps or ())
    )
    assert measured.equal(expected)


def measured_look_ahead(depends):
    """How far ahead the outputs see, at most, in frames."""
    last = (depends * torch.arange(len(depends))[:, None]).max(dim=0).values
    return (last - torch.arange(len(depends))).max().item()


@pytest.mark.parametrize("attention", ["llsa", "sa"])
def test_convolutional_positions_look_ahead_once(attention):
    """Their look-ahead adds to that of the layers once, however many there
    are."""
    positions = {
        "positional_encoding": "convolution",
        "positional_groups": 2,
        "positional_look_back": 5,
        "positional_look_ahead": 3,
    }
    measured = measure(
        attention, 4, 40, look_back=4, look_ahead=2, hop=1, **positions
    )
    layers = StreamGeometry(4, 2).stack_look_ahead(attention, 4)
    assert measured_look_ahead(measured) == layers + 3


@pytest.mark.slow
@pytest.mark.parametrize("conv_look_ahead", [0, 2])
@pytest.mark.parametrize(
    ("attention", "frames"), [("llsa", 24), ("sa", 140), ("maa", 140)]
)
def test_twelve_layers_see_as_far_as_declared(
    attention, frames, conv_look_ahead
):
    """12 layers, look_ahead 8, hop 1: 8 frames for llsa, 96 for sa and maa,
    and 24 more with a convolution that sees 2 ahead. The declared latency is
    the measured one."""
    geometry = {"look_back": 3, "look_ahead": 8, "hop": 1}
    if conv_look_ahead:
        geometry |= conformer(3, conv_look_ahead)
    measured = measure(attention, 12, frames, **geometry)
    encoder = StreamingTransformerEncoder(
        num_layers=12,
        nhead=2,
        d_ffn=16,
        d_model=8,
        attention=attention,
        **geometry,
    )
    declared = encoder.latency_report().declared_latency.look_ahead
    assert measured_look_ahead(measured) == declared
    expected = 8 if attention == "llsa" else 96 + 12 * conv_look_ahead
    assert declared == expected


@pytest.mark.parametrize("options", [{}, conformer(3, 4)], ids=str)
def test_twelve_layers_of_llsa_see_what_one_sees(options):
    """As far as the future goes, 12 layers have the matrix of one."""
    geometry = {"look_back": 4, "look_ahead": 2, "hop": 2, **options}
    one, twelve = (
        measure("llsa", num_layers, 24, **geometry) for num_layers in (1, 12)
    )
    future = torch.arange(24)[:, None] > torch.arange(24)[None, :]
    assert (one & future).equal(twelve & future)
