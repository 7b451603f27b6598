"""Neither process has of torch what it does not need, and both work all the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.servers import DEMO
from transformers import LlamaConfig

from loraplex_server.torch_free import hide_torch

PROGRAM = """
import sys
from loraplex_server.torch_free import hide_torch
hide_torch()
import loraplex_server.api.process.serve
from loraplex_server.api.rendering.renderer import load_renderer
renderer = load_renderer(sys.argv[1])
print([name for name in sys.modules if name.startswith("torch.")], renderer.tokenizer.encode("a").ids != [])
"""


def test_what_the_server_imports_needs_no_torch() -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, str(DEMO / "base")],
        text=True,
        env=env,
        capture_output=True,
        check=False,
    )
    assert (run.stdout, run.stderr) == ("[] True\n", "")


def test_torch_that_is_there_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    there = object()
    monkeypatch.setitem(sys.modules, "torch", there)
    hide_torch()
    assert sys.modules["torch"] is there


ENGINE = """
import sys
from pathlib import Path
from loraplex_server.torch_free import keep_torch_from_transformers
keep_torch_from_transformers()
from loraplex_server.engine.process import build_engine
from loraplex_server.engine.config import EngineConfig
from loraplex_server.models.describe import describe
rope = describe(Path(sys.argv[1])).ropes[0]
print(len(rope.inv_freq), rope.scaling > 1)
core, _ = build_engine(EngineConfig(model=sys.argv[2], device="cpu", kv_cache_memory=1 << 24, adapter_memory=1), print)
core.close()
print([name for name in ("torch._dynamo", "triton") if name in sys.modules])
"""


def test_the_engine_has_torch_without_its_compiler_and_works_ropes_out_all_the_same(tmp_path: Path) -> None:
    rope = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 64}
    config = LlamaConfig(head_dim=16, max_position_embeddings=256, rope_parameters=rope)
    config.architectures = ["LlamaForCausalLM"]
    config.save_pretrained(tmp_path)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-W", "error", "-c", ENGINE, str(tmp_path), str(DEMO / "base")]
    run = subprocess.run(command, text=True, env=env, capture_output=True, check=False)
    assert (run.stdout, run.stderr) == ("8 True\n[]\n", "")
