"""Against a stub that answers as the hub does, through huggingface_hub."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from support.adapter_files import adapter_files
from support.hub_stub import HubStub, go_online

from loraplex_adapters.errors import (
    SourceDamagedError,
    SourceError,
    SourceNotFoundError,
    SourceTooLargeError,
    SourceUnavailableError,
)
from loraplex_adapters.fingerprint import CONFIG_FILE, FILES, TENSOR_FILE
from loraplex_adapters.sources import Address, Fetcher, parse_address
from loraplex_adapters.sources.remotes.hub import HubRemote

from .conftest import Fetch


def read(folder: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.name != "manifest.json"}


async def test_the_wanted_files_of_a_repository_are_fetched_and_no_others(
    hub: HubStub, hub_fetcher: Fetcher, address: Address
) -> None:
    files = adapter_files() | {"tokenizer.json": b"{}", "chat_template.jinja": b"{{ messages }}"}
    unwanted = {"adapter_model.bin": b"pickle", "README.md": b"hello", "run.py": b"import os", "checkpoint-1/x": b"x"}
    commit = hub.repository("org/adapter").push(files | unwanted)
    held = await hub_fetcher.open(address)
    assert read(held.path) == files
    assert held.revision == commit
    assert sorted(hub.bodies()) == sorted(files)
    held.release()


async def test_the_token_goes_to_the_hub_alone(hub: HubStub, hub_fetcher: Fetcher, address: Address) -> None:
    hub.repository("org/adapter").push(adapter_files())
    hub.repository("org/adapter").private = True
    (await hub_fetcher.open(address)).release()
    assert {(host, told) for host, _, told in hub.requests} == {("127.0.0.1", True), ("localhost", False)}


async def test_a_revision_is_a_branch_a_tag_or_a_commit(hub: HubStub, hub_fetcher: Fetcher) -> None:
    repository = hub.repository("org/adapter")
    old = repository.push(adapter_files(1))
    repository.push(adapter_files(2), "refs/pr/7")
    repository.push(adapter_files(3))
    for revision, seed in ((old, 1), ("refs/pr/7", 2), ("main", 3)):
        with_revision = await hub_fetcher.open(parse_address(f"hf://org/adapter@{revision}"))
        assert read(with_revision.path) == adapter_files(seed)
        with_revision.release()


async def test_a_commit_is_never_looked_at_again(hub: HubStub, hub_fetcher: Fetcher) -> None:
    pinned = parse_address("org/adapter@" + hub.repository("org/adapter").push(adapter_files()))
    (await hub_fetcher.open(pinned)).release()
    asked = len(hub.requests)
    (await hub_fetcher.open(pinned)).release()
    assert len(hub.requests) == asked


async def test_a_moved_branch_is_a_new_entry_and_old_holders_keep_theirs(
    hub: HubStub, hub_fetcher: Fetcher, address: Address
) -> None:
    repository = hub.repository("org/adapter")
    repository.push(adapter_files(1))
    old = await hub_fetcher.open(address)
    repository.push(adapter_files(2))
    new = await hub_fetcher.open(address)
    assert (read(old.path), read(new.path)) == (adapter_files(1), adapter_files(2))
    same = await hub_fetcher.open(address)
    assert same.path == new.path
    assert len(hub.bodies()) == 2 * len(FILES)
    for held in (old, new, same):
        held.release()


async def test_an_unchanged_branch_is_looked_at_once_in_a_while(
    fetch: Fetch, hub: HubStub, hub_url: str, address: Address
) -> None:
    patient = fetch("hf", HubRemote(hub_url), revalidate_s=1000)
    hub.repository("org/adapter").push(adapter_files(1))
    for _ in range(5):
        (await patient.open(address)).release()
    assert sum("/api/" in path for _, path, _ in hub.requests) == 1


@pytest.mark.parametrize("fault", ["short", "flipped", "endless", 500, 503])
async def test_a_fault_is_tried_once_more(
    hub: HubStub, hub_fetcher: Fetcher, address: Address, fault: int | str
) -> None:
    hub.repository("org/adapter").push(adapter_files())
    hub.body_faults = [fault]
    held = await hub_fetcher.open(address)
    assert read(held.path) == adapter_files()
    held.release()


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        ("short", SourceDamagedError, r"ended after \d+ of \d+ bytes"),
        ("flipped", SourceDamagedError, "its hash is not the one that was announced"),
        ("endless", SourceDamagedError, r"longer than the \d+ bytes that were announced"),
        (500, SourceUnavailableError, "answers with status 500"),
        (403, SourceNotFoundError, "refuses this server access"),
    ],
)
async def test_a_fault_that_stays_is_an_error_without_anything_internal(
    hub: HubStub,
    hub_fetcher: Fetcher,
    address: Address,
    tmp_path: Path,
    fault: int | str,
    error: type[SourceError],
    words: str,
) -> None:
    hub.repository("org/adapter").push(adapter_files())
    hub.body_faults = [fault] * 9
    with pytest.raises(error, match=words) as raised:
        await hub_fetcher.open(address)
    text = str(raised.value)
    assert "hf://org/adapter" in text
    assert not [secret for secret in (HubStub.TOKEN, "127.0.0.1", str(tmp_path)) if secret in text]
    assert not list((tmp_path / "cache" / "staging").iterdir())
    assert not list((tmp_path / "cache" / "entries").iterdir())


@pytest.mark.parametrize(
    ("source", "error", "words"),
    [
        ("org/nothing", SourceNotFoundError, "the hub has no 'org/nothing', or not for this server's token"),
        ("org/adapter@nothing", SourceNotFoundError, "has no revision 'nothing'"),
        ("org/pickled", SourceNotFoundError, "no adapter_model.safetensors; .* never as pickles"),
        ("org/empty", SourceNotFoundError, "no adapter_config.json and no adapter_model.safetensors"),
    ],
)
async def test_what_is_not_there_is_said(
    hub: HubStub, hub_fetcher: Fetcher, source: str, error: type[SourceError], words: str
) -> None:
    hub.repository("org/adapter").push(adapter_files())
    hub.repository("org/pickled").push({CONFIG_FILE: b"{}", "adapter_model.bin": b"pickle"})
    hub.repository("org/empty").push({})
    with pytest.raises(error, match=words):
        await hub_fetcher.open(parse_address(source))
    assert hub.bodies() == []


async def test_a_private_repository_without_the_token_is_as_good_as_none(
    fetch: Fetch, hub: HubStub, hub_url: str, address: Address
) -> None:
    hub.repository("org/adapter").push(adapter_files())
    hub.repository("org/adapter").private = True
    with pytest.raises(SourceNotFoundError, match="not for this server's token"):
        await fetch("hf", HubRemote(hub_url, "hf_other")).open(address)


async def test_sizes_are_looked_at_before_anything_is_fetched(
    fetch: Fetch, hub: HubStub, hub_url: str, address: Address
) -> None:
    hub.repository("org/adapter").push(adapter_files(values=1024))
    with pytest.raises(SourceTooLargeError, match=r"adapter_model.safetensors at .* 1000 are taken at most"):
        await fetch("hf", HubRemote(hub_url), tensors=1000).open(address)
    assert hub.bodies() == []


@pytest.mark.parametrize("status", [500, 429])
async def test_a_hub_that_is_down_is_served_from_the_copy(
    hub: HubStub, hub_fetcher: Fetcher, address: Address, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    hub.repository("org/adapter").push(adapter_files())
    (await hub_fetcher.open(address)).release()
    hub.list_faults = [status] * 2
    with caplog.at_level(logging.WARNING):
        held = await hub_fetcher.open(address)
    assert read(held.path) == adapter_files()
    assert "its older copy is served on" in caplog.text
    held.release()


async def test_a_repository_that_was_deleted_is_not_served_on(
    hub: HubStub, hub_fetcher: Fetcher, address: Address
) -> None:
    hub.repository("org/adapter").push(adapter_files())
    (await hub_fetcher.open(address)).release()
    del hub.repositories["org/adapter"]
    with pytest.raises(SourceNotFoundError):
        await hub_fetcher.open(address)


async def test_a_hub_that_does_not_answer_is_unavailable(
    fetch: Fetch, address: Address, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_online(monkeypatch)
    with pytest.raises(SourceUnavailableError, match="cannot be reached"):
        await fetch("hf", HubRemote("http://127.0.0.1:9")).open(address)


@pytest.mark.parametrize("content", [b"", b"\x08\0\0\0\0\0\0\0{}", b"\xff" * 100])
async def test_a_file_that_is_no_safetensors_is_refused_after_a_second_look(
    hub: HubStub, hub_fetcher: Fetcher, address: Address, content: bytes
) -> None:
    hub.repository("org/adapter").push(adapter_files() | {TENSOR_FILE: content})
    with pytest.raises(SourceDamagedError, match=r"adapter_model.safetensors at 'hf://org/adapter' is damaged"):
        await hub_fetcher.open(address)
    assert hub.bodies().count(TENSOR_FILE) == 2
