"""Where text goes as it is committed: a terminal, a pipe, or nowhere."""

import shutil
import sys

from tqdm.utils import disp_len


def choose_output(as_json, beside=30):
    """What shows text: nothing, a plain stream, or lines over a bar.

    Arguments
    ---------
    as_json : bool
        Whether the caller prints JSON instead.
    beside : int
        Columns that the bar needs beside the text.

    Returns
    -------
    SilentOutput
    """
    if as_json:
        return SilentOutput()
    if sys.stdout.isatty() and sys.stderr.isatty():
        return TerminalOutput(beside)
    return PlainOutput()


class SilentOutput:
    """Shows nothing before the end."""

    def write(self, text):
        """Takes text that is not of the transcript."""

    def show(self, transcript, bar):
        """Takes what a session says, with the bar that stands below."""

    def end(self, bar):
        """Takes the end of a file."""


class PlainOutput(SilentOutput):
    """Prints committed text at once, as into a pipe."""

    def write(self, text):
        """Prints text that is not of the transcript."""
        print(text, end="", flush=True)

    def show(self, transcript, bar):
        """Prints the committed text."""
        self.write(transcript.committed)

    def end(self, bar):
        """Ends the line."""
        self.write("\n")


class TerminalOutput(SilentOutput):
    """Shows the line that grows, with its provisional text, in the bar, and
    prints it above the bar when it is full.

    Arguments
    ---------
    beside : int
        Columns that the bar needs beside the text.
    """

    def __init__(self, beside=30):
        self.line = ""
        self.beside = beside

    def write(self, text):
        """Begins a line."""
        self.line += text

    def show(self, transcript, bar):
        """Shows committed and provisional text."""
        self.line += transcript.committed
        columns = max(2, shutil.get_terminal_size().columns - 1)
        *full, self.line = wrap(self.line, columns)
        for line in full:
            bar.write(line)
        room = min(max(10, columns - self.beside), columns)
        newest = (self.line + transcript.provisional)[-room:]
        while disp_len(newest) > room:
            newest = newest[1:]
        bar.set_description_str(newest, refresh=False)

    def end(self, bar):
        """Prints what is left."""
        bar.set_description_str("", refresh=False)
        bar.write(self.line)
        self.line = ""


def wrap(text, columns):
    """Breaks text into lines, at blanks where there are any.

    Arguments
    ---------
    text : str
        The text.
    columns : int
        Columns of a terminal that a line may take; wide characters take two.

    Returns
    -------
    list of str
        At least one line, of which all but the last are full.

    Example
    -------
    >>> wrap("ONE TWO THREE", 8)
    ['ONE TWO', 'THREE']
    >>> wrap("\\u4e00\\u4e8c\\u4e09", 4)
    ['\u4e00\u4e8c', '\u4e09']
    """
    lines = []
    while disp_len(text) > columns:
        fits = 0
        while disp_len(text[: fits + 1]) <= columns:
            fits += 1
        cut = text.rfind(" ", 1, fits + 1)
        cut = max(1, fits) if cut < 0 else cut
        lines.append(text[:cut])
        text = text[cut:].lstrip()
    return [*lines, text]
