"""Write what in deploy/ is made from other files: the chart's schema of settings, its copies, the kustomize base.

python tools/chart.py            # writes them
python tools/chart.py --check    # says whether they are up to date, and changes nothing

The kustomize base needs helm (python tools/clients.py helm); without it, it is left as it is, and a line says so.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from chart_settings import settings_schema
from written import ROOT, written

DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "loraplex"
BASE = DEPLOY / "kustomize" / "base"
MONITORING = DEPLOY / "kustomize" / "components" / "monitoring"
HELM = ROOT / "build" / "clients" / "helm" / "helm" / "helm"
SCHEMA = CHART / "values.schema.json"
DEMO = CHART / "ci" / "cpu-demo.yaml"

# A chart's templates can read no file outside it, and links break where a repository is downloaded as an archive.
COPIES = {
    DEPLOY / "prometheus" / "rules.yaml": CHART / "files" / "rules.yaml",
    DEPLOY / "grafana" / "dashboards" / "loraplex.json": CHART / "files" / "dashboard.json",
}

# Helm's own words about a release, which kustomize's objects are not.
HELM_LABELS = ("helm.sh/chart", "app.kubernetes.io/managed-by")
SETTINGS_FILE = "loraplex.yaml"
ABOUT = "# Rendered from deploy/helm/loraplex by tools/chart.py: change it there.\n"


def main(arguments: list[str]) -> int:
    """0; 1 where a file was checked and is stale."""
    check = "--check" in arguments
    copies = {copy: source.read_text(encoding="utf-8") for source, copy in COPIES.items()}
    stale = written({SCHEMA: schema(), **copies}, __file__, check)  # before helm, which renders what is there
    if not HELM.exists():
        print("chart.py: helm is not installed, the kustomize base is not looked at: python tools/clients.py helm")
        return stale
    folders = {BASE: base(), MONITORING: monitoring()}
    rendered = {folder / name: text for folder, files in folders.items() for name, text in files.items()}
    return written(rendered, __file__, check) or stale


def schema() -> str:
    """The chart's schema, with the options of `loraplex serve` as they are now."""
    whole = json.loads(SCHEMA.read_text(encoding="utf-8"))
    whole["definitions"]["settings"] = settings_schema()
    return json.dumps(whole, indent=2) + "\n"


def render(values: Path, *arguments: str) -> list[dict[str, Any]]:
    """Objects of a release called loraplex, without those of hooks.

    Raises:
        subprocess.CalledProcessError: helm refuses the values.
    """
    command: list[str | Path] = [HELM, "template", "loraplex", CHART, "--no-hooks", "-f", values, *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return [item for item in yaml.safe_load_all(done.stdout) if item]


def base() -> dict[str, str]:
    """Files of the kustomize base: an object each, and the settings as a file whose change rolls the pods."""
    objects = render(DEMO)
    (settings,) = (item["data"][SETTINGS_FILE] for item in objects if item["kind"] == "ConfigMap")
    files = _files(item for item in objects if item["kind"] != "ConfigMap")
    generator = f"configMapGenerator:\n  - name: loraplex\n    files: [{SETTINGS_FILE}]\n"
    kustomization = _kustomization("kustomize.config.k8s.io/v1beta1", "Kustomization", files) + generator
    return {**files, SETTINGS_FILE: ABOUT + settings, "kustomization.yaml": kustomization}


def monitoring() -> dict[str, str]:
    """Files of the component that adds what the Prometheus operator reads."""
    switches = ("metrics.monitor.enabled", "metrics.rules.enabled")
    objects = render(DEMO, *(f"--set={name}=true" for name in switches))
    files = _files(item for item in objects if item["apiVersion"].startswith("monitoring.coreos.com/"))
    return {**files, "kustomization.yaml": _kustomization("kustomize.config.k8s.io/v1alpha1", "Component", files)}


def _files(objects: Iterable[dict[str, Any]]) -> dict[str, str]:
    """A file for each, by its kind."""
    return {f"{each['kind'].lower()}.yaml": ABOUT + yaml.safe_dump(_plain(each), sort_keys=False) for each in objects}


def _kustomization(version: str, kind: str, files: Iterable[str]) -> str:
    resources = "".join(f"  - {name}\n" for name in sorted(files))
    return f"{ABOUT}apiVersion: {version}\nkind: {kind}\nresources:\n{resources}"


def _plain(item: dict[str, Any]) -> dict[str, Any]:
    """Without what only Helm means; its namespace and the settings' checksum are kustomize's to add."""
    metadata = {name: value for name, value in item["metadata"].items() if name != "namespace"}
    metadata["labels"] = {name: value for name, value in metadata["labels"].items() if name not in HELM_LABELS}
    plain = {**item, "metadata": metadata}
    template = plain.get("spec", {}).get("template")
    if template is not None:
        template["metadata"].pop("annotations")
    return plain


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
