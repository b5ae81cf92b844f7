#!/usr/bin/env python3
"""Evaluates the model of a row, in a process of its own.

> python measure.py MODEL DATA OUT --split test --attention maa

writes OUT, a JSON file with the results of ``speechbrain_llsa.evaluation``,
including all texts. Options swap the attention, or choose one of the geometries
that the model was trained for.
"""

import argparse
import json
from pathlib import Path

from speechbrain_llsa.evaluation.corpus import read_split
from speechbrain_llsa.evaluation.machine import describe_machine
from speechbrain_llsa.evaluation.measure import TIMING_SECONDS, evaluate
from speechbrain_llsa.inference.asr import StreamingASR
from speechbrain_llsa_runtime.geometry import ATTENTIONS
from speechbrain_llsa_runtime.utils.atomic_files import write_atomically


def main(arguments=None):
    """Evaluates the model, and writes the results.

    Arguments
    ---------
    arguments : list of str, optional
        The command line without the name of the program.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("data_folder")
    parser.add_argument("out", type=Path)
    parser.add_argument("--split", required=True)
    parser.add_argument("--attention", choices=ATTENTIONS)
    parser.add_argument("--hop", type=int)
    parser.add_argument("--look_ahead", type=int)
    parser.add_argument("--push_seconds", type=float, default=0.32)
    parser.add_argument("--streamed_count", type=int)
    parser.add_argument("--timing_seconds", type=float, default=TIMING_SECONDS)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(arguments)
    asr = StreamingASR.from_hparams(
        options.model, trust=True, run_opts={"device": options.device}
    )
    if options.attention:
        asr.model.encoder_wrapper.latent_encoder.attention = options.attention
    evaluation = evaluate(
        asr,
        read_split(options.data_folder, options.split),
        name=str(options.model),
        hop=options.hop,
        look_ahead=options.look_ahead,
        push_seconds=options.push_seconds,
        streamed_count=options.streamed_count,
        timing_seconds=options.timing_seconds,
    )
    parameters = sum(each.numel() for each in asr.model.parameters())
    found = {
        "machine": describe_machine(options.device),
        "parameters": parameters,
        **evaluation.to_json(texts=True),
    }
    write_atomically(options.out, json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
