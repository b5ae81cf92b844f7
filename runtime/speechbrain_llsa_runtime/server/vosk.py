"""``/``: the protocol of vosk-server. One reply for each message of audio."""

from __future__ import annotations

import asyncio
from typing import Any

from numpy.typing import NDArray
from starlette.websockets import WebSocket, WebSocketDisconnect

from speechbrain_llsa_runtime.dataio.pcm import PCMDecoder
from speechbrain_llsa_runtime.dataio.resampling import check_rate
from speechbrain_llsa_runtime.server.async_stream import AsyncStream
from speechbrain_llsa_runtime.server.conversation import (
    Conversation,
    parse_message,
    refusing,
)
from speechbrain_llsa_runtime.server.engine import ServerFull
from speechbrain_llsa_runtime.server.live_stream import StreamOptions
from speechbrain_llsa_runtime.server.refusal import (
    FAILED,
    TOO_SLOW,
    UNREADABLE,
    Closed,
)
from speechbrain_llsa_runtime.server.service import Client, Service
from speechbrain_llsa_runtime.server.updates import Update
from speechbrain_llsa_runtime.transcripts.endpointer import Endpointer
from speechbrain_llsa_runtime.transcripts.transcript import Word
from speechbrain_llsa_runtime.utils.errors import must_be, reason

MESSAGES = 'audio, or a JSON object with "config", "eof" or "reset"'


async def vosk(websocket: WebSocket) -> None:
    """Serves a connection.

    Arguments
    ---------
    websocket : WebSocket
        The connection.
    """
    service: Service = websocket.app.state.service
    async with refusing(websocket):
        with service.admit(websocket, "vosk") as client:
            service.note_opened("vosk")
            await _Vosk(websocket, service).hold(client)


class _Vosk(Conversation):
    """One connection. Its stream begins with the first audio, since the
    client may change the options before.

    Arguments
    ---------
    websocket : WebSocket
        The connection.
    service : Service
        The server.
    """

    def __init__(self, websocket: WebSocket, service: Service) -> None:
        super().__init__(websocket, service)
        self._stream: AsyncStream | None = None
        self._decoder = PCMDecoder()
        self._hotwords: list[str] = []
        self._with_words = True
        self._words: list[Word] = []
        self._segment = 0

    async def hold(self, client: Client) -> None:
        """Serves the connection to its end."""
        try:
            await self.websocket.accept(client.subprotocol)
            await self.run(self._answer)
        except (WebSocketDisconnect, OSError, RuntimeError):
            pass  # it has gone already
        finally:
            if self._stream is not None:
                self._stream.leave()

    async def _answer(self) -> None:
        while True:
            message = await self.receive()
            control = _control(message)
            if control is None:
                assert isinstance(message, bytes)
                await self._take(self._decoder.push(message))
            elif "config" in control:
                self._configure(control["config"])
            elif control.get("eof"):
                await self._take(self._decoder.finish(), "finish")
                return
            elif control.get("reset"):
                await self._take(self._decoder.finish(), "finalize")
            else:
                raise ValueError(must_be("message", MESSAGES, repr(message)))

    def _configure(self, config: Any) -> None:
        if self._stream is not None or not isinstance(config, dict):
            raise ValueError(
                must_be("config", "an object before all audio", "another")
            )
        rate = config.get("sample_rate", self._decoder.sample_rate)
        if isinstance(rate, float) and rate.is_integer():
            rate = int(rate)
        self._decoder = PCMDecoder(check_rate("sample_rate", rate))
        self._with_words = bool(config.get("words", self._with_words))
        phrases = config.get("phrase_list", [])
        if not isinstance(phrases, list) or not all(
            isinstance(phrase, str) for phrase in phrases
        ):
            raise ValueError(
                must_be("phrase_list", "a list of strings", repr(phrases))
            )
        self._hotwords = [phrase for phrase in phrases if phrase != "[unk]"]

    async def _take(self, samples: NDArray[Any], ending: str = "flush") -> None:
        """Takes audio, and sends the one reply."""
        if self._stream is None:
            self._stream = await self._open()
        sending = asyncio.ensure_future(
            _send_all(self._stream, samples, self._decoder.sample_rate, ending)
        )
        try:
            await self._reply(self._stream)
            await sending
        finally:
            sending.cancel()

    async def _reply(self, stream: AsyncStream) -> None:
        """Sends the one reply, once all of a message has been processed."""
        closed: list[Word] | None = None
        while True:
            update = await stream.update()
            if update is None:
                raise Closed(FAILED, "the stream has ended")
            if update.error is not None:
                raise Closed(UNREADABLE, update.error)
            ended = self._take_update(update)
            closed = ended if closed is None else [*closed, *(ended or [])]
            if update.flushed or update.finalized or update.finished:
                break
        if update.flushed and closed is None:
            words = [*self._words, *_open_words(update)]
            await self.send({"partial": _text(words)})
        else:
            await self.send(self._result(closed or []))

    def _take_update(self, update: Update) -> list[Word] | None:
        """The words of the segments that an update closes, ``None`` if it
        closes none."""
        self._words += update.transcript.final_words
        segment = update.transcript.segment
        if segment == self._segment and not update.finished:
            return None
        self._segment = segment
        ended = [
            word
            for word in self._words
            if word.segment < segment or update.finished
        ]
        self._words = self._words[len(ended) :]
        return ended

    async def _open(self) -> AsyncStream:
        search = None
        if self._hotwords:
            try:
                search = self.service.make_search(self._hotwords)
            except (ImportError, TypeError, ValueError) as error:
                raise ValueError(f"phrase_list: {reason(error)}") from error
        endpointer = self.service.endpointer or Endpointer()
        try:
            return await AsyncStream.open(
                self.service.engine, StreamOptions(search, endpointer)
            )
        except ServerFull as error:
            raise Closed(TOO_SLOW, reason(error)) from error

    def _result(self, words: list[Word]) -> dict[str, Any]:
        if not words or not self._with_words:
            return {"text": _text(words)}
        return {
            "result": [
                {
                    "conf": round(word.confidence, 6),
                    "end": word.end,
                    "start": word.start,
                    "word": word.text,
                }
                for word in words
            ],
            "text": _text(words),
        }


async def _send_all(
    stream: AsyncStream, samples: NDArray[Any], rate: int, ending: str
) -> None:
    if len(samples):
        await stream.push(samples, rate)
    if ending == "finalize":
        await stream.finalize()
    elif ending == "finish":
        stream.finish()
    else:
        stream.flush()


def _control(message: bytes | str) -> dict[str, Any] | None:
    """The message as an object, ``None`` if it is audio. Some clients send the
    end as bytes."""
    if isinstance(message, bytes):
        if len(message) > 16 or b'"eof"' not in message:
            return None
        try:
            message = message.decode()
        except UnicodeDecodeError:
            return None
    return parse_message(message, MESSAGES)


def _open_words(update: Update) -> list[Word]:
    return [word for word in update.transcript.words if not word.final]


def _text(words: list[Word]) -> str:
    return " ".join(word.text for word in words)
