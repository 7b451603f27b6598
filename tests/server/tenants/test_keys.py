"""Where keys are kept, and how a running server follows them."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from loraplex_server.tenants import keyring
from loraplex_server.tenants.errors import KeyStoreError, UnknownKeyError
from loraplex_server.tenants.grant import Grant
from loraplex_server.tenants.key import Key, new_key
from loraplex_server.tenants.key_file import KeyFile, entry_of
from loraplex_server.tenants.key_store import KeyStore
from loraplex_server.tenants.keyring import Keyring, open_keys
from loraplex_server.tenants.limits import Limits

FULL: dict[str, Any] = {
    "tenant": "acme",
    "name": "of the night shift",
    "adapters": ["acme-*", "base"],
    "requests_per_minute": 60,
    "tokens_per_minute": 10_000,
    "concurrency": 4,
    "weight": 2.5,
    "priority": -3,
    "expires": 1_801_353_600,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "keys.sqlite"


def test_what_is_kept_comes_back(path: Path) -> None:
    key, secret = new_key(Grant(**FULL))
    store = KeyStore(path, create=True)
    store.add(key)
    store.close()
    again = KeyStore(path)
    assert again.keys() == [key]
    assert key.grant.limits == Limits(60, 10_000, 4)
    again.close()
    assert os.stat(path).st_mode & 0o077 == 0
    assert all(secret.encode() not in file.read_bytes() for file in path.parent.iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_root_makes_is_the_servers_who_owns_the_folder(tmp_path: Path) -> None:
    os.chown(tmp_path, 10001, 10002)
    store = KeyStore(tmp_path / "keys.sqlite", create=True)
    store.add(new_key(Grant(**FULL))[0])
    files = {file.name: file.stat() for file in tmp_path.iterdir()}
    assert set(files) == {"keys.sqlite", "keys.sqlite-wal", "keys.sqlite-shm"}
    assert {(file.st_uid, file.st_gid, file.st_mode & 0o077) for file in files.values()} == {(10001, 10002, 0)}
    store.close()
    (tmp_path / "link.sqlite").symlink_to(tmp_path / "elsewhere.sqlite")
    KeyStore(tmp_path / "link.sqlite", create=True).close()
    assert (tmp_path / "elsewhere.sqlite").stat().st_uid == 0
    assert (tmp_path / "elsewhere.sqlite").stat().st_mode & 0o077 == 0


def test_nothing_that_is_shown_opens(path: Path) -> None:
    key, secret = new_key(Grant(**FULL))
    for text in (repr(key), str(key.fields())):
        assert secret not in text
        assert key.digest.hex() not in text
        assert repr(key.digest) not in text


def test_revoking_is_for_good(path: Path) -> None:
    store = KeyStore(path, create=True)
    key, _ = new_key(Grant(tenant="acme"))
    store.add(key)
    first = store.revoke(key.id)
    assert first.state(time.time()) == "revoked"
    assert store.revoke(key.id) == first == store.keys()[0]
    with pytest.raises(UnknownKeyError, match="nobody"):
        store.revoke("nobody")
    store.close()


def test_many_make_the_file_at_once(path: Path) -> None:
    failed = []

    def make() -> None:
        try:
            store = KeyStore(path, create=True)
            store.add(new_key(Grant(tenant="acme"))[0])
            store.close()
        except KeyStoreError as error:
            failed.append(error)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert len(KeyStore(path).keys()) == 8


def test_what_is_no_store_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(KeyStoreError, match=r"there is no .*loraplex keys create"):
        KeyStore(tmp_path / "missing.sqlite")
    (tmp_path / "text").write_text("hello " * 1000)
    with pytest.raises(KeyStoreError, match="not a database"):
        KeyStore(tmp_path / "text")
    with sqlite3.connect(tmp_path / "newer") as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(KeyStoreError, match="newer version"):
        KeyStore(tmp_path / "newer")


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"tenant": "a b"}, "letters"),
        ({"tenant": ""}, "letters"),
        ({"tenant": "default"}, "choose another"),
        ({"tenant": "other"}, "choose another"),
        ({"name": "a\nb"}, "printable"),
        ({"adapters": []}, "at least 1"),
        ({"adapters": [""]}, "at least 1"),
        ({"adapters": "acme"}, "list"),
        ({"requests_per_minute": 0}, "greater"),
        ({"tokens_per_minute": "5"}, "integer"),
        ({"concurrency": True}, "integer"),
        ({"weight": 0}, "greater"),
        ({"weight": float("nan")}, "finite"),
        ({"priority": 5000}, "less"),
        ({"expires": "soon"}, "date"),
        ({"admin": True, "adapters": ["a"]}, "all adapters"),
        ({"rpm": 5}, "Extra"),
    ],
)
def test_a_grant_that_makes_no_sense_is_refused(wrong: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Grant(**{"tenant": "acme", **wrong})


def write(path: Path, *entries: Any) -> Path:
    path.write_text(yaml.safe_dump({"keys": list(entries)}))
    return path


def test_a_yaml_file_says_the_same(tmp_path: Path) -> None:
    key, _ = new_key(Grant(**FULL))
    plain, _ = new_key(Grant(tenant="other-tenant"))
    gone = {**entry_of(plain), "id": "gone", "hash": "sha256:" + "0" * 64, "revoked": True}
    file = KeyFile(write(tmp_path / "keys.yaml", entry_of(key), entry_of(plain), gone))
    read = file.keys()
    assert [(each.id, each.digest, each.grant) for each in read[:2]] == [
        (each.id, each.digest, each.grant) for each in (key, plain)
    ]
    assert [each.state(0) for each in read] == ["active", "active", "revoked"]
    assert list(entry_of(plain)) == ["id", "hash", "tenant"]


ZERO = '"sha256:' + "0" * 64 + '"'
ONE = '"sha256:' + "1" * 64 + '"'


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("- a", "list under `keys`"),
        ("keys: 5", "list under `keys`"),
        ("keys: []\nmore: 1", "nothing else"),
        ("keys: [5]", "key 1"),
        ("keys: [{id: a, tenant: t, hash: lp-secret}]", "key 1 .*hash"),
        (f"keys: [{{id: a, tenant: t, hash: {ZERO}, rpm: 3}}]", "key 1 .*rpm"),
        (f"keys: [{{id: a, tenant: t, hash: {ZERO}}}, {{id: a, tenant: t, hash: {ONE}}}]", "same id"),
        (f"keys: [{{id: a, tenant: t, hash: {ZERO}}}, {{id: b, tenant: t, hash: {ZERO}}}]", "same hash"),
        ("keys: [", "cannot be read"),
    ],
)
def test_a_yaml_file_with_a_slip_says_where(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "keys.yaml").write_text(content)
    with pytest.raises(KeyStoreError, match=reason):
        KeyFile(tmp_path / "keys.yaml").keys()


def stored(path: Path, **grant: Any) -> tuple[Key, str]:
    """A key made by somebody else while the server runs."""
    key, secret = new_key(Grant(**{"tenant": "acme", **grant}))
    store = KeyStore(path, create=True)
    store.add(key)
    store.close()
    return key, secret


def test_a_keyring_follows_the_store(path: Path) -> None:
    ring = Keyring(open_keys(path, create=True))
    assert not ring.any()
    key, secret = stored(path)
    assert ring.by_secret(secret) == key == ring.by_id(key.id)
    assert ring.by_secret(secret[:-1]) is None
    other = KeyStore(path)
    other.revoke(key.id)
    other.close()
    assert ring.by_secret(secret) is None
    assert ring.by_id(key.id) is None
    assert ring.any(), "a server whose last key was revoked stays closed"
    ring.close()


def test_a_key_opens_until_it_expires(path: Path) -> None:
    now = 1000.0
    ring = Keyring(open_keys(path, create=True), clock=lambda: now)
    key, secret = stored(path, expires=2000, admin=True)
    assert ring.by_secret(secret) == key
    assert ring.has_admin()
    now = 2000.0
    assert ring.by_secret(secret) is None
    assert not ring.has_admin()
    ring.close()


def test_a_keyring_follows_a_file_and_outlives_a_slip_in_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (key, secret), (later, another) = new_key(Grant(tenant="a")), new_key(Grant(tenant="b"))
    path = write(tmp_path / "keys.yml", entry_of(key))
    ring = Keyring(open_keys(path))
    assert ring.by_secret(secret) is not None
    path.write_text("keys: [{")
    with caplog.at_level(logging.ERROR):
        assert ring.by_secret(secret) is not None
        assert ring.by_secret(secret) is not None
    assert [record.getMessage()[:24] for record in caplog.records] == ["keys stay as they were: "]
    write(path, entry_of(later))
    assert ring.by_secret(secret) is None
    assert ring.by_secret(another) is not None
    path.unlink()
    assert ring.by_secret(another) is not None


def test_what_stood_in_the_way_of_reading_keys_may_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, secret = new_key(Grant(tenant="a"))
    path = write(tmp_path / "keys.yml", entry_of(key))
    now, reads = 100.0, []
    ring = Keyring(open_keys(path))
    monkeypatch.setattr(keyring.time, "monotonic", lambda: now)
    path.write_text("keys: []")  # it is revoked

    def busy(self: KeyFile) -> list[Key]:
        reads.append(now)
        raise KeyStoreError("too many open files")

    with monkeypatch.context() as files:
        files.setattr(KeyFile, "keys", busy)
        for _ in range(3):
            assert ring.by_secret(secret) is not None
        now += 1.5
        assert ring.by_secret(secret) is not None
        assert reads == [100.0, 101.5]
    now += 1.5
    assert ring.by_secret(secret) is None


def test_a_file_that_is_wrong_at_the_start_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "keys.yaml").write_text("[]")
    with pytest.raises(KeyStoreError):
        Keyring(open_keys(tmp_path / "keys.yaml"))


def test_without_a_source_there_is_nothing() -> None:
    ring = Keyring(None)
    assert (ring.any(), ring.has_admin(), ring.by_secret("lp-x"), ring.by_id("x")) == (False, False, None, None)
