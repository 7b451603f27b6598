from __future__ import annotations

from typing import Any

import pytest

from loraplex_server.api.forms.message_body import parse_input


@pytest.mark.parametrize(
    ("arguments", "cut", "found"),
    [
        ('{"a": [1, "x"]}', False, {"a": [1, "x"]}),
        ("", False, {}),
        ('{"a": 1, "b": "hal', True, {"a": 1}),
        ('{"a": 1, "b": "hal', False, {"INVALID_JSON": '{"a": 1, "b": "hal'}),
        ("[1]", False, {"INVALID_JSON": "[1]"}),
        ('{"a": nothing}', True, {"INVALID_JSON": '{"a": nothing}'}),
    ],
)
def test_what_is_no_object_is_never_run_as_if_it_were(arguments: str, cut: bool, found: dict[str, Any]) -> None:
    assert parse_input(arguments, cut=cut) == found
