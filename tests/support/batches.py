"""Files of requests and of answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def request_line(custom_id: str, model: str = "base", **body: Any) -> dict[str, Any]:
    """A completion."""
    body = {"model": model, "prompt": f"prompt of {custom_id}", "max_tokens": 50, **body}
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/completions", "body": body}


def answers_in(text: str | Path) -> dict[str, dict[str, Any]]:
    """By custom_id, each of which may stand there once; of lines that are no requests, by their number."""
    text = text.read_text() if isinstance(text, Path) else text
    assert text == "" or text.endswith("\n")
    found: dict[str, dict[str, Any]] = {}
    for line in text.splitlines():
        answer = json.loads(line)
        assert set(answer) == {"id", "custom_id", "response", "error"}
        at_fault = answer["error"] and answer["error"].get("line")
        name = f"line {at_fault}" if at_fault else answer["custom_id"]
        assert name not in found, name
        found[name] = answer
    return found


def said(answer: dict[str, Any]) -> str:
    """The text of a completion's answer."""
    assert answer["response"]["status_code"] == 200, answer
    return str(answer["response"]["body"]["choices"][0]["text"])
