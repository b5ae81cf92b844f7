"""What all protocols of a server share."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from speechbrain_llsa_runtime.decoders.tokens import Search
from speechbrain_llsa_runtime.server.engine import Engine
from speechbrain_llsa_runtime.server.metrics import Metrics
from speechbrain_llsa_runtime.server.refusal import (
    NOT_ALLOWED,
    Closed,
    Refused,
)
from speechbrain_llsa_runtime.server.resumption import Resumption, StoreError
from speechbrain_llsa_runtime.server.tokens import Tokens, sent_token
from speechbrain_llsa_runtime.transcripts.endpointer import Endpointer
from speechbrain_llsa_runtime.utils.errors import must_be

LOG = logging.getLogger(__name__)

RETRY_SECONDS = 5


@dataclass(frozen=True)
class Limits:
    """What a client may take."""

    idle_seconds: float = 60.0
    """Silence of a client, in messages, that closes its connection."""

    longest_seconds: float = 4 * 3600.0
    """Duration of a connection."""

    unread_seconds: float = 30.0
    """How long a message may wait for a client to read it."""

    sessions_per_token: int | None = None
    """Sessions that each token may have at once; ``None`` for any number."""

    file_bytes: int = 512 << 20
    """Size of a whole file."""


@dataclass(frozen=True)
class Client:
    """A client that has been admitted."""

    token: str | None
    """What stands for its token."""

    subprotocol: str | None
    """The subprotocol of WebSocket to accept."""


class HeldName:
    """The name of a stream, held by its connection until another one takes
    over.

    Arguments
    ---------
    held : dict of str to HeldName
        All that are held; this one is added.
    name : str
        The name.
    """

    def __init__(self, held: dict[str, HeldName], name: str) -> None:
        self.name = name
        self._held = held
        self._taken = asyncio.Event()
        self._released = asyncio.Event()
        held[name] = self

    async def wait(self) -> None:
        """Waits until another connection takes over.

        Raises
        ------
        Closed
            Then.
        """
        await self._taken.wait()
        raise Closed(NOT_ALLOWED, "another connection has taken over")

    async def take_over(self) -> None:
        """Tells the connection to store its stream, and waits for that."""
        self._taken.set()
        await self._released.wait()

    def release(self) -> None:
        """Says that the connection has ended, and its stream is stored."""
        if self._held.get(self.name) is self:
            del self._held[self.name]
        self._released.set()


class Service:
    """A model, behind the protocols.

    Arguments
    ---------
    engine : Engine
        Runs the streams.
    metrics : Metrics
        What is measured.
    resumption : Resumption
        Stores the streams that clients may go on with.
    model : str
        The name that the model is served under.
    languages : list of str
        The languages that it knows, such as "en".
    make_search : callable
        Makes a search with hotwords from a list of them.
    endpointer : Endpointer or None
        Where segments close, if a client does not say.
    tokens : Tokens, optional
        By default none is needed.
    origins : list of str
        Origins of pages of other hosts that may connect.
    limits : Limits
        What a client may take.
    """

    def __init__(
        self,
        engine: Engine,
        metrics: Metrics,
        resumption: Resumption,
        model: str,
        languages: Sequence[str],
        make_search: Callable[[list[str]], Search],
        endpointer: Endpointer | None = None,
        tokens: Tokens | None = None,
        origins: Sequence[str] = (),
        limits: Limits | None = None,
    ) -> None:
        self.engine = engine
        self.metrics = metrics
        self.resumption = resumption
        self.model = model
        self.languages = languages
        self.make_search = make_search
        self.endpointer = endpointer
        self.limits = Limits() if limits is None else limits
        self.draining = asyncio.Event()
        """Set when the server begins to shut down."""
        self.closing = asyncio.Event()
        """Set when connections must end."""
        self.connections = 0
        self._tokens = tokens
        self._origins = set(origins)
        self._sessions: Counter[str | None] = Counter()
        self._held: dict[str, HeldName] = {}

    @property
    def ready(self) -> bool:
        """Whether new sessions are accepted."""
        return self.engine.alive and not self.draining.is_set()

    def identify(self, connection: HTTPConnection) -> Client:
        """Checks origin and token of a request.

        Arguments
        ---------
        connection : starlette.requests.HTTPConnection
            The request.

        Returns
        -------
        Client

        Raises
        ------
        Refused
            If one of them is not accepted.
        """
        headers = connection.headers
        origin = headers.get("origin")
        if origin is not None and not (
            origin in self._origins or _host(origin) == headers.get("host")
        ):
            raise Refused(
                403,
                "FORBIDDEN_ORIGIN",
                must_be("Origin", "that of this server", repr(origin)),
            )
        token, subprotocol = sent_token(headers)
        if self._tokens is None:
            return Client(None, subprotocol)
        known = None if token is None else self._tokens.find(token)
        if known is None:
            raise Refused(
                401,
                "INVALID_AUTH",
                must_be(
                    "Authorization",
                    "Token or Bearer with a token of this server",
                    "none" if token is None else "another one",
                ),
                {"WWW-Authenticate": "Bearer"},
            )
        return Client(known, subprotocol)

    def check(self, connection: HTTPConnection) -> Client:
        """Checks whether a client would be admitted.

        Arguments
        ---------
        connection : starlette.requests.HTTPConnection
            The request.

        Returns
        -------
        Client

        Raises
        ------
        Refused
            If it would not.
        """
        client = self.identify(connection)
        name = connection.query_params.get("resume")
        self._check_room(client, replaces=name in self._held)
        return client

    @contextlib.contextmanager
    def admit(
        self, connection: HTTPConnection, protocol: str
    ) -> Iterator[Client]:
        """Admits a client for the time of a session.

        Arguments
        ---------
        connection : starlette.requests.HTTPConnection
            The request.
        protocol : str
            What it speaks.

        Yields
        ------
        Client

        Raises
        ------
        Refused
            If it is not accepted.
        """
        start = time.monotonic()
        try:
            client = self.check(connection)
            self._sessions[client.token] += 1
            self.connections += 1
            try:
                yield client
            finally:
                self._sessions[client.token] -= 1
                self.connections -= 1
        except Refused as refused:
            code = refused.code.lower()
            self.metrics.refused.labels(code).inc()
            LOG.info("refused", extra={"protocol": protocol, "reason": code})
            raise
        seconds = round(time.monotonic() - start, 3)
        LOG.info("closed", extra={"protocol": protocol, "seconds": seconds})

    def note_opened(self, protocol: str) -> None:
        """Counts and logs a session that begins.

        Arguments
        ---------
        protocol : str
            What its client speaks.
        """
        self.metrics.opened.labels(protocol).inc()
        LOG.info("opened", extra={"protocol": protocol})

    def full(self) -> Refused:
        """The refusal of a server without a free slot.

        Returns
        -------
        Refused
        """
        return Refused(
            503,
            "FULL",
            must_be("sessions", f"at most {self.engine.slots} at once", "more"),
            {"Retry-After": str(RETRY_SECONDS)},
        )

    async def hold_name(self, name: str) -> HeldName:
        """Notes that a connection has the stream of a name, once no other
        one has it.

        Arguments
        ---------
        name : str
            The name.

        Returns
        -------
        HeldName
        """
        while name in self._held:
            await self._held[name].take_over()
        return HeldName(self._held, name)

    async def take_saved(self, name: str) -> bytes:
        """Gives the stream of a name, which the caller holds.

        Arguments
        ---------
        name : str
            The name, as a client sent it.

        Returns
        -------
        bytes

        Raises
        ------
        Refused
            If it is not one of this server, or kept no longer.
        """
        try:
            saved = await self.resumption.get(name)
        except StoreError as error:
            raise Refused(503, "STORE_FAILED", str(error)) from error
        if saved is None:
            raise _unknown_session()
        return saved

    def check_signed(self, name: str) -> None:
        """Checks that a name was given by this server, or one with its key.

        Arguments
        ---------
        name : str
            The name, as a client sent it.

        Raises
        ------
        Refused
            If it was not.
        """
        if not self.resumption.is_signed(name):
            raise _unknown_session()

    async def check_kept(self, name: str) -> None:
        """Checks whether there is a stream of a name, and leaves it as it is.

        Arguments
        ---------
        name : str
            The name, as a client sent it.

        Raises
        ------
        Refused
            If it is not one of this server, or kept no longer.
        """
        self.check_signed(name)
        if name not in self._held:
            await self.take_saved(name)

    def check_names(self, model: str | None, language: str | None) -> None:
        """Checks the model and the language that a client asks for.

        Arguments
        ---------
        model : str or None
            The name of a model.
        language : str or None
            The language.

        Raises
        ------
        Refused
            If another one is served.
        """
        if model not in (None, self.model):
            raise Refused(
                400,
                "UNKNOWN_MODEL",
                must_be("model", repr(self.model), repr(model)),
            )
        if language is not None and not any(
            language == known or language.startswith(f"{known}-")
            for known in self.languages
        ):
            served = ", ".join(self.languages) or "absent"
            raise Refused(
                400,
                "UNKNOWN_LANGUAGE",
                must_be("language", served, repr(language)),
            )

    def _check_room(self, client: Client, replaces: bool) -> None:
        """Refuses a client that finds no room, unless it replaces a
        connection of its own."""
        if not self.ready:
            raise Refused(
                503,
                "NOT_READY",
                "the server is shutting down",
                {"Retry-After": str(RETRY_SECONDS)},
            )
        if replaces:
            return
        most = self.limits.sessions_per_token or math.inf
        if client.token and self._sessions[client.token] >= most:
            raise Refused(
                429,
                "TOO_MANY_SESSIONS",
                must_be(
                    "sessions of a token", f"at most {most} at once", "more"
                ),
                {"Retry-After": str(RETRY_SECONDS)},
            )
        taken = max(
            self.connections, self.engine.slots - self.engine.free_slots
        )
        if taken >= self.engine.slots:
            raise self.full()


def _host(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _unknown_session() -> Refused:
    return Refused(
        404,
        "UNKNOWN_SESSION",
        must_be("resume", "the id of a session that is kept", "another"),
    )
