"""What is added over the API: names, aliases, pins, and where they come from. The hub is a stub on loopback."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from support.adapter_files import Files, adapter_files
from support.hub_stub import HubStub, go_online
from support.loopback import Loopback

from loraplex_adapters.catalog import Catalog
from loraplex_adapters.errors import (
    AdapterConflictError,
    AdapterError,
    AdapterNameError,
    NotRememberedError,
    SourceNotAllowedError,
    SourceNotFoundError,
    UnknownAdapterError,
)
from loraplex_adapters.fingerprint import TENSOR_FILE
from loraplex_adapters.registry import Registry
from loraplex_adapters.source import AdapterSource
from loraplex_adapters.sources import AllowedSources, DiskCache, Fetcher, SizeLimits, Sources
from loraplex_adapters.sources.remotes.hub import HubRemote

Open = Callable[..., Catalog]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubStub]:
    go_online(monkeypatch)
    stub = HubStub()
    with Loopback(stub.app) as server:
        stub.url = f"http://127.0.0.1:{server.port}"  # type: ignore[attr-defined]
        yield stub


@pytest.fixture
async def start(hub: HubStub, tmp_path: Path) -> AsyncIterator[Open]:
    """`start(*patterns)` is a server's catalogue, in the same state and cache folders each time."""
    made: list[Catalog] = []
    (tmp_path / "root").mkdir()

    def start(*patterns: str) -> Catalog:
        cache = DiskCache(tmp_path / "cache", 1 << 20)
        fetcher = Fetcher({"hf": HubRemote(hub.url)}, cache, SizeLimits(), revalidate_s=0)  # type: ignore[attr-defined]
        made.append(
            Catalog(
                tmp_path / "root",
                registry=Registry(tmp_path / "state"),
                sources=Sources(AllowedSources(patterns or ["org/*", str(tmp_path / "data")]), fetcher),
                reserved=("model", "base"),
            )
        )
        return made[-1]

    yield start
    for each in made:
        await each.close()


def write(folder: Path, files: Files) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def tensors(path: str) -> bytes:
    return (Path(path) / TENSOR_FILE).read_bytes()


async def test_an_adapter_of_the_hub_is_added_opened_described_and_there_after_a_restart(
    start: Open, hub: HubStub
) -> None:
    commit = hub.repository("org/a").push(adapter_files(1))
    catalog = start()
    entry = await catalog.add("mine", "org/a", pinned=True)
    assert (entry.kind, entry.source, entry.revision, entry.pinned) == ("registered", "hf://org/a", commit, True)
    assert entry.on_disk
    with await catalog.open("mine") as held:
        assert held.source.name == "mine"
        assert tensors(held.source.path) == adapter_files(1)[TENSOR_FILE]
    await catalog.close()
    again = start()
    assert again.names() == again.pinned() == ["mine"]
    assert again.describe("mine") == entry
    assert again.resolve("mine").path == held.source.path


async def test_new_content_under_a_branch_is_opened_with_another_fingerprint(start: Open, hub: HubStub) -> None:
    hub.repository("org/a").push(adapter_files(1))
    catalog = start()
    await catalog.add("a", "org/a")
    with await catalog.open("a") as old:
        commit = hub.repository("org/a").push(adapter_files(2))
        with await catalog.open("a") as new:
            assert new.source.fingerprint != old.source.fingerprint
            assert tensors(old.source.path) == adapter_files(1)[TENSOR_FILE]
            assert tensors(new.source.path) == adapter_files(2)[TENSOR_FILE]
    assert catalog.describe("a").revision == commit


async def test_the_same_once_more_changes_nothing_and_another_source_is_a_conflict(start: Open, hub: HubStub) -> None:
    hub.repository("org/a").push(adapter_files(1))
    hub.repository("org/b").push(adapter_files(2))
    catalog = start()
    first = await catalog.add("x", "org/a")
    assert await catalog.add("x", "hf://org/a") == first
    with pytest.raises(AdapterConflictError, match="comes from 'hf://org/a' already"):
        await catalog.add("x", "org/b")
    assert (await catalog.add("x", "org/b", replace=True)).source == "hf://org/b"


