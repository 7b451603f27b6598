"""YAML as the settings file has it."""

from __future__ import annotations

from typing import Any

import yaml


class TwiceError(Exception):
    """Args: key: that a mapping has more than once."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


class _Loader(yaml.SafeLoader):
    """YAML forbids a key that stands twice; PyYAML takes the last of them without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise TwiceError(str(twice))
        return super().construct_mapping(node, deep)


def read_text(text: str) -> Any:
    """What a text holds.

    Raises:
        TwiceError: a key is there twice.
        yaml.YAMLError: it is no YAML. ValueError: a number or a date in it is none.
    """
    return yaml.load(text, _Loader)  # a safe one
