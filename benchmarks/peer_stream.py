"""An utterance through a recogniser as a user streams it, on a clock of its
own: when each text was shown, and since when a word no longer changes.

The clock is virtual: audio arrives as it is spoken, the work takes what it
really took, and work that comes while other work runs waits for it. So the
times are those of a machine that does nothing else, and the run takes no
longer than the work.
"""

import time
from dataclasses import dataclass
from difflib import SequenceMatcher

import _paths  # noqa: F401
from speechbrain_llsa_runtime.geometry import SAMPLE_RATE


@dataclass(frozen=True)
class Shown:
    """What a recogniser showed at a time."""

    seconds: float
    """Since the utterance began."""

    text: str
    """The whole text."""

    at_end: bool = False
    """Whether it is the text of the whole utterance."""


def stream(recognizer, samples, clock=time.perf_counter):
    """Streams an utterance.

    Arguments
    ---------
    recognizer : object
        With ``step_seconds``; ``skips``, whether a late call takes all audio
        that has arrived; ``begin()``, ``push(samples)`` and
        ``finish(samples)``, of which the last two return the whole text.
    samples : numpy.ndarray
        The utterance at 16 kHz, (samples,).
    clock : callable
        Gives seconds.

    Returns
    -------
    list of Shown
        In order.
    float
        Seconds of work.

    Example
    -------
    >>> import numpy as np
    >>> class Count:
    ...     step_seconds, skips = 1.0, False
    ...     def begin(self): self.total = 0
    ...     def push(self, samples):
    ...         self.total += len(samples)
    ...         return f"{self.total}"
    ...     finish = push
    >>> ticks = iter(np.arange(0, 9, 0.25))
    >>> shown, work = stream(Count(), np.zeros(24000), lambda: next(ticks))
    >>> [(each.seconds, each.text) for each in shown], work
    ([(1.25, '16000'), (1.75, '24000')], 0.5)
    """
    step = round(recognizer.step_seconds * SAMPLE_RATE)
    shown, work, free, position = [], 0.0, 0.0, 0
    recognizer.begin()
    while shown == [] or not shown[-1].at_end:
        arrived = position + step
        if recognizer.skips:
            arrived = max(arrived, int(free * SAMPLE_RATE))
        at_end = arrived >= len(samples)
        call = recognizer.finish if at_end else recognizer.push
        began = clock()
        text = call(samples[position:arrived])
        seconds = float(clock() - began)
        work += seconds
        free = max(free, min(arrived, len(samples)) / SAMPLE_RATE) + seconds
        shown.append(Shown(free, text, at_end))
        position = arrived
    return shown, work


def final_times(shown, words_of):
    """Since when each word of the last text has been shown without a break,
    where it stands.

    Arguments
    ---------
    shown : list of Shown
        In order.
    words_of : callable
        Splits a text into words.

    Returns
    -------
    list of Shown
        For each word of the last text, what first showed it for good.

    Example
    -------
    >>> shown = [
    ...     Shown(1.0, "won six"),
    ...     Shown(2.0, "one six tea"),
    ...     Shown(3.0, "one six two"),
    ... ]
    >>> [each.seconds for each in final_times(shown, str.split)]
    [2.0, 1.0, 3.0]
    """
    last = words_of(shown[-1].text)
    first = [shown[-1]] * len(last)
    stays = set(range(len(last)))
    for each in reversed(shown):
        matcher = SequenceMatcher(None, words_of(each.text), last, False)
        stays &= {
            block.b + offset
            for block in matcher.get_matching_blocks()
            for offset in range(block.size)
        }
        for word in stays:
            first[word] = each
    return first
