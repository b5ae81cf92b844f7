"""What ``/v1/listen`` tells a client, in the form of Deepgram's messages."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from speechbrain_llsa_runtime.server.updates import Update
from speechbrain_llsa_runtime.transcripts.transcript import Word


class ListenMessages:
    """Makes the messages of one stream from its updates.

    Arguments
    ---------
    model : str
        Name of the model.
    interim_results : bool
        Whether provisional text is sent.
    utterance_end_ms : int, optional
        Milliseconds of silence after a word that are told.
    ignored : list of str
        Parameters that the server ignores.

    Example
    -------
    >>> from speechbrain_llsa_runtime.transcripts.transcript import Transcript
    >>> messages = ListenMessages("english")
    >>> word = Word("ONE", 0.1, 0.4, 0.9)
    >>> update = Update(Transcript("ONE ", "", (word,)), 8000, is_result=True)
    >>> (result,) = messages.take(update, sample_rate=16000)
    >>> result["is_final"], result["channel"]["alternatives"][0]["transcript"]
    (True, 'ONE')
    """

    def __init__(
        self,
        model: str,
        interim_results: bool = False,
        utterance_end_ms: int | None = None,
        ignored: Sequence[str] = (),
    ) -> None:
        self.request_id = str(uuid.uuid4())
        self._created = datetime.now(timezone.utc).isoformat()
        self._model = model
        self._interim_results = interim_results
        self._utterance_end_seconds = utterance_end_ms and (
            utterance_end_ms / 1000
        )
        self._ignored = list(ignored)
        self._start = 0.0
        self._interim = ""
        self._last_word_end: float | None = None

    def session(self, name: str, samples: int) -> dict[str, Any]:
        """The first message of a stream that can be gone on with, which is not
        Deepgram's.

        Arguments
        ---------
        name : str
            Its name.
        samples : int
            Samples that the server has already.

        Returns
        -------
        dict
        """
        return {"type": "Session", "id": name, "samples": samples}

    def take(self, update: Update, sample_rate: int) -> list[dict[str, Any]]:
        """Takes the next update of the stream.

        Arguments
        ---------
        update : Update
            The update.
        sample_rate : int
            Samples per second of the stream.

        Returns
        -------
        list of dict
            Messages.
        """
        now = update.samples / sample_rate
        words = update.transcript.final_words
        messages = []
        if update.is_result:
            end, self._start = update.end(sample_rate), update.start
            messages.append(
                {
                    **self._results(words, end, update, is_final=True),
                    "speech_final": update.closes,
                    "from_finalize": update.finalized,
                    "number": update.number,
                }
            )
            self._start = end
        if words:
            self._last_word_end = words[-1].end
        return [*messages, *self._interim_of(update, now), *self._silence(now)]

    def metadata(self, duration: float) -> dict[str, Any]:
        """The last message.

        Arguments
        ---------
        duration : float
            Seconds of audio of the stream.

        Returns
        -------
        dict
        """
        return {
            "type": "Metadata",
            "transaction_key": "deprecated",
            "request_id": self.request_id,
            "sha256": "",
            "created": self._created,
            "duration": round(duration, 3),
            "channels": 1,
            "models": [self._model],
            "model_info": {self._model: self._model_info()},
            "ignored": self._ignored,
        }

    def _interim_of(self, update: Update, end: float) -> list[dict[str, Any]]:
        words = [word for word in update.transcript.words if not word.final]
        text = " ".join(word.text for word in words)
        if not self._interim_results or text == self._interim:
            return []
        self._interim = text
        return [self._results(words, end, update, is_final=False)]

    def _silence(self, end: float) -> list[dict[str, Any]]:
        last = self._last_word_end
        if last is None or self._utterance_end_seconds is None:
            return []
        if end - last < self._utterance_end_seconds:
            return []
        self._last_word_end = None
        return [
            {"type": "UtteranceEnd", "channel": [0, 1], "last_word_end": last}
        ]

    def _results(
        self,
        words: Sequence[Word],
        end: float,
        update: Update,
        is_final: bool,
    ) -> dict[str, Any]:
        confidence = min((word.confidence for word in words), default=0.0)
        return {
            "type": "Results",
            "channel_index": [0, 1],
            "start": round(self._start, 3),
            "duration": round(max(end - self._start, 0.0), 3),
            "is_final": is_final,
            "speech_final": False,
            "from_finalize": False,
            "channel": {
                "alternatives": [
                    {
                        "transcript": " ".join(word.text for word in words),
                        "confidence": round(confidence, 4),
                        "words": [_word(word) for word in words],
                    }
                ]
            },
            "metadata": {
                "request_id": self.request_id,
                "model_info": self._model_info(),
                "model_uuid": self._model,
            },
            "samples": update.samples,
        }

    def _model_info(self) -> dict[str, str]:
        return {"name": self._model, "version": "", "arch": "speechbrain_llsa"}


def _word(word: Word) -> dict[str, Any]:
    return {
        "word": word.text,
        "punctuated_word": word.text,
        "start": word.start,
        "end": word.end,
        "confidence": round(word.confidence, 4),
    }
