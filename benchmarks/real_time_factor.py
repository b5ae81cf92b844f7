"""Waveform to text, live, with the BASE model: how much of real time it takes.

> python benchmarks/real_time_factor.py --out real_time_factor.md
"""

import itertools
import statistics
import tempfile
from functools import partial

from common import (
    Bar,
    Report,
    check_at_least_one,
    duration,
    figure,
    make_parser,
    parse,
    take_turns,
)
from models import SMALL, check_streaming, make_model, noise
from speechbrain_llsa.decoders.tokenizers import TextDecoder
from speechbrain_llsa.inference.onnx_export import export_model
from speechbrain_llsa_runtime.geometry import SAMPLE_RATE
from speechbrain_llsa_runtime.inference.onnx import OnnxStreamingASR
from speechbrain_llsa_runtime.inference.session import Session
from speechbrain_llsa_runtime.utils.errors import must_be

HOPS = (1, 4, 8, 16)
FRAME_SAMPLES = 320
TURNS = 5
BARS = {(1, "PyTorch"): 1.5, (1, "ONNX int8"): 0.9}
"""Largest real-time factor, by hop and name."""

TEXT = """
The model of hparams/finetune_base.yaml with random weights, waveform to text,
through a session that is pushed one hop at a time, as live audio comes; in
PyTorch its weights are packed, as those of a model that is loaded. The
peer is the audio itself: the ratio is the real-time factor, the time of a push
by the length of its audio. Log-probabilities are checked against those of the
whole signal, the text of ONNX fp32 against that of PyTorch, and the graph of
ONNX int8 by export, which bounds its errors. Before it is timed, a session has
been pushed more than look_back frames.
"""


def main(arguments=None):
    """Checks, measures and writes."""
    parser = make_parser(__doc__)
    parser.add_argument(
        "--seconds",
        type=float,
        default=20.0,
        help="of audio for each row (default: %(default)s)",
    )
    options = parse(parser, arguments)
    check_at_least_one(parser, options, "--seconds")
    report = Report("Real-time factor", TEXT, options)
    hops, changes = HOPS, {}
    if options.tiny:
        options.seconds, hops, changes = 0.5, (1, 4), SMALL
    for hop in hops:
        model, tokenizer = make_model("finetune_base", {**changes, "hop": hop})
        samples = hop * FRAME_SAMPLES
        check_streaming(f"hop {hop}", model, samples)
        with tempfile.TemporaryDirectory() as folder:
            sessions = {
                "PyTorch": partial(Session, model, TextDecoder(tokenizer)),
                **onnx_sessions(model, tokenizer, folder, options.threads),
            }
            check_text(f"hop {hop}", sessions, samples)
            look_back = model.encoder_wrapper.latent_encoder.geometry.look_back
            pushes = {
                name: live(session(), samples, look_back // hop + 4)
                for name, session in sessions.items()
            }
            number = max(
                1, round(options.seconds * SAMPLE_RATE / samples / TURNS)
            )
            times = take_turns(pushes, TURNS, number=number)
        audio = samples / SAMPLE_RATE
        for name, values in times.items():
            factor = statistics.median(values) / audio
            bar = BARS.get((hop, name))
            report.add(
                f"hop {hop}, {name}",
                duration(values),
                f"{audio * 1e3:g} ms",
                f"{figure(factor)} ({figure(min(values) / audio)} to "
                f"{figure(max(values) / audio)})",
                Bar(bar) if bar else None,
                factor,
            )
    report.write()


def onnx_sessions(model, tokenizer, folder, threads):
    """Makers of sessions through ONNX Runtime."""
    path = export_model(
        f"{folder}/exported",
        model,
        TextDecoder(tokenizer),
        precisions=("fp32", "int8"),
    )
    return {
        f"ONNX {precision}": OnnxStreamingASR.from_folder(
            path, precision, threads
        ).session
        for precision in ("fp32", "int8")
    }


def check_text(what, sessions, samples, seconds=2.0):
    """Exits if the text of a session in float32 differs."""
    signal = noise(seconds)
    texts = []
    for name in ("PyTorch", "ONNX fp32"):
        session = sessions[name]()
        for push in signal.split(samples):
            session.push(push)
        session.finish()
        texts.append(session.text)
    expected, actual = texts
    if actual != expected:
        raise SystemExit(
            must_be(
                f"text of {what}, ONNX fp32",
                repr(expected),
                f"{actual!r}; nothing was measured",
            )
        )


def live(session, samples, first):
    """What pushes the next samples to a session in steady state."""
    signals = itertools.cycle(noise(2.0).unfold(0, samples, samples))
    for _ in range(first):
        session.push(next(signals))
    return lambda: session.push(next(signals))


if __name__ == "__main__":
    main()