async def test_of_two_who_give_a_name_at_once_one_is_told(start: Open, hub: HubStub) -> None:
    hub.repository("org/a").push(adapter_files(1))
    hub.repository("org/b").push(adapter_files(2))
    catalog = start()
    found = await asyncio.gather(catalog.add("x", "org/a"), catalog.add("x", "org/b"), return_exceptions=True)
    assert [type(each) for each in found if isinstance(each, Exception)] == [AdapterConflictError]


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "/a", ".x", "a\x00", "a\n", "a\\b", " a", "\ud800", "x" * 256, "\u202ea"]
)
async def test_names_that_could_be_paths_or_break_a_log_are_refused(
    start: Open, hub: HubStub, tmp_path: Path, name: str
) -> None:
    hub.repository("org/a").push(adapter_files())
    catalog = start()
    write(tmp_path / "root" / "target", adapter_files())
    with pytest.raises(AdapterNameError):
        await catalog.add(name, "org/a")
    with pytest.raises(AdapterNameError):
        catalog.change("target", aliases=[name])
    with pytest.raises(UnknownAdapterError):
        await catalog.open(name)


async def test_taken_names_are_conflicts(start: Open, hub: HubStub, tmp_path: Path) -> None:
    hub.repository("org/a").push(adapter_files())
    write(tmp_path / "root" / "folder", adapter_files())
    catalog = start()
    await catalog.add("a", "org/a")
    catalog.change("a", aliases=["alias"])
    for name in ("model", "base", "folder", "alias"):
        with pytest.raises(AdapterConflictError):
            await catalog.add(name, "org/a")
    for alias, target in (("model", "a"), ("folder", "a"), ("a", "folder"), ("a", "a")):
        with pytest.raises(AdapterConflictError):
            catalog.change(target, aliases=["good", alias])
    with pytest.raises(UnknownAdapterError):
        catalog.change("nobody", aliases=["new"])
    assert catalog.names() == ["a", "alias", "folder"]


async def test_an_alias_gives_the_adapter_under_its_own_name_and_can_be_moved(
    start: Open, hub: HubStub, tmp_path: Path
) -> None:
    hub.repository("org/a").push(adapter_files())
    write(tmp_path / "root" / "folder", adapter_files())
    catalog = start()
    await catalog.add("a", "org/a")
    catalog.change("a", aliases=["stable"])
    with await catalog.open("stable") as held:
        assert held.source.name == "a"
    assert catalog.describe("a").aliases == ("stable",)
    entry = catalog.describe("stable")
    assert (entry.kind, entry.target) == ("alias", "a")
    catalog.change("folder", aliases=["stable"])
    assert catalog.resolve("stable").name == "folder"
    catalog.change("stable", pinned=True)
    assert catalog.pinned() == ["folder"]


async def test_what_is_removed_is_gone_with_its_aliases_and_folders_are_not_removed(
    start: Open, hub: HubStub, tmp_path: Path
) -> None:
    hub.repository("org/a").push(adapter_files())
    write(tmp_path / "root" / "folder", adapter_files())
    catalog = start()
    await catalog.add("a", "org/a")
    catalog.change("a", aliases=["one", "two"])
    catalog.remove("one")
    assert catalog.names() == ["a", "folder", "two"]
    with await catalog.open("a") as held:
        catalog.remove("a")
        assert tensors(held.source.path)
    assert catalog.names() == ["folder"]
    for name in ("a", "two", "nobody"):
        with pytest.raises(UnknownAdapterError):
            catalog.remove(name)
    with pytest.raises(AdapterConflictError, match="is a folder among the server's adapters"):
        catalog.remove("folder")


async def test_what_cannot_be_had_is_not_added(start: Open, hub: HubStub) -> None:
    catalog = start()
    for source, error in (
        ("org/nothing", SourceNotFoundError),
        ("other/a", SourceNotAllowedError),
        ("s3://bucket/a", SourceNotAllowedError),
        ("/etc", SourceNotAllowedError),
        ("../root", SourceNotAllowedError),
        ("file:///etc/passwd", SourceNotAllowedError),
    ):
        with pytest.raises(error):
            await catalog.add("x", source)
    assert catalog.names() == []


