"""What a client of ``/v1/listen`` may ask for in its URL."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from speechbrain_llsa_runtime.dataio.pcm import PCMDecoder
from speechbrain_llsa_runtime.dataio.resampling import check_rate
from speechbrain_llsa_runtime.utils.errors import must_be

ENCODINGS = {
    "linear16": "s16",
    "linear32": "s32",
    "mulaw": "ulaw",
    "alaw": "alaw",
}
"""Encodings of raw samples, and the names that ``PCMDecoder`` has for them."""

CONTAINERS = ("opus", "ogg-opus", "flac")
"""Encodings that come in a container of their own."""

IGNORED = {
    "callback",
    "callback_method",
    "detect_entities",
    "diarize",
    "diarize_model",
    "dictation",
    "extra",
    "filler_words",
    "keywords",
    "language_hint",
    "measurements",
    "mip_opt_out",
    "multichannel",
    "no_delay",
    "numerals",
    "profanity_filter",
    "punctuate",
    "redact",
    "replace",
    "search",
    "smart_format",
    "tag",
    "tier",
    "utterances",
    "vad_events",
    "version",
}
"""Parameters of Deepgram that mean nothing to this server."""


@dataclass
class ListenParameters:
    """The parameters of a stream.

    Example
    -------
    >>> parameters = ListenParameters.parse(
    ...     [("encoding", "linear16"), ("sample_rate", "8000"), ("tag", "x")]
    ... )
    >>> parameters.sample_rate, parameters.ignored
    (8000, ['tag'])
    >>> ListenParameters.parse([("encoding", "wax")])
    Traceback (most recent call last):
    ...
    ValueError: encoding must be one of linear16, linear32, mulaw, alaw, \
opus, ogg-opus, flac, got 'wax'
    """

    encoding: str | None = None
    """One of ``ENCODINGS`` or ``CONTAINERS``; ``None`` for a header."""

    sample_rate: int | None = None
    """Samples per second of raw samples."""

    channels: int = 1
    """Channels of raw samples."""

    interim_results: bool = False
    """Whether provisional text is sent."""

    endpointing: int | bool | None = None
    """Milliseconds of silence that close a segment; ``False`` for never;
    ``None`` as the server says."""

    utterance_end_ms: int | None = None
    """Milliseconds of silence after a word that are told; ``None`` for
    never."""

    keyterms: list[str] = field(default_factory=list)
    """Words or phrases that are likely."""

    model: str | None = None
    """The name of the model."""

    language: str | None = None
    """The language that is spoken."""

    resume: str | None = None
    """The name of the session to go on with; "new" for a new one that can be
    gone on with; ``None`` for one that cannot."""

    ignored: list[str] = field(default_factory=list)
    """Names of parameters that mean nothing here."""

    @classmethod
    def parse(cls, items: Iterable[tuple[str, str]]) -> ListenParameters:
        """Reads the query of a URL.

        Arguments
        ---------
        items : iterable of tuple of str
            Names and values.

        Returns
        -------
        ListenParameters

        Raises
        ------
        ValueError
            If a name is unknown, or a value is not allowed.
        """
        parameters = cls()
        for name, value in items:
            if name in IGNORED:
                parameters.ignored.append(name)
            elif name == "keyterm":
                parameters.keyterms.append(value)
            elif name in _READERS:
                setattr(parameters, name, _READERS[name](name, value))
            else:
                raise ValueError(
                    must_be(
                        "query",
                        "of parameters that this server or Deepgram knows",
                        repr(name),
                    )
                )
        parameters._check()
        return parameters

    @property
    def is_raw(self) -> bool:
        """Whether samples come without a header."""
        return self.encoding in ENCODINGS

    def make_decoder(self) -> PCMDecoder:
        """Makes the decoder of raw samples.

        Returns
        -------
        PCMDecoder
        """
        assert self.encoding is not None and self.sample_rate is not None
        return PCMDecoder(
            self.sample_rate, self.channels, ENCODINGS[self.encoding]
        )

    def _check(self) -> None:
        if self.is_raw:
            if self.sample_rate is None:
                raise ValueError(
                    must_be("sample_rate", "given with encoding", "none")
                )
            self.make_decoder()
        elif self.resume is not None:
            raise ValueError(
                must_be(
                    "encoding",
                    f"one of {', '.join(ENCODINGS)} with resume",
                    self.encoding or "none",
                )
            )


def _integer(name: str, value: str) -> int:
    try:
        number = int(value)
    except ValueError:
        number = -1
    if number < 0:
        raise ValueError(must_be(name, "an integer of at least 0", repr(value)))
    return number


def _rate(name: str, value: str) -> int:
    return check_rate(name, _integer(name, value))


def _truth(name: str, value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise ValueError(must_be(name, "true or false", repr(value)))
    return value.lower() == "true"


def _text(name: str, value: str) -> str:
    if not value:
        raise ValueError(must_be(name, "a name", "''"))
    return value


def _encoding(name: str, value: str) -> str:
    allowed = [*ENCODINGS, *CONTAINERS]
    if value not in allowed:
        raise ValueError(
            must_be(name, f"one of {', '.join(allowed)}", repr(value))
        )
    return value


def _endpointing(name: str, value: str) -> int | bool | None:
    if value.lower() == "true":
        return None
    if value.lower() == "false":
        return False
    return _integer(name, value) or False


_READERS = {
    "encoding": _encoding,
    "sample_rate": _rate,
    "channels": _integer,
    "interim_results": _truth,
    "endpointing": _endpointing,
    "utterance_end_ms": _integer,
    "model": _text,
    "language": _text,
    "resume": _text,
}
