#!/usr/bin/env python3
"""Word error rates of a model in PyTorch and exported, streamed.

    python benchmarks/onnx_accuracy.py --model demo/finetune/streaming \\
        --data demo/digits --splits valid test --out section.md

exports the model, streams every utterance of the splits of a folder in
LibriSpeech layout through each graph, and counts errors as the recipes do.
"""

import argparse
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "recipes" / "LibriSpeech")]

from error_rates import stream_waveform  # noqa: E402
from librispeech_prepare import prepare_librispeech  # noqa: E402
from training_data import load_manifests  # noqa: E402

from speechbrain_llsa import OnnxStreamingASR, StreamingASR  # noqa: E402
from speechbrain_llsa.evaluation.error_rates import ErrorRates  # noqa: E402
from speechbrain_llsa.inference.export import export_model  # noqa: E402

BAR = 0.5
"""Percent that int8 may lose, absolute."""


def load_split(data, split, folder):
    """The utterances of a split, with ``sig``, ``wrd`` and ``id``."""
    prepare_librispeech(
        data_folder=str(data), save_folder=str(folder), splits=[split]
    )
    dataset = load_manifests([str(Path(folder) / f"{split}.csv")])
    dataset.set_output_keys(["id", "sig", "wrd"])
    return list(dataset)


def measure(models, utterances, push_seconds=0.32):
    """Error rates of each model, and utterances whose text is not that of
    the first."""
    rates = {name: ErrorRates() for name in models}
    different = dict.fromkeys(models, 0)
    for item in utterances:
        texts = {
            name: stream_waveform(model, item["sig"], push_seconds)
            for name, model in models.items()
        }
        reference = next(iter(texts.values()))
        for name, text in texts.items():
            rates[name].append(item["id"], text, item["wrd"])
            different[name] += text != reference
    return rates, different


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
            Path(scratch) / "onnx", asr.model, asr.text_decoder, int8=True
        )
        models = {"PyTorch": asr}
        for precision in ("fp32", "int8"):
            models[f"ONNX {precision}"] = OnnxStreamingASR.from_folder(
                folder, precision
            )
        for split in options.splits:
            utterances = load_split(options.data, split, scratch)
            rates, different = measure(models, utterances)
            lines += [
                f"| {split} | {len(utterances)} | {name} | "
                f"{rate.word_error_rate:.2f} | "
                f"{rate.character_error_rate:.2f} | {different[name]} |"
                for name, rate in rates.items()
            ]
            losses.append(
                rates["ONNX int8"].word_error_rate
                - rates["PyTorch"].word_error_rate
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