async def test_what_is_looked_at_and_not_accepted_is_not_added(start: Open, hub: HubStub) -> None:
    hub.repository("org/a").push(adapter_files())
    catalog = start()

    async def refuse(source: AdapterSource) -> None:
        assert tensors(source.path)
        raise AdapterError("no")

    with pytest.raises(AdapterError, match="no"):
        await catalog.add("x", "org/a", accept=refuse)
    assert catalog.names() == []


async def test_a_permission_that_was_taken_back_holds_for_what_was_added(start: Open, hub: HubStub) -> None:
    hub.repository("org/a").push(adapter_files())
    catalog = start()
    await catalog.add("a", "org/a")
    await catalog.close()
    again = start("elsewhere/*")
    with pytest.raises(SourceNotAllowedError):
        await again.open("a")
    with pytest.raises(SourceNotAllowedError):
        again.resolve("a")
    assert "do not let" in (again.describe("a").last_error or "")


async def test_the_last_error_is_kept_until_it_works_again(start: Open, hub: HubStub) -> None:
    hub.repository("org/a").push(adapter_files())
    catalog = start()
    await catalog.add("a", "org/a")
    repository = hub.repositories.pop("org/a")
    with pytest.raises(SourceNotFoundError):
        await catalog.open("a")
    assert "the hub has no 'org/a'" in (catalog.describe("a").last_error or "")
    hub.repositories["org/a"] = repository
    (await catalog.open("a")).close()
    assert catalog.describe("a").last_error is None


async def test_a_folder_that_was_added_is_served_in_place_and_confined(start: Open, tmp_path: Path) -> None:
    folder = write(tmp_path / "data" / "a", adapter_files(1))
    secret = write(tmp_path / "secret", adapter_files(2))
    catalog = start()
    await catalog.add("a", str(folder))
    before = catalog.resolve("a")
    write(folder, adapter_files(3, values=32))
    with await catalog.open("a") as held:
        assert held.source.path == before.path == str(folder)
        assert held.source.fingerprint != before.fingerprint
    (folder / TENSOR_FILE).unlink()
    os.symlink(secret / TENSOR_FILE, folder / TENSOR_FILE)
    with pytest.raises(SourceNotAllowedError, match="leads out of"):
        await catalog.open("a")


async def test_what_cannot_be_remembered_keeps_no_adapter_from_its_requests(
    start: Open, hub: HubStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repository("org/a").push(adapter_files(1))
    catalog = start()
    await catalog.add("a", "org/a")
    hub.repository("org/a").push(adapter_files(2))
    catalog._registry._database.execute("PRAGMA query_only = ON")
    for _ in range(2):
        with await catalog.open("a") as held:
            assert tensors(held.source.path) == adapter_files(2)[TENSOR_FILE]
    with pytest.raises(NotRememberedError):
        await catalog.add("b", "org/a", pinned=True, aliases=["prod"])
    with pytest.raises(NotRememberedError):
        catalog.change("a", pinned=True, aliases=["prod"])
    assert (catalog.names(), catalog.pinned()) == (["a"], [])


async def test_an_alias_that_cannot_be_leaves_the_name_as_it_was(start: Open, hub: HubStub) -> None:
    for seed, name in ((1, "org/a"), (2, "org/b")):
        hub.repository(name).push(adapter_files(seed))
    catalog = start()
    for name in ("a", "taken"):
        await catalog.add(name, "org/a")
    for wrong in ("taken", "a", "model"):
        with pytest.raises(AdapterConflictError):
            await catalog.add("a", "org/b", replace=True, pinned=True, aliases=["good", wrong])
        with pytest.raises(AdapterConflictError):
            await catalog.add("new", "org/b", aliases=["new"])
    assert (catalog.describe("a").source, catalog.names(), catalog.pinned()) == ("hf://org/a", ["a", "taken"], [])
