"""What the first and the last layer of llsa leave out changes nothing."""

import pytest
import torch

from speechbrain_llsa.nnet.attention import HopSchedule
from speechbrain_llsa.nnet.encoder import StreamingTransformerEncoder
from speechbrain_llsa.state import LayerState
from speechbrain_llsa.visibility import hop_tags
from speechbrain_llsa_runtime.geometry import StreamGeometry


@pytest.mark.parametrize("normalize_before", [True, False])
@pytest.mark.parametrize("geometry", [(6, 3, 1), (6, 3, 4), (5, 0, 2)])
def test_short_cuts_give_the_same(geometry, normalize_before):
    """A stack in which every layer takes and gives all frames, hop by hop,
    gives what the encoder does, outputs and gradients."""
    look_back, look_ahead, hop = geometry
    encoder = StreamingTransformerEncoder(
        num_layers=2,
        nhead=2,
        d_ffn=24,
        d_model=12,
        look_back=look_back,
        look_ahead=look_ahead,
        hop=hop,
        normalize_before=normalize_before,
    ).double()
    frames, hops = 12, 12 // hop
    src = torch.randn(2, frames, 12, dtype=torch.float64, requires_grad=True)
    position = hop_tags(0, hops, StreamGeometry(*geometry)).position
    padded = torch.nn.functional.pad(src, (0, 0, 0, look_ahead))
    out = padded[:, position]
    end = torch.tensor([frames, frames])
    schedule = HopSchedule(encoder.geometry, 0, hops, end)
    for layer in encoder.layers:
        out, _ = layer(out, schedule, LayerState())
    expected = schedule.committed(encoder.norm(out))
    actual, _ = encoder(src)
    assert (actual - expected).abs().max() < 1e-12
    weight = torch.randn_like(actual)
    first, second = (
        torch.autograd.grad((x * weight).sum(), src) for x in (actual, expected)
    )
    assert (first[0] - second[0]).abs().max() < 1e-12
