"""The part of a hub that huggingface_hub asks for when a model repository is looked at and its files are read."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from huggingface_hub import constants
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from support.adapter_files import Files


@dataclass
class Repository:
    """Commits by name, branches by name; `private` needs the token."""

    commits: dict[str, Files] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    private: bool = False

    def push(self, files: Files, branch: str = "main") -> str:
        commit = hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()
        self.commits[commit] = files
        self.branches[branch] = commit
        return commit


def go_online(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let huggingface_hub ask the stub though the tests run with HF_HUB_OFFLINE, which keeps all others off the net."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


class HubStub:
    """`faults` are used up one a request, from the front; each is a status, or what is done to a body."""

    TOKEN = "hf_secret"

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.requests: list[tuple[str, str, bool]] = []  # host, path, whether the token came along
        self.traceparents: set[str] = set()  # that came with requests for files
        self.list_faults: list[int] = []
        self.body_faults: list[int | str] = []
        self.cdn_host = "localhost"
        self.app = Starlette(
            routes=[
                Route("/api/models/{org}/{name}/revision/{revision:path}", self._info),
                Route("/{org}/{name}/resolve/{commit}/{file}", self._resolve),
                Route("/cdn/{org}/{name}/{commit}/{file}", self._cdn),
            ]
        )

    def repository(self, name: str) -> Repository:
        return self.repositories.setdefault(name, Repository())

    def bodies(self) -> list[str]:
        """The files whose bytes were asked for."""
        return [path.rsplit("/", 1)[1] for _, path, _ in self.requests if "/resolve/" in path]

    def _seen(self, request: Request) -> Repository | Response:
        authorized = request.headers.get("authorization") == f"Bearer {self.TOKEN}"
        self.requests.append((request.url.hostname or "", request.url.path, "authorization" in request.headers))
        name = "{org}/{name}".format(**request.path_params)
        found = self.repositories.get(name)
        if found is None or (found.private and not authorized):
            return Response(status_code=401, headers={"X-Error-Code": "RepoNotFound"})
        return found

    async def _info(self, request: Request) -> Response:
        found = self._seen(request)
        if isinstance(found, Response):
            return found
        if self.list_faults:
            return Response(status_code=self.list_faults.pop(0))
        assert request.query_params["blobs"]
        revision = request.path_params["revision"]
        commit = found.branches.get(revision, revision)
        if commit not in found.commits:
            return Response(status_code=404, headers={"X-Error-Code": "RevisionNotFound"})
        siblings = [_sibling(name, content) for name, content in found.commits[commit].items()]
        return JSONResponse({"id": "x/y", "sha": commit, "siblings": siblings, "tags": [], "downloads": 0})

    async def _resolve(self, request: Request) -> Response:
        self.traceparents |= {request.headers["traceparent"]} if "traceparent" in request.headers else set()
        found = self._seen(request)
        if isinstance(found, Response):
            return found
        path = request.path_params
        if path["file"].endswith(".safetensors"):  # large files are elsewhere
            location = "/cdn/{org}/{name}/{commit}/{file}".format(**path)
            return RedirectResponse(f"http://{self.cdn_host}:{request.url.port}{location}", 302)
        return Response(found.commits[path["commit"]][path["file"]])

    async def _cdn(self, request: Request) -> Response:
        self.requests.append((request.url.hostname or "", request.url.path, "authorization" in request.headers))
        path = request.path_params
        content = self.repositories["{org}/{name}".format(**path)].commits[path["commit"]][path["file"]]
        fault = self.body_faults.pop(0) if self.body_faults else None
        if isinstance(fault, int):
            return Response(status_code=fault)
        if fault == "short":
            content = content[:-10]
        elif fault == "endless":
            return StreamingResponse(_endless())
        elif fault == "flipped":
            content = content[:-1] + bytes([content[-1] ^ 1])
        return Response(content)


async def _endless() -> AsyncIterator[bytes]:
    for _ in range(200):
        yield bytes(1 << 16)
        await asyncio.sleep(0.002)


def _sibling(name: str, content: bytes) -> dict[str, object]:
    git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    found: dict[str, object] = {"rfilename": name, "size": len(content), "blobId": git}
    if name.endswith(".safetensors"):
        sha = hashlib.sha256(content).hexdigest()
        found |= {"blobId": "pointer", "lfs": {"sha256": sha, "size": len(content), "pointerSize": 130}}
    return found
