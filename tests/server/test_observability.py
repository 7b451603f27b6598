"""docs/observability.md names every metric, log field, span and attribute that there is, and no other."""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path

import msgspec
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from support.fake_engine import INFO, FakeEngine

import loraplex_adapters
import loraplex_server
from loraplex_adapters.sources.cache import DiskUsage
from loraplex_server.api.process.drain import Drain
from loraplex_server.api.record import RequestRecord
from loraplex_server.engine.messages import AdapterStats, EngineStats
from loraplex_server.logs.lines import _COMMON
from loraplex_server.logs.spoken import Spoken
from loraplex_server.metrics import Metrics
from loraplex_server.tracing import parts
from loraplex_server.tracing.traceparent import TraceParent

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """Cells of the first table below a heading, without its head."""
    section = PAGE.split(f"# {heading}\n", 1)[1]
    lines = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
    assert lines is not None
    return [[cell.strip().strip("`") for cell in line.strip("|").split(" | ")] for line in lines[0].splitlines()[2:]]


def exported() -> list[list[str]]:
    """Name, kind and text of each metric of a server that has everything."""
    metrics = Metrics("model", 10)
    metrics.disk_cache.absorb(DiskUsage(0, 0, 0))
    info = msgspec.structs.replace(INFO, pid=os.getpid())
    metrics.server.watch(FakeEngine(lambda request, index: [], info=info), Drain())
    stats = EngineStats(adapters=AdapterStats(resident=("a",), waiting=("b",)))
    text = metrics.render(info, stats).decode()
    kinds = dict(line.split(" ")[2:4] for line in text.splitlines() if line.startswith("# TYPE"))
    helps = [line.split(" ", 3)[2:] for line in text.splitlines() if line.startswith("# HELP")]
    return sorted([name, kinds[name], said] for name, said in helps)


def test_metrics() -> None:
    table = [f"| `{name}` | {kind} | {said} |" for name, kind, said in exported()]
    assert rows("Metrics") == exported(), "\n".join(["the table should be:", *table])


def test_fields_of_requests() -> None:
    record = RequestRecord("id", "/", trace=TraceParent("0" * 32, "0" * 16, True), spoken=Spoken(1))
    there = {*_COMMON, "exception", *record.line_context(), *record.log_fields()}
    assert {name for name, *_ in rows("Fields")} == there


def test_fields_of_other_lines() -> None:
    there: set[str] = set()
    for package in (loraplex_server, loraplex_adapters):
        for path in Path(package.__file__).parent.rglob("*.py"):
            there |= _said(ast.parse(path.read_text(encoding="utf-8")))
    assert {name for name, *_ in rows("Fields of other lines")} == there


def test_spans() -> None:
    there = {parts.FETCH, parts.QUEUE, parts.LOAD, parts.PREFILL, parts.DECODE}
    named = {name for name, *_ in rows("Spans")}
    assert there <= named
    assert named - there == {"{operation} {model}", "{method} {route}"}


def test_attributes() -> None:
    folder = Path(loraplex_server.__file__).parent / "tracing"
    source = "".join(path.read_text(encoding="utf-8") for path in folder.glob("*.py"))
    there = set(re.findall(r'"((?:gen_ai|http|url|server|error|loraplex|service)\.[a-z_.]+)"', source))
    assert len(there) > 30
    assert {name for name, *_ in rows("Attributes")} == there
    # OpenTelemetry's own list.
    known = {value for name, value in vars(gen_ai_attributes).items() if name.startswith("GEN_AI_")}
    assert {name for name in there if name.startswith("gen_ai.")} <= known


def _said(tree: ast.AST) -> set[str]:
    """Keys of what is given to loggers as `extra={"fields": ...}`, also where a variable or an attribute holds it."""
    dicts = [node for node in ast.walk(tree) if isinstance(node, ast.Dict)]
    given = [
        value
        for node in dicts
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(key, ast.Constant) and key.value == "fields"
    ]
    names = {node.id for value in given for node in ast.walk(value) if isinstance(node, ast.Name)}
    named = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and any(isinstance(each, ast.Name) and each.id in names for each in node.targets)
    ]
    found = {
        key.value
        for value in (*given, *named)
        for node in ast.walk(value)
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Constant) and isinstance(key.value, str)
    }
    told = {
        keyword.arg
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "about"
        for keyword in node.keywords
        if keyword.arg is not None
    }
    return found | told | ({"action", "target"} if told else set())
