"""A tiny CTC model with random weights whose text is not trivial."""

import torch
from speechbrain.dataio.encoder import CTCTextEncoder

from speechbrain_llsa.lobes.ctc import StreamingCTC
from speechbrain_llsa.lobes.wav2vec2 import StreamingEncoderWrapper
from speechbrain_llsa.nnet.convolutional_front_end import (
    ConvolutionalFrontEnd,
)
from speechbrain_llsa.nnet.encoder import StreamingTransformerEncoder
from speechbrain_llsa.nnet.frontend import StreamingLatentExtractor
from speechbrain_llsa.nnet.log_mel_front_end import LogMelFrontEnd

CHARACTERS = "ABCDEFG "
LABELS = len(CHARACTERS) + 1


def make_tokenizer(characters=CHARACTERS):
    """Characters, with the blank at 0."""
    tokenizer = CTCTextEncoder()
    tokenizer.update_from_iterable(characters)
    tokenizer.insert_blank(index=0)
    return tokenizer


def make_front_end():
    """Frames of 24 ms with a receptive field of 895 samples, as Moonshine."""
    return ConvolutionalFrontEnd(
        out_channels=[8, 12, 8],
        kernel_sizes=[127, 7, 3],
        strides=[64, 3, 2],
        biases=[False, True, True],
        functions=[["tanh"], ["gelu"], ["layer_norm", "gelu"]],
        closing_norm=False,
    )


def make_log_mel(**options):
    """Frames of 40 ms, normalised by the statistics of signals as below."""
    torch.manual_seed(0)
    front_end = LogMelFrontEnd(
        **{"n_mels": 16, "cnn_channels": [4, 2], "dropout": 0.0, **options}
    )
    return front_end.measure([make_signal(32000, 1)])


IMPORTED = {
    "positional_encoding": "convolution",
    "positional_look_back": 5,
    "positional_look_ahead": 3,
    "positional_groups": 2,
    "positional_norm": True,
    "normalize_before": False,
    "closing_norm": False,
    "attention_bias": False,
    "norm_eps": 1e-5,
}
"""Options that encoders have which were trained elsewhere."""


CONFORMER = {
    "encoder_module": "conformer",
    "conv_look_back": 4,
    "conv_look_ahead": 2,
}
"""Options of a small Conformer."""


def make_model(attention="llsa", labels=LABELS, extractor=None, **geometry):
    """Two layers of 16 features; all labels are about equally likely."""
    torch.manual_seed(0)
    geometry = {"look_back": 12, "look_ahead": 4, "hop": 2, **geometry}
    if extractor is None:
        extractor = StreamingLatentExtractor(out_channels=[8] * 7)
    encoder = StreamingTransformerEncoder(
        num_layers=2,
        nhead=2,
        d_ffn=32,
        d_model=16,
        attention=attention,
        **geometry,
    )
    model = StreamingCTC(
        extractor,
        StreamingEncoderWrapper(8, 16, encoder),
        torch.nn.Linear(16, labels),
    ).eval()
    with torch.no_grad():
        latents = model.extractor(make_signal(32000)[None])
        embeddings = model.encoder_wrapper(latents)["embeddings"][0]
        rows = torch.nn.functional.normalize(torch.randn(labels, 16)) * 2
        model.head.weight.copy_(rows / embeddings.std(dim=0))
        model.head.bias.copy_(-model.head.weight @ embeddings.mean(dim=0))
    return model


def make_encoder(**changes):
    """Three layers of 16 features, seeded."""
    torch.manual_seed(0)
    settings = {
        "num_layers": 3,
        "nhead": 2,
        "d_ffn": 24,
        "d_model": 16,
        "look_back": 8,
        "look_ahead": 3,
        "hop": 2,
    }
    return StreamingTransformerEncoder(**{**settings, **changes}).eval()


def make_signal(samples, seed=0):
    """Noise whose colour and loudness change every 40 ms, (samples,)."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(samples + 1, generator=generator)
    steps = samples // 640 + 1
    colour, loudness = torch.rand(2, steps, generator=generator)
    colour = colour.repeat_interleave(640)[:samples] * 2 - 1
    loudness = loudness.repeat_interleave(640)[:samples]
    return 0.1 * loudness * (noise[1:] + colour * noise[:-1])


def split(signal, lengths):
    """The signal in pushes of the given lengths, and then the rest."""
    pushes, start = [], 0
    for length in lengths:
        pushes.append(signal[..., start : start + length])
        start = min(start + length, signal.shape[-1])
    return [*pushes, signal[..., start:]]
