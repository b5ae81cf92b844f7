"""SpeechBrain's own Conformer encoders: their weights load, and give what they
gave."""

import pytest
import torch
from speechbrain.lobes.models.transformer.Conformer import ConformerEncoder
from speechbrain.lobes.models.transformer.TransformerASR import TransformerASR
from speechbrain.nnet.attention import RelPosEncXL

from speechbrain_llsa.lobes.transformer_asr import StreamingTransformerASR
from speechbrain_llsa.pretrained import from_speechbrain_conformer

KINDS = ("RoPEMHA", "regularMHA", "RelPosMHAXL")
TOLERANCE = 1e-5


def make_source(kind="RoPEMHA", **changes):
    """Three layers of 24 features, in which every parameter is random."""
    torch.manual_seed(0)
    sizes = {"num_layers": 3, "d_model": 24, "d_ffn": 40, "nhead": 4}
    source = ConformerEncoder(
        **{**sizes, "kernel_size": 7, "attention_type": kind, **changes}
    ).eval()
    for parameter in source.parameters():
        parameter.data.add_(torch.randn_like(parameter) * 0.1)
    return source


def largest_error(source, imported, frames=50):
    src = torch.randn(2, frames, 24).to(next(source.parameters()))
    with torch.no_grad():
        return (imported.encoder(src)[0] - source(src)[0]).abs().max()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"kernel_size": 31},
        {"kernel_size": 4, "causal": True},
        {"bias": False},
        {"activation": torch.nn.GELU},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["RoPEMHA", "regularMHA"])
def test_it_gives_what_speechbrain_gives(kind, changes):
    """Whatever the kernel, for utterances longer and shorter than it."""
    source = make_source(kind, **changes)
    options = {
        name: value
        for name, value in changes.items()
        if name in ("activation", "causal")
    }
    imported = from_speechbrain_conformer(
        source.state_dict(), nhead=4, **options
    )
    expected = "rope" if kind == "RoPEMHA" else None
    assert imported.encoder.positional_encoding == expected
    assert imported.encoder.attention == "aa"
    for frames in (50, 3):
        assert largest_error(source, imported, frames) < TOLERANCE


def test_in_double_precision():
    """Nothing is approximated: in 64 bits the difference is rounding."""
    source = make_source().double()
    imported = from_speechbrain_conformer(source.state_dict(), nhead=4)
    assert largest_error(source, imported) < 1e-10


def test_positions_of_another_kind_are_named():
    """RelPosMHAXL without its positions is what is imported, but for the
    rotation."""
    source = make_source("RelPosMHAXL")
    imported = from_speechbrain_conformer(source.state_dict())
    (note,) = imported.notes
    for name in ("linear_pos", "pos_bias_u", "pos_bias_v", "3 layers"):
        assert name in note
    encoder = imported.encoder
    assert encoder.positional_encoding == "rope"
    encoder.rotary_features = 0
    for layer in source.layers:
        for name, parameter in layer.mha_layer.named_parameters():
            if "pos" in name:
                parameter.data.zero_()
    src = torch.randn(2, 20, 24)
    with torch.no_grad():
        expected, _ = source(src, pos_embs=RelPosEncXL(24)(src))
        assert (encoder(src)[0] - expected).abs().max() < TOLERANCE


def test_biases_of_values():
    """A bias that SpeechBrain's attention may have."""
    source = make_source()
    for layer in source.layers:
        layer.mha_layer.vbias = True
        layer.mha_layer.value_bias_weight = torch.nn.Parameter(torch.randn(24))
    imported = from_speechbrain_conformer(source.state_dict(), nhead=4)
    assert largest_error(source, imported) < TOLERANCE


