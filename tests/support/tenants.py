"""Keys for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loraplex_server.tenants.grant import Grant
from loraplex_server.tenants.key import new_key
from loraplex_server.tenants.key_store import FILE, KeyStore


def make_key(folder: Path, tenant: str, **grant: Any) -> tuple[str, str]:
    """A key in the store of a state folder, made as another process makes it: its id and its secret."""
    key, secret = new_key(Grant(tenant=tenant, **grant))
    store = KeyStore(folder / FILE, create=True)
    store.add(key)
    store.close()
    return key.id, secret


def revoke_key(folder: Path, id: str) -> None:
    store = KeyStore(folder / FILE)
    store.revoke(id)
    store.close()


def bearer(secret: str) -> dict[str, str]:
    return {"authorization": f"Bearer {secret}"}
