"""Where text goes as it is committed: a terminal, a pipe, or lines of JSON.

Each output takes ``show(transcript, segments, bar)`` for what a session says,
the segments that this closes, and the bar that stands below; and, when the
stream ends, ``end(text, number, segments, bar)``: text and number of the
segment that it ends in, and this segment itself, if it has words.
"""

import json
import shutil
import sys

from tqdm.utils import disp_len


def choose_output(as_json, endpointer, prefix, head, about, beside=30):
    """What shows text.

    Arguments
    ---------
    as_json : bool
        Whether lines of JSON are asked for.
    endpointer : Endpointer or None
        Where segments close. Each of them is a line then.
    prefix : str
        What stands before the text.
    head : dict
        What stands at the beginning of each line of JSON.
    about : dict
        What stands behind the text in a line of JSON, as it is when the line
        is printed.
    beside : int
        Columns that the bar needs beside the text.

    Returns
    -------
    JsonOutput or SegmentOutput or TerminalOutput or PlainOutput
    """
    if as_json:
        return JsonOutput(head, about)
    if endpointer is not None:
        return SegmentOutput(prefix, beside)
    if sys.stdout.isatty() and sys.stderr.isatty():
        return TerminalOutput(prefix, beside)
    return PlainOutput(prefix)


class JsonOutput:
    """Prints a line of JSON for each segment when it closes, and for the last
    one, which may have no words, when the stream ends.

    Arguments
    ---------
    head : dict
        What stands at the beginning of each line.
    about : dict
        What stands behind the text.
    """

    def __init__(self, head, about):
        self.head = head
        self.about = about

    def _print(self, text, number, words, end_of_file, bar):
        line = {
            **self.head,
            "text": text,
            **self.about,
            "segment": number,
            "end_of_file": end_of_file,
            "words": [word.to_dict() for word in words],
        }
        _print_line(json.dumps(line), bar)

    def show(self, transcript, segments, bar):
        """Prints the closed segments."""
        for segment in segments:
            self._print(segment.text, segment.number, segment.words, False, bar)

    def end(self, text, number, segments, bar):
        """Prints the last one."""
        words = [word for segment in segments for word in segment.words]
        self._print(text, number, words, True, bar)


class SegmentOutput:
    """Prints a line for each segment when it closes, over the bar, which
    shows what goes on.

    Arguments
    ---------
    prefix : str
        What stands before each line.
    beside : int
        Columns that the bar needs beside the text.
    """

    def __init__(self, prefix="", beside=30):
        self.prefix = prefix
        self.beside = beside
        self.words = []

    def show(self, transcript, segments, bar):
        """Prints the closed segments, and shows the words of the open one."""
        self.words += transcript.final_words
        self.words = [
            word for word in self.words if word.segment == transcript.segment
        ]
        going_on = [word for word in transcript.words if not word.final]
        line = " ".join(word.text for word in [*self.words, *going_on])
        _show_below(line, bar, self.beside)
        self._print(segments, bar)

    def end(self, text, number, segments, bar):
        """Prints the last one."""
        _show_below("", bar, self.beside)
        self._print(segments, bar)

    def _print(self, segments, bar):
        for segment in segments:
            line = self.prefix + segment.text
            lines = wrap(line, _columns()) if sys.stdout.isatty() else [line]
            for part in lines:
                _print_line(part, bar)


class PlainOutput:
    """Prints committed text at once, as into a pipe.

    Arguments
    ---------
    prefix : str
        What stands before the text.
    """

    def __init__(self, prefix=""):
        self.prefix = prefix

    def _write(self, text):
        print(text, end="", flush=True)

    def show(self, transcript, segments, bar):
        """Prints the committed text."""
        self._write(self.prefix + transcript.committed)
        self.prefix = ""

    def end(self, text, number, segments, bar):
        """Ends the line."""
        self._write("\n")


class TerminalOutput:
    """Shows the line that grows, with its provisional text, in the bar, and
    prints it above the bar when it is full.

    Arguments
    ---------
    prefix : str
        What stands before the text.
    beside : int
        Columns that the bar needs beside the text.
    """

    def __init__(self, prefix="", beside=30):
        self.line = prefix
        self.beside = beside

    def show(self, transcript, segments, bar):
        """Shows committed and provisional text."""
        self.line += transcript.committed
        *full, self.line = wrap(self.line, _columns())
        for line in full:
            _print_line(line, bar)
        _show_below(self.line + transcript.provisional, bar, self.beside)

    def end(self, text, number, segments, bar):
        """Prints what is left."""
        _show_below("", bar, self.beside)
        _print_line(self.line, bar)
        self.line = ""


def _columns():
    """Columns that a line may take, so that the terminal does not wrap it."""
    return max(2, shutil.get_terminal_size().columns - 1)


def _show_below(text, bar, beside):
    """Shows the end of a text in the bar, as much of it as fits there."""
    columns = _columns()
    room = min(max(10, columns - beside), columns)
    newest = text[-room:]
    while disp_len(newest) > room:
        newest = newest[1:]
    bar.set_description_str(newest, refresh=False)


def _print_line(line, bar):
    """Prints a line above the bar, at once also where it goes into a pipe."""
    bar.write(line)
    sys.stdout.flush()


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
