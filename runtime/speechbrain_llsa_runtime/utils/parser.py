"""A command-line parser that reports errors in one line."""

import argparse


class OneLineParser(argparse.ArgumentParser):
    """The standard library's parser, with errors that omit the usage.

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
        """Exits with status 2 and one line on standard error.

        Arguments
        ---------
        message : object
            The message, or an exception.
        """
        line = " ".join(str(message).split())
        self.exit(2, f"{self.prog}: error: {line}\n")
