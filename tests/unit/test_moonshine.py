"""An imported Moonshine encoder gives what Moonshine gives."""

import pytest
import torch

from speechbrain_llsa.pretrained.calibration import calibrate
from speechbrain_llsa.pretrained.moonshine import from_moonshine
from tiny_model import make_signal, split
from tiny_moonshine import SIZES, make_weights, moonshine

SAMPLES = 8000


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)]
)
@torch.no_grad()
def test_every_layer_is_the_same(dtype, tolerance):
    weights = {name: w.to(dtype) for name, w in make_weights().items()}
    imported = from_moonshine(weights, SIZES)
    extractor, wrapper = imported.extractor, imported.encoder_wrapper
    wrapper.latent_encoder.output_hidden_states = True
    wavs = make_signal(2 * SAMPLES).unflatten(0, (2, -1)).to(dtype)
    out, _, states = wrapper.latent_encoder(wrapper.project(extractor(wavs)))
    expected = moonshine(weights, wavs)
    assert len(states) == SIZES.layers + 1
    for ours, theirs in zip([*states, out], expected, strict=True):
        assert (ours - theirs).abs().max() < tolerance


@torch.no_grad()
def test_it_streams_once_calibrated():
    """With the statistics of an utterance it gives for this one what the source
    gives; with llsa, what it gives offline."""
    source = from_moonshine(make_weights(), SIZES)
    signal = make_signal(SAMPLES).double()
    calibrated = calibrate(source, [signal])
    latents = source.extractor(signal[None])
    fixed = calibrated.extractor(signal[None])
    assert (latents - fixed).abs().max() < 1e-10
    model = calibrated.streaming(look_back=8, look_ahead=3, hop=2)
    wrapper = model.encoder_wrapper
    offline = wrapper(model.extractor(signal[None]))["embeddings"]
    front_end = model.extractor.make_streaming_context()
    context = wrapper.make_streaming_context()
    pieces = [
        wrapper.forward_streaming(
            model.extractor.forward_streaming(push[None], front_end), context
        )
        for push in split(signal, [1, 900, 0, 4000])
    ]
    streamed = torch.cat([*pieces, wrapper.flush(context)], dim=1)
    assert (streamed - offline).abs().max() < 1e-10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("conv2.bias"), "no conv2.bias"),
        (
            lambda w: w.update({"layers.9.mlp.fc1.bias": torch.ones(1)}),
            "layers.9.mlp.fc1.bias besides",
        ),
        (
            lambda w: w.update({"layer_norm.weight": torch.ones(3)}),
            r"of shape \(20,\), got \(3,\)",
        ),
    ],
)
def test_other_weights_are_refused(change, message):
    weights = make_weights()
    change(weights)
    with pytest.raises(ValueError, match=f"must .*{message}"):
        from_moonshine(weights, SIZES)
