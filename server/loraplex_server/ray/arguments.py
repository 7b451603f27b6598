"""What an application of Ray Serve is told: the server's settings, and two words of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loraplex_server.demo import Demo, find_demo
from loraplex_server.settings import ServeSettings, SettingsError
from loraplex_server.settings.environment import read_environment
from loraplex_server.settings.load import known_keys, read_yaml, settings_of

WHERE = "the application's args"
_PROXY = "Ray's proxies listen and speak TLS: see http_options"
_ALONE = "each replica would keep a state of its own: replicas come and go, and share only what they read"
# Why an option means nothing here.
REFUSED: Mapping[str, str] = {
    "host": _PROXY,
    "port": _PROXY,
    "ssl_certfile": _PROXY,
    "ssl_keyfile": _PROXY,
    "root_path": "the application's route_prefix does it",
    "shutdown_delay": "Ray sends nothing more to a replica before it ends it",
    "state_dir": _ALONE,
    "response_store_size": _ALONE,
}


@dataclass(frozen=True)
class Arguments:
    """Args: settings: of every replica. adapters_per_replica: that Ray takes to be at hand in one; None: what fits.
    ignored: variables of this process that are for a server with a socket."""

    settings: ServeSettings
    adapters_per_replica: int | None = None
    ignored: tuple[str, ...] = ()


def read_arguments(args: Mapping[str, Any], environ: Mapping[str, str] | None = None) -> Arguments:
    """Args first, then the file that `config` names, then LORAPLEX_* variables.

    Raises:
        SettingsError: with a line for each that is misspelt, bad, or means nothing here.
        StartError: the demo is not there.
    """
    own = {name.replace("-", "_"): value for name, value in args.items()}
    most, demo, file = (own.pop(name, None) for name in ("adapters_per_replica", "demo", "config"))
    values = {**(read_yaml(Path(str(file))) if file else {}), **known_keys(own, WHERE)}
    problems = [f"{name} in {WHERE}: {why}" for name, why in REFUSED.items() if name in values]
    if most is not None and (type(most) is not int or most < 1):
        problems.append(f"adapters_per_replica in {WHERE}: must be a whole number above 0 (got {str(most)[:100]!r})")
    if type(demo or False) is not bool:
        problems.append(f"demo in {WHERE}: must be true or false (got {str(demo)[:100]!r})")
    if problems:
        raise SettingsError(problems)
    if demo:
        values = {**Demo(find_demo()).defaults, **values}
    environment = read_environment(os.environ if environ is None else environ)
    # An image that is made to listen sets some of them for whatever runs in it.
    ignored = tuple(name for name in environment if name in REFUSED)
    told = {name: value for name, value in environment.items() if name not in REFUSED}
    settings = settings_of({**values, "response_store_size": 0}, told, WHERE)
    return Arguments(settings, most, ignored)
