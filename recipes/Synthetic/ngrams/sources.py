"""Reads sentences to count."""

from pathlib import Path

from speechbrain_llsa.evaluation import librispeech
from speechbrain_llsa_runtime.utils.errors import must_be


def read_transcripts(data, splits):
    """Reads the transcripts of a folder in LibriSpeech layout.

    Arguments
    ---------
    data : str or pathlib.Path
        The folder.
    splits : list of str
        Its sub-folders.

    Returns
    -------
    list of str

    Raises
    ------
    FileNotFoundError
        If a sub-folder is missing, or holds no transcripts.
    ValueError
        If a file is not UTF-8.
    """
    transcripts = []
    for split in splits:
        files = sorted(Path(data, split).rglob("*.trans.txt"))
        if not files:
            raise FileNotFoundError(
                must_be(
                    "splits",
                    f"a folder in {data} with transcripts (*.trans.txt)",
                    repr(split),
                )
            )
        for file in files:
            transcripts += [
                words for _, words in librispeech.read_transcripts(file)
            ]
    return transcripts
