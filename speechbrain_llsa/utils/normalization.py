"""Normalisation of transcripts: Unicode form, spaces, case, apostrophes."""

import unicodedata


def normalise_transcript(text):
    """Normalises a transcript to Unicode form NFC, with single spaces between
    words and none at the ends.

    Arguments
    ---------
    text : str
        The transcript. Any Unicode white space counts as a space, and so do
        line separators.

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
"""Allowed values of ``transcript_case``."""

APOSTROPHES = "\u2019\u2018\u201b\u02bc\uff07"
"""Characters other than ``'`` that are typed as an apostrophe."""


def check_transcript_case(case):
    """Rejects anything but a case of letters.

    Arguments
    ---------
    case : str
        The value from the YAML file.

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
    """Normalises a transcript to the spelling that a model writes.

    Arguments
    ---------
    text : str
        The transcript.
    case : str
        "as_is", "upper" or "lower".
    units : str
        The characters that the model writes. Curly apostrophes become ``'`` if
        that is one of them and they are not.

    Returns
    -------
    str
        The transcript in Unicode form NFC, with single spaces between words.

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
    """Case of the letters that a model writes.

    Arguments
    ---------
    units : str
        The characters that it writes.

    Returns
    -------
    str
        "upper" or "lower" if it has no other letters, else "as_is".

    Example
    -------
    >>> case_of_units("ABC '"), case_of_units("Aa"), case_of_units(" ")
    ('upper', 'as_is', 'as_is')
    """
    upper, lower = any(map(str.isupper, units)), any(map(str.islower, units))
    if upper == lower:
        return "as_is"
    return "upper" if upper else "lower"
