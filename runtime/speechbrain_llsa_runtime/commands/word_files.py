"""Output files with word times, such as subtitles."""

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
        Name of the files, for the help.
    folder : str
        Default folder of the files, for the help.
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
        Arguments of the command.
    folder : str or pathlib.Path
        Folder of the files, unless the arguments name one.
    stem : str
        Name of the files, without extension.

    Returns
    -------
    dict of str to pathlib.Path
        Paths by format.

    Raises
    ------
    ValueError
        If there is an output folder, but no format.
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
    """Writes the files, each atomically.

    Arguments
    ---------
    paths : dict of str to pathlib.Path
        Paths by format.
    words : list of Word
        The words in order.

    Raises
    ------
    OSError
        If a file cannot be written.
    """
    for kind, path in paths.items():
        write_atomically(path, FORMATS[kind](words, path.stem))
