"""What a stream says: text, words with times, segments."""

import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Word:
    """A word, and when it is spoken.

    Example
    -------
    >>> Word("SEVEN", start=1.2, end=1.56, confidence=0.98).to_dict()["word"]
    'SEVEN'
    """

    text: str
    """The word."""

    start: float
    """Seconds from the start of the stream to where it begins."""

    end: float
    """Seconds from the start of the stream to where it ends."""

    confidence: float
    """How sure the model is of it, 0 to 1: the least of the confidences of
    its tokens, each of which is the largest probability that its label has in
    one of its frames."""

    final: bool = True
    """Whether the word, its times and its confidence will not change. A word
    is final when the next one begins, at an endpoint, and at the end of the
    stream: it may go on until then."""

    segment: int = 0
    """Serial number of the segment that it belongs to, from 0."""

    def to_dict(self) -> dict[str, Any]:
        """The word as a dict, for JSON.

        Returns
        -------
        dict
            With "word", "start" and "end" in seconds, "confidence", "final"
            and "segment".
        """
        given = asdict(self)
        return {
            "word": given.pop("text"),
            **given,
            "confidence": round(self.confidence, 4),
        }


@dataclass(frozen=True)
class Transcript:
    """What one call to a session says.

    Example
    -------
    >>> Transcript(committed="HELLO ", provisional="WOR").committed
    'HELLO '
    """

    committed: str
    """Text that this call adds, and that will not change. The texts of all
    calls, one behind the other, are the text of the stream, whether there are
    endpoints or not."""

    provisional: str = ""
    """What the frames ahead of the committed ones say now, to be shown behind
    all committed text. It replaces that of the call before."""

    words: tuple[Word, ...] = ()
    """:class:`Word` by word: those that this call makes final, and then those
    that are not final yet, which replace those of the call before."""

    segment: int = 0
    """Serial number of the segment that goes on after this call, from 0. An
    endpoint closes a segment, and the next one begins."""

    @property
    def final_words(self) -> tuple[Word, ...]:
        """The words that this call makes final."""
        return tuple(word for word in self.words if word.final)

    def to_dict(self) -> dict[str, Any]:
        """The transcript as a dict, for JSON.

        Returns
        -------
        dict
            The fields, words by :meth:`Word.to_dict`.
        """
        return {
            "committed": self.committed,
            "provisional": self.provisional,
            "segment": self.segment,
            "words": [word.to_dict() for word in self.words],
        }

    def to_json(self) -> str:
        """The transcript as one line of JSON.

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
    """Its serial number, from 0."""

    words: tuple[Word, ...]
    """Its words, at least one."""

    @property
    def text(self) -> str:
        """The words with a space between them."""
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
    """Puts the final words of transcripts together to segments.

    A session does not keep the words that it has given, so that it stays
    small; who wants segments keeps them until they close. Segments without a
    word are left out.

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
        """Takes what a call said.

        Arguments
        ---------
        transcript : Transcript
            What it said.

        Returns
        -------
        list of Segment
            Those that it closed.
        """
        self._words += transcript.final_words
        return self._close(transcript.segment)

    def finish(self) -> list[Segment]:
        """Ends the stream.

        Returns
        -------
        list of Segment
            The last one, or none.
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
