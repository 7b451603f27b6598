"""What FastAPI's document says of each operation, in the words of its docstring."""

from __future__ import annotations

from typing import Any

# FastAPI's for answers that nobody described, and for bodies that it checks itself: here none are.
_UNDESCRIBED = "Successful Response"
_UNUSED = ("HTTPValidationError", "ValidationError")


def describe_operations(document: dict[str, Any]) -> None:
    """Summaries, and the answers that there are."""
    components = document.setdefault("components", {})
    for name in _UNUSED:
        components.get("schemas", {}).pop(name, None)
    for schema in components["schemas"].values():
        for field in schema.get("properties", {}).values():
            if field.get("default") == "" and field.get("minLength", 0) > 0:
                del field["default"]  # "" stands for none there, and no request can say it
    for operations in document["paths"].values():
        for operation in operations.values():
            _summarize(operation)
            _drop_undescribed(operation["responses"])


def _summarize(operation: dict[str, Any]) -> None:
    """The docstring's first sentence stands for the operation, the rest explains it."""
    said = " ".join(operation.get("description", "").split())
    first, mark, rest = said.partition(". ")
    operation["summary"] = first.rstrip(".")
    if mark:
        operation["description"] = rest
    else:
        operation.pop("description", None)


def _drop_undescribed(answers: dict[str, Any]) -> None:
    for status in [status for status, answer in answers.items() if answer["description"] == _UNDESCRIBED]:
        if len(answers) > 1:
            del answers[status]
