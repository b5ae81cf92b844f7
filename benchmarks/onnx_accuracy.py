#!/usr/bin/env python3
"""Word error rates of a model in PyTorch and exported, streamed.

    python benchmarks/onnx_accuracy.py --model demo/finetune/streaming \\
        --data demo/digits --splits valid test --out section.md

exports the model, streams every utterance of the splits of a folder in
LibriSpeech layout through each graph, and counts errors as the recipes do.
"""

import argparse
import tempfile
from pathlib import Path

import _paths  # noqa: F401
from speechbrain_llsa import OnnxStreamingASR, StreamingASR
from speechbrain_llsa.evaluation.corpus import read_split
from speechbrain_llsa.evaluation.measure import evaluate
from speechbrain_llsa.inference.onnx_export import export_model

BAR = 0.5
"""Percent that int8 may lose, absolute."""


def measure(models, utterances):
    """Evaluates each model, streamed; and counts utterances whose text is not
    that of the first."""
    found = {
        name: evaluate(
            model,
            utterances,
            name=name,
            push_seconds=0.32,
            offline=False,
            timing_runs=1,
            timing_seconds=0,
        )
        for name, model in models.items()
    }
    first = next(iter(found.values()))
    different = {
        name: sum(
            one.streamed != other.streamed
            for one, other in zip(each.texts, first.texts, strict=True)
        )
        for name, each in found.items()
    }
    return found, different


def main(arguments=None):
    """Measures, and prints and writes a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--splits", nargs="+", default=["test"])
    parser.add_argument("--out")
    options = parser.parse_args(arguments)
    lines = [
        "## Error rates of exported models",
        "",
        "| split | utterances | system | WER % | CER % | texts that differ |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    losses = []
    with tempfile.TemporaryDirectory() as scratch:
        asr = StreamingASR.from_hparams(options.model)
        folder = export_model(
            Path(scratch) / "onnx",
            asr.model,
            asr.text_decoder,
            precisions=("fp32", "int8"),
        )
        models = {"PyTorch": asr}
        for precision in ("fp32", "int8"):
            models[f"ONNX {precision}"] = OnnxStreamingASR.from_folder(
                folder, precision
            )
        for split in options.splits:
            utterances = read_split(options.data, split)
            found, different = measure(models, utterances)
            lines += [
                f"| {split} | {len(utterances)} | {name} | "
                f"{each.streamed.wer.percent:.2f} | "
                f"{each.streamed.cer.percent:.2f} | {different[name]} |"
                for name, each in found.items()
            ]
            losses.append(
                found["ONNX int8"].streamed.wer.percent
                - found["PyTorch"].streamed.wer.percent
            )
    verdict = "met" if max(losses) <= BAR else "missed"
    lines += [
        "",
        f"int8 loses at most {max(losses):.2f} % WER, absolute; the bar of "
        f"{BAR} % is {verdict}.",
        "",
    ]
    print("\n".join(lines))
    if options.out:
        Path(options.out).write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
