"""The ingress: reads which adapter a request names, and has a replica that has it answer."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, cast

from fastapi import Request, Response
from ray.serve.handle import DeploymentHandle

from loraplex_server.api.errors import unavailable
from loraplex_server.api.forms.responses import error_response
from loraplex_server.metrics.registry import CONTENT_TYPE
from loraplex_server.ray.affinity import Affinity
from loraplex_server.ray.failures import failure_of
from loraplex_server.ray.forwarded import Answer, Forwarded
from loraplex_server.ray.question import Question, question_of
from loraplex_server.ray.scrape import answered, merged, patience

METRICS = "/metrics"


class Ingress:
    """What runs in the actors of the deployment `Ingress`. It decides nothing but which replica is asked.

    Args:
        engines: handle of the replicas. base_names: of the base model. max_body_size: bytes; what is longer is not read
            to its end.
    """

    def __init__(self, engines: DeploymentHandle[Any], base_names: Sequence[str], max_body_size: int) -> None:
        self._engines = engines
        self._affinity = Affinity(base_names)
        self._longest = max_body_size

    async def __call__(self, request: Request) -> Response:
        """One request."""
        body = await self._read(request)
        adapter = self._affinity.adapter_of(body) if request.method == "POST" else ""
        question = question_of(request.scope, body, adapter)
        request_id = request.headers.get("x-request-id") or uuid.uuid4().hex
        try:
            if question.path == METRICS:
                return await self._metrics(question)
            handle = self._engines.options(stream=True, multiplexed_model_id=adapter)
            answer = cast("Answer", handle.ask.remote(question))  # as it is a stream
            return Forwarded(answer, question.path, request_id)
        except Exception as error:
            return error_response(failure_of(error, request_id), question.path)

    async def _read(self, request: Request) -> bytes:
        """The body, or its beginning where it is too long: the replica then says so."""
        parts, size = [], 0
        async for part in request.stream():
            parts.append(part)
            size += len(part)
            if size > self._longest:
                break
        return b"".join(parts)

    async def _metrics(self, question: Question) -> Response:
        """Of all replicas: any one's alone would be taken for the whole."""
        asked = self._engines.broadcast("whole", question)
        seconds = patience(question.headers)
        try:
            found = await asked.results_async(timeout_s=seconds, return_exceptions=True)
        except TimeoutError:
            late = unavailable(f"A replica did not answer within {seconds:g} s; try again in a moment", "replica_late")
            return error_response(late, METRICS)
        texts = {}
        for replica, (start, *rest) in answered(found):
            body = b"".join(each.get("body", b"") for each in rest)
            if start["status"] != 200:
                return Response(body, start["status"], media_type="application/json")
            texts[replica] = body.decode()
        return Response(merged(texts), headers={"content-type": CONTENT_TYPE})
