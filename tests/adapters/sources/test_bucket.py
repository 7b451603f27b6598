"""S3 against moto's server, and Google's protocol against a stub, both on loopback and over real sockets."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote

import boto3
import obstore
import pytest
from moto.server import ThreadedMotoServer
from obstore.store import S3Store
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from support.adapter_files import Files, adapter_files
from support.loopback import Loopback

from loraplex_adapters.errors import SourceNotFoundError, SourceTooLargeError, SourceUnavailableError
from loraplex_adapters.fingerprint import CONFIG_FILE
from loraplex_adapters.sources import Address, DiskCache, parse_address
from loraplex_adapters.sources.listing import Listing
from loraplex_adapters.sources.remotes import bucket as bucket_module
from loraplex_adapters.sources.remotes.bucket import BucketRemote

from .conftest import Fetch
from .test_hub import read

Upload = Callable[[str, Files], None]


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def upload(moto_url: str, monkeypatch: pytest.MonkeyPatch) -> Upload:
    """`upload(prefix, files)` into the bucket `adapters`; the environment leads there."""
    for name, value in {
        "AWS_ENDPOINT_URL": moto_url,
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", endpoint_url=moto_url)
    client.create_bucket(Bucket="adapters")
    store = S3Store("adapters")
    for each in obstore.list(store).collect():
        obstore.delete(store, each["path"])
    client.close()

    def upload(prefix: str, files: Files) -> None:
        for name, content in files.items():
            obstore.put(store, f"{prefix}/{name}", content)

    return upload


async def test_an_adapter_in_s3_is_fetched(fetch: Fetch, upload: Upload, tmp_path: Path) -> None:
    files = adapter_files(values=300_000) | {"tokenizer.json": b"{}"}  # more than one piece
    upload("team/a", files | {"adapter_model.bin": b"pickle"})
    upload("team/a/checkpoint-1", adapter_files(1))
    upload("team/ab", adapter_files(2))
    fetcher = fetch("s3", BucketRemote(), tensors=10 << 20, into=DiskCache(tmp_path / "large", 10 << 20))
    held = await fetcher.open(parse_address("s3://adapters/team/a"))
    assert read(held.path) == files
    held.release()


async def test_an_upload_is_seen_when_it_is_time_to_look(fetch: Fetch, upload: Upload) -> None:
    fetcher = fetch("s3", BucketRemote(), revalidate_s=0)
    upload("a", adapter_files(1))
    first = await fetcher.open(parse_address("s3://adapters/a"))
    same = await fetcher.open(parse_address("s3://adapters/a"))
    upload("a", adapter_files(2))
    second = await fetcher.open(parse_address("s3://adapters/a"))
    assert first.path == same.path
    assert read(first.path) == adapter_files(1)
    assert read(second.path) == adapter_files(2)
    for held in (first, same, second):
        held.release()


async def test_what_is_not_in_the_bucket_is_said(fetch: Fetch, upload: Upload) -> None:
    fetcher = fetch("s3", BucketRemote(), tensors=100)
    upload("a", {CONFIG_FILE: b"{}", "adapter_model.bin": b"pickle"})
    upload("large", adapter_files())
    for source, error, words in (
        ("s3://adapters/nothing", SourceNotFoundError, "nothing at 's3://adapters/nothing'"),
        ("s3://no-such-bucket/a", SourceNotFoundError, "nothing at"),
        ("s3://adapters/a", SourceNotFoundError, "no adapter_model.safetensors"),
        ("s3://adapters/large", SourceTooLargeError, "100 are taken at most"),
    ):
        with pytest.raises(error, match=words):
            await fetcher.open(parse_address(source))


@pytest.mark.parametrize(("status", "error"), [(403, SourceNotFoundError), (500, SourceUnavailableError)])
async def test_a_listing_that_is_refused_is_told_from_one_that_fails(
    fetch: Fetch, upload: Upload, monkeypatch: pytest.MonkeyPatch, status: int, error: type[Exception]
) -> None:
    async def answer(request: Request) -> Response:
        return Response("<Error><Code>No</Code></Error>", status)

    monkeypatch.setattr(bucket_module, "_RETRY", {"max_retries": 0})
    with Loopback(Starlette(routes=[Route("/{path:path}", answer)])) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.port}")
        with pytest.raises(error, match=f"status {status}"):
            await fetch("s3", BucketRemote()).open(parse_address("s3://adapters/a"))


async def test_an_object_that_is_replaced_meanwhile_is_fetched_whole(
    fetch: Fetch, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tags of what was listed and of what is read must agree; the second look finds the new ones."""
    remote = BucketRemote()
    upload("a", adapter_files(1))
    listed = remote.list

    async def replaced_after_listing(address: Address) -> Listing:
        found = await listed(address)
        monkeypatch.setattr(remote, "list", listed)
        upload("a", adapter_files(2))
        return found

    monkeypatch.setattr(remote, "list", replaced_after_listing)
    held = await fetch("s3", remote).open(parse_address("s3://adapters/a"))
    assert read(held.path) == adapter_files(2)
    held.release()


async def test_a_store_that_does_not_answer_is_unavailable(
    fetch: Fetch, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(bucket_module, "_RETRY", {"max_retries": 0})
    with pytest.raises(SourceUnavailableError, match="cannot be reached") as error:
        await fetch("s3", BucketRemote()).open(parse_address("s3://adapters/a"))
    assert "127.0.0.1" not in str(error.value)


class GoogleStub:
    """Objects of one bucket, listed and read as Google Cloud Storage does it."""

    def __init__(self, objects: Files) -> None:
        self.objects = objects
        self.app = Starlette(routes=[Route("/{path:path}", self._answer)])

    async def _answer(self, request: Request) -> Response:
        if request.query_params.get("list-type") == "2" or request.url.path.rstrip("/") == "/bucket":
            prefix = request.query_params["prefix"]
            found = "".join(
                f"<Contents><Key>{name}</Key><LastModified>2026-01-01T00:00:00Z</LastModified>"
                f"<ETag>&quot;{len(content)}&quot;</ETag><Size>{len(content)}</Size></Contents>"
                for name, content in self.objects.items()
                if name.startswith(prefix)
            )
            return Response(f"<ListBucketResult>{found}</ListBucketResult>", media_type="application/xml")
        name = unquote(request.url.path).removeprefix("/bucket/")
        if name not in self.objects:
            return Response(status_code=404)
        content = self.objects[name]
        headers = {"etag": f'"{len(content)}"', "last-modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
        return Response(content, headers=headers)


async def test_an_adapter_in_google_cloud_storage_is_fetched(
    fetch: Fetch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = adapter_files()
    stub = GoogleStub({f"team/a/{name}": content for name, content in files.items()})
    with Loopback(stub.app) as server:
        account = {
            "gcs_base_url": f"http://127.0.0.1:{server.port}",
            "disable_oauth": True,
            "client_email": "",
            "private_key": "",
            "private_key_id": "",
        }
        monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", json.dumps(account))
        monkeypatch.setattr(bucket_module, "_CLIENT", {"allow_http": True})
        held = await fetch("gs", BucketRemote()).open(parse_address("gs://bucket/team/a"))
        assert read(held.path) == files
        held.release()
        with pytest.raises(SourceNotFoundError):
            await fetch("gs", BucketRemote()).open(parse_address("gs://bucket/team/b"))
