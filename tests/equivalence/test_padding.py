"""Padding, batch size and batch mates do not matter."""

import pytest
import torch

from speechbrain_llsa.nnet.encoder import StreamingTransformerEncoder
from speechbrain_llsa_runtime.geometry import ATTENTIONS
from tiny_model import CONFORMER

OPTIONS = pytest.mark.parametrize("options", [{}, CONFORMER], ids=str)


@OPTIONS
@pytest.mark.parametrize("hop", [1, 4])
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_each_row_gives_what_it_gives_alone(attention, hop, options):
    """Rows of different lengths in one batch, with NaN in the padding."""
    encoder = StreamingTransformerEncoder(
        num_layers=4,
        nhead=2,
        d_ffn=32,
        d_model=16,
        attention=attention,
        look_back=6,
        look_ahead=3,
        hop=hop,
        **options,
    ).eval()
    lengths = torch.tensor([80, 1, 47, 3, 79])
    padding_mask = torch.arange(80) >= lengths[:, None]
    src = torch.randn(5, 80, 16)
    src[padding_mask] = float("nan")
    out, _ = encoder(src, src_key_padding_mask=padding_mask)
    for row, length in enumerate(lengths):
        alone, _ = encoder(src[row : row + 1, :length])
        assert (out[row, :length] - alone[0]).abs().max() < 1e-5


@OPTIONS
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_gradients_are_finite_and_stay_in_the_row(attention, options):
    """A windowed mask with padding gives no NaN, and no gradient reaches the
    padding."""
    encoder = StreamingTransformerEncoder(
        num_layers=2,
        nhead=2,
        d_ffn=32,
        d_model=16,
        attention=attention,
        look_back=2,
        look_ahead=1,
        hop=2,
        **options,
    )
    padding_mask = torch.arange(40) >= torch.tensor([[40], [5]])
    src = torch.randn(2, 40, 16, requires_grad=True)
    out, _ = encoder(src, src_key_padding_mask=padding_mask)
    out.masked_fill(padding_mask[:, :, None], 0.0).square().sum().backward()
    assert src.grad.isfinite().all()
    assert (src.grad[padding_mask] == 0).all()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad.isfinite().all(), name
