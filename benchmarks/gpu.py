"""Training steps of the BASE encoder on a GPU, for each attention.

> python benchmarks/gpu.py --out gpu.md

A step is forward and backward of the encoder alone, under bf16 autocast, with
the sizes of hparams/pretrain_base.yaml, without dropout. The batch is doubled
until memory is full. Nothing is timed unless every path agrees with
speechbrain_llsa.ops.reference on a short utterance, outputs and gradients.
Without CUDA the table says that nothing was measured.
"""

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from hyperpyyaml import load_hyperpyyaml
from torch.utils.benchmark import Timer

from speechbrain_llsa.nnet.encoder import StreamingTransformerEncoder
from speechbrain_llsa.ops import reference
from speechbrain_llsa.ops.attend import attend_frames, attend_hops
from speechbrain_llsa.visibility import frame_tags, hop_tags
from speechbrain_llsa_runtime.geometry import FRAME_SECONDS, StreamGeometry
from speechbrain_llsa_runtime.utils.errors import must_be

HPARAMS = Path(__file__).parents[1] / "hparams" / "pretrain_base.yaml"

CASES = (
    ("aa", 1),
    ("maa", 1),
    ("sa", 1),
    ("llsa", 1),
    ("llsa", 4),
    ("llsa", 8),
)
"""Attention and hop; the hop matters for llsa alone."""

PEAK_TERAFLOPS = {
    "H100 PCIe": 756,
    "H100 NVL": 835,
    "H100": 989,
    "H200 NVL": 835,
    "H200": 989,
    "A100": 312,
}
"""Dense bf16 peak by a part of the device's name, the first that fits."""

TOLERANCE = 0.03
"""Largest difference from the reference, in bf16, relative to the largest
value where that is above 1."""

NOT_MEASURED = "not measured"

SMALL = {
    "num_layers": 2,
    "embedding_dim": 64,
    "d_ffn": 64,
    "nhead": 4,
    "extractor_dim": 8,
    "extractor_channels": [8] * 7,
    "look_back": 8,
    "look_ahead": 3,
}
"""Hyperparameters of --tiny."""


@dataclass
class Measurement:
    """Results of a case; ``None`` where nothing was measured."""

    batch: int | None = None
    frames_per_second: float | None = None
    peak_bytes: int | None = None
    attention_bytes: int | None = None


def main(arguments=None):
    """Checks, measures and writes the table."""
    options = parse(arguments)
    hparams = load_sizes(SMALL if options.tiny else {})
    seconds = (0.4, 1.0) if options.tiny else (10, 30, 120)
    device = torch.device(options.device)
    runs = [(length, *case) for length in seconds for case in CASES]
    if device.type == "cuda" and not torch.cuda.is_available():
        print("No CUDA device: nothing was measured.")
        name, results = "no CUDA device", [Measurement() for _ in runs]
    else:
        name = device_name(device)
        for attention, hop in CASES:
            geometry = geometry_of(hparams, hop)
            frames = 2 * geometry.look_back + 7
            for ends in (None, (frames, frames // 2)):
                check(attention, geometry, frames, ends, hparams, device)
        results = []
        for length, attention, hop in runs:
            torch._dynamo.reset()
            results.append(
                measure(attention, hop, length, hparams, device, options)
            )
            print(length, attention, hop, results[-1], flush=True)
    table = markdown(name, runs, results, hparams, options)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(table, encoding="utf-8")


def parse(arguments):
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="Markdown file")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="a smoke test")
    parser.add_argument(
        "--max_batch", type=int, default=None, help="utterances, at most"
    )
    parser.add_argument("--gradient_checkpointing", action="store_true")
    options = parser.parse_args(arguments)
    if options.max_batch is None:
        # memory of the machine is not to be filled
        options.max_batch = 4096 if options.device.startswith("cuda") else 2
    if options.max_batch < 1:
        parser.error(must_be("--max_batch", "at least 1", options.max_batch))
    return options


