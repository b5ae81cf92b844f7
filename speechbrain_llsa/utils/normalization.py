"""Transcripts of one form, however they were typed."""

import unicodedata


def normalise_transcript(text):
    """Brings a transcript to Unicode's form NFC, with one space between words
    and none at its ends.

    Arguments
    ---------
    text : str
        The transcript. Whatever Unicode takes for white space is a space, as
        are line separators.

    Returns
    -------
    str

    Example
    -------
    >>> normalise_transcript(" CAFE\\u0301\\u2028NOIR") == "CAF\\u00c9 NOIR"
    True
    """
    return " ".join(unicodedata.normalize("NFC", text).split())


CASES = {"as_is": str, "upper": str.upper, "lower": str.lower}
"""What ``transcript_case`` may be."""

APOSTROPHES = "\u2019\u2018\u201b\u02bc\uff07"
"""What is typed for an apostrophe, besides ``'``."""


def check_transcript_case(case):
    """Refuses anything but a case of letters.

    Arguments
    ---------
    case : str
        What the YAML file says.

    Raises
    ------
    ValueError
        If it is unknown.
    """
    if case not in CASES:
        raise ValueError(
            f"transcript_case must be {', '.join(CASES)}, got {case!r}"
        )


def fold_transcript(text, case="as_is", units="'"):
    """Brings a transcript to the form that a model writes.

    Arguments
    ---------
    text : str
        The transcript.
    case : str
        "as_is", "upper" or "lower".
    units : str
        The characters that the model writes. Curly apostrophes become ``'``
        where that is one of them, and they are not.

    Returns
    -------
    str
        In Unicode's form NFC, with one space between words.

    Example
    -------
    >>> fold_transcript("Don\\u2019t", "upper")
    "DON'T"
    """
    text = normalise_transcript(CASES[case](text))
    if "'" in units:
        curly = [each for each in APOSTROPHES if each not in units]
        text = text.translate(dict.fromkeys(map(ord, curly), "'"))
    return text


def case_of_units(units):
    """The case of letters that a model writes.

    Arguments
    ---------
    units : str
        The characters that it writes.

    Returns
    -------
    str
        "upper" or "lower" where it knows no other letters, else "as_is".

    Example
    -------
    >>> case_of_units("ABC '"), case_of_units("Aa"), case_of_units(" ")
    ('upper', 'as_is', 'as_is')
    """
    upper, lower = any(map(str.isupper, units)), any(map(str.islower, units))
    if upper == lower:
        return "as_is"
    return "upper" if upper else "lower"