@pytest.mark.parametrize("prefix", ["", "1."])
def test_of_a_recognizer(prefix):
    """The encoder is found in what a recipe keeps, and goes into ours."""
    sizes = {
        "tgt_vocab": 10,
        "input_size": 8,
        "d_model": 24,
        "nhead": 4,
        "num_encoder_layers": 2,
        "num_decoder_layers": 1,
        "d_ffn": 40,
        "normalize_before": True,
        "encoder_module": "conformer",
    }
    source = TransformerASR(
        **sizes, kernel_size=7, attention_type="RoPEMHA", causal=False
    ).eval()
    weights = {f"{prefix}{k}": w for k, w in source.state_dict().items()}
    weights["0.front_end.weight"] = torch.zeros(3)
    imported = from_speechbrain_conformer(weights, nhead=4)
    ours = StreamingTransformerASR(
        **sizes,
        attention="aa",
        conv_look_back=3,
        conv_look_ahead=3,
    ).eval()
    others = {
        name: weight
        for name, weight in source.state_dict().items()
        if not name.startswith("encoder.")
    }
    ours.load_state_dict(others, strict=False)
    ours.encoder.load_state_dict(imported.encoder.state_dict())
    src, tgt = torch.randn(2, 30, 8), torch.randint(1, 10, (2, 5))
    with torch.no_grad():
        pairs = zip(ours(src, tgt), source(src, tgt), strict=True)
        for given, expected in pairs:
            assert (given - expected).abs().max() < TOLERANCE


@pytest.mark.parametrize("attention", ["maa", "sa", "llsa"])
def test_it_streams(attention):
    """With another attention, in any pushes, with fewer taps ahead."""
    exact = from_speechbrain_conformer(make_source().state_dict(), nhead=4)
    for ahead, kept in ((None, 3 if attention == "llsa" else 0), (2, 2)):
        imported = exact.streaming(attention, 10, 2, 2, ahead)
        encoder = imported.encoder
        assert encoder.conv_look_back == 3
        assert encoder.conv_look_ahead == kept
        assert (kept < 3) == ("convolutions see" in imported.notes[-1])
        ours, theirs = (
            each.layers[1].convolution.conv.weight
            for each in (encoder, exact.encoder)
        )
        assert torch.equal(ours, theirs[..., : 4 + kept])
        src = torch.randn(1, 40, 24)
        context = encoder.make_streaming_context()
        first, _ = encoder.forward_streaming(src[:, :13], context)
        rest, _ = encoder.forward_streaming(src[:, 13:], context)
        streamed = torch.cat([first, rest, encoder.flush(context)[0]], dim=1)
        with torch.no_grad():
            assert (streamed - encoder(src)[0]).abs().max() < TOLERANCE


def test_a_wide_llsa_is_the_source():
    """Whose hop is the utterance: the taps ahead are all there."""
    source = make_source()
    exact = from_speechbrain_conformer(source.state_dict(), nhead=4)
    assert largest_error(source, exact.streaming("llsa", 0, 0, 50)) < TOLERANCE


def without(weights, part):
    return {k: w for k, w in weights.items() if part not in k}


@pytest.mark.parametrize(
    ("weights", "options", "message"),
    [
        ({}, {}, "weights must be those of one Conformer"),
        (make_source().state_dict(), {}, "nhead must be given"),
        (make_source().state_dict(), {"nhead": 5}, "d_model must be"),
        (
            make_source("RelPosMHAXL").state_dict(),
            {"nhead": 2},
            "nhead must be 4, as in the weights",
        ),
        (
            without(make_source().state_dict(), "layers.1.norm1.norm.bias"),
            {"nhead": 4},
            r"weights must be those of .*no layers.1.norm1",
        ),
        (
            {**make_source().state_dict(), "layers.0.more": torch.zeros(1)},
            {"nhead": 4},
            r"weights must be those of .*layers.0.more besides",
        ),
        (
            without(make_source().state_dict(), "mha_layer"),
            {"nhead": 4},
            "attention_type must be",
        ),
        (
            make_source(kernel_size=4, causal=True).state_dict(),
            {"nhead": 4},
            "kernel size must be odd",
        ),
        (
            make_source(kernel_size=1).state_dict(),
            {"nhead": 4},
            "kernel size must be above 1",
        ),
        (
            {
                f"{part}.{name}": weight
                for name, weight in make_source().state_dict().items()
                for part in "ab"
            },
            {"nhead": 4},
            r"weights must be .* several",
        ),
    ],
)
def test_other_weights_are_refused(weights, options, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        from_speechbrain_conformer(weights, **options)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"conv_look_ahead": 4}, ValueError, "conv_look_ahead must be at most"),
        ({"conv_look_ahead": "1"}, TypeError, "conv_look_ahead must be"),
        ({"attention": "full"}, ValueError, "attention must be"),
        ({"look_back": -1}, ValueError, "encoder: look_back must be"),
    ],
)
def test_bad_choices(options, error, message):
    exact = from_speechbrain_conformer(make_source().state_dict(), nhead=4)
    with pytest.raises(error, match=f"^{message}"):
        exact.streaming(**options)
