from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from support.adapter_files import Files, adapter_files

from loraplex_adapters.errors import DiskFullError, SourceTooLargeError
from loraplex_adapters.fingerprint import CONFIG_FILE, TENSOR_FILE
from loraplex_adapters.sources import DiskCache, HeldFolder
from loraplex_adapters.sources.cache.file_lock import FileLock
from loraplex_adapters.sources.cache.manifest import Manifest, ManifestFile, sha256_of

SIZE = sum(len(content) for content in adapter_files().values())


def put(cache: DiskCache, key: str, files: Files, revision: str = "1") -> HeldFolder:
    with cache.stage(sum(len(content) for content in files.values())) as staging:
        found = []
        for name, content in sorted(files.items()):
            path = Path(staging.path) / name
            path.write_bytes(content)
            found.append(ManifestFile(name, len(content), sha256_of(str(path)), path.stat().st_mtime_ns))
        return cache.publish(staging, Manifest(tuple(found)), key, revision)


def get(cache: DiskCache, key: str) -> HeldFolder | None:
    record = cache.find(key)
    return None if record is None else cache.hold(record.entry)


def entries(root: Path) -> set[str]:
    return {path.name for path in (root / "entries").iterdir()}


def test_what_is_put_is_there_after_a_restart(tmp_path: Path) -> None:
    put(DiskCache(tmp_path, 1 << 20), "a", adapter_files()).release()
    again = DiskCache(tmp_path, 1 << 20)
    held = get(again, "a")
    assert held is not None
    assert (Path(held.path) / TENSOR_FILE).read_bytes() == adapter_files()[TENSOR_FILE]
    assert again.find("b") is None


def test_equal_content_is_one_entry(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 1 << 20)
    assert put(cache, "a", adapter_files()).path == put(cache, "b", adapter_files()).path
    assert len(entries(tmp_path)) == 1


def test_the_least_recently_used_leave_first_and_held_ones_never(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 3 * SIZE)
    holds = {seed: put(cache, str(seed), adapter_files(seed)) for seed in range(3)}
    for age, seed in enumerate((2, 0, 1)):  # 1 was used last
        holds[seed].release() if seed else None
        os.utime(holds[seed].path, ns=(age, age))
    put(cache, "3", adapter_files(3)).release()
    assert [seed for seed in range(4) if get(cache, str(seed)) is not None] == [0, 1, 3]


def test_when_all_is_held_there_is_no_room_and_nothing_is_lost(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 2 * SIZE)
    holds = [put(cache, str(seed), adapter_files(seed)) for seed in range(2)]
    with pytest.raises(DiskFullError, match="no room on this server's disk") as error:
        cache.stage(SIZE)
    assert str(tmp_path) not in str(error.value)
    holds[0].release()
    put(cache, "2", adapter_files(2))
    assert len(entries(tmp_path)) == 2


def test_nothing_leaves_in_vain(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 3 * SIZE)
    held = put(cache, "0", adapter_files(0))
    for seed in (1, 2):
        put(cache, str(seed), adapter_files(seed)).release()
    with pytest.raises(DiskFullError):
        cache.stage(3 * SIZE)
    with pytest.raises(SourceTooLargeError, match=f"{3 * SIZE + 1} bytes is larger than all"):
        cache.stage(3 * SIZE + 1)
    with cache.stage(2 * SIZE), pytest.raises(DiskFullError):
        cache.stage(2 * SIZE)
    held.release()
    assert get(cache, "0") is not None


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["pwrite", "mkdir"])
def test_what_cannot_be_staged_on_a_full_disk_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    cache = DiskCache(tmp_path, 1 << 20)
    with monkeypatch.context() as disk:
        disk.setattr(os, call, full)
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            with pytest.raises(DiskFullError, match="disk is full"):
                cache.stage(10)
        assert len(os.listdir("/proc/self/fd")) == before
    assert not list((tmp_path / "staging").iterdir())
    put(cache, "a", adapter_files()).release()


@pytest.mark.parametrize("write", [1, 2])
def test_what_cannot_be_published_on_a_full_disk_is_held_by_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: int
) -> None:
    """The first write is that of the manifest, the second that of the record."""
    cache = DiskCache(tmp_path, SIZE)
    written = []
    with monkeypatch.context() as disk:
        disk.setattr(os, "replace", lambda *names: full() if len(written) == write - 1 else written.append(names))
        disk.setattr(os, "fsync", lambda _: None)
        with pytest.raises(DiskFullError, match="'a' cannot be kept"):
            put(cache, "a", adapter_files())
    assert not cache._holds
    assert not list((tmp_path / "staging").iterdir())
    assert not list((tmp_path / "index").iterdir())
    put(cache, "b", adapter_files(1)).release()  # there is room for one: the other leaves


def test_room_is_reserved_while_something_is_fetched(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 2 * SIZE)
    with cache.stage(SIZE), cache.stage(SIZE), pytest.raises(DiskFullError):
        cache.stage(1)
    with cache.stage(2 * SIZE):
        pass
    assert not list((tmp_path / "staging").iterdir())


