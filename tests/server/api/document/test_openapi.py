"""The OpenAPI document is whole: every route is described, with examples that are true, and by the rules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from support.api import Api

from loraplex_server.api.body import parse_body
from loraplex_server.api.document.openapi import documented_bodies

# It refuses whatever is sent.
NEVER_ANSWERS = {"POST /lora-adapters"}


@pytest.fixture
def document(api: Api) -> dict[str, Any]:
    return api.app.openapi()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_it_keeps_to_the_specification(document: dict[str, Any]) -> None:
    validate(document)


def test_every_route_is_in_a_family_and_says_what_it_does(document: dict[str, Any]) -> None:
    families = {tag["name"] for tag in document["tags"]}
    for name, operation in operations(document):
        (family,) = operation["tags"]
        assert family in families, name
        assert 5 < len(operation["summary"]) <= 120, name
        assert not operation["summary"].endswith("."), name
    assert families == {operation["tags"][0] for _, operation in operations(document)}


def test_every_route_shows_an_answer_and_the_errors_envelope(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        answers = operation["responses"]
        good = [answer for status, answer in answers.items() if status.startswith("2")]
        assert bool(good) == (name not in NEVER_ANSWERS), name
        for answer in good:
            assert answer["content"], name
            assert all("example" in content for content in answer["content"].values()), name
        bad = [answer for status, answer in answers.items() if status >= "4"]
        if not operation.get("security"):
            continue
        assert {"401", "404", "429"} <= set(answers), name
        for answer in bad:
            assert "$ref" in answer["content"]["application/json"]["schema"], (name, answer)


def test_every_body_has_examples_that_are_taken(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        for content in operation.get("requestBody", {}).get("content", {}).values():
            for part in content["schema"].get("anyOf", [content["schema"]]):
                if "$ref" in part:
                    kind = part["$ref"].rpartition("/")[2]
                    assert document["components"]["schemas"][kind].get("examples"), (name, kind)
    bodies = documented_bodies()
    assert len(bodies) > 10
    for body in bodies:
        schema = document["components"]["schemas"][body.__name__]
        validator = Draft202012Validator({**schema, "components": document["components"]})
        for example in schema["examples"]:
            validator.validate(example)
            parse_body(example, body)


def test_a_key_is_needed_for_all_but_probes(document: dict[str, Any]) -> None:
    open_to_all = {name for name, operation in operations(document) if not operation.get("security")}
    assert open_to_all == {"GET /health", "GET /ready", "GET /version"}


def test_every_reference_leads_somewhere_and_nothing_is_left_over(document: dict[str, Any]) -> None:
    text = str(document)
    for name in document["components"]["schemas"]:
        assert f"#/components/schemas/{name}'" in text, name
