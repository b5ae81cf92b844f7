"""Runs a server until a signal ends it."""

from __future__ import annotations

import asyncio
import logging
import signal
from socket import socket
from types import FrameType

import uvicorn

from speechbrain_llsa_runtime.server.application import make_application
from speechbrain_llsa_runtime.server.service import Service

LOG = logging.getLogger(__name__)

POLL_SECONDS = 0.05

LAST_SECONDS = 5.0
"""How long connections have to end once they have been told to."""


class DrainingServer(uvicorn.Server):
    """A server that, at the first signal, takes no new sessions and lets
    those that go on finish; at the second one it ends at once.

    Arguments
    ---------
    config : uvicorn.Config
        How it is reached.
    service : Service
        What it serves.
    drain_seconds : float
        How long sessions may go on.
    """

    def __init__(
        self, config: uvicorn.Config, service: Service, drain_seconds: float
    ) -> None:
        super().__init__(config)
        self.service = service
        self._drain_seconds = drain_seconds
        self._loop: asyncio.AbstractEventLoop | None = None
        self._draining: asyncio.Task[None] | None = None

    async def serve(self, sockets: list[socket] | None = None) -> None:
        """Serves, as ``uvicorn.Server`` does."""
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Takes a signal."""
        if self.service.draining.is_set() or self._loop is None:
            super().handle_exit(signal.SIGINT, frame)
            self.service.closing.set()
            return
        self._loop.call_soon_threadsafe(self._begin_to_drain)

    def _begin_to_drain(self) -> None:
        self._draining = asyncio.ensure_future(self._drain())

    async def _drain(self) -> None:
        service = self.service
        LOG.info("draining", extra={"sessions": service.connections})
        service.draining.set()
        await self._wait_for_connections(self._drain_seconds)
        service.closing.set()
        await self._wait_for_connections(LAST_SECONDS)
        self.should_exit = True

    async def _wait_for_connections(self, seconds: float) -> None:
        deadline = asyncio.get_running_loop().time() + seconds
        while self.service.connections:
            if asyncio.get_running_loop().time() > deadline:
                return
            await asyncio.sleep(POLL_SECONDS)


def make_server(
    service: Service,
    host: str = "127.0.0.1",
    port: int = 8000,
    drain_seconds: float = 30.0,
    message_bytes: int = 1 << 20,
    certificate: str | None = None,
    private_key: str | None = None,
) -> DrainingServer:
    """Makes a server.

    Arguments
    ---------
    service : Service
        What it serves.
    host : str
        The address that it is bound to.
    port : int
        The port.
    drain_seconds : float
        How long sessions may go on after the first signal.
    message_bytes : int
        Size of the longest message of a client.
    certificate : str, optional
        File of a certificate, for TLS.
    private_key : str, optional
        File of its private key.

    Returns
    -------
    DrainingServer
    """
    config = uvicorn.Config(
        make_application(service),
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        ws_max_size=message_bytes,
        ws_max_queue=4,
        ws_ping_interval=20.0,
        # a pong waits behind the audio of a client that sends fast
        ws_ping_timeout=None,
        timeout_graceful_shutdown=int(LAST_SECONDS),
        ssl_certfile=certificate,
        ssl_keyfile=private_key,
    )
    return DrainingServer(config, service, drain_seconds)
