"""Over TLS, with a certificate of the test's own authority."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from support.adapter_files import Files, adapter_files
from support.loopback import Loopback

from loraplex_adapters.errors import (
    SourceDamagedError,
    SourceNotAllowedError,
    SourceNotFoundError,
    SourceTooLargeError,
    SourceUnavailableError,
)
from loraplex_adapters.fingerprint import CONFIG_FILE, TENSOR_FILE
from loraplex_adapters.sources import Address, parse_address
from loraplex_adapters.sources.remotes.web import WebRemote

from .conftest import Fetch
from .test_hub import read


class WebStub:
    """Files by path; a fault is a status for everything, or what is done to the body of the tensors."""

    def __init__(self) -> None:
        self.files: Files = {}
        self.version = 1
        self.fault: str | int | None = None
        self.tags = True
        self.hosts: set[str] = set()
        self.bodies: list[str] = []
        self.app = Starlette(routes=[Route("/{path:path}", self._answer, methods=["GET", "HEAD"])])

    async def _answer(self, request: Request) -> Response:
        self.hosts.add(request.headers["host"])
        path = request.path_params["path"]
        if isinstance(self.fault, int):
            return Response(status_code=self.fault)
        if self.fault == "redirect":
            return RedirectResponse(f"https://elsewhere.example/{path}")
        if path not in self.files:
            return Response(status_code=404)
        content = self.files[path]
        headers = {"etag": f'"{self.version}"'} if self.tags else {}
        if request.method == "GET":
            self.bodies.append(path)
            if path.endswith(TENSOR_FILE) and self.fault == "longer":
                content += bytes(100)
            if self.fault == "gzip":
                headers["content-encoding"] = "gzip"
            if self.fault == "changed":
                self.version += 1
                headers["etag"] = f'"{self.version}"'
        return Response(content, headers=headers)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return tmp_path / "ca.pem"


@pytest.fixture
def web() -> WebStub:
    return WebStub()


@pytest.fixture
def port(web: WebStub, authority: trustme.CA, tmp_path: Path) -> Iterator[int]:
    certificate = authority.issue_cert("localhost")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    with Loopback(web.app, ssl_certfile=str(tmp_path / "server.pem")) as server:
        yield server.port


@pytest.fixture
def fetch(port: int, fetch: Fetch) -> Fetch:
    """Whose clients hang up before the server does, as TLS wants it."""
    return fetch


@pytest.fixture
def place(port: int) -> Address:
    return parse_address(f"https://localhost:{port}/team/a")


def upload(web: WebStub, prefix: str, files: Files) -> None:
    web.files |= {f"{prefix}/{name}": content for name, content in files.items()}


async def test_a_folder_on_a_web_server_is_fetched(fetch: Fetch, web: WebStub, place: Address, ca_file: Path) -> None:
    files = adapter_files() | {"chat_template.jinja": b"{{ messages }}"}
    upload(web, "team/a", files | {"adapter_model.bin": b"pickle", "secret.txt": b"x"})
    held = await fetch("https", WebRemote(ca_file, private_hosts=True)).open(place)
    assert read(held.path) == files
    assert web.hosts == {place.place}
    assert sorted(web.bodies) == sorted(f"team/a/{name}" for name in files)
    held.release()


async def test_new_content_is_seen_by_its_tags_and_without_tags_by_fetching(
    fetch: Fetch, web: WebStub, place: Address, ca_file: Path
) -> None:
    fetcher = fetch("https", WebRemote(ca_file, private_hosts=True), revalidate_s=0)
    upload(web, "team/a", adapter_files(1))
    for _ in range(2):
        (await fetcher.open(place)).release()
    assert len(web.bodies) == 2
    upload(web, "team/a", adapter_files(2))
    web.version += 1
    held = await fetcher.open(place)
    assert read(held.path) == adapter_files(2)
    held.release()
    web.tags = False
    upload(web, "team/a", adapter_files(3))
    for count in (6, 8):
        held = await fetcher.open(place)
        assert read(held.path) == adapter_files(3)
        held.release()
        assert len(web.bodies) == count


async def test_a_name_that_leads_into_a_private_network_is_refused_before_anything_is_sent(
    fetch: Fetch, web: WebStub, place: Address, ca_file: Path
) -> None:
    upload(web, "team/a", adapter_files())
    with pytest.raises(SourceNotAllowedError, match="leads into a private network"):
        await fetch("https", WebRemote(ca_file)).open(place)
    assert not web.hosts


@pytest.mark.parametrize(
    "found",
    ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fe80::1%1", "::ffff:10.0.0.1", "2002:a00:1::", "0.0.0.0"],
)
async def test_one_private_address_among_public_ones_is_enough_to_refuse(
    fetch: Fetch, monkeypatch: pytest.MonkeyPatch, found: str
) -> None:
    answers = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, 0)) for each in ("93.184.216.34", found)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers)
    with pytest.raises(SourceNotAllowedError, match="leads into a private network"):
        await fetch("https", WebRemote()).open(parse_address("https://host.example/a"))


# asyncio closes a connection whose handshake failed a turn later, or when it is collected, which may be here.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_certificate_that_is_not_the_hosts_is_refused(
    fetch: Fetch, web: WebStub, port: int, place: Address, ca_file: Path
) -> None:
    upload(web, "team/a", adapter_files())
    for remote, address in (
        (WebRemote(private_hosts=True), place),  # of an authority that is not trusted
        (WebRemote(ca_file), parse_address(f"https://127.0.0.1:{port}/team/a")),  # of another name
    ):
        with pytest.raises(SourceUnavailableError, match="cannot be reached"):
            await fetch("https", remote).open(address)
    assert not web.hosts


async def test_an_address_that_a_pattern_spells_out_may_be_private(
    fetch: Fetch, web: WebStub, authority: trustme.CA, ca_file: Path, tmp_path: Path
) -> None:
    upload(web, "a", adapter_files())
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "address.pem")
    with Loopback(web.app, ssl_certfile=str(tmp_path / "address.pem")) as server:
        fetcher = fetch("https", WebRemote(ca_file))
        (await fetcher.open(parse_address(f"https://127.0.0.1:{server.port}/a"))).release()
        await fetcher.close()  # before the server does


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        ("redirect", SourceUnavailableError, "redirects elsewhere, which is not followed"),
        ("longer", SourceDamagedError, "longer than the"),
        ("gzip", SourceUnavailableError, "cannot be reached"),
        ("changed", SourceUnavailableError, "changed while it was being fetched"),
        (500, SourceUnavailableError, "status 500"),
        (401, SourceNotFoundError, "refuses this server access"),
        (404, SourceNotFoundError, "no adapter_config.json"),
    ],
)
async def test_a_server_that_does_otherwise_than_it_should_is_an_error(
    fetch: Fetch, web: WebStub, place: Address, ca_file: Path, fault: str | int, error: type[Exception], words: str
) -> None:
    upload(web, "team/a", adapter_files())
    web.fault = fault
    with pytest.raises(error, match=words):
        await fetch("https", WebRemote(ca_file, private_hosts=True)).open(place)


async def test_sizes_are_asked_for_first(fetch: Fetch, web: WebStub, place: Address, ca_file: Path) -> None:
    upload(web, "team/a", adapter_files() | {CONFIG_FILE: b" " * (2 << 20)})
    with pytest.raises(SourceTooLargeError, match=CONFIG_FILE):
        await fetch("https", WebRemote(ca_file, private_hosts=True), tensors=10 << 20).open(place)
    assert not web.bodies
