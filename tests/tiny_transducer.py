"""A tiny transducer with random weights whose text is not trivial."""

import torch

from speechbrain_llsa.lobes.transducer import (
    StreamingTransducer,
    TransducerDecoder,
)
from tiny_model import LABELS, make_model

FEATURES = 12


def make_decoder(labels=LABELS, features=FEATURES, blank_bias=3.0, **options):
    """Predictor and joiner, whose labels depend on frames and on labels."""
    torch.manual_seed(111)
    decoder = TransducerDecoder(labels, features, **options).eval()
    with torch.no_grad():
        decoder.projection.weight.mul_(6)
        decoder.output.weight.copy_(torch.randn(labels, features) * 1.5)
        decoder.output.bias.zero_()
        decoder.output.bias[0] = blank_bias
    return decoder


def make_transducer(
    attention="llsa", extractor=None, blank_bias=3.0, **geometry
):
    """The encoder of ``make_model``, and a decoder."""
    model = make_model(attention, FEATURES, extractor, **geometry)
    return StreamingTransducer(
        model.extractor,
        model.encoder_wrapper,
        model.head,
        make_decoder(blank_bias=blank_bias),
    ).eval()
