"""``POST /v1/audio/transcriptions``: whole files, as in OpenAI's interface."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from speechbrain_llsa_runtime.server.async_stream import AsyncStream
from speechbrain_llsa_runtime.server.audio_input import ContainerInput
from speechbrain_llsa_runtime.server.engine import ServerFull
from speechbrain_llsa_runtime.server.live_stream import StreamOptions
from speechbrain_llsa_runtime.server.refusal import Refused
from speechbrain_llsa_runtime.server.service import Service
from speechbrain_llsa_runtime.server.updates import Update
from speechbrain_llsa_runtime.transcripts.endpointer import Endpointer
from speechbrain_llsa_runtime.transcripts.subtitles import to_srt, to_vtt
from speechbrain_llsa_runtime.transcripts.transcript import (
    SegmentCollector,
    Word,
)
from speechbrain_llsa_runtime.utils.errors import must_be, reason

READ_BYTES = 1 << 16

FIELDS = {
    "file",
    "model",
    "language",
    "prompt",
    "response_format",
    "temperature",
    "timestamp_granularities[]",
    "timestamp_granularities",
    "stream",
}


async def transcribe_file(request: Request) -> Response:
    """Serves a request.

    Arguments
    ---------
    request : Request
        With a form.

    Returns
    -------
    Response
    """
    service: Service = request.app.state.service
    try:
        with service.admit(request, "transcriptions"):
            return await _transcribe(request, service)
    except Refused as refused:
        return _error(refused)
    except ClientDisconnect:
        return Response(status_code=499)


async def _transcribe(request: Request, service: Service) -> Response:
    _check_size(request, service.limits.file_bytes)
    async with _form(request) as form:
        file = form.get("file")
        if not isinstance(file, UploadFile) or not file.size:
            got = "none" if file is None else "an empty one"
            raise _bad(must_be("file", "an audio file", got), "file")
        for name in form:
            if name not in FIELDS:
                raise _bad(must_be("form", "of known fields", repr(name)), name)
        if str(form.get("stream", "false")).lower() != "false":
            raise _bad("stream must be false, got true", "stream")
        to_response = _FORMATS.get(str(form.get("response_format", "json")))
        if to_response is None:
            raise _bad(
                must_be(
                    "response_format",
                    f"one of {', '.join(_FORMATS)}",
                    repr(form["response_format"]),
                ),
                "response_format",
            )
        service.check_names(_text(form, "model"), _text(form, "language"))
        updates, seconds = await _updates(file, request, service)
    return to_response(_Result(updates, seconds, form, service))


@contextlib.asynccontextmanager
async def _form(request: Request) -> AsyncIterator[FormData]:
    try:
        async with request.form(max_files=1, max_fields=20) as form:
            yield form
    except HTTPException as error:
        detail = must_be("form", "multipart/form-data", repr(error.detail))
        raise _bad(detail, None) from error


async def _updates(
    file: UploadFile, request: Request, service: Service
) -> tuple[list[Update], float]:
    """The updates of a stream of the whole file, and its duration."""
    endpointer = service.endpointer or Endpointer()
    try:
        stream = await AsyncStream.open(
            service.engine, StreamOptions(None, endpointer)
        )
    except ServerFull:
        raise service.full() from None
    service.note_opened("transcriptions")
    audio = ContainerInput(stream.push, spool=True)

    async def send() -> None:
        while data := await file.read(READ_BYTES):
            await audio.take(data)
        await audio.finish()
        stream.finish()

    sending = asyncio.ensure_future(send())
    watching = [
        asyncio.ensure_future(_until_gone(request)),
        asyncio.ensure_future(service.closing.wait()),
        asyncio.ensure_future(asyncio.sleep(service.limits.longest_seconds)),
    ]
    try:
        updates = []
        while True:
            receiving = asyncio.ensure_future(stream.update())
            waiting: set[asyncio.Future[Any]] = {receiving, *watching}
            if not sending.done():
                waiting.add(sending)
            await asyncio.wait(waiting, return_when="FIRST_COMPLETED")
            if any(watch.done() for watch in watching):
                raise ClientDisconnect
            if sending.done():
                sending.result()
            update = await receiving
            if update is None:
                raise Refused(500, "FAILED", "the stream has ended")
            if update.error is not None:
                raise ValueError(update.error)
            updates.append(update.committed_part())
            if update.finished:
                return updates, update.samples / (stream.sample_rate or 1)
    except (ValueError, OSError) as error:
        raise _bad(reason(error), "file") from error
    finally:
        for task in (sending, *watching):
            task.cancel()
        audio.close()
        stream.leave()


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class _Result:
    """What is known of a whole file."""

    def __init__(
        self,
        updates: Sequence[Update],
        seconds: float,
        form: FormData,
        service: Service,
    ) -> None:
        self.transcripts = [update.transcript for update in updates]
        self.words = [
            word
            for transcript in self.transcripts
            for word in transcript.final_words
        ]
        self.text = "".join(each.committed for each in self.transcripts).strip()
        self.seconds = seconds
        self.language = _text(form, "language") or next(
            iter(service.languages), ""
        )
        self.granularities = {
            str(value)
            for name in ("timestamp_granularities[]", "timestamp_granularities")
            for value in form.getlist(name)
        }


def _to_json(result: _Result) -> Response:
    return JSONResponse({"text": result.text})


def _to_text(result: _Result) -> Response:
    return PlainTextResponse(result.text + "\n")


def _to_verbose_json(result: _Result) -> Response:
    collector = SegmentCollector()
    closed = [
        segment
        for transcript in result.transcripts
        for segment in collector.take(transcript)
    ]
    values: dict[str, Any] = {
        "task": "transcribe",
        "language": result.language,
        "duration": round(result.seconds, 3),
        "text": result.text,
        "segments": [
            {
                "id": number,
                "seek": 0,
                "start": segment.start,
                "end": segment.end,
                "text": segment.text,
                "tokens": [],
                "temperature": 0.0,
                "avg_logprob": 0.0,
                "compression_ratio": 0.0,
                "no_speech_prob": 0.0,
            }
            for number, segment in enumerate([*closed, *collector.finish()])
        ],
    }
    if "word" in result.granularities:
        values["words"] = [
            {"word": word.text, "start": word.start, "end": word.end}
            for word in result.words
        ]
    return JSONResponse(values)


def _subtitles(
    to_subtitles: Callable[[Sequence[Word]], str],
) -> Callable[[_Result], Response]:
    return lambda result: PlainTextResponse(to_subtitles(result.words))


_FORMATS: dict[str, Callable[[_Result], Response]] = {
    "json": _to_json,
    "text": _to_text,
    "srt": _subtitles(to_srt),
    "vtt": _subtitles(to_vtt),
    "verbose_json": _to_verbose_json,
}


def _check_size(request: Request, most: int) -> None:
    length = request.headers.get("content-length", "")
    if not length.isdecimal():
        raise Refused(
            411,
            "LENGTH_REQUIRED",
            must_be("Content-Length", "an integer", repr(length)),
        )
    if int(length) > most:
        raise Refused(
            413,
            "TOO_LARGE",
            must_be("Content-Length", f"at most {most}", length),
        )


def _text(form: FormData, name: str) -> str | None:
    value = form.get(name)
    return value if isinstance(value, str) and value else None


def _bad(message: str, name: str | None) -> Refused:
    return Refused(400, "INVALID_REQUEST", message, parameter=name)


def _error(refused: Refused) -> Response:
    kind = "invalid_request_error" if refused.status < 500 else "server_error"
    return JSONResponse(
        {
            "error": {
                "message": str(refused),
                "type": kind,
                "param": refused.parameter,
                "code": refused.code.lower(),
            }
        },
        refused.status,
        refused.headers,
    )
