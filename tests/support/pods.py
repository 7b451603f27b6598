"""A pod's files, laid out in a folder as its volumes would show them, so that its settings can be read here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from support.charts import Object, all_of, pod_of, server_of, settings_text


def laid_out(objects: tuple[Object, ...], root: Path) -> Path:
    """Mounts under `root`, with what ConfigMaps and Secrets of the chart hold; returns the settings file.

    Paths in the settings file that lead into a mount lead into `root` then.
    """
    container = server_of(objects)
    volumes = {volume["name"]: volume for volume in pod_of(objects)["volumes"]}
    mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
    for mount in container["volumeMounts"]:
        folder = root / mount["mountPath"].lstrip("/")
        folder.mkdir(parents=True)
        for name, text in _files(volumes.get(mount["name"], {}), objects).items():
            (folder / name).write_text(text, encoding="utf-8")
    settings = yaml.safe_load(settings_text(objects))
    moved = {name: _moved(value, mounts, root) for name, value in settings.items()}
    if str(settings.get("model", "")).startswith("/"):
        Path(moved["model"]).mkdir(parents=True)
    path = root / container["args"][container["args"].index("--config") + 1].lstrip("/")
    path.write_text(yaml.safe_dump(moved), encoding="utf-8")
    return path


def variables(objects: tuple[Object, ...]) -> dict[str, str]:
    """Those of the server's container; what stands in a Secret, or comes from the pod, has some value."""
    return {each["name"]: each.get("value", "from-elsewhere") for each in server_of(objects)["env"]}


def _files(volume: Object, objects: tuple[Object, ...]) -> dict[str, str]:
    if "configMap" in volume:
        named = {item["metadata"]["name"]: item for item in all_of("ConfigMap", objects)}
        files: dict[str, str] = named[volume["configMap"]["name"]]["data"]
        return files
    if "secret" in volume:
        secrets = {item["metadata"]["name"]: item["stringData"] for item in all_of("Secret", objects)}
        unknown = {"tls.crt": "-", "tls.key": "-", "keys.yaml": "keys: []"}
        return {**secrets.get(volume["secret"]["secretName"], unknown)}
    return {}


def _moved(value: Any, mounts: list[str], root: Path) -> Any:
    if isinstance(value, str) and any(value == mount or value.startswith(mount + "/") for mount in mounts):
        return str(root / value.lstrip("/"))
    return value
