"""A process as on a machine with a GPU on which the project is not installed: few packages, and no trace of our own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import sysconfig

from conftest import BENCHMARKS

# What such a machine lacks, of all that the project, its server or its tests import.
LACKING = (
    *(
        "fastapi",
        "starlette",
        "uvicorn",
        "uvloop",
        "httptools",
        "zmq",
        "pydantic",
        "pydantic_core",
        "pydantic_settings",
    ),
    *("prometheus_client", "llguidance", "obstore", "multipart", "python_multipart", "rich", "ray", "opentelemetry"),
    *("bitsandbytes", "peft", "compressed_tensors", "matplotlib", "psutil"),
)


def run_bare(script, *arguments, lacking=()):
    """One of the scripts, in a process of its own; without `site`, so that no installed project is found.

    Args:
        script: in benchmarks/.
        arguments: of the command.
        lacking: packages that are missing besides.
    """
    blocked = f"import sys; sys.modules.update(dict.fromkeys({(*LACKING, *lacking)}))"
    places = f"sys.path[:0] = [{str(BENCHMARKS)!r}]; sys.path.append({sysconfig.get_path('purelib')!r})"
    begin = "sys.argv[:] = sys.argv[1:]; import runpy; runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-S", "-c", f"{blocked}; {places}; {begin}", BENCHMARKS / script, *arguments]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def script_module(name):
    """A script under a name that is no library's: a module `kernels` would be taken for the package of that name."""
    spec = importlib.util.spec_from_file_location(f"{name}_script", BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
