"""A stream over one WebSocket: what all protocols do in the same way."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anyio
from starlette.websockets import WebSocket, WebSocketDisconnect

from speechbrain_llsa_runtime.server.refusal import (
    FAILED,
    NOT_ALLOWED,
    RESTARTING,
    TOO_SLOW,
    Closed,
    Refused,
    close,
)
from speechbrain_llsa_runtime.server.service import Service
from speechbrain_llsa_runtime.utils.errors import must_be, reason

LOG = logging.getLogger(__name__)


class Conversation:
    """One WebSocket, with the limits of its server.

    Arguments
    ---------
    websocket : WebSocket
        The connection, not accepted yet.
    service : Service
        The server.
    """

    def __init__(self, websocket: WebSocket, service: Service) -> None:
        self.websocket = websocket
        self.service = service
        self.lost = False
        """Whether the client has gone without saying so."""

    async def receive(self) -> bytes | str:
        """Waits for the next message.

        Returns
        -------
        bytes or str

        Raises
        ------
        Closed
            If none comes for too long.
        WebSocketDisconnect
            If the client has left.
        """
        seconds = self.service.limits.idle_seconds
        try:
            message = await asyncio.wait_for(self.websocket.receive(), seconds)
        except asyncio.TimeoutError:
            raise Closed(
                NOT_ALLOWED,
                must_be("client", "heard from", f"nothing for {seconds:g} s"),
            ) from None
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1006))
        data = message.get("bytes")
        return message["text"] if data is None else data

    async def send(self, message: dict[str, Any]) -> None:
        """Sends a message as JSON, and waits until there is room for more.

        Arguments
        ---------
        message : dict
            The message.

        Raises
        ------
        Closed
            If the client does not read.
        WebSocketDisconnect
            If it has left.
        """
        seconds = self.service.limits.unread_seconds
        text = json.dumps(message, ensure_ascii=False)
        try:
            await asyncio.wait_for(self.websocket.send_text(text), seconds)
        except asyncio.TimeoutError:
            raise Closed(
                TOO_SLOW,
                must_be("client", "reading", f"no read for {seconds:g} s"),
            ) from None

    async def run(self, *parts: Callable[[], Awaitable[None]]) -> int:
        """Runs the parts of a conversation side by side, until one of them
        ends, and closes the connection.

        Arguments
        ---------
        *parts : callable
            Each makes a coroutine, which ends when the conversation does.

        Returns
        -------
        int
            The code that it was closed with.
        """
        code, message = await self._run(parts)
        await self.ended()
        if not self.lost:
            await close(self.websocket, code, message)
        self.service.metrics.closed.labels(str(code)).inc()
        return code

    async def ended(self) -> None:
        """What is done before the connection is closed: nothing here."""

    async def _run(
        self, parts: tuple[Callable[[], Awaitable[None]], ...]
    ) -> tuple[int, str]:
        result = 1000, ""

        async def run_part(
            part: Callable[[], Awaitable[None]], scope: anyio.CancelScope
        ) -> None:
            nonlocal result
            try:
                await part()
            except Closed as closed:
                result = closed.code, str(closed)
            except (WebSocketDisconnect, OSError) as gone:
                self.lost = True
                result = getattr(gone, "code", 1006), ""
            except (TypeError, ValueError) as error:
                result = NOT_ALLOWED, reason(error)
            except Exception:
                LOG.exception("a connection failed")
                result = FAILED, "the server failed, and has logged why"
            scope.cancel()

        async with anyio.create_task_group() as group:
            for part in (*parts, self._watch_server, self._watch_time):
                group.start_soon(run_part, part, group.cancel_scope)
        return result

    async def _watch_server(self) -> None:
        await self.service.closing.wait()
        raise Closed(RESTARTING, "the server is shutting down")

    async def _watch_time(self) -> None:
        seconds = self.service.limits.longest_seconds
        await asyncio.sleep(seconds)
        raise Closed(
            NOT_ALLOWED,
            must_be("connection", f"at most {seconds:g} s long", "more"),
        )


@contextlib.asynccontextmanager
async def refusing(websocket: WebSocket) -> AsyncIterator[None]:
    """Answers a refusal within with its status, before the upgrade.

    Arguments
    ---------
    websocket : WebSocket
        The connection, not accepted yet.
    """
    try:
        yield
    except Refused as refused:
        await websocket.send_denial_response(refused.response())


def parse_message(text: str, kind: str) -> dict[str, Any]:
    """Reads a message of a client.

    Arguments
    ---------
    text : str
        The message.
    kind : str
        What it must be, for the error.

    Returns
    -------
    dict

    Raises
    ------
    ValueError
        If it is not a JSON object.
    """
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise ValueError(must_be("message", kind, repr(text[:40])))
    return message
