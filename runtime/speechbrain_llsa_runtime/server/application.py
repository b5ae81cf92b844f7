"""The ASGI application: which path speaks what."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute

from speechbrain_llsa_runtime.server.listen import explain, listen
from speechbrain_llsa_runtime.server.refusal import Refused
from speechbrain_llsa_runtime.server.service import Service
from speechbrain_llsa_runtime.server.transcriptions import transcribe_file
from speechbrain_llsa_runtime.server.vosk import vosk

PAGE = Path(__file__).parent / "page"

PAGE_FILES = {
    "": "text/html",
    "page.css": "text/css",
    "icon.svg": "image/svg+xml",
    "page.js": "text/javascript",
    "transcript.js": "text/javascript",
    "stream.js": "text/javascript",
    "recording.js": "text/javascript",
    "sources.js": "text/javascript",
    "microphone.js": "text/javascript",
    "subtitles.js": "text/javascript",
}
"""Files of the page, and their types."""

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; "
        "connect-src 'self'; img-src 'self'; worker-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-cache",
    "Permissions-Policy": "microphone=(self)",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def make_application(service: Service) -> Starlette:
    """Makes the application of a server.

    Arguments
    ---------
    service : Service
        The model, and what its protocols share. Its engine is started with
        the application, and stopped with it.

    Returns
    -------
    starlette.applications.Starlette
    """

    @contextlib.asynccontextmanager
    async def lifespan(application: Starlette) -> AsyncIterator[None]:
        service.engine.start()
        try:
            yield
        finally:
            service.engine.stop()

    application = Starlette(
        routes=[
            WebSocketRoute("/", vosk),
            WebSocketRoute("/v1/listen", listen),
            Route("/v1/listen", explain),
            Route(
                "/v1/audio/transcriptions", transcribe_file, methods=["POST"]
            ),
            Route("/healthz", _health),
            Route("/readyz", _readiness),
            Route("/metrics", _metrics),
            *(Route(f"/{name}", _page) for name in PAGE_FILES),
        ],
        lifespan=lifespan,
    )
    application.state.service = service
    return application


async def _health(request: Request) -> Response:
    alive = request.app.state.service.engine.alive
    return PlainTextResponse(
        "ok\n" if alive else "the engine has stopped\n", 200 if alive else 500
    )


async def _readiness(request: Request) -> Response:
    service: Service = request.app.state.service
    if not service.ready:
        return PlainTextResponse("shutting down\n", 503)
    if not service.engine.free_slots:
        return PlainTextResponse("full\n", 503)
    return PlainTextResponse("ok\n")


async def _metrics(request: Request) -> Response:
    service: Service = request.app.state.service
    try:
        service.identify(request)
    except Refused as refused:
        return refused.response()
    return Response(
        service.metrics.text(), media_type=service.metrics.content_type
    )


async def _page(request: Request) -> Response:
    name = request.url.path.rpartition("/")[-1]
    return FileResponse(
        PAGE / (name or "index.html"),
        media_type=PAGE_FILES[name],
        headers=SECURITY_HEADERS,
    )
