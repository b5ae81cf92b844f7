"""A parser of command lines that says what is wrong in one line."""

import argparse


class OneLineParser(argparse.ArgumentParser):
    """The parser of the standard library, whose errors come without usage.

    Arguments
    ---------
    *args : tuple
        As for ``argparse.ArgumentParser``.
    **kwargs : dict
        As for ``argparse.ArgumentParser``.

    Example
    -------
    >>> parser = OneLineParser(prog="program")
    >>> parser.parse_args([])
    Namespace()
    """

    def error(self, message):
        """Ends the program with 2, and one line on standard error.

        Arguments
        ---------
        message : object
            What is wrong, possibly an error.
        """
        line = " ".join(str(message).split())
        self.exit(2, f"{self.prog}: error: {line}\n")
