"""The compiled kernels: which build is taken, and that nothing fails where there is none."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from loraplex_kernels import native

ROOT = Path(__file__).parents[2]

V2 = {"cx16", "lahf_lm", "popcnt", "pni", "ssse3", "sse4_1", "sse4_2"}
V3 = V2 | {"abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "xsave"}
V4 = V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}


@pytest.fixture
def fresh(monkeypatch):
    """What `library()` and `status()` remember is forgotten, before and after."""
    native._loaded.cache_clear()
    monkeypatch.setattr(native.platform, "machine", lambda: "x86_64")
    yield monkeypatch
    native._loaded.cache_clear()


@pytest.mark.parametrize(
    ("flags", "best"),
    [
        (V2, "x86_64_v2"),
        (V3, "x86_64_v3"),
        (V4, "x86_64_v4"),
        (V4 | {"avx512_bf16"}, "x86_64_v4_bf16"),
        (V2 | {"avx512f", "avx512_bf16"}, "x86_64_v2"),  # a level counts only on top of those below it
    ],
)
def test_the_best_build_that_the_processor_runs_comes_first(fresh, flags, best):
    fresh.setattr(native, "_cpu_flags", lambda: flags)
    assert native.variants()[0] == best
    assert native.variants()[-1] == "x86_64_v2"


def test_an_old_processor_has_no_build_and_the_status_says_so(fresh):
    fresh.setattr(native, "_cpu_flags", lambda: {"sse2"})
    assert native.library() is None
    assert "slower torch path" in native.status()


def test_missing_builds_are_reported_with_what_makes_them(fresh, tmp_path):
    fresh.setattr(native, "_FOLDER", tmp_path)
    assert native.library() is None
    assert "hatch_build.py" in native.status()


def test_a_build_that_does_not_load_is_reported(fresh, tmp_path):
    for variant in native.variants():
        (tmp_path / f"loraplex_{variant}.so").write_bytes(b"not a library")
    fresh.setattr(native, "_FOLDER", tmp_path)
    assert native.library() is None
    assert "do not load" in native.status()


@pytest.mark.skipif(
    importlib.util.find_spec("ziglang") is None, reason="ziglang, which brings the compiler, is missing"
)
@pytest.mark.skipif(not native.variants(), reason="there are no CPU kernels for this processor")
class TestHereWhereItCanBeBuilt:
    def test_the_hook_builds_what_is_looked_for(self):
        done = subprocess.run([sys.executable, str(ROOT / "hatch_build.py")], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        built = {Path(line).name for line in done.stdout.split()}
        assert {f"loraplex_{variant}.so" for variant in native.variants()} <= built

    def test_the_best_build_is_loaded_on_torchs_threads(self):
        assert native.library() is not None
        assert native.variants()[0] in native.status()
        assert "torch's OpenMP threads" in native.status()
