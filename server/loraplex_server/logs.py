"""Logs: one JSON object a line, or text for people. Prompts and answers are never among the fields."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Any, Literal

LogFormat = Literal["json", "console"]

request_logger = logging.getLogger("loraplex_server.request")


class JsonFormatter(logging.Formatter):
    """Time, level, logger and message, then the record's `fields`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON."""
        entry: dict[str, Any] = {
            "time": _timestamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


class ConsoleFormatter(logging.Formatter):
    """`10:27:03 INFO    message  key=value ...`; line breaks from outside cannot forge a line."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the traceback where there is one."""
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        message = record.getMessage().replace("\r", "\\r").replace("\n", "\\n")
        fields = "".join(f" {key}={_shown(value)}" for key, value in _fields(record).items())
        line = f"{clock} {record.levelname:<7} {message}{fields}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def configure_logging(level: str, log_format: LogFormat) -> None:
    """Send this process's logs to standard error, in place of whatever was set up before."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else ConsoleFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Their news at "info" is noise here: this server says when it listens and when it ends, and logs its requests.
    for name in ("uvicorn", "uvicorn.error", "asyncio", "httpx", "filelock", "urllib3"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def log_request(fields: dict[str, Any]) -> None:
    """Write the one line of a request; fields that are None are left out."""
    request_logger.info("request", extra={"fields": {key: value for key, value in fields.items() if value is not None}})


def _timestamp(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields = getattr(record, "fields", None)
    return fields if isinstance(fields, dict) else {}


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    text = str(value)
    return json.dumps(text) if not text or any(c in text for c in ' "=\r\n') else text
