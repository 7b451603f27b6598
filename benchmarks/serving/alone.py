"""The engine without processes and without HTTP, given a load's requests."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from loraplex_server.bench.load.steady import steady_rate
from loraplex_server.bench.load.workload import Planned
from loraplex_server.engine.build import build_engine
from loraplex_server.engine.config import EngineConfig
from loraplex_server.engine.core import EngineCore
from loraplex_server.engine.messages import Delta, GenerateRequest, SamplingParams

# `serve --format`'s words as the engine has them.
FORMATS: dict[str, dict[str, str]] = {
    "float32": {"dtype": "float32", "quantization": "none"},
    "bfloat16": {"dtype": "bfloat16", "quantization": "none"},
    "int8": {"dtype": "bfloat16", "quantization": "int8"},
    "int4": {"dtype": "bfloat16", "quantization": "int4"},
}


def engine_alone(model: Path, form: str, concurrency: int) -> EngineCore:
    """Built in this process as `serving.launch.LORAPLEX` has it built in its own."""
    options = {"max_model_len": 2048, "enable_prefix_caching": False, **FORMATS[form]}
    config = msgspec.convert({"model": str(model), "max_num_seqs": concurrency, **options}, EngineConfig)
    return build_engine(config, wake=lambda: None)[0]


def run_alone(core: EngineCore, planned: Sequence[Planned]) -> dict[str, float | None]:
    """Submit all requests at once and step until the last has ended: `output_tok_s` and `steady_decode_tok_s`.

    Raises:
        RuntimeError: a request failed.
    """
    streams: dict[str, list[tuple[float, float]]] = {}
    cpu, start = time.process_time(), time.perf_counter()
    for number, request in enumerate(planned):
        streams[f"alone-{number}"] = []
        if refused := core.submit(_request(f"alone-{number}", request)):
            raise RuntimeError(f"a request was refused: {refused[0]}")
    while core.has_work:
        events = core.step()
        now = time.perf_counter()
        for event in events:
            if not isinstance(event, Delta):
                raise RuntimeError(f"a request failed: {event}")
            streams[event.request_id].append((now, len(event.token_ids)))
    cpu, seconds = time.process_time() - cpu, time.perf_counter() - start
    tokens = sum(count for stream in streams.values() for _, count in stream)
    steady = steady_rate(list(streams.values()), len(planned))
    return {
        "output_tok_s": tokens / seconds,
        "steady_decode_tok_s": None if steady is None else steady[0],
        "engine_cpu_s_per_1000": cpu / tokens * 1000,
    }


def _request(name: str, planned: Planned) -> GenerateRequest:
    """What the API would make of the request's body, which must be a completion of token ids for the base."""
    body = msgspec.json.decode(planned.body)
    sampling = SamplingParams(max_tokens=body["max_tokens"], temperature=body["temperature"])
    return GenerateRequest(request_id=name, prompt_token_ids=body["prompt"], sampling=sampling)
