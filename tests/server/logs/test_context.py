from __future__ import annotations

import asyncio
import json
import logging

import pytest

from loraplex_server.logs.configure import configure_logging
from loraplex_server.logs.context import context, lines_about

logger = logging.getLogger("loraplex_server.some")


async def test_lines_of_a_request_name_it_wherever_they_are_written(
    root_logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("info", "json")

    async def work(name: str) -> None:
        with lines_about({"request_id": name}):
            await asyncio.sleep(0)
            logger.info("here")
            await asyncio.to_thread(logger.info, "on a thread")
            await asyncio.create_task(later())
        assert context() == {}

    async def later() -> None:
        logger.info("in a task")

    await asyncio.gather(work("a"), work("b"))
    logger.info("of nobody")
    *lines, last = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    said = sorted((line["request_id"], line["message"]) for line in lines)
    assert said == [(name, text) for name in ("a", "b") for text in ("here", "in a task", "on a thread")]
    assert "request_id" not in last


def test_a_records_fields_cannot_pretend_to_be_another(
    root_logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging("info", "json", "engine")
    logger.info("said", extra={"fields": {"level": "x", "process": "x", "time": "x", "message": "x", "own": 1}})
    line = json.loads(capsys.readouterr().err)
    assert (line["level"], line["process"], line["message"], line["own"]) == ("info", "engine", "said", 1)
