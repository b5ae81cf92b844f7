"""What an error of a library says, in one line."""

LONGEST = 300


def reason(error):
    """What an error says, in one line of bounded length.

    Arguments
    ---------
    error : Exception
        The error.

    Returns
    -------
    str

    Example
    -------
    >>> reason(ValueError("two\\n  lines")), reason(KeyError("name"))
    ('two lines', "KeyError: 'name'")
    """
    text = " ".join(str(error).split())
    if isinstance(error, LookupError) or not text:
        text = f"{type(error).__name__}: {text}".removesuffix(": ")
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."
