"""Files that say when which word is spoken."""

from pathlib import Path

from speechbrain_llsa_runtime.transcripts.subtitles import FORMATS
from speechbrain_llsa_runtime.utils.atomic_files import write_atomically
from speechbrain_llsa_runtime.utils.errors import must_be


def add_word_file_arguments(parser, name, folder):
    """Declares ``--format`` and ``--output``.

    Arguments
    ---------
    parser : argparse.ArgumentParser
        Parser of the command.
    name : str
        What the files are called, for the help.
    folder : str
        Where they are written by default, for the help.
    """
    parser.add_argument(
        "--format",
        action="append",
        choices=FORMATS,
        default=[],
        help=f"write words with times into {name} with this extension, at "
        "the end; give it several times for several formats",
    )
    parser.add_argument(
        "--output",
        metavar="FOLDER",
        help=f"where --format writes to (default: {folder})",
    )


def word_files(arguments, folder, stem):
    """Names the files to write for one stream.

    Arguments
    ---------
    arguments : argparse.Namespace
        Those of the command.
    folder : str or pathlib.Path
        Where they lie, unless the arguments say.
    stem : str
        What they are called, without extension.

    Returns
    -------
    dict of str to pathlib.Path
        By format.

    Raises
    ------
    ValueError
        If there is a place to write to, and nothing to write.
    """
    if arguments.output is not None and not arguments.format:
        raise ValueError(
            must_be(
                "--format",
                "given with --output",
                f"only --output {arguments.output!r}",
            )
        )
    folder = Path(folder if arguments.output is None else arguments.output)
    return {
        kind: folder / f"{stem}.{kind}"
        for kind in dict.fromkeys(arguments.format)
    }


def write_word_files(paths, words):
    """Writes each file, whole or not at all.

    Arguments
    ---------
    paths : dict of str to pathlib.Path
        By format.
    words : list of Word
        The words in order.

    Raises
    ------
    OSError
        If one cannot be written.
    """
    for kind, path in paths.items():
        write_atomically(path, FORMATS[kind](words, path.stem))