def test_a_hold_is_ended_once(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, SIZE)
    first = put(cache, "a", adapter_files())
    second = get(cache, "a")
    assert second is not None
    first.release()
    first.release()
    with pytest.raises(DiskFullError):
        cache.stage(SIZE)
    second.release()
    cache.stage(SIZE).discard()


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("damage", ["truncated", "missing", "rewritten", "manifest"])
def test_a_damaged_entry_is_dropped_when_it_is_opened(
    tmp_path: Path, damage: str, restart: bool, caplog: pytest.LogCaptureFixture
) -> None:
    cache = DiskCache(tmp_path, 1 << 20)
    held = put(cache, "a", adapter_files())
    held.release()
    path = Path(held.path) / TENSOR_FILE
    if damage == "truncated":
        os.truncate(path, 10)
    elif damage == "missing":
        (Path(held.path) / CONFIG_FILE).unlink()
    elif damage == "rewritten":
        path.write_bytes(bytes(path.stat().st_size))
        os.utime(path, ns=(1, 1))  # some file systems' clocks have not moved on since it was put there
    else:
        (Path(held.path) / "manifest.json").write_text("{")
        restart = True
    cache = DiskCache(tmp_path, 1 << 20) if restart else cache
    assert get(cache, "a") is None
    assert not entries(tmp_path)
    assert damage == "manifest" or "is dropped" in caplog.text
    put(cache, "a", adapter_files()).release()
    assert get(cache, "a") is not None


def test_content_that_was_changed_behind_its_times_is_seen_at_the_first_opening(tmp_path: Path) -> None:
    held = put(DiskCache(tmp_path, 1 << 20), "a", adapter_files())
    path = Path(held.path) / TENSOR_FILE
    times = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert get(DiskCache(tmp_path, 1 << 20), "a") is None


def test_leftovers_of_a_crash_are_cleaned_at_the_start_and_the_work_of_the_living_is_not(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 1 << 20)
    living = cache.stage(100)
    (tmp_path / "staging" / "dead").mkdir()
    (tmp_path / "staging" / "dead" / "file").write_bytes(b"x")
    (tmp_path / "staging" / "dead.lock").write_text("1000")
    (tmp_path / "entries" / "half").mkdir()
    (tmp_path / "index" / "x.json").write_text("{")
    (tmp_path / "holds" / "gone").write_text("")
    DiskCache(tmp_path, 1 << 20)
    assert {path.name for path in (tmp_path / "staging").iterdir()} == {
        Path(living.path).name,
        Path(living.path).name + ".lock",
    }
    assert not entries(tmp_path)
    assert not list((tmp_path / "index").iterdir())
    assert not list((tmp_path / "holds").iterdir())
    living.discard()


def test_what_was_published_is_not_counted_twice_while_its_staging_still_stands(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, 2 * SIZE)
    with cache.stage(SIZE) as staging:
        for name, content in adapter_files(0).items():
            (Path(staging.path) / name).write_bytes(content)
        found = [
            ManifestFile(path.name, path.stat().st_size, sha256_of(str(path)), path.stat().st_mtime_ns)
            for path in sorted(Path(staging.path).iterdir())
        ]
        cache.publish(staging, Manifest(tuple(found)), "a", "1").release()
        cache.stage(SIZE).discard()
        assert len(entries(tmp_path)) == 1


def test_what_is_given_up_while_others_look_at_it_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = DiskCache(tmp_path, 2 * SIZE)
    another = cache.stage(SIZE)
    acquire = FileLock.acquire

    def acquired(lock: FileLock, **how: bool) -> bool:
        has = acquire(lock, **how)
        if not has:
            another.discard()  # now that it was seen that somebody has it
        return has

    monkeypatch.setattr(FileLock, "acquire", acquired)
    cache.stage(2 * SIZE).discard()
    assert not list((tmp_path / "staging").iterdir())


def test_what_another_process_evicted_and_fetched_again_is_good(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache, another = DiskCache(tmp_path, SIZE), DiskCache(tmp_path, SIZE)
    put(cache, "0", adapter_files(0)).release()
    put(another, "1", adapter_files(1)).release()  # 0 leaves for it
    put(another, "0", adapter_files(0)).release()
    record = cache.find("0")
    assert record is not None
    assert not cache.is_checked(record.entry)
    held = cache.hold(record.entry)
    assert held is not None
    assert cache.is_checked(record.entry)
    held.release()
    assert caplog.messages == []


def test_a_record_that_is_being_written_survives_the_cleaning_of_a_start(tmp_path: Path) -> None:
    put(DiskCache(tmp_path, 1 << 20), "a", adapter_files()).release()
    (record,) = (tmp_path / "index").iterdir()
    young, old = (record.with_name(f"{record.name}.{number}.new") for number in (1, 2))
    young.write_bytes(b"half")
    old.write_bytes(b"half")
    os.utime(old, (0, 0))
    assert DiskCache(tmp_path, 1 << 20).find("a") is not None
    assert young.exists()
    assert not old.exists()


def test_usage_is_of_all_processes_entries(tmp_path: Path) -> None:
    cache, another = DiskCache(tmp_path, 3 * SIZE), DiskCache(tmp_path, 3 * SIZE)
    assert cache.usage() == (0, 0, 3 * SIZE)
    put(cache, "0", adapter_files(0)).release()
    put(another, "1", adapter_files(1)).release()
    assert cache.usage() == another.usage() == (2, 2 * SIZE, 3 * SIZE)
    put(another, "2", adapter_files(2)).release()
    put(another, "3", adapter_files(3)).release()  # one leaves for it
    assert cache.usage() == (3, 3 * SIZE, 3 * SIZE)
