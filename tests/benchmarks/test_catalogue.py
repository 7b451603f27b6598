"""The same requests beside a small catalogue and a larger one, on a real server."""

from __future__ import annotations

import catalogue
import pytest

from loraplex_server.demo import find_demo

SMALL = ["--prompt", "8", "--output", "4", "--runs", "1", "--more", "20"]


def test_both_catalogues_are_measured_and_nobodys_folder_is_written_to(capfd: pytest.CaptureFixture[str]) -> None:
    demo = find_demo()
    before = sorted(path.name for path in demo.rglob("*"))
    adapters = ["--adapters", str(demo / "adapters"), "--concurrency", "4"]
    assert catalogue.main([str(demo / "base"), *adapters, *SMALL]) == 0
    assert "100.0%" in capfd.readouterr().err
    assert sorted(path.name for path in demo.rglob("*")) == before


def test_too_few_adapters_are_an_error_that_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    demo = find_demo()
    adapters = ["--adapters", str(demo / "adapters"), "--concurrency", "40"]
    assert catalogue.main([str(demo / "base"), *adapters, *SMALL]) == 2
    assert "adapters" in capfd.readouterr().err
