"""Formats words with times as SubRip, WebVTT or NIST's CTM."""

import html
import textwrap
from collections.abc import Callable, Iterable

from speechbrain_llsa_runtime.transcripts.transcript import Word

LINE_CHARACTERS = 42
"""Maximum characters per line, and with ``LINES`` per cue, as in
broadcasting."""

LINES = 2
LONGEST_CUE_SECONDS = 6.0
PAUSE_SECONDS = 1.0
"""Pause between two words that ends a cue."""


def cues(words: Iterable[Word]) -> list[tuple[float, float, str]]:
    """Groups words into cues: up to two lines of one segment, without a pause
    in between.

    Arguments
    ---------
    words : list of Word
        Words in order.

    Returns
    -------
    list of (float, float, str)
        Start and end in seconds, and the text, its lines wrapped.

    Example
    -------
    >>> from speechbrain_llsa_runtime.transcripts.transcript import Word
    >>> cues([Word("ONE", 0.5, 0.8, 1.0), Word("TWO", 2.5, 2.9, 1.0)])
    [(0.5, 0.8, 'ONE'), (2.5, 2.9, 'TWO')]
    """
    groups: list[list[Word]] = []
    for word in words:
        if not groups or not _fits(groups[-1], word):
            groups.append([])
        groups[-1].append(word)
    return [(g[0].start, g[-1].end, "\n".join(_lines(g))) for g in groups]


def _lines(words: Iterable[Word]) -> list[str]:
    # a line separator within a word would end the cue in some players
    blanks_alone = " ".join(word.text for word in words).split()
    return textwrap.wrap(
        " ".join(blanks_alone),
        LINE_CHARACTERS,
        break_on_hyphens=False,
    )


def _fits(group: list[Word], word: Word) -> bool:
    return (
        word.segment == group[0].segment
        and word.start - group[-1].end < PAUSE_SECONDS
        and word.end - group[0].start <= LONGEST_CUE_SECONDS
        and len(_lines([*group, word])) <= LINES
    )


def to_srt(words: Iterable[Word], name: str = "") -> str:
    """Formats words as SubRip subtitles.

    Arguments
    ---------
    words : list of Word
        Words in order.
    name : str
        Name of the recording, which SubRip cannot hold.

    Returns
    -------
    str

    Example
    -------
    >>> from speechbrain_llsa_runtime.transcripts.transcript import Word
    >>> print(to_srt([Word("ONE", 0.5, 0.8, 1.0)]), end="")
    1
    00:00:00,500 --> 00:00:00,800
    ONE
    """
    return "\n".join(
        f"{number}\n{_clock(start, ',')} --> {_clock(end, ',')}\n{text}\n"
        for number, (start, end, text) in enumerate(cues(words), start=1)
    )


def to_vtt(words: Iterable[Word], name: str = "") -> str:
    """Formats words as WebVTT subtitles.

    Arguments
    ---------
    words : list of Word
        Words in order.
    name : str
        Name of the recording, which WebVTT cannot hold.

    Returns
    -------
    str

    Example
    -------
    >>> from speechbrain_llsa_runtime.transcripts.transcript import Word
    >>> print(to_vtt([Word("ONE", 0.5, 0.8, 1.0)]), end="")
    WEBVTT
    <BLANKLINE>
    00:00:00.500 --> 00:00:00.800
    ONE
    """
    return "\n".join(
        [
            "WEBVTT\n",
            *(
                f"{_clock(start, '.')} --> {_clock(end, '.')}\n"
                f"{html.escape(text, quote=False)}\n"
                for start, end, text in cues(words)
            ),
        ]
    )


def to_ctm(words: Iterable[Word], name: str) -> str:
    """Formats words as NIST's CTM: one line per word, with the name of the
    recording, channel, start and duration in seconds, word and confidence.

    Arguments
    ---------
    words : list of Word
        Words in order.
    name : str
        Name of the recording.

    Returns
    -------
    str

    Example
    -------
    >>> from speechbrain_llsa_runtime.transcripts.transcript import Word
    >>> print(to_ctm([Word("ONE", 0.5, 0.8, 0.99)], "a"), end="")
    a 1 0.500 0.300 ONE 0.9900
    """
    return "".join(
        f"{_field(name)} 1 {word.start:.3f} {word.end - word.start:.3f} "
        f"{_field(word.text)} {word.confidence:.4f}\n"
        for word in words
    )


def _field(text: str) -> str:
    """Replaces blanks, which fields of a CTM file cannot hold."""
    return "_".join(text.split())


def _clock(seconds: float, point: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    seconds, milliseconds = divmod(milliseconds, 1000)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}{point}{milliseconds:03d}"


FORMATS: dict[str, Callable[[Iterable[Word], str], str]] = {
    "srt": to_srt,
    "vtt": to_vtt,
    "ctm": to_ctm,
}
"""Formatters by file extension."""
