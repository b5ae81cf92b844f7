"""The output of a stream: text, words with times, segments."""

import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Word:
    """A recognised word and its times.

    Example
    -------
    >>> Word("SEVEN", start=1.2, end=1.56, confidence=0.98).to_dict()["word"]
    'SEVEN'
    """

    text: str
    """The word."""

    start: float
    """Start in seconds from the start of the stream."""

    end: float
    """End in seconds from the start of the stream."""

    confidence: float
    """Confidence of the model, 0 to 1: the lowest confidence of its tokens,
    each of which is the largest probability of the token's label in any of its
    frames."""

    final: bool = True
    """Whether the word, its times and its confidence will not change. A word
    becomes final when the next one begins, at an endpoint, or at the end of the
    stream; until then, it may continue."""

    segment: int = 0
    """Serial number of the segment that it belongs to, from 0."""

    def to_dict(self) -> dict[str, Any]:
        """Converts the word to a dict, for JSON.

        Returns
        -------
        dict
            With "word", "start" and "end" in seconds, "confidence", "final"
            and "segment".
        """
        values = asdict(self)
        return {
            "word": values.pop("text"),
            **values,
            "confidence": round(self.confidence, 4),
        }


@dataclass(frozen=True)
class Transcript:
    """The output of one call to a session.

    Example
    -------
    >>> Transcript(committed="HELLO ", provisional="WOR").committed
    'HELLO '
    """

    committed: str
    """Text that this call adds, and that will not change. The concatenated
    texts of all calls are the text of the stream, with or without endpoints."""

    provisional: str = ""
    """Preliminary text of the frames after the committed ones, to be shown
    after all committed text. It replaces that of the previous call."""

    words: tuple[Word, ...] = ()
    """:class:`Word` by word: those that this call makes final, followed by
    those that are not final yet, which replace those of the previous call."""

    segment: int = 0
    """Serial number of the segment that is open after this call, from 0. An
    endpoint closes a segment and opens the next."""

    @property
    def final_words(self) -> tuple[Word, ...]:
        """The words that this call makes final."""
        return tuple(word for word in self.words if word.final)

    def to_dict(self) -> dict[str, Any]:
        """Converts the transcript to a dict, for JSON.

        Returns
        -------
        dict
            The fields; words as of :meth:`Word.to_dict`.
        """
        return {
            "committed": self.committed,
            "provisional": self.provisional,
            "segment": self.segment,
            "words": [word.to_dict() for word in self.words],
        }

    def to_json(self) -> str:
        """Converts the transcript to one line of JSON.

        Returns
        -------
        str

        Example
        -------
        >>> Transcript("", "", (Word("A", 0.5, 0.8, 0.75),)).to_json()
        '{"committed": "", "provisional": "", "segment": 0, "words": \
[{"word": "A", "start": 0.5, "end": 0.8, "confidence": 0.75, "final": true, \
"segment": 0}]}'
        """
        return json.dumps(self.to_dict(), ensure_ascii=False)


@dataclass(frozen=True)
class Segment:
    """The words between two endpoints, all of them final."""

    number: int
    """Serial number of the segment, from 0."""

    words: tuple[Word, ...]
    """The words of the segment, at least one."""

    @property
    def text(self) -> str:
        """The words, joined by spaces."""
        return " ".join(word.text for word in self.words)

    @property
    def start(self) -> float:
        """Seconds from the start of the stream to its first word."""
        return self.words[0].start

    @property
    def end(self) -> float:
        """Seconds from the start of the stream to the end of its last word."""
        return self.words[-1].end


class SegmentCollector:
    """Collects the final words of transcripts into segments.

    A session does not keep words that it has returned, to bound its memory;
    this class keeps them until their segment closes. Segments without words are
    left out.

    Example
    -------
    >>> collector = SegmentCollector()
    >>> one = Word("ONE", 0.1, 0.3, 0.9)
    >>> two = Word("TWO", 2.1, 2.3, 0.9, segment=1)
    >>> collector.take(Transcript("ONE", words=(one,), segment=0))
    []
    >>> (closed,) = collector.take(Transcript(" TWO", words=(two,), segment=1))
    >>> closed.number, closed.text
    (0, 'ONE')
    >>> [segment.text for segment in collector.finish()]
    ['TWO']
    """

    def __init__(self) -> None:
        self._words: list[Word] = []

    def take(self, transcript: Transcript) -> list[Segment]:
        """Adds the output of a call.

        Arguments
        ---------
        transcript : Transcript
            Output of the call.

        Returns
        -------
        list of Segment
            The segments that it closed.
        """
        self._words += transcript.final_words
        return self._close(transcript.segment)

    def finish(self) -> list[Segment]:
        """Ends the stream.

        Returns
        -------
        list of Segment
            The last segment, or none.
        """
        return self._close(None)

    def _close(self, open_segment: int | None) -> list[Segment]:
        closed: dict[int, list[Word]] = {}
        for word in self._words:
            closed.setdefault(word.segment, []).append(word)
        self._words = []
        if open_segment is not None:
            self._words = closed.pop(open_segment, [])
        return [Segment(n, tuple(words)) for n, words in closed.items()]
