"""The schema of request bodies: they are read by hand, so FastAPI has to be told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from loraplex_server.api.document.openapi_errors import describe_errors
from loraplex_server.api.document.openapi_operations import describe_operations
from loraplex_server.api.document.openapi_security import describe_security

_REF = "#/components/schemas/{model}"
_documented: dict[str, type[BaseModel]] = {}


def json_body(*schemas: type[BaseModel]) -> dict[str, Any]:
    """For `openapi_extra` of a route: its body is one of these."""
    _documented.update({schema.__name__: schema for schema in schemas})
    refs = [{"$ref": _REF.format(model=schema.__name__)} for schema in schemas]
    schema = refs[0] if len(refs) == 1 else {"anyOf": refs}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def documented_bodies() -> list[type[BaseModel]]:
    """The schemas of all bodies that a route said to take."""
    return list(_documented.values())


def said_as(type: str, description: str, example: str) -> dict[str, Any]:
    """One of the `responses` of a route, whose body is no JSON. Args: type: its media type."""
    return {"description": description, "content": {type: {"example": example}}}


def answers(responses: Mapping[int, str | tuple[str, Any] | tuple[str, Any, str]]) -> dict[int | str, dict[str, Any]]:
    """For `responses` of a route: what each status means, with an example of the body, and one of its stream, where
    there is one."""
    return {status: _answer(said) for status, said in responses.items()}


def _answer(said: str | tuple[str, Any] | tuple[str, Any, str]) -> dict[str, Any]:
    if isinstance(said, str):
        return {"description": said}
    description, *examples = said
    types = zip(("application/json", "text/event-stream"), examples, strict=False)
    return {"description": description, "content": {type: {"example": example} for type, example in types}}


def install_openapi(app: FastAPI) -> None:
    """Make the app's schema hold those of the bodies."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(title=app.title, version=app.version, routes=app.routes, tags=app.openapi_tags)
            _, bodies = models_json_schema([(each, "validation") for each in _documented.values()], ref_template=_REF)
            document.setdefault("components", {}).setdefault("schemas", {}).update(bodies["$defs"])
            describe_operations(document)
            describe_errors(document)
            describe_security(document)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
