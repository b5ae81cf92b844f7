"""Word delays: how long after being spoken words appear."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class PushOutput:
    """The text that one push to a session produced."""

    seconds: float | None
    """Audio pushed so far. ``None`` at the end of the stream."""

    committed: str
    """Text that the push adds."""

    provisional: str
    """Text shown after all committed text."""

    word_ends: tuple[float, ...] = ()
    """End times of the words that the push made final, in seconds, according to
    the model; empty for a session without word times."""


@dataclass(frozen=True)
class Delay:
    """Distribution of the delays from the end of a word to its appearance."""

    words: int
    """Number of words measured: correct ones, with known ends, that appeared
    before the stream ended."""

    at_end: int
    """Number of words that appeared only at the end of the stream. They are
    left out: their delay depends on when the caller ends it."""

    median_seconds: float | None
    """Median over the words. ``None`` without words."""

    p90_seconds: float | None
    """90th percentile over the words. ``None`` without words."""


def appearance_times(outputs, words):
    """Finds when each word of a text appeared.

    Arguments
    ---------
    outputs : list of PushOutput
        All outputs of a session, in order.
    words : list of str
        The words of all committed text.

    Returns
    -------
    list of float or None
        Audio pushed by the time each word was committed to its last letter;
        ``None`` if that was at the end of the stream.
    list of float or None
        Audio pushed by the time each word was first shown, committed or
        provisional, after exactly the words that precede it in the final text.

    Example
    -------
    >>> outputs = [
    ...     PushOutput(0.5, "", "ONE"),
    ...     PushOutput(1.0, "ON", "E SIX"),
    ...     PushOutput(1.5, "E SI", "XTY"),
    ...     PushOutput(None, "X", ""),
    ... ]
    >>> appearance_times(outputs, ["ONE", "SIX"])
    ([1.5, None], [0.5, 1.0])
    """
    committed, shown = [], []
    first, tail = 0, ""  # committed text from this word on
    newest = None
    for output in outputs:
        if not output.committed and output.provisional == newest:
            continue
        newest = output.provisional
        tail += output.committed
        ahead = first + _common_prefix_length(
            (tail + output.provisional).split(), words[first:]
        )
        done = _common_prefix_length(tail.split(), words[first:])
        committed += [output.seconds] * (first + done - len(committed))
        shown += [output.seconds] * (max(ahead, len(committed)) - len(shown))
        if done > 1:
            first += done - 1
            tail = tail.split(maxsplit=done - 1)[-1]
    return committed, shown


def _common_prefix_length(words, others):
    """Number of equal words at the start of both lists."""
    count = 0
    for word, other in zip(words, others, strict=False):
        if word != other:
            break
        count += 1
    return count


class WordDelays:
    """Collects the delays of correct words from their ends, which come from the
    reference or, where it has no times, from the model.

    Arguments
    ---------
    source : str
        "reference" or "model".

    Example
    -------
    >>> from speechbrain_llsa.evaluation.utterance import SpokenWord
    >>> delays = WordDelays("reference")
    >>> outputs = [PushOutput(0.5, "", "ONE"), PushOutput(1.0, "ONE", "")]
    >>> delays.append(outputs, "ONE", [SpokenWord("ONE", 0.1, 0.4)], [(0, 0)])
    >>> delays.emission.summary().median_seconds
    0.6
    """

    def __init__(self, source):
        self.source = source
        self.emission = Delays()
        self.display = Delays()

    def append(self, outputs, text, words, correct):
        """Adds the words of one utterance, if their ends are known.

        Arguments
        ---------
        outputs : list of PushOutput
            All outputs of its session, in order.
        text : str
            All committed text.
        words : list of SpokenWord or None
            The spoken words with their times; ``None`` if unknown.
        correct : list of tuple of int
            The correct words: index of each in the text and in ``words``.
        """
        texts = text.split()
        if self.source == "reference":
            ends = words and {
                index: words[reference_index].end_seconds
                for index, reference_index in correct
            }
        else:
            model_ends = [end for output in outputs for end in output.word_ends]
            ends = len(model_ends) == len(texts) and {
                index: model_ends[index] for index, _ in correct
            }
        if not ends:
            return
        committed, shown = appearance_times(outputs, texts)
        for index, end_seconds in ends.items():
            self.emission.append(committed[index], end_seconds)
            self.display.append(shown[index], end_seconds)


class Delays:
    """Collects the delays of words.

    Example
    -------
    >>> delays = Delays()
    >>> for seconds in (1.2, 1.4, None):
    ...     delays.append(seconds, 1.0)
    >>> delays.summary().at_end, round(delays.summary().median_seconds, 3)
    (1, 0.3)
    """

    def __init__(self):
        self.seconds = []
        self.at_end = 0

    def append(self, seconds, end_seconds):
        """Adds a word.

        Arguments
        ---------
        seconds : float or None
            Audio pushed by the time it appeared; ``None`` at the end of the
            stream.
        end_seconds : float
            Time at which the word ends.
        """
        if seconds is None:
            self.at_end += 1
        else:
            self.seconds.append(seconds - end_seconds)

    def summary(self):
        """Summarises the delays of all words.

        Returns
        -------
        Delay or None
            ``None`` if no word was added.
        """
        if not self.seconds and not self.at_end:
            return None
        median, p90 = None, None
        if self.seconds:
            median, p90 = map(float, np.percentile(self.seconds, [50, 90]))
        return Delay(len(self.seconds), self.at_end, median, p90)
