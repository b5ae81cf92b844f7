"""How the server says no: before a stream with a status, in it with a close
code, and one sentence in both cases."""

from __future__ import annotations

import asyncio
import contextlib

from starlette.responses import JSONResponse
from starlette.websockets import WebSocket

UNREADABLE = 1007
"""Close code for audio that cannot be decoded."""

NOT_ALLOWED = 1008
"""Close code for messages that the protocol does not have, and for limits."""

FAILED = 1011
"""Close code for an error of the server."""

RESTARTING = 1012
"""Close code for a server that shuts down."""

TOO_SLOW = 1013
"""Close code for a client that does not read."""

CLOSE_SECONDS = 2.0
"""How long the last message may wait for its client."""

LONGEST_REASON = 123
"""Bytes that WebSocket allows for the reason of a close."""


class Refused(Exception):
    """A request is refused before anything has begun.

    Arguments
    ---------
    status : int
        HTTP status.
    code : str
        What is wrong, as one word in capitals, for programs.
    message : str
        The same in one sentence.
    headers : dict, optional
        Further headers of the response.
    parameter : str, optional
        The name of what is wrong.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        headers: dict[str, str] | None = None,
        parameter: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.parameter = parameter
        self.code = code
        self.headers = headers or {}

    def response(self) -> JSONResponse:
        """Makes the response.

        Returns
        -------
        starlette.responses.JSONResponse
        """
        return JSONResponse(
            {"err_code": self.code, "err_msg": str(self)},
            self.status,
            self.headers,
        )


class Closed(Exception):
    """A connection is closed by the server.

    Arguments
    ---------
    code : int
        WebSocket's close code.
    message : str
        Why, in one sentence.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


async def close(websocket: WebSocket, code: int, message: str = "") -> None:
    """Closes a connection, which may be gone already.

    Arguments
    ---------
    websocket : WebSocket
        The connection.
    code : int
        WebSocket's close code.
    message : str
        Why, in one sentence; cut to what WebSocket allows.
    """
    short = message.encode()[:LONGEST_REASON].decode(errors="ignore")
    # It may have been closed from the other side; and where the client does
    # not read, nor does it read this.
    with contextlib.suppress(RuntimeError, OSError, asyncio.TimeoutError):
        await asyncio.wait_for(websocket.close(code, short), CLOSE_SECONDS)
