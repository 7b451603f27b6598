"""A log record as one line: a JSON object, or text for people."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from typing import Any

from loraplex_server.logs.context import context
from loraplex_server.logs.printable import printable, printable_lines

Redact = Callable[[str], str]
# What a record's own fields cannot replace.
_COMMON = ("time", "level", "logger", "process", "message")


class JsonFormatter(logging.Formatter):
    """Time, level, logger, process and message, the request's ids, then the record's `fields`.

    Args:
        process: that writes the line. redact: takes secrets out of it.
    """

    def __init__(self, process: str = "http", redact: Redact = str) -> None:
        super().__init__()
        self._process = process
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """One line of JSON."""
        entry: dict[str, Any] = {
            "time": _timestamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": self._process,
            "message": record.getMessage(),
            **_fields(record),
        }
        if trace := _trace_of(self, record):
            entry["exception"] = trace
        # Escapes hide nothing from it: what it looks for ends at quotes and backslashes.
        return self._redact(json.dumps(entry, default=str))


class ConsoleFormatter(logging.Formatter):
    """`10:27:03 INFO    message  key=value ...`; nothing from outside can forge a line or steer a terminal.

    Args:
        process: that writes the line; the engine's name stands in front of its messages.
        redact: takes secrets out of it.
    """

    def __init__(self, process: str = "http", redact: Redact = str) -> None:
        super().__init__()
        self._mark = "" if process == "http" else f"{process}: "
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the traceback, set in, where there is one."""
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        message = printable(record.getMessage())
        fields = "".join(f" {printable(key)}={_shown(value)}" for key, value in _fields(record).items())
        line = f"{clock} {record.levelname:<7} {self._mark}{message}{fields}"
        trace = _trace_of(self, record)
        return self._redact(f"{line}\n{printable_lines(trace)}" if trace else line)


def _trace_of(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    parts = [formatter.formatException(record.exc_info)] if record.exc_info else []
    if record.stack_info:
        parts.append(formatter.formatStack(record.stack_info))
    return "\n".join(parts)


def _timestamp(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields = getattr(record, "fields", None)
    own = fields if isinstance(fields, dict) else {}
    return {**context(), **{name: value for name, value in own.items() if name not in _COMMON}}


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, list | tuple | dict):
        return printable(json.dumps(value, ensure_ascii=False, default=str))
    text = str(value)
    if text and printable(text) == text and not any(c in text for c in ' "=\\'):
        return text
    return '"' + printable(text.replace("\\", "\\\\").replace('"', '\\"')) + '"'
