"""The log of a process that serves HTTP, as its settings want it."""

from __future__ import annotations

import logging

from loraplex_server.logs.configure import configure_logging
from loraplex_server.logs.redaction import know_secrets
from loraplex_server.settings import ServeSettings

logger = logging.getLogger(__name__)
PROMPTS = "--log-prompts: prompts and answers are written to this log, for all who can read it"


def begin_log(settings: ServeSettings) -> None:
    """From now on; called before anything else is said."""
    know_secrets(key.get_secret_value() for key in (*settings.api_key, *settings.admin_key))
    configure_logging(settings.log_level, settings.log_format)
    if settings.log_prompts:
        logger.warning(PROMPTS)
