"""Whether Kubernetes, and the operators that add kinds to it, would take an object."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import jsonschema
import yaml

from support.charts import Object
from support.installed import folder_of
from support.servers import ROOT

OPERATORS = {
    "gateway.networking.k8s.io": "gateway-api",
    "keda.sh": "keda",
    "monitoring.coreos.com": "prometheus-operator",
}
PROGRAM = ROOT / "tests" / "deploy" / "programs" / "check_operators.mjs"
# Of the Gateway API Inference Extension and llm-d, whose definitions are in no package.
SCHEMAS = {path.stem: path for path in (ROOT / "tests" / "deploy" / "schemas").glob("*.json")}
TSC = ("--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext", "--types", "")


def group(item: Object) -> str:
    name, slash, _ = str(item["apiVersion"]).partition("/")
    return name if slash else ""


def is_native(item: Object) -> bool:
    return group(item) not in OPERATORS and item["kind"].lower() not in SCHEMAS


def native_complaints(objects: Sequence[Object], version: str) -> list[str]:
    """What a Kubernetes of this version would refuse, unknown fields among it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "objects.yaml"
        path.write_text(yaml.safe_dump_all(objects), encoding="utf-8")
        program = folder_of("deploy") / "bin" / "kubernetes-validate"
        done = subprocess.run(
            [program, "--strict", "-k", version, path], capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"}
        )
    lines = (done.stdout + done.stderr).splitlines()
    passed = [line for line in lines if line.startswith("INFO ")]
    complaints = [line for line in lines if line not in passed]
    assert done.returncode == 0 or complaints
    assert len(passed) + len(complaints) >= len(objects)
    return complaints


def operator_complaints(objects: Sequence[Object]) -> list[str]:
    """What the operators' definitions refuse: bad values, and fields that they do not know and would drop."""
    folder = folder_of("kubernetes-models")
    done = subprocess.run(
        ["node", PROGRAM, folder], input=json.dumps(objects), capture_output=True, text=True, check=True
    )
    bad = [f"{item['kind']}: {each}" for item, each in zip(objects, json.loads(done.stdout), strict=True) if each]
    return bad + _unknown_fields(objects, folder)


def _unknown_fields(objects: Sequence[Object], folder: Path) -> list[str]:
    """TypeScript's complaints about object literals of the models' types."""
    imports, literals = [], []
    for number, item in enumerate(objects):
        path = f"@kubernetes-models/{OPERATORS[group(item)]}/{item['apiVersion']}/{item['kind']}"
        imports.append(f'import {{ {item["kind"]} as Model{number} }} from "{path}";')
        fields = {name: value for name, value in item.items() if name not in ("apiVersion", "kind")}
        literals.append(f"new Model{number}({json.dumps(fields)});")
    with tempfile.TemporaryDirectory(dir=folder) as sources:
        source = Path(sources) / "objects.ts"
        source.write_text("\n".join([*imports, *literals]), encoding="utf-8")
        done = subprocess.run(
            [folder / "node_modules" / ".bin" / "tsc", *TSC, source.name],
            cwd=sources,
            capture_output=True,
            text=True,
        )
    return done.stdout.splitlines()


def extension_complaints(item: Object) -> list[str]:
    """What the definition of a kind of the inference extension refuses."""
    schema = json.loads(SCHEMAS[item["kind"].lower()].read_text(encoding="utf-8"))
    return [error.message for error in jsonschema.Draft7Validator(schema).iter_errors(item)]


def complaints(objects: Sequence[Object], version: str) -> list[str]:
    """All that is wrong with objects of any kind; what is of a kind that nobody knows here is refused too."""
    native = [item for item in objects if is_native(item)]
    operators = [item for item in objects if group(item) in OPERATORS]
    extension = [item for item in objects if item["kind"].lower() in SCHEMAS]
    found = native_complaints(native, version) if native else []
    found += operator_complaints(operators) if operators else []
    return found + [each for item in extension for each in extension_complaints(item)]