def load_sizes(changes):
    """The hyperparameters of the BASE model, with changes."""
    with tempfile.TemporaryDirectory() as folder:
        folders = {
            "data_folder": folder,
            "output_folder": str(Path(folder) / "out"),
        }
        text = HPARAMS.read_text(encoding="utf-8")
        return load_hyperpyyaml(text, {**folders, **changes})


def geometry_of(hparams, hop):
    """The geometry of the hyperparameters, with another hop."""
    return StreamGeometry(hparams["look_back"], hparams["look_ahead"], hop)


def device_name(device):
    """Name of the device in the table."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type}, {torch.get_num_threads()} threads"


def tags_of(attention, frames, geometry):
    """Tags of an utterance as the attention lays it out."""
    if attention == "llsa":
        return hop_tags(0, -(-frames // geometry.hop), geometry)
    return frame_tags(0, frames)


def attend(inputs, geometry, attention, end=None):
    """Runs the path that training uses."""
    if attention == "llsa":
        return attend_hops(*inputs, None, None, 0, geometry, end)
    return attend_frames(*inputs, 0, 0, geometry, attention, end)


def random_inputs(batch, frames, hparams, device):
    """Queries, keys and values in bf16, (batch, heads, frames, dimension)."""
    heads = hparams["nhead"]
    shape = batch, heads, frames, hparams["embedding_dim"] // heads
    return [
        torch.randn(
            shape, device=device, dtype=torch.bfloat16, requires_grad=True
        )
        for _ in range(3)
    ]


def check(attention, geometry, frames, ends, hparams, device):
    """Exits if a path does not agree with the reference."""
    tags = tags_of(attention, frames, geometry)
    inputs = random_inputs(2, len(tags.position), hparams, device)
    exact = [tensor.detach().double().cpu() for tensor in inputs]
    exact = [tensor.requires_grad_() for tensor in exact]
    end = None if ends is None else torch.tensor(ends)
    expected = reference.attend(*exact, tags, tags, geometry, attention, end)
    end = None if ends is None else end.to(device)
    actual = attend(inputs, geometry, attention, end)
    weight = torch.randn(expected.shape)
    pairs = [
        (expected, actual),
        *zip(
            torch.autograd.grad((expected * weight).sum(), exact),
            torch.autograd.grad((actual * weight.to(device)).sum(), inputs),
            strict=True,
        ),
    ]
    for one, other in pairs:
        error = (one - other.cpu()).abs().max() / one.abs().max().clamp(min=1)
        if not error <= TOLERANCE:
            sys.exit(
                must_be(
                    f"{attention}, hop {geometry.hop}",
                    f"as the reference within {TOLERANCE:g}",
                    f"a difference of {error.item():.3g}; nothing was measured",
                )
            )


def measure(attention, hop, seconds, hparams, device, options):
    """Times the step with the largest batch that fits into memory."""
    frames = round(seconds / FRAME_SECONDS)
    torch.manual_seed(0)
    encoder = StreamingTransformerEncoder(
        num_layers=hparams["num_layers"],
        nhead=hparams["nhead"],
        d_ffn=hparams["d_ffn"],
        d_model=hparams["embedding_dim"],
        attention=attention,
        look_back=hparams["look_back"],
        look_ahead=hparams["look_ahead"],
        hop=hop,
        gradient_checkpointing=options.gradient_checkpointing,
    ).to(device)

    def step(batch):
        src = torch.randn(batch, frames, encoder.d_model, device=device)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            out, _ = encoder(src)
        out.float().square().mean().backward()
        encoder.zero_grad(set_to_none=True)

    batch = None
    candidate = 1
    while candidate <= options.max_batch and fits(step, candidate):
        batch, candidate = candidate, 2 * candidate
    if batch is None:
        return Measurement()
    timer = Timer("step(batch)", globals={"step": step, "batch": batch})
    times = timer.blocked_autorange(min_run_time=0.05 if options.tiny else 5)
    _, peak_bytes = with_peak(device, step, batch)
    rows = len(tags_of(attention, frames, encoder.geometry).position)
    inputs = random_inputs(batch, rows, hparams, device)

    def attention_step():
        attend(inputs, encoder.geometry, attention).sum().backward()

    attention_step()
    held, attention_peak = with_peak(device, attention_step)
    return Measurement(
        batch=batch,
        frames_per_second=batch * frames / times.median,
        peak_bytes=peak_bytes,
        attention_bytes=None if held is None else attention_peak - held,
    )


def fits(step, batch):
    """Whether a step of so many utterances fits into memory."""
    try:
        step(batch)
    except torch.OutOfMemoryError:
        fitted = False
    else:
        fitted = True
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return fitted


def with_peak(device, function, *arguments):
    """Bytes held before a call and at most during it; ``None`` without
    CUDA, where PyTorch does not count."""
    if device.type != "cuda":
        function(*arguments)
        return None, None
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    held = torch.cuda.memory_allocated(device)
    function(*arguments)
    torch.cuda.synchronize(device)
    return held, torch.cuda.max_memory_allocated(device)


def flops_per_frame(attention, hop, frames, hparams):
    """Floating point operations that a training step needs for one committed
    frame: those of the rule, whatever a path computes besides or again. At
    the ends of an utterance a frame sees fewer keys; that is left out."""
    look_back, look_ahead = hparams["look_back"], hparams["look_ahead"]
    rows, keys = 1.0, frames
    if attention in ("maa", "sa"):
        keys = min(frames, look_back + 1 + look_ahead)
    elif attention == "llsa":
        rows = (hop + look_ahead) / hop
        keys = min(frames, look_back + hop) + look_ahead
    size = hparams["embedding_dim"]
    weights = 4 * size * size + 2 * size * hparams["d_ffn"]
    # two operations a multiplication; scores and sums; backward is twice that
    return (
        3 * hparams["num_layers"] * rows * (2 * weights + 2 * 2 * keys * size)
    )


def peak_flops(name):
    """Operations a second of a device, or ``None``."""
    for part, teraflops in PEAK_TERAFLOPS.items():
        if all(word in name for word in part.split()):
            return teraflops * 1e12
    return None


def markdown(name, runs, results, hparams, options):
    """Formats the table, with a description."""
    lines = [
        f"Training step (forward and backward) of the encoder, bf16 autocast: "
        f"{hparams['num_layers']} layers of {hparams['embedding_dim']}, "
        f"{hparams['nhead']} heads, look_back {hparams['look_back']}, "
        f"look_ahead {hparams['look_ahead']}, gradient checkpointing "
        f"{'on' if options.gradient_checkpointing else 'off'}. Device: {name}; "
        f"PyTorch {torch.__version__}.",
        "",
        "| seconds | attention | hop | batch | frames per second "
        "| share of bf16 peak | peak memory | attention alone |",
        "| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    peak = peak_flops(name)
    for (seconds, attention, hop), result in zip(runs, results, strict=True):
        share = NOT_MEASURED
        if result.frames_per_second is not None:
            share = "unknown"
            if peak is not None:
                frames = round(seconds / FRAME_SECONDS)
                work = flops_per_frame(attention, hop, frames, hparams)
                share = f"{work * result.frames_per_second / peak:.1%}"
        cells = (
            f"{seconds:g}",
            attention,
            str(hop) if attention == "llsa" else "",
            shown(result.batch, "{}"),
            shown(result.frames_per_second, "{:,.0f}"),
            share,
            shown(result.peak_bytes, "{:.2f} GiB", 2**30),
            shown(result.attention_bytes, "{:.2f} GiB", 2**30),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def shown(value, form, unit=1):
    """A cell of the table."""
    if value is None:
        return NOT_MEASURED
    return form.format(value if unit == 1 else value / unit)


if __name__ == "__main__":
    main()
