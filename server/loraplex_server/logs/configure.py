"""This process's logs: where they go, in which form, from which level on."""

from __future__ import annotations

import logging
import sys
from typing import Literal

from loraplex_server.logs.adopted import adopt_libraries
from loraplex_server.logs.audit import NAME as AUDIT
from loraplex_server.logs.lines import ConsoleFormatter, JsonFormatter
from loraplex_server.logs.redaction import redact

LogFormat = Literal["json", "console"]

# Their news at "info" is noise here: this server says when it listens and when it ends, and logs its requests.
_QUIET = ("uvicorn", "uvicorn.error", "asyncio", "httpx", "filelock", "urllib3")


def configure_logging(level: str, log_format: LogFormat, process: str = "http") -> None:
    """Send this process's logs to standard error, in place of whatever was set up before.

    Args:
        level: the least severity. process: its name in each line.
    """
    handler = logging.StreamHandler(sys.stderr)
    formatter = JsonFormatter if log_format == "json" else ConsoleFormatter
    handler.setFormatter(formatter(process, redact))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger(AUDIT).setLevel(logging.INFO)  # who changed what is told at every level
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    adopt_libraries()
