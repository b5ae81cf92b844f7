#!/usr/bin/env python3
"""Writes a fine-tuned model as it ships: weights in half precision, with
n-grams, for the package with PyTorch; a graph in 8 bits for the one without.

> python recipes/English/release.py results/english/streaming
      --language_model words.arpa --alpha 0.5 --beta 2 --beam_size 32

The model card and the licences of ``card/`` are put beside both.
"""

import argparse
import shutil
from pathlib import Path

from speechbrain_llsa.commands.written_files import print_files
from speechbrain_llsa.decoders.options import BeamSearchOptions
from speechbrain_llsa.inference.asr import StreamingASR
from speechbrain_llsa.inference.onnx_export import export_model
from speechbrain_llsa.model_folder.write import write_streaming_folder
from speechbrain_llsa_runtime.utils.errors import must_be
from speechbrain_llsa_runtime.utils.parser import OneLineParser

ROOT = Path(__file__).parents[2]
CARD = Path(__file__).with_name("card")


def main(arguments=None):
    """Runs the script.

    Arguments
    ---------
    arguments : list of str, optional
        The command line without the name of the program.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        release(options)
    except (ImportError, OSError, TypeError, ValueError) as error:
        parser.error(error)


def release(options):
    """Writes both folders, and prints what is in them.

    Arguments
    ---------
    options : argparse.Namespace
        The command line.

    Raises
    ------
    FileExistsError
        If something other than a model lies where one is to be written.
    FileNotFoundError
        If there is no such model, or no such language model.
    ImportError
        If what an export needs is not installed.
    TypeError
        If an option of the search has the wrong type.
    ValueError
        If the model is damaged, or cannot stream.
    """
    asr = StreamingASR.from_hparams(options.folder)
    search = None
    if options.language_model is not None:
        search = BeamSearchOptions(
            beam_size=options.beam_size,
            language_model=options.language_model,
            alpha=options.alpha,
            beta=options.beta,
        )
    folders = (
        write_weights(
            options.packages / "speechbrain_llsa" / "models" / options.name,
            asr,
            search,
        ),
        write_graph(
            options.packages
            / "runtime"
            / "speechbrain_llsa_runtime"
            / "models"
            / options.name,
            asr,
        ),
    )
    for folder in folders:
        shutil.copytree(CARD, folder, dirs_exist_ok=True)
        print_files(folder)


def write_weights(folder, asr, search):
    """Writes a streaming folder whose weights have 16 bits.

    Arguments
    ---------
    folder : pathlib.Path
        Where to write it.
    asr : StreamingASR
        The model, whose weights are rounded: what is written later has the
        same weights.
    search : BeamSearchOptions or None
        Options of beam search; ``None`` for greedy search.

    Returns
    -------
    pathlib.Path
        The folder.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    model = asr.model.half()
    write_streaming_folder(
        folder,
        model,
        asr.hparams.tokenizer,
        asr.endpointer,
        asr.word_offsets,
        search,
    )
    model.float()
    return folder


def write_graph(folder, asr):
    """Writes an exported folder with the graph in 8 bits alone.

    Arguments
    ---------
    folder : pathlib.Path
        Where to write it.
    asr : StreamingASR
        The model.

    Returns
    -------
    pathlib.Path
        The folder.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    return export_model(
        folder,
        asr.model,
        asr.text_decoder,
        precisions=("int8",),
        endpointer=asr.endpointer,
        word_offsets=asr.word_offsets,
    )


def _parser():
    parser = OneLineParser(description="Writes a fine-tuned model as it ships.")
    parser.add_argument(
        "folder", metavar="FOLDER", help="a streaming/ folder of fine-tuning"
    )
    parser.add_argument(
        "--name",
        type=_name,
        default="english",
        help="name of the model (default: %(default)s)",
    )
    parser.add_argument(
        "--language_model", metavar="FILE", help="n-grams of words, ARPA"
    )
    parser.add_argument("--beam_size", type=int, default=32, metavar="N")
    parser.add_argument("--alpha", type=float, default=0.5, metavar="WEIGHT")
    parser.add_argument("--beta", type=float, default=2.0, metavar="WEIGHT")
    parser.add_argument(
        "--packages",
        type=Path,
        default=ROOT,
        metavar="FOLDER",
        help="where the packages lie (default: this repository)",
    )
    return parser


def _name(text):
    if not text.isidentifier():
        raise argparse.ArgumentTypeError(
            must_be("--name", "letters, digits and _", repr(text))
        )
    return text


if __name__ == "__main__":
    main()
