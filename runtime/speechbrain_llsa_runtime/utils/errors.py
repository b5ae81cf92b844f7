"""Error messages: one grammar for our own, one line for those of libraries."""

LONGEST = 300


def reason(error):
    """Shortens the message of an error to one line of bounded length.

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


def must_be(name, expected, got):
    """Formats the message of an error about an argument.

    Arguments
    ---------
    name : str
        Name of the argument.
    expected : str
        What is accepted, such as "a positive integer".
    got : object
        The value that was passed.

    Returns
    -------
    str

    Example
    -------
    >>> must_be("hop", "an integer of at least 1", 0)
    'hop must be an integer of at least 1, got 0'
    """
    return f"{name} must be {expected}, got {got}"
