from __future__ import annotations

import json
import logging
import os
import shutil
from pathlib import Path

import pytest

from loraplex_adapters.catalog import Catalog
from loraplex_adapters.errors import AdapterError, UnknownAdapterError
from loraplex_adapters.fingerprint import CONFIG_FILE, TENSOR_FILE

CONFIG = json.dumps({"peft_type": "LORA", "r": 4, "target_modules": ["q_proj"], "base_model_name_or_path": "some/base"})


def add(root: Path, name: str) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / CONFIG_FILE).write_text(CONFIG)
    (folder / TENSOR_FILE).write_bytes(b"tensors")
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "adapters"
    folder.mkdir()
    return folder


def unknown(catalog: Catalog, name: str) -> bool:
    for ask in (catalog.resolve, catalog.created):
        with pytest.raises(UnknownAdapterError, match="there is no adapter"):
            ask(name)
    return name not in catalog.names()


def test_every_folder_with_a_config_is_an_adapter(root: Path) -> None:
    for name in ("b", "a.v2", "with space", "Größe"):
        add(root, name)
    (root / "empty").mkdir()
    (root / "file").write_text(CONFIG)
    (root / "nested" / "deeper").mkdir(parents=True)
    (root / "nested" / "deeper" / CONFIG_FILE).write_text(CONFIG)
    (root / "odd" / CONFIG_FILE).mkdir(parents=True)
    catalog = Catalog(root)
    assert catalog.names() == ["Größe", "a.v2", "b", "with space"]
    source = catalog.resolve("a.v2")
    assert (source.name, source.path) == ("a.v2", str(root / "a.v2"))
    assert all(unknown(catalog, name) for name in ("empty", "file", "nested", "deeper", "odd"))


def test_no_root_is_no_adapters() -> None:
    catalog = Catalog(None)
    assert catalog.names() == []
    assert unknown(catalog, "a")


def test_a_root_that_is_no_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "missing", tmp_path / "file"):
        with pytest.raises(ValueError, match="is not a folder"):
            Catalog(path)


def test_an_adapter_is_found_when_it_is_added_and_gone_when_it_is_removed(root: Path) -> None:
    catalog = Catalog(root)
    assert unknown(catalog, "late")
    folder = add(root, "late")
    assert catalog.resolve("late").path == str(folder)
    folder.rename(root / "renamed")
    assert unknown(catalog, "late")
    assert catalog.names() == ["renamed"]


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../secret",
        "a/../a",
        "a/",
        "/a",
        "./a",
        "a/b",
        "a\x00",
        "\x00",
        "a\n",
        "\ud800",
        "x" * 256,
        ".hidden",
    ],
)
def test_a_name_that_is_no_plain_folder_name_is_unknown(root: Path, name: str) -> None:
    add(root, "a")
    add(root, "a/b")
    add(root, ".hidden")
    add(root.parent, "secret")
    assert unknown(Catalog(root), name)


def test_an_absolute_path_is_unknown(root: Path) -> None:
    assert unknown(Catalog(root), str(add(root.parent, "secret")))


def test_a_link_out_of_the_root_is_unknown(root: Path) -> None:
    secret = add(root.parent, "secret")
    (root / "folder").symlink_to(secret)
    (root / "relative").symlink_to(Path("..") / "secret")
    (root / "hop").symlink_to(root / "folder")
    (root / "config").mkdir()
    (root / "config" / CONFIG_FILE).symlink_to(secret / CONFIG_FILE)
    add(root, "tensors")
    (root / "tensors" / TENSOR_FILE).unlink()
    (root / "tensors" / TENSOR_FILE).symlink_to(secret / TENSOR_FILE)
    (root / "dangling").symlink_to(root / "nowhere")
    sibling = add(root.parent, "adapters-of-others")  # its path begins like the root's
    (root / "sibling").symlink_to(sibling)
    catalog = Catalog(root)
    assert all(unknown(catalog, name) for name in os.listdir(root))
    assert catalog.names() == []


def test_a_link_inside_of_the_root_is_an_adapter(root: Path) -> None:
    add(root, "v1")
    (root / "current").symlink_to(root / "v1")
    assert Catalog(root).names() == ["current", "v1"]


def test_the_root_itself_may_be_a_link(root: Path, tmp_path: Path) -> None:
    add(root, "a")
    (tmp_path / "link").symlink_to(root)
    assert Catalog(tmp_path / "link").resolve("a").path == str(root / "a")


@pytest.mark.parametrize("file", [CONFIG_FILE, TENSOR_FILE])
def test_a_replaced_file_changes_the_fingerprint(root: Path, file: str) -> None:
    path = add(root, "a") / file
    catalog = Catalog(root)
    seen = [catalog.resolve("a").fingerprint]
    assert catalog.resolve("a").fingerprint == seen[0]
    os.utime(path, ns=(1, 1))
    seen.append(catalog.resolve("a").fingerprint)
    path.write_bytes(path.read_bytes() + b" ")
    os.utime(path, ns=(1, 1))
    seen.append(catalog.resolve("a").fingerprint)
    other = path.with_suffix(".new")
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(1, 1))
    other.replace(path)
    seen.append(catalog.resolve("a").fingerprint)
    assert len(set(seen)) == 4


def test_an_adapter_without_tensors_is_listed_and_changes_when_they_come(root: Path) -> None:
    folder = add(root, "a")
    (folder / TENSOR_FILE).unlink()
    catalog = Catalog(root)
    before = catalog.resolve("a").fingerprint
    (folder / TENSOR_FILE).write_bytes(b"tensors")
    assert catalog.resolve("a").fingerprint != before


def test_created_is_when_the_newer_file_was_written(root: Path) -> None:
    folder = add(root, "a")
    os.utime(folder / CONFIG_FILE, (1_000, 2_000))
    os.utime(folder / TENSOR_FILE, (1_000, 3_000))
    assert Catalog(root).created("a") == 3_000
    (folder / TENSOR_FILE).unlink()
    assert Catalog(root).created("a") == 2_000


def test_a_file_that_cannot_be_looked_at_is_an_error_without_its_path(root: Path) -> None:
    folder = add(root, "a")
    (folder / TENSOR_FILE).unlink()
    (folder / TENSOR_FILE).symlink_to(TENSOR_FILE)
    catalog = Catalog(root)
    with pytest.raises(AdapterError, match="adapter 'a' cannot be read: ") as error:
        catalog.resolve("a")
    assert str(root) not in str(error.value)
    assert catalog.created("a") > 0
    assert catalog.names() == ["a"]


def test_a_root_that_is_removed_holds_nothing(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    add(root, "a")
    catalog = Catalog(root)
    shutil.rmtree(root)
    with caplog.at_level(logging.WARNING):
        assert unknown(catalog, "a")
    assert "cannot be read" in caplog.text


def test_an_adapter_that_is_deleted_meanwhile_is_unknown(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = add(root, "a")
    catalog = Catalog(root)
    require = catalog._require_folder

    def deleting(name: str) -> str:
        try:
            return require(name)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    monkeypatch.setattr(catalog, "_require_folder", deleting)
    with pytest.raises(UnknownAdapterError):
        catalog.created("a")


def test_a_file_that_was_rewritten_in_place_under_its_old_time_is_another(root: Path) -> None:
    add(root, "a")
    seen, path = Catalog(root).resolve("a").fingerprint, root / "a" / TENSOR_FILE
    before = path.stat()
    path.write_bytes(bytes(reversed(path.read_bytes())) or b"x")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    now = path.stat()
    assert (now.st_ino, now.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert Catalog(root).resolve("a").fingerprint != seen
