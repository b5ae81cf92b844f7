"""When words appear: how long after they were said."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Said:
    """What one push to a session said."""

    seconds: float | None
    """Audio pushed so far. ``None`` for the end of the stream."""

    committed: str
    """Text that the push adds."""

    provisional: str
    """Text that is shown behind all committed text."""

    word_ends: tuple[float, ...] = ()
    """Where the words end that the push made final, in seconds, as the model
    has it; none for a session that says no times."""


@dataclass(frozen=True)
class Delay:
    """How long after their ends words appear."""

    words: int
    """Words that were measured: right ones, whose ends are known, and which
    appeared while the stream went on."""

    at_end: int
    """Words that appeared only when the stream ended. They are left out: their
    delay is up to the caller who ends it."""

    median_seconds: float | None
    """Median over the words. ``None`` without any."""

    p90_seconds: float | None
    """The delay that 90 % of the words do not exceed. ``None`` without any."""


def word_moments(said, words):
    """When each word of a text appeared.

    Arguments
    ---------
    said : list of Said
        All that a session said, in order.
    words : list of str
        The words of all committed text.

    Returns
    -------
    list of float or None
        Audio pushed when each word had been committed to its last letter;
        ``None`` where that was the end of the stream.
    list of float or None
        The same for when it was first shown, committed or provisional, with
        all words before it as they were committed in the end.

    Example
    -------
    >>> said = [
    ...     Said(0.5, "", "ONE"),
    ...     Said(1.0, "ON", "E SIX"),
    ...     Said(1.5, "E SI", "XTY"),
    ...     Said(None, "X", ""),
    ... ]
    >>> word_moments(said, ["ONE", "SIX"])
    ([1.5, None], [0.5, 1.0])
    """
    committed, shown = [], []
    first, tail = 0, ""  # the committed text from this word on
    newest = None
    for each in said:
        if not each.committed and each.provisional == newest:
            continue
        newest = each.provisional
        tail += each.committed
        ahead = first + _equal((tail + each.provisional).split(), words[first:])
        done = _equal(tail.split(), words[first:])
        committed += [each.seconds] * (first + done - len(committed))
        shown += [each.seconds] * (max(ahead, len(committed)) - len(shown))
        if done > 1:
            first += done - 1
            tail = tail.split(maxsplit=done - 1)[-1]
    return committed, shown


def _equal(words, others):
    """How many words are equal, from the first on."""
    count = 0
    for word, other in zip(words, others, strict=False):
        if word != other:
            break
        count += 1
    return count


class WordDelays:
    """Gathers the delays of the words that are right, against where they end:
    by the reference, or, where that has no times at all, by the model.

    Arguments
    ---------
    source : str
        "reference" or "model".

    Example
    -------
    >>> from speechbrain_llsa.evaluation.utterance import SpokenWord
    >>> delays = WordDelays("reference")
    >>> said = [Said(0.5, "", "ONE"), Said(1.0, "ONE", ""), Said(None, "", "")]
    >>> delays.append(said, "ONE", [SpokenWord("ONE", 0.1, 0.4)], [(0, 0)])
    >>> delays.emission.summary().median_seconds
    0.6
    """

    def __init__(self, source):
        self.source = source
        self.emission = Delays()
        self.display = Delays()

    def append(self, said, text, words, right):
        """Adds the words of one utterance, if it is known where they end.

        Arguments
        ---------
        said : list of Said
            All that its session said, in order.
        text : str
            All committed text.
        words : list of SpokenWord or None
            The words that were said; ``None`` where nobody knows.
        right : list of tuple of int
            The words that are right: index of each in the text and in
            ``words``.
        """
        texts = text.split()
        if self.source == "reference":
            ends = words and {
                ours: words[theirs].end_seconds for ours, theirs in right
            }
        else:
            known = [end for each in said for end in each.word_ends]
            ends = len(known) == len(texts) and {
                ours: known[ours] for ours, _ in right
            }
        if not ends:
            return
        committed, shown = word_moments(said, texts)
        for ours, end_seconds in ends.items():
            self.emission.append(committed[ours], end_seconds)
            self.display.append(shown[ours], end_seconds)


class Delays:
    """Gathers the delays of words.

    Example
    -------
    >>> delays = Delays()
    >>> for moment in (1.2, 1.4, None):
    ...     delays.append(moment, 1.0)
    >>> delays.summary().at_end, round(delays.summary().median_seconds, 3)
    (1, 0.3)
    """

    def __init__(self):
        self.seconds = []
        self.at_end = 0

    def append(self, moment, end_seconds):
        """Adds a word.

        Arguments
        ---------
        moment : float or None
            Audio pushed when it appeared, ``None`` at the end of the stream.
        end_seconds : float
            Where the word ends.
        """
        if moment is None:
            self.at_end += 1
        else:
            self.seconds.append(moment - end_seconds)

    def summary(self):
        """All words together.

        Returns
        -------
        Delay or None
            ``None`` without any word.
        """
        if not self.seconds and not self.at_end:
            return None
        median, p90 = None, None
        if self.seconds:
            median, p90 = map(float, np.percentile(self.seconds, [50, 90]))
        return Delay(len(self.seconds), self.at_end, median, p90)
