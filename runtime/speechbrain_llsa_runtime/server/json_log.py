"""Logs as lines of JSON. They hold no text and no audio of streams."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any, TextIO

_USUAL = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """A line of JSON for each record: time, level, event, and what was given
    as ``extra``.

    Example
    -------
    >>> record = logging.makeLogRecord({"msg": "opened", "protocol": "vosk"})
    >>> json.loads(JsonFormatter().format(record))["protocol"]
    'vosk'
    """

    def format(self, record: logging.LogRecord) -> str:
        """Formats a record, as ``logging.Formatter`` does."""
        values: dict[str, Any] = {
            "time": time.strftime(
                "%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)
            ),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        for name, value in vars(record).items():
            if name not in _USUAL and name != "color_message":
                values[name] = value
        if record.exc_info:
            values["exception"] = self.formatException(record.exc_info)
        return json.dumps(values, default=str)


def log_as_json(stream: TextIO | None = None) -> None:
    """Makes all loggers of the process write lines of JSON.

    Arguments
    ---------
    stream : file, optional
        Where to; standard error by default.
    """
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    # its lines about connections hold the words of their queries
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").addFilter(_is_true)


def _is_true(record: logging.LogRecord) -> bool:
    """Drops what uvicorn says of each WebSocket that is refused properly."""
    return "without completing handshake" not in record.getMessage()
