"""Outputs for committed text: a terminal, a pipe, or lines of JSON.

Each output has ``show(transcript, segments, bar)``, which takes the transcript
of a push, the segments that it closes, and the progress bar below the text; and
``end(text, number, segments, bar)`` for the end of the stream, which takes the
text and number of its last segment, and that segment itself if it has words.
"""

import json
import shutil
import sys

from tqdm.utils import disp_len


def choose_output(
    as_json, endpointer, prefix, head, metadata, reserved_columns=30
):
    """Chooses the output for committed text.

    Arguments
    ---------
    as_json : bool
        Whether to print lines of JSON.
    endpointer : Endpointer or None
        With an endpointer, each segment is a line.
    prefix : str
        Text before the transcript.
    head : dict
        Fields at the start of each line of JSON.
    metadata : dict
        Fields after the text in each line of JSON; read when the line is
        printed.
    reserved_columns : int
        Columns that the bar needs beside the text.

    Returns
    -------
    JsonOutput or SegmentOutput or TerminalOutput or PlainOutput
    """
    if as_json:
        return JsonOutput(head, metadata)
    if endpointer is not None:
        return SegmentOutput(prefix, reserved_columns)
    if sys.stdout.isatty() and sys.stderr.isatty():
        return TerminalOutput(prefix, reserved_columns)
    return PlainOutput(prefix)


class JsonOutput:
    """Prints a line of JSON for each segment that closes; the last one, which
    may have no words, closes when the stream ends.

    Arguments
    ---------
    head : dict
        Fields at the start of each line.
    metadata : dict
        Fields after the text; read when the line is printed.
    """

    def __init__(self, head, metadata):
        self.head = head
        self.metadata = metadata

    def _print(self, text, number, words, end_of_file, bar):
        line = {
            **self.head,
            "text": text,
            **self.metadata,
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
    """Prints a line for each segment that closes, above the progress bar, which
    shows the open segment.

    Arguments
    ---------
    prefix : str
        Text before each line.
    reserved_columns : int
        Columns that the bar needs beside the text.
    """

    def __init__(self, prefix="", reserved_columns=30):
        self.prefix = prefix
        self.reserved_columns = reserved_columns
        self.words = []

    def show(self, transcript, segments, bar):
        """Prints the closed segments, and shows the words of the open one."""
        self.words += transcript.final_words
        self.words = [
            word for word in self.words if word.segment == transcript.segment
        ]
        open_words = [word for word in transcript.words if not word.final]
        line = " ".join(word.text for word in [*self.words, *open_words])
        _show_below(line, bar, self.reserved_columns)
        self._print(segments, bar)

    def end(self, text, number, segments, bar):
        """Prints the last one."""
        _show_below("", bar, self.reserved_columns)
        self._print(segments, bar)

    def _print(self, segments, bar):
        for segment in segments:
            line = self.prefix + segment.text
            lines = wrap(line, _columns()) if sys.stdout.isatty() else [line]
            for part in lines:
                _print_line(part, bar)


class PlainOutput:
    """Prints committed text immediately, as for a pipe.

    Arguments
    ---------
    prefix : str
        Text before the transcript.
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
    """Shows the current line, including provisional text, in the progress bar;
    a full line is printed above it.

    Arguments
    ---------
    prefix : str
        Text before the transcript.
    reserved_columns : int
        Columns that the bar needs beside the text.
    """

    def __init__(self, prefix="", reserved_columns=30):
        self.line = prefix
        self.reserved_columns = reserved_columns

    def show(self, transcript, segments, bar):
        """Shows committed and provisional text."""
        self.line += transcript.committed
        *full, self.line = wrap(self.line, _columns())
        for line in full:
            _print_line(line, bar)
        _show_below(
            self.line + transcript.provisional, bar, self.reserved_columns
        )

    def end(self, text, number, segments, bar):
        """Prints the last line."""
        _show_below("", bar, self.reserved_columns)
        _print_line(self.line, bar)
        self.line = ""


def _columns():
    """Width of a line that the terminal does not wrap."""
    return max(2, shutil.get_terminal_size().columns - 1)


def _show_below(text, bar, reserved_columns):
    """Shows as much of the end of a text in the bar as fits."""
    columns = _columns()
    room = min(max(10, columns - reserved_columns), columns)
    newest = text[-room:]
    while disp_len(newest) > room:
        newest = newest[1:]
    bar.set_description_str(newest, refresh=False)


def _print_line(line, bar):
    """Prints a line above the bar, and flushes it for pipes."""
    bar.write(line)
    sys.stdout.flush()


def wrap(text, columns):
    """Wraps text into lines, at spaces if possible.

    Arguments
    ---------
    text : str
        The text.
    columns : int
        Maximum width of a line in terminal columns; wide characters take two.

    Returns
    -------
    list of str
        At least one line; all but the last are full.

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
