"""The image's health check finds the server where it listens, however it was told to, by the standard library alone."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from support.servers import ROOT, free_port

SCRIPT = ROOT / "deploy" / "image" / "commands" / "health.py"
CHECK = "import runpy, sys, pathlib; sys.exit(runpy.run_path(sys.argv[1])['main'](pathlib.Path(sys.argv[2])))"
# Listens as the server does, prints where, and answers each request with one status.
SERVER = """
import socket, sys
import uvicorn

async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": int(sys.argv[2]), "headers": []})
    await send({"type": "http.response.body", "body": scope["path"].encode()})

listener = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
listener.bind((sys.argv[1], 0))
listener.listen()
print(listener.getsockname()[1], flush=True)
chain, key = sys.argv[3:] or (None, None)
config = uvicorn.Config(app, http="httptools", lifespan="off", log_config=None, ssl_certfile=chain, ssl_keyfile=key)
uvicorn.Server(config).run(sockets=[listener])
"""


@contextlib.contextmanager
def listening(folder: Path, *arguments: str, name: str = "loraplex") -> Iterator[int]:
    """A process of that name, and of nothing else; its port. `folder / "proc"` shows it as /proc does."""
    program = folder / name
    program.write_text(SERVER)
    command = [sys.executable, str(program), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            (folder / "proc").mkdir(exist_ok=True)
            (folder / "proc" / str(process.pid)).symlink_to(f"/proc/{process.pid}")
            yield port
        finally:
            process.kill()


def check(folder: Path, **variables: str) -> tuple[int, str]:
    """Exit code, and what it says, where only the processes of this test can be seen."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LORAPLEX_")}
    command = [sys.executable, "-I", "-S", "-c", CHECK, str(SCRIPT), str(folder / "proc")]
    done = subprocess.run(command, env=environment | variables, capture_output=True, text=True)
    return done.returncode, done.stderr


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1", "::"])
def test_it_finds_the_port_whatever_the_variable_says(tmp_path: Path, host: str) -> None:
    with listening(tmp_path, host, "200"):
        assert check(tmp_path, LORAPLEX_PORT=str(free_port()), LORAPLEX_HOST="127.0.0.2") == (0, "")


def test_what_is_ill_is_said(tmp_path: Path) -> None:
    with listening(tmp_path, "127.0.0.1", "503"):
        assert check(tmp_path) == (1, "/health: 503 /health\n")


@pytest.mark.parametrize("told", [True, False])
def test_tls_is_found_where_no_variable_tells_of_it(tmp_path: Path, told: bool) -> None:
    issued = trustme.CA().issue_cert("example.org")
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    issued.cert_chain_pems[0].write_to_path(chain)
    issued.private_key_pem.write_to_path(key)
    with listening(tmp_path, "127.0.0.1", "200", str(chain), str(key)):
        assert check(tmp_path, **({"LORAPLEX_SSL_CERTFILE": str(chain)} if told else {})) == (0, "")


def test_another_programs_port_is_not_the_servers(tmp_path: Path) -> None:
    """Ranks of the engine listen too, for each other."""
    with listening(tmp_path, "127.0.0.1", "503", name="engine"), listening(tmp_path, "127.0.0.1", "200"):
        assert check(tmp_path) == (0, "")


def test_another_containers_server_is_not_this_ones(tmp_path: Path) -> None:
    """It is seen where containers share their table of processes, and has another root."""
    with listening(tmp_path, "127.0.0.1", "503"):
        (shown,) = (tmp_path / "proc").iterdir()
        real = shown.readlink()
        shown.unlink()
        shown.mkdir()
        for each in ("cmdline", "fd", "net"):
            (shown / each).symlink_to(real / each)
        (shown / "root").symlink_to(tmp_path)
        code, said = check(tmp_path, LORAPLEX_PORT=str(free_port()))
    assert code == 1
    assert "refused" in said


def test_where_no_process_can_be_seen_the_variables_tell(tmp_path: Path) -> None:
    with listening(tmp_path, "127.0.0.1", "200", name="engine") as port:
        assert check(tmp_path, LORAPLEX_PORT=str(port)) == (0, "")
        code, said = check(tmp_path, LORAPLEX_PORT=str(free_port()))
    assert code == 1
    assert "refused" in said


def test_the_whole_of_proc_is_read_without_a_fault(tmp_path: Path) -> None:
    """With processes that are others', have ended or end meanwhile."""
    (tmp_path / "proc").symlink_to("/proc")
    assert "Traceback" not in check(tmp_path, LORAPLEX_PORT=str(free_port()))[1]
