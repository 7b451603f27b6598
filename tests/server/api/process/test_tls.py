"""HTTPS: the certificate that is shown, and the renewed one that takes its place."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme
from support.api import build_tokenizer, until
from support.fake_engine import INFO, FakeEngine

from loraplex_server.api.process import serve, server
from loraplex_server.api.process.start_error import StartError
from loraplex_server.api.process.tls import Certificate
from loraplex_server.settings import ServeSettings

pytestmark = pytest.mark.usefixtures("root_logger")


class Client(FakeEngine):
    """What serve needs of an EngineClient."""

    def __init__(self, config: Any) -> None:
        super().__init__(lambda request, index: [10, 11])

    async def start(self) -> Any:
        return INFO

    async def close(self) -> None:
        self.healthy = False


def issue(folder: Path, authority: trustme.CA, name: str) -> tuple[Path, Path]:
    """A certificate and its key in two files, as cert-manager writes them."""
    issued = authority.issue_cert("localhost", common_name=name)
    chain, key = folder / "tls.crt", folder / "tls.key"
    key.write_bytes(issued.private_key_pem.bytes())
    chain.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    return chain, key


async def common_name(port: int, context: ssl.SSLContext) -> str:
    """Of the certificate that a new connection is shown."""
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
    shown = writer.get_extra_info("peercert")
    writer.close()
    return dict(pair for part in shown["subject"] for pair in part)["commonName"]


async def test_a_renewed_certificate_is_shown_without_a_restart(tmp_path: Path, monkeypatch: Any) -> None:
    build_tokenizer().save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    authority = trustme.CA()
    chain, key = issue(tmp_path, authority, "first")
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    monkeypatch.setattr(serve, "EngineClient", Client)
    monkeypatch.setattr(server, "CERTIFICATE_TICKS", 1)
    settings = ServeSettings(model=str(tmp_path), ssl_certfile=chain, ssl_keyfile=key, log_level="error")
    ready: list[str] = []
    with serve._bind("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        task = asyncio.create_task(serve._serve(settings, listener, lambda url, info: ready.append(url)))
        await until(lambda: ready or task.done())
        assert ready == [f"https://127.0.0.1:{port}"]
        names: list[str] = []
        while not names:
            with contextlib.suppress(ConnectionRefusedError):  # ready is the engine; it listens a moment later
                names.append(await common_name(port, trusting))
            await asyncio.sleep(0.02)
        assert names == ["first"]
        issue(tmp_path, authority, "second")
        while names[-1] == "first":
            names.append(await common_name(port, trusting))
            await asyncio.sleep(0.02)
        assert names[-1] == "second"
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(task, 60)


def test_what_is_no_certificate_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("no certificate")
    with pytest.raises(StartError, match="--ssl-certfile"):
        Certificate(tmp_path / "x", None)


def test_half_a_renewal_changes_nothing(tmp_path: Path) -> None:
    chain, key = issue(tmp_path, trustme.CA(), "first")
    certificate = Certificate(chain, key)
    shown = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    shown.load_cert_chain(chain, key)
    other = tmp_path / "other"
    other.mkdir()
    os.replace(issue(other, trustme.CA(), "second")[0], chain)  # the key is still the old one
    certificate.refresh(shown)
    os.replace(other / "tls.key", key)
    certificate.refresh(shown)
