"""Reads sentences to count, and leaves out those of some speakers."""

import re
import unicodedata
from pathlib import Path

from speechbrain_llsa.evaluation import librispeech
from speechbrain_llsa.utils.normalization import fold_transcript
from speechbrain_llsa_runtime.utils.errors import must_be
from speechbrain_llsa_runtime.utils.text_files import read_lines

SHARED_WORDS = 8
"""Sentences that share a run of so many words are of the same text."""

_WORD = re.compile(r"\w+(?:'\w+)*")
_SPELLED = re.compile(r"[A-Z']+")


def read_utterances(data, splits):
    """Reads the transcripts of a folder in LibriSpeech layout, and who speaks.

    Arguments
    ---------
    data : str or pathlib.Path
        The folder.
    splits : list of str
        Its sub-folders.

    Returns
    -------
    list of (str, str)
        Speaker and transcript of each utterance.

    Raises
    ------
    FileNotFoundError
        If a sub-folder is missing, or holds no transcripts.
    ValueError
        If a file is not UTF-8.
    """
    utterances = []
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
            speaker = file.parent.parent.name
            utterances += [
                (speaker, words)
                for _, words in librispeech.read_transcripts(file)
            ]
    return utterances


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
    return [words for _, words in read_utterances(data, splits)]


def read_sentences(path):
    """Reads a text file.

    Arguments
    ---------
    path : str or pathlib.Path
        The file, a sentence on each line.

    Returns
    -------
    list of str
        The sentences as :func:`spell` gives them.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not UTF-8.

    Example
    -------
    >>> path = getfixture("tmp_path") / "text.txt"
    >>> _ = path.write_text("One.\\n\\n2.\\nThree!\\n")
    >>> read_sentences(path)
    ['ONE', 'THREE']
    """
    sentences = map(spell, read_lines(path))
    return [sentence for sentence in sentences if sentence]


def spell(text):
    """Spells a text as transcripts of LibriSpeech are: capitals without
    accents, and apostrophes within words. All other punctuation parts words,
    and a word with any other character, such as a digit, is left out.

    Arguments
    ---------
    text : str
        The text.

    Returns
    -------
    str

    Example
    -------
    >>> spell("Mr. Smith's 'forty-two' cafés, 3rd ed., aren\\u2019t 1,000.")
    "MR SMITH'S FORTY TWO CAFES ED AREN'T"
    """
    return " ".join(word for word in _words(text) if _SPELLED.fullmatch(word))


def _words(text):
    """Its words in capitals without accents."""
    apart = unicodedata.normalize("NFKD", text)
    plain = "".join(each for each in apart if not unicodedata.combining(each))
    return _WORD.findall(fold_transcript(plain, "upper").replace("_", " "))


def leave_out_speakers(utterances, speakers):
    """Leaves out what some speakers say, whoever else says it.

    Arguments
    ---------
    utterances : list of (str or None, str)
        Speaker, if there is one, and sentence of each.
    speakers : list of str
        Whose sentences to leave out. So is every sentence that shares a run of
        `SHARED_WORDS` words with one of them, or is the same if it is
        shorter; case, accents and punctuation do not matter.

    Returns
    -------
    list of (str or None, str)
        The other utterances.

    Raises
    ------
    ValueError
        If a speaker has no utterance.

    Example
    -------
    >>> utterances = [("7", "ONE"), ("8", "TWO"), ("9", "ONE"), (None, "Two.")]
    >>> leave_out_speakers(utterances, ["8"])
    [('7', 'ONE'), ('9', 'ONE')]
    """
    missing = set(speakers) - {speaker for speaker, _ in utterances}
    if missing:
        raise ValueError(
            must_be(
                "without_speakers",
                "speakers of the splits",
                ", ".join(sorted(missing)),
            )
        )
    theirs = {
        run
        for speaker, words in utterances
        if speaker in speakers
        for run in _runs(words)
    }
    return [
        (speaker, words)
        for speaker, words in utterances
        if theirs.isdisjoint(_runs(words))
    ]


def _runs(sentence):
    """Its runs of SHARED_WORDS words; the whole, if it has fewer."""
    words = _words(sentence)
    starts = range(max(1, len(words) - SHARED_WORDS + 1))
    return {tuple(words[start : start + SHARED_WORDS]) for start in starts}
