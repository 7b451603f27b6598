from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import roofline
from synthetic.named import named_shape

from loraplex_server.bench.limits.bound import Served, staged
from loraplex_server.bench.limits.formats import FORMATS, head_format
from loraplex_server.bench.limits.machine import measure
from loraplex_server.bench.limits.rates import Rates
from loraplex_server.bench.limits.timing import rate

H100 = Rates(3350.0, {"float32": 67.0, "bfloat16": 989.0, "int8": 1979.0})
LLAMA_8B = named_shape("llama-3.1-8b")


def h100(form: str) -> Served:
    return Served(LLAMA_8B, H100, FORMATS[form], rank=16, head=FORMATS["bfloat16"])


def test_the_shape_has_the_weights_of_the_model() -> None:
    assert LLAMA_8B.linear_weights == 6_979_321_856
    assert LLAMA_8B.head_weights == 525_336_576
    assert LLAMA_8B.adapter_weights(1) == 2_621_440
    assert LLAMA_8B.kv_values * 2 == 131_072


@pytest.mark.parametrize(
    ("form", "batch", "distinct", "ms"),
    [
        ("bfloat16", 1, 0, 4.52),
        ("bfloat16", 64, 64, 8.65),
        ("int8", 32, 1, 3.70),
        ("int8", 64, 64, 6.56),
        ("int4", 1, 1, 1.45),
        ("int4", 32, 32, 3.47),
        ("int4", 64, 0, 3.95),
    ],
)
def test_a_decode_step_is_bound_by_its_bytes_on_an_h100(form: str, batch: int, distinct: int, ms: float) -> None:
    """By hand: (weights + distinct x 83.9 MB + batch x 1024 x 131 kB) / 3.35 TB/s."""
    assert h100(form).decode(batch, 1024, distinct).ms == pytest.approx(ms, abs=6e-3)


def test_a_prefill_is_bound_by_its_arithmetic() -> None:
    """By hand: (2 x 6.98e9 x 1024 + 2 x 1024^2 x 32 x 4096) / 989e12, and one row of lm_head."""
    assert h100("bfloat16").prefill(1, 1024, 0).ms == pytest.approx(14.7, abs=0.05)


def test_stages_one_after_another_are_never_faster_than_overlapped() -> None:
    # Base linears bound by arithmetic, adapters by bytes: only the staged bound adds them up.
    slow = Rates(64.0, {"float32": 0.2, "bfloat16": 0.77, "int8": 1.4})
    served = Served(named_shape("qwen2.5-0.5b"), slow, FORMATS["bfloat16"])
    step = served.decode(32, 160, 32)
    assert step.ms == pytest.approx(sum(stage.compute_ms for stage in step.stages))
    assert step.staged_ms > step.ms * 1.15
    assert served.wave_s(32, 128, 64, 32, staged) > served.wave_s(32, 128, 64, 32)


def test_a_wave_is_a_prefill_and_a_step_for_each_further_token() -> None:
    served = h100("bfloat16")
    steps = [served.decode(2, 10 + done, 1).ms for done in (1, 2)]
    assert served.wave_s(2, 10, 3, 1) == pytest.approx((served.prefill(2, 10, 1).ms + sum(steps)) / 1e3)


def test_half_as_fast_as_the_bound_has_reached_half_of_it() -> None:
    step = h100("int4").decode(1, 1024, 0)
    assert step.reached(2 * step.ms) == 0.5


def test_a_model_folder_is_read_like_a_shape(tmp_path: Path) -> None:
    config = {"hidden_size": 8, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    (tmp_path / "config.json").write_text(json.dumps({"text_config": {**config, "vocab_size": 32}}))
    shape = named_shape(str(tmp_path))
    assert (shape.kv_heads, shape.head_dim, shape.linear_weights) == (2, 4, 2 * (4 * 64 + 3 * 128))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="hidden_size"):
        named_shape(str(tmp_path))
    with pytest.raises(ValueError, match="no folder with a config"):
        named_shape("no-such-model")


def test_a_rate_is_work_over_time() -> None:
    found = rate(1.0, lambda: time.sleep(0.01), repeats=3)
    assert found.median <= found.best <= 100.0


def test_measuring_gives_every_rate() -> None:
    machine = measure(threads=1, scale=0.02)
    assert machine.threads == 1
    assert machine.best.tflops.keys() == {"float32", "bfloat16", "int8"}
    assert min(machine.best.read_gb_s, *machine.best.tflops.values()) > 0


def test_the_command_prints_its_formula_and_bounds_for_given_rates(capsys: pytest.CaptureFixture[str]) -> None:
    rates = "read=3350,float32=67,bfloat16=989,int8=1979"
    common = ["--model", "llama-3.1-8b", "--rates", rates, "--formats", "int4", "--head", "bfloat16", "--batch", "32"]
    assert roofline.main([*common, "--context", "1024"]) == 0
    shown = capsys.readouterr().out
    assert "T >= max(" in shown
    assert "3.47" in shown
    assert roofline.main([*common, "--context", "1024", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["bounds"]
    assert [row["distinct"] for row in rows] == [0, 1, 32]
    assert rows[2]["step_ms"] == pytest.approx(3.47, abs=6e-3)


def test_a_rate_that_is_missing_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        roofline.main(["--rates", "read=3350,bfloat16=989"])
    assert "float32" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("form", "asked", "head"),
    [
        ("bfloat16", "auto", "bfloat16"),
        ("int8", "auto", "int8"),
        ("int4", "auto", "int8"),
        ("int4", "none", "bfloat16"),
        ("float32", "auto", "float32"),
        ("bfloat16", "int8", "int8"),
    ],
)
def test_the_heads_format_follows_the_linears_unless_asked_for(form: str, asked: str, head: str) -> None:
    assert head_format(FORMATS[form], asked).name == head


def test_an_int8_head_is_read_and_multiplied_as_such() -> None:
    rates = Rates(64.0, {"float32": 0.2, "bfloat16": 0.8, "int8": 1.6})
    (qwen, int4), int8 = (named_shape("qwen2.5-0.5b"), FORMATS["int4"]), FORMATS["int8"]
    stage = Served(qwen, rates, int4, head=int8).decode(1, 160, 0).stages[1]
    assert (stage.name, stage.nbytes) == ("lm_head", 896 * 151936)
    assert stage.compute_ms == pytest.approx(2 * 896 * 151936 / 1.6e12 * 1e3)
