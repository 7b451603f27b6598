"""What is a request, and what is said of a line that is none."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraplex_server.batch.line import Line, LineError, parse_line
from loraplex_server.batch.reader import count_lines, read_lines

GOOD = {"custom_id": "a", "method": "POST", "url": "/v1/completions", "body": {"prompt": "x"}}


def line(**changes: Any) -> bytes:
    fields = {**GOOD, **changes}
    return json.dumps({name: value for name, value in fields.items() if value != "left out"}).encode()


def test_a_request_is_read_with_its_body_as_it_stands() -> None:
    found = parse_line(
        b'{"custom_id":"a","method":"POST","url":"/v1/completions","body": {"prompt" :"x", "n":1e0} }', 7
    )
    assert found == Line(7, "a", "/v1/completions", b'{"prompt" :"x", "n":1e0}', 1, "", False)


@pytest.mark.parametrize(
    ("body", "answers"),
    [
        ({"prompt": "x"}, 1),
        ({"prompt": ["x", "y"], "n": 3}, 6),
        ({"prompt": [1, 2, 3], "n": 2}, 2),
        ({"prompt": [[1], [2], [3]], "best_of": 4, "n": 2}, 12),
        ({"messages": [], "n": "many"}, 1),
        ({"prompt": [], "n": -5}, 1),
        ({"n": True}, 1),
    ],
)
def test_it_takes_a_seat_for_each_answer(body: dict[str, Any], answers: int) -> None:
    assert parse_line(line(body=body), 1).answers == answers


@pytest.mark.parametrize(
    ("data", "code", "param"),
    [
        (b"hello", "invalid_json_line", None),
        (b"[1]", "invalid_json_line", None),
        (b'{"custom_id": "\xff"}', "invalid_type", "custom_id"),
        (b'{"a":' * 5000 + b"1" + b"}" * 5000, "invalid_json_line", None),
        (line(custom_id="left out"), "missing_required_parameter", "custom_id"),
        (line(custom_id=5), "invalid_type", "custom_id"),
        (line(custom_id=""), "invalid_custom_id", "custom_id"),
        (line(custom_id="x" * 513), "invalid_custom_id", "custom_id"),
        (line(method="GET"), "invalid_method", "method"),
        (line(url="/v1/models"), "invalid_url", "url"),
        (line(url="http://elsewhere/v1/completions"), "invalid_url", "url"),
        (line(body="left out"), "missing_required_parameter", "body"),
        (line(body=[1]), "invalid_body", "body"),
        (line(body=None), "invalid_body", "body"),
        (line(more=1), "unknown_parameter", "more"),
    ],
)
def test_what_is_no_request_is_refused_by_name(data: bytes, code: str, param: str | None) -> None:
    with pytest.raises(LineError) as caught:
        parse_line(data, 3)
    assert (caught.value.code, caught.value.param, caught.value.number) == (code, param, 3)


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_are_a_request_or_an_error(data: bytes) -> None:
    with contextlib.suppress(LineError):
        assert parse_line(data, 1).custom_id


def test_the_lines_of_a_file_keep_their_numbers(tmp_path: Path) -> None:
    path = tmp_path / "in"
    path.write_bytes(b"\n" + line() + b"\r\n   \n" + b"x" * 3000 + b"\n" + line(custom_id="b", body={}))
    found = list(read_lines(path, 1000))
    assert [(each.number, getattr(each, "code", None)) for each in found] == [
        (2, None),
        (4, "line_too_long"),
        (5, None),
    ]
    assert count_lines(path) == 3


def test_embeddings_take_a_seat_for_each_input() -> None:
    for url, answers in (("/v1/embeddings", 3), ("/v1/responses", 1)):
        assert parse_line(line(url=url, body={"input": ["a", "b", "c"]}), 1).answers == answers
