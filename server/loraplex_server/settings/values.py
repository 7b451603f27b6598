"""Kinds of values that options have, and how each is checked."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr, ValidationInfo
from pydantic_settings import NoDecode

from loraplex_server.settings.lora_module import LoraModule, read_modules

OFF = "off"


def _split(value: object) -> object:
    """A list may be written `a,b` where it cannot be repeated: in the environment."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple):
        return value
    parts = [part.strip() if isinstance(part, str) else part for part in parts]
    if "" in parts or (isinstance(value, list | str) and not parts):
        raise ValueError("is empty, or an item of it is")
    return tuple(parts)


def _read_template(template: str) -> str:
    """The text of a file, unless it is a template itself."""
    if "{" in template:
        return template
    try:
        return _at_home(Path(template)).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise ValueError("is neither a file that can be read nor a template") from None


def _check_model(model: str) -> str:
    if not model.strip():
        raise ValueError("is empty")
    if re.match(r"[./~]", model) and not _at_home(Path(model)).is_dir():
        raise ValueError("there is no such folder")
    return os.path.expanduser(model) if model.startswith("~") else model


def _check_sources(patterns: tuple[str, ...]) -> tuple[str, ...]:
    if patterns:
        from loraplex_adapters.sources import AllowedSources  # with the clients of all kinds of sources

        AllowedSources(patterns)
    return patterns


def _at_home(path: Path) -> Path:
    """With the home that a ~ stands for; of a user who has none it stays, and there is no such path."""
    return Path(os.path.expanduser(path))


def _check_present(folder: Path) -> Path:
    folder = _at_home(folder)
    if not folder.is_dir():
        raise ValueError("there is no such folder")
    return folder


def _check_folder(folder: Path) -> Path:
    folder = _at_home(folder)
    if folder.exists() and not folder.is_dir():
        raise ValueError("is no folder")
    return folder


def _check_folder_or_off(folder: object) -> object:
    if folder is False:  # YAML's reading of a bare off
        return OFF
    if not isinstance(folder, str) or folder in ("", OFF):
        return folder
    path = _at_home(Path(folder))
    if path.exists() and not path.is_dir():
        raise ValueError("is neither a folder nor off")
    return str(path)


def _check_file(file: Path) -> Path:
    file = _at_home(file)
    if not file.is_file():
        raise ValueError("there is no such file")
    return file


def _check_certificate(file: Path, info: ValidationInfo) -> Path:
    if info.data.get("ssl_certfile") is None:
        raise ValueError("means nothing without --ssl-certfile")
    return file


def _check_traces_endpoint(url: str) -> str:
    """A collector's address without a path means its usual one."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("is no URL like http://HOST:4318/v1/traces: traces are sent over HTTP, not gRPC")
    if parts.username is not None or parts.password is not None:
        raise ValueError("holds a password, which belongs into a header: set OTEL_EXPORTER_OTLP_HEADERS")
    return parts._replace(path="/v1/traces").geturl() if parts.path in ("", "/") else url


# vLLM's names for the same, and YAML's reading of a bare off.
_PARSERS: dict[str | bool, str] = {"llama3_json": "llama3", "llama4_json": "llama3", False: OFF}
ToolCallParser = Annotated[
    Literal["auto", "hermes", "llama3", "mistral", "off"],
    BeforeValidator(lambda name: _PARSERS.get(name, name) if isinstance(name, str | bool) else name),
]
Model = Annotated[str, AfterValidator(_check_model)]
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Secrets = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_split)]
SourcePatterns = Annotated[Names, AfterValidator(_check_sources)]
Modules = Annotated[tuple[LoraModule, ...], NoDecode, BeforeValidator(read_modules)]
Template = Annotated[str, AfterValidator(_read_template)]
File = Annotated[Path, AfterValidator(_check_file)]
CertificateKey = Annotated[File, AfterValidator(_check_certificate)]
Present = Annotated[Path, AfterValidator(_check_present)]
TracesEndpoint = Annotated[str, AfterValidator(_check_traces_endpoint)]
Folder = Annotated[Path, AfterValidator(_check_folder)]
FolderOrOff = Annotated[str, BeforeValidator(_check_folder_or_off)]
