from __future__ import annotations

import json
import logging

import pytest

from loraplex_server.logs.configure import configure_logging
from loraplex_server.logs.lines import ConsoleFormatter, JsonFormatter
from loraplex_server.logs.request_log import log_request


def record(message: str, **extra: object) -> logging.LogRecord:
    return logging.makeLogRecord({"name": "x", "levelname": "INFO", "msg": message, **extra})


def test_json_is_one_object_a_line() -> None:
    line = JsonFormatter().format(record("two\nlines", fields={"status": 200, "adapter": 'a"b'}))
    assert "\n" not in line
    entry = json.loads(line)
    assert (entry["message"], entry["level"], entry["status"], entry["adapter"]) == ("two\nlines", "info", 200, 'a"b')
    assert entry["time"].endswith("Z")


def test_text_from_outside_cannot_forge_a_line() -> None:
    line = ConsoleFormatter().format(record("bad\nmessage", fields={"adapter": "a\nb c", "total_s": 0.12345}))
    assert "\n" not in line
    assert 'adapter="a\\nb c"' in line
    assert "total_s=0.123" in line


@pytest.mark.parametrize("formatter", [JsonFormatter(), ConsoleFormatter()])
def test_tracebacks_are_kept(formatter: logging.Formatter) -> None:
    try:
        raise RuntimeError("why")
    except RuntimeError as error:
        line = formatter.format(record("failed", exc_info=(type(error), error, error.__traceback__)))
    assert "why" in line


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_request_is_one_line_without_what_is_not_known(
    root_logger: logging.Logger, capsys: pytest.CaptureFixture[str], log_format: str
) -> None:
    configure_logging("info", log_format)
    log_request({"id": "r1", "ttft_s": None, "status": 200})
    (line,) = capsys.readouterr().err.splitlines()
    assert "r1" in line
    assert "ttft" not in line


def test_the_level_holds(root_logger: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("warning", "console")
    log_request({"id": "r1"})
    logging.getLogger("uvicorn.error").info("noise")
    logging.getLogger("other").warning("news")
    assert capsys.readouterr().err.count("\n") == 1
