"""The one line of each request."""

from __future__ import annotations

import logging
from typing import Any

request_logger = logging.getLogger("loraplex_server.request")


def log_request(fields: dict[str, Any]) -> None:
    """Write it; fields that are None are left out."""
    request_logger.info("request", extra={"fields": {key: value for key, value in fields.items() if value is not None}})
