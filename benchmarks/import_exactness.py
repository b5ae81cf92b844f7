"""How far imported encoders are from their sources, at full size.

> python benchmarks/import_exactness.py

Builds wav2vec 2.0 BASE and LARGE of torchaudio with random weights, imports
them, and compares what each layer gives for 2 s of noise. --double does it in
double precision too.
"""

import torch
from torchaudio.models import wav2vec2_model

from common import Bar, Report, check_equal, figure, make_parser, parse
from speechbrain_llsa.pretrained import from_torchaudio
from speechbrain_llsa_runtime.geometry import SAMPLE_RATE

BARS = {torch.float32: Bar(1e-4), torch.float64: Bar(1e-10)}
"""The largest error that a type allows."""

LAYOUTS = {
    "BASE": {
        "extractor_mode": "group_norm",
        "extractor_conv_bias": False,
        "encoder_layer_norm_first": False,
        "encoder_embed_dim": 768,
        "encoder_num_layers": 12,
        "encoder_num_heads": 12,
        "encoder_ff_interm_features": 3072,
    },
    "LARGE": {
        "extractor_mode": "layer_norm",
        "extractor_conv_bias": True,
        "encoder_layer_norm_first": True,
        "encoder_embed_dim": 1024,
        "encoder_num_layers": 24,
        "encoder_num_heads": 16,
        "encoder_ff_interm_features": 4096,
    },
}

SHARED = {
    "extractor_conv_layer_config": None,
    "encoder_projection_dropout": 0.0,
    "encoder_pos_conv_kernel": 128,
    "encoder_pos_conv_groups": 16,
    "encoder_attention_dropout": 0.0,
    "encoder_ff_interm_dropout": 0.0,
    "encoder_dropout": 0.0,
    "encoder_layer_drop": 0.0,
    "aux_num_out": 32,
}

TINY = {
    "encoder_embed_dim": 32,
    "encoder_num_layers": 2,
    "encoder_num_heads": 2,
    "encoder_ff_interm_features": 64,
    "extractor_conv_layer_config": [(8, 10, 5), (8, 4, 4), (12, 2, 2)],
}


def main(arguments=None):
    """Compares, and writes the section.

    Arguments
    ---------
    arguments : list of str, optional
        The command line without the name of the program.
    """
    parser = make_parser(__doc__)
    parser.add_argument(
        "--double", action="store_true", help="in double precision too"
    )
    options = parse(parser, arguments)
    report = Report(
        "Imported encoders",
        """wav2vec 2.0 of torchaudio with random weights, imported with
        attention aa: the largest error of all layers and of the logits, for
        2 s of noise, where it is, and the largest output.""",
        options,
    )
    types = [torch.float32, torch.float64][: 1 + options.double]
    for name, layout in LAYOUTS.items():
        sizes = {**SHARED, **layout, **(TINY if options.tiny else {})}
        for dtype in types:
            compare(report, name, make_source(sizes).to(dtype), dtype)
    report.write()


@torch.no_grad()
def make_source(sizes):
    """A model whose norms and biases are drawn too.

    Arguments
    ---------
    sizes : dict
        Arguments of ``wav2vec2_model``.

    Returns
    -------
    torchaudio.models.Wav2Vec2Model
    """
    source = wav2vec2_model(**sizes).eval()
    for parameter in source.parameters():
        if parameter.ndim == 1:
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return source


@torch.no_grad()
def compare(report, name, source, dtype):
    """Prints the error of each layer, and adds a row.

    Arguments
    ---------
    report : Report
        The section.
    name : str
        Of the model.
    source : torchaudio.models.Wav2Vec2Model
        The model.
    dtype : torch.dtype
        Its type.

    Raises
    ------
    SystemExit
        If a layer gives something else.
    """
    waveform = 0.1 * torch.randn(1, 2 * SAMPLE_RATE, dtype=dtype)
    expected, _ = source.extract_features(waveform)
    expected.append(source(waveform)[0])
    imported = from_torchaudio(source)
    del source
    encoder = imported.encoder_wrapper.latent_encoder
    encoder.output_hidden_states = True
    latents = imported.encoder_wrapper.project(imported.extractor(waveform))
    out, _, hidden = encoder(latents)
    outputs = [*hidden[1:], imported.head(out)]
    errors = {}
    for number, (ours, theirs) in enumerate(
        zip(outputs, expected, strict=True), start=1
    ):
        what = f"layer {number}" if number < len(outputs) else "logits"
        check_equal(f"{name}, {what}", ours, theirs)
        errors[what] = (ours - theirs).abs().max().item()
        print(f"{name}, {what}: {errors[what]:.2g}", flush=True)
    worst = max(errors, key=errors.get)
    largest = max(each.abs().max().item() for each in expected)
    kind = str(dtype).removeprefix("torch.")
    report.add(
        f"{name}, {len(outputs) - 1} layers, {kind}",
        f"{errors[worst]:.2g} ({worst})",
        f"outputs up to {figure(largest)}",
        bar=BARS[dtype],
        value=errors[worst],
    )


if __name__ == "__main__":
    main()
