"""Install the clients that tests/e2e/clients drives, each in an environment of its own in build/clients.

python tools/clients.py [NAME ...]    # all that are missing or of another version, if none is named

They are no dependency of the server nor of its other tests: their own dependencies contradict each other.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "build" / "clients"
CLIENTS = {
    "langchain": ("langchain-openai==1.7.3",),
    "litellm": ("litellm==1.106.2",),
    "llama-benchy": ("llama-benchy==0.4.0",),
    "lm-eval": ("lm-eval[api]==0.4.13", "transformers==5.23.0"),
    "schemathesis": ("schemathesis==4.32.5",),
}
NPM = {"openai-npm": ("openai@6.49.0",)}


def main(arguments: list[str]) -> int:
    """0; 1 where one could not be installed; 2 where one is unknown."""
    known = (*CLIENTS, *NPM)
    if unknown := [name for name in arguments if name not in known]:
        print(f"clients.py: {', '.join(unknown)}: not among {', '.join(known)}", file=sys.stderr)
        return 2
    done = [_install(name) for name in arguments or known]
    return 0 if all(done) else 1


def _install(name: str) -> bool:
    folder, wanted = FOLDER / name, CLIENTS.get(name) or NPM[name]
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
    if name in NPM:
        done = subprocess.run(["npm", "install", "--silent", "--no-fund", "--no-audit", *wanted], cwd=folder)
    else:
        venv.create(folder, with_pip=True)
        pip = [folder / "bin" / "python", "-m", "pip", "--disable-pip-version-check"]
        done = subprocess.run([*pip, "install", "-q", *wanted])
    if done.returncode == 0:
        stamp.write_text("\n".join(wanted), encoding="utf-8")
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
