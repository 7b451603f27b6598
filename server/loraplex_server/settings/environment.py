"""The LORAPLEX_* variables, and which variables of that prefix are not ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from loraplex_server.settings.errors import SettingsError, did_you_mean
from loraplex_server.settings.options import ServeSettings
from loraplex_server.settings.told import PREFIX

# Kubernetes puts these into every container beside a Service whose name begins with "loraplex".
_SERVICE_LINK = re.compile(
    rf"{PREFIX}([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
_SERVICE_PORT = re.compile(rf"{PREFIX}([A-Z0-9_]+_)?PORT")
_SERVICE_URL = re.compile(r"(tcp|udp|sctp)://")

# vLLM's manifests give the API key so. A server that ignored it would stand open.
ALSO_KEY = "VLLM_API_KEY"

# Of `loraplex adapters`.
_COMMANDS = frozenset({f"{PREFIX}URL"})


def read_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """Values of the fields that variables set.

    Raises:
        SettingsError: a variable names no option, or is empty.
    """
    values: dict[str, Any] = {}
    problems: list[str] = []
    known = {f"{PREFIX}{name.upper()}": name for name in ServeSettings.model_fields}
    for variable, value in environ.items():
        if not variable.startswith(PREFIX) or variable in _COMMANDS or _is_service_link(variable, value):
            continue
        if variable not in known:
            problems.append(f"unknown variable {variable}{did_you_mean(variable, known)}")
        elif not value:
            problems.append(f"{variable} is empty: unset it, or give it a value")
        else:
            values[known[variable]] = value
    if problems:
        raise SettingsError(problems)
    if has_only_also_key(environ):
        values["api_key"] = [environ[ALSO_KEY]]  # as vLLM has it: one key, commas and all
    return values


def has_only_also_key(environ: Mapping[str, str]) -> bool:
    """Whether vLLM's variable says the API key, and not our own."""
    return bool(environ.get(ALSO_KEY)) and f"{PREFIX}API_KEY" not in environ


def _is_service_link(variable: str, value: str) -> bool:
    if _SERVICE_LINK.fullmatch(variable):
        return True
    return bool(_SERVICE_PORT.fullmatch(variable) and _SERVICE_URL.match(value))
