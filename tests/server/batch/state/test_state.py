"""What is kept: found again, bounded, and tidied."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from loraplex_server.batch.state.batches import StoredBatch
from loraplex_server.batch.state.database import Database, StateError
from loraplex_server.batch.state.files import StoredFile, new_file_id
from loraplex_server.batch.state.page import Cursor, UnknownCursorError
from loraplex_server.batch.state.space import LEAST, NoSpaceError, Space
from loraplex_server.batch.state.state import BatchLimits, State, open_state

LIMITS = BatchLimits(file_size=1000, lines=10, line_size=100, space=100_000)


def add_file(
    state: State, tenant: str = "", data: bytes = b"x", lasts: int = 3600, purpose: str = "batch"
) -> StoredFile:
    now = int(time.time())
    file = StoredFile(new_file_id(), tenant, "name", purpose, len(data), now, now + lasts)
    state.files.upload_path(file.id).write_bytes(data)
    state.files.space.take(len(data))
    state.files.add_upload(file)
    return file


def batch(name: str, status: str = "in_progress", expires_at: int = 0, tenant: str = "") -> StoredBatch:
    return StoredBatch(
        id=name, tenant=tenant, key_id="", endpoint="/v1/completions", input_file_id="f", created_at=0,
        expires_at=expires_at, output_id="o", error_id="e", output_lifetime_s=1, status=status,
    )  # fmt: skip


def test_files_are_found_again_by_their_tenant_alone(tmp_path: Path) -> None:
    state = open_state(tmp_path, LIMITS)
    file = add_file(state, "acme", b"hello")
    state.close()
    state = open_state(tmp_path, LIMITS)
    assert state.files.find("acme", file.id) == file
    assert state.files.path(file.id).read_bytes() == b"hello"
    assert state.files.find("", file.id) is None
    assert state.files.space.used == LEAST
    state.files.remove(file)
    assert state.files.space.used == 0
    assert list((tmp_path / "files").iterdir()) == []
    state.close()


def test_pages_follow_each_other_in_both_orders(tmp_path: Path) -> None:
    state = open_state(tmp_path, LIMITS)
    ids = [add_file(state, purpose="batch" if i % 2 else "batch_output").id for i in range(5)]
    add_file(state, "other")
    for newest_first, order in ((True, ids[::-1]), (False, ids)):
        after, found = None, []
        while True:
            files, more = state.files.page("", None, Cursor(after, 2, newest_first))
            found += [file.id for file in files]
            if not more:
                break
            after = found[-1]
        assert found == order
    assert [file.id for file in state.files.page("", "batch", Cursor(None, 9))[0]] == [ids[3], ids[1]]
    with pytest.raises(UnknownCursorError):
        state.files.page("other", None, Cursor(ids[0], 2))
    state.close()


def test_what_nobody_knows_is_swept_away(tmp_path: Path) -> None:
    state = open_state(tmp_path, LIMITS)
    known = add_file(state)
    for name in ("file-torn.part", "file-of-a-lost-batch", "file-being-written"):
        (tmp_path / "files" / name).write_bytes(b"x")
    state.files.sweep({"file-being-written"})
    assert {path.name for path in (tmp_path / "files").iterdir()} == {known.id, "file-being-written"}
    state.close()


def test_what_is_swept_at_the_start_is_no_batchs_and_what_cannot_go_stops_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = open_state(tmp_path, LIMITS)
    state.batches.add(batch("running"))
    state.batches.add(batch("over", "completed"))
    state.close()
    for name in ("o", "e", "file-torn.part"):
        (tmp_path / "files" / name).write_bytes(b"x")
    (tmp_path / "files" / "lost+found").mkdir()
    state = open_state(tmp_path, LIMITS)
    assert {path.name for path in (tmp_path / "files").iterdir()} == {"o", "e", "lost+found"}
    assert ["lost+found is left where it is" in line for line in caplog.messages] == [True]
    state.close()


def test_files_expire(tmp_path: Path) -> None:
    state = open_state(tmp_path, LIMITS)
    old, young = add_file(state, lasts=-1), add_file(state)
    assert state.files.expired() == [old]
    assert state.files.find("", young.id) == young
    state.close()


def test_batches_that_ended_long_ago_are_forgotten_and_others_are_not(tmp_path: Path) -> None:
    state = open_state(tmp_path, LIMITS)
    for each in (batch("old", "completed", 10), batch("young", "completed", 30), batch("running", "in_progress", 10)):
        state.batches.add(each)
    state.batches.remove_before(20)
    assert [each.id for each in state.batches.page("", Cursor(None, 9))[0]] == ["running", "young"]
    assert [each.id for each in state.batches.unfinished()] == ["running"]
    state.close()


def test_a_folder_has_one_owner_and_keeps_to_known_formats(tmp_path: Path) -> None:
    first = Database(tmp_path)
    with pytest.raises(StateError, match="in use by another server"):
        Database(tmp_path)
    first.write(("PRAGMA user_version = 99", ()))
    first.close()
    with pytest.raises(StateError, match="a newer version of Loraplex"):
        Database(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="cannot be used"):
        Database(tmp_path / "file")


def test_space_is_taken_whole_or_not_at_all() -> None:
    space = Space(10)
    space.take(6)
    with pytest.raises(NoSpaceError):
        space.take(5)
    space.take(4)
    space.give(10)
    assert space.used == 0
