"""``/v1/listen``: the live subset of Deepgram's protocol."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Literal

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect

from speechbrain_llsa_runtime.server.async_stream import AsyncStream
from speechbrain_llsa_runtime.server.audio_input import ContainerInput, RawInput
from speechbrain_llsa_runtime.server.conversation import (
    Conversation,
    parse_message,
    refusing,
)
from speechbrain_llsa_runtime.server.engine import ServerFull
from speechbrain_llsa_runtime.server.listen_messages import ListenMessages
from speechbrain_llsa_runtime.server.listen_parameters import ListenParameters
from speechbrain_llsa_runtime.server.live_stream import Storage, StreamOptions
from speechbrain_llsa_runtime.server.refusal import (
    FAILED,
    RESTARTING,
    UNREADABLE,
    Closed,
    Refused,
)
from speechbrain_llsa_runtime.server.service import Client, HeldName, Service
from speechbrain_llsa_runtime.transcripts.endpointer import (
    Endpointer,
    EndpointRule,
)
from speechbrain_llsa_runtime.utils.errors import must_be, reason

MESSAGES = "audio, or one of KeepAlive, Finalize and CloseStream"


async def listen(websocket: WebSocket) -> None:
    """Serves a connection.

    Arguments
    ---------
    websocket : WebSocket
        The connection.
    """
    service: Service = websocket.app.state.service
    async with refusing(websocket):
        with service.admit(websocket, "listen") as client:
            conversation = await _begin(websocket, service)
            service.note_opened("listen")
            await conversation.hold(client)


async def explain(request: Request) -> Response:
    """Answers HTTP as a WebSocket of the same URL would be: browsers do not
    tell a page why a WebSocket has been refused.

    Arguments
    ---------
    request : Request
        The request.

    Returns
    -------
    starlette.responses.Response
        The refusal; 426 if there is none.
    """
    service: Service = request.app.state.service
    try:
        service.check(request)
        parameters, _ = _read(request, service)
        if parameters.resume not in (None, "new"):
            await service.check_kept(parameters.resume)
    except Refused as refused:
        return refused.response()
    return Refused(
        426,
        "UPGRADE_REQUIRED",
        must_be("request", "one for a WebSocket", "another one"),
        {"Upgrade": "websocket"},
    ).response()


def _read(
    connection: HTTPConnection, service: Service
) -> tuple[ListenParameters, StreamOptions]:
    try:
        parameters = ListenParameters.parse(
            connection.query_params.multi_items()
        )
        service.check_names(parameters.model, parameters.language)
        return parameters, _options(parameters, service)
    except (ImportError, TypeError, ValueError) as error:
        raise Refused(400, "INVALID_QUERY_PARAMETER", reason(error)) from error


async def _begin(websocket: WebSocket, service: Service) -> _Listen:
    parameters, options = _read(websocket, service)
    if parameters.resume is None:
        stream = await _open(service, options)
        return _Listen(websocket, service, parameters, stream)
    is_new = parameters.resume == "new"
    name = service.resumption.new_name() if is_new else parameters.resume
    service.check_signed(name)
    held = await service.hold_name(name)
    try:
        saved = None if is_new else await service.take_saved(name)
        storage = service.resumption.storage(name)
        stream = await _open(service, options, saved, storage)
    except BaseException:
        held.release()
        raise
    return _Listen(websocket, service, parameters, stream, held)


async def _open(
    service: Service,
    options: StreamOptions,
    saved: bytes | None = None,
    storage: Storage | None = None,
) -> AsyncStream:
    try:
        return await AsyncStream.open(service.engine, options, saved, storage)
    except ServerFull:
        raise service.full() from None
    except (TypeError, ValueError) as error:
        raise Refused(400, "INVALID_QUERY_PARAMETER", reason(error)) from error


def _options(parameters: ListenParameters, service: Service) -> StreamOptions:
    search = None
    if parameters.keyterms:
        search = service.make_search(parameters.keyterms)
    return StreamOptions(search, _endpointer(parameters.endpointing))


def _endpointer(
    milliseconds: int | bool | None,
) -> Endpointer | Literal[False] | None:
    if milliseconds is None:
        return None
    if milliseconds is False:
        return False
    seconds = milliseconds / 1000
    return Endpointer(
        after_speech=EndpointRule(speech=True, silence_seconds=seconds)
    )


class _Listen(Conversation):
    """One connection.

    Arguments
    ---------
    websocket : WebSocket
        The connection.
    service : Service
        The server.
    parameters : ListenParameters
        What the client asks for.
    stream : AsyncStream
        Its stream.
    held : HeldName, optional
        The name that the stream is stored under, if it is.
    """

    def __init__(
        self,
        websocket: WebSocket,
        service: Service,
        parameters: ListenParameters,
        stream: AsyncStream,
        held: HeldName | None = None,
    ) -> None:
        super().__init__(websocket, service)
        self._stream = stream
        self._held = held
        self._resumed = stream.received, stream.replayed()
        self._messages = ListenMessages(
            service.model,
            parameters.interim_results,
            parameters.utterance_end_ms,
            parameters.ignored,
        )
        self._input: RawInput | ContainerInput
        if parameters.is_raw:
            self._input = RawInput(stream.push, parameters.make_decoder())
        else:
            self._input = ContainerInput(stream.push)

    async def hold(self, client: Client) -> None:
        """Serves the connection to its end."""
        try:
            await self.websocket.accept(client.subprotocol)
            parts = [self._receive, self._send]
            if self._held is not None:
                parts += [self._drain, self._held.wait]
            await self.run(*parts)
        except (WebSocketDisconnect, OSError, RuntimeError):
            pass  # it has gone before it was accepted
        finally:
            # as for a connection whose task is cancelled
            self._input.close()
            self._stream.leave()
            if self._held is not None:
                self._held.release()

    async def ended(self) -> None:
        """Stores the stream for a client that has not ended it, and gives its
        slot back, so that both are there when the client hears of the end."""
        self._input.close()
        if self._held is not None:
            saved = await self._stream.save()
            if saved is not None:
                await self.service.resumption.put(self._held.name, saved)
        self._stream.leave()
        await self._stream.gone()
        if self._held is not None:
            self._held.release()

    async def _receive(self) -> None:
        while True:
            message = await self.receive()
            if isinstance(message, bytes):
                await self._decode(self._input.take(message))
                continue
            kind = parse_message(message, MESSAGES).get("type")
            if kind == "Finalize":
                await self._decode(self._input.flush())
                await self._stream.finalize()
            elif kind == "CloseStream":
                await self._decode(self._input.finish())
                self._stream.finish()
                # what comes after it is of no interest; the client reads
                while True:
                    await self.receive()
            elif kind != "KeepAlive":
                raise ValueError(must_be("message", MESSAGES, repr(kind)))

    async def _decode(self, decoding: Awaitable[None]) -> None:
        try:
            await decoding
        except ValueError as error:
            raise Closed(UNREADABLE, reason(error)) from error

    async def _send(self) -> None:
        if self._held is not None:
            received, replayed = self._resumed
            await self.send(self._messages.session(self._held.name, received))
            for sent in replayed:
                for message in self._messages.take(sent, self._rate):
                    if message["type"] == "Results":
                        await self.send(message)
        while (update := await self._stream.update()) is not None:
            if update.error is not None:
                raise Closed(UNREADABLE, update.error)
            for message in self._messages.take(update, self._rate):
                await self.send(message)
            if update.finished:
                duration = update.samples / self._rate
                await self.send(self._messages.metadata(duration))
                return
        raise Closed(FAILED, "the stream has ended")

    @property
    def _rate(self) -> int:
        return self._stream.sample_rate or 1

    async def _drain(self) -> None:
        """Lets a client that can go on elsewhere do so."""
        await self.service.draining.wait()
        raise Closed(RESTARTING, "the server is shutting down")
