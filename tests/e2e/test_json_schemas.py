"""Answers that follow schemas and grammars, sampled hot from the demo, over the real server."""

from __future__ import annotations

import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest
from support.api import events, streamed_text
from support.json_schemas import fault, schemas
from support.servers import Server

SCHEMAS = schemas(200, seed=2026)
AT_ONCE = 16


def ask(server: Server, **fields: Any) -> dict[str, Any]:
    """The one choice of a hot completion."""
    body = {"prompt": "The hotel was", "temperature": 1.5, "max_tokens": 256, **fields}
    response = server.post("/v1/completions", body)
    assert response.status_code == 200, response.text
    return dict(response.json()["choices"][0])


def of_schema(schema: dict[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


@pytest.mark.slow
def test_every_finished_answer_to_200_schemas_is_valid(demo: Server) -> None:
    def answer(number: int) -> dict[str, Any]:
        return ask(demo, seed=number, max_tokens=700, response_format=of_schema(SCHEMAS[number]))

    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(answer, range(len(SCHEMAS))))
    finished = [number for number, choice in enumerate(answers) if choice["finish_reason"] == "stop"]
    print(f"{len(finished)} of {len(SCHEMAS)} answers finished")  # noqa: T201  # what proof there is, shown by -s
    faults = {number: fault(SCHEMAS[number], answers[number]["text"]) for number in finished}
    assert {number: said for number, said in faults.items() if said is not None} == {}
    assert len(finished) >= 0.9 * len(SCHEMAS)


@pytest.mark.parametrize("number", range(0, len(SCHEMAS), 20))
def test_a_stream_is_the_whole_answer_in_parts(demo: Server, number: int) -> None:
    fields = {"seed": number, "response_format": of_schema(SCHEMAS[number]), "max_tokens": 120}
    whole = ask(demo, **fields)
    body = {"prompt": "The hotel was", "temperature": 1.5, "stream": True, **fields}
    chunks = events(demo.post("/v1/completions", body).text)
    assert streamed_text(chunks) == whole["text"]
    assert chunks[-1]["choices"][0]["finish_reason"] == whole["finish_reason"]


def test_json_object_is_an_object_of_any_kind(demo: Server) -> None:
    ends = [demo.post("/tokenize", {"prompt": end, "add_special_tokens": False}).json()["tokens"] for end in ('"', "}")]
    bias = {token: 8 for (token,) in ends}  # it never saw JSON, and would write on and on
    fields = {"response_format": {"type": "json_object"}, "logit_bias": bias, "max_tokens": 400}
    choices = [ask(demo, seed=seed, **fields) for seed in range(6)]
    finished = [choice for choice in choices if choice["finish_reason"] == "stop"]
    assert finished
    assert all(isinstance(json.loads(choice["text"]), dict) for choice in finished)


@pytest.mark.parametrize("options", [{"disable_any_whitespace": True}, {"whitespace_pattern": "[ ]{1,2}"}])
def test_whitespace_is_as_wanted(demo: Server, options: dict[str, Any]) -> None:
    schema = {"type": "array", "items": {"type": "boolean"}, "minItems": 4, "maxItems": 4}
    text = ask(demo, seed=1, structured_outputs={"json": schema, **options})["text"]
    assert len(json.loads(text)) == 4
    assert re.search(r"[\n\r\t]|   ", text) is None
    assert (" " in text) == ("whitespace_pattern" in options)


CHOICES = ["yes", "yesterday", 'a "b"\n/\\', "naïve \U0001f600", "\x7f"]


@pytest.mark.parametrize("seed", range(8))
def test_a_choice_is_one_of_them(demo: Server, seed: int) -> None:
    choice = ask(demo, seed=seed, structured_outputs={"choice": CHOICES})
    assert choice["text"] in CHOICES
    assert choice["finish_reason"] == "stop"


@pytest.mark.parametrize("regex", [r"[A-Z][a-z]{2,5} [0-9]{1,3}", r"(one|two){3}", r"^\w+@\w+\.(com|org)$"])
def test_a_regex_matches_the_whole_answer(demo: Server, regex: str) -> None:
    for seed in range(4):
        choice = ask(demo, seed=seed, structured_outputs={"regex": regex})
        if choice["finish_reason"] == "stop":
            assert re.fullmatch(regex, choice["text"])


LARK = """
start: sum
sum: product ("+" product)*
product: NUMBER | "(" sum ")"
NUMBER: /[1-9][0-9]{0,2}/
"""
GBNF = """
root ::= term ("+" term)*
term ::= [1-9] [0-9]? | "(" root ")"
"""


@pytest.mark.parametrize("grammar", [LARK, GBNF], ids=["lark", "gbnf"])
def test_a_grammar_with_recursion_is_followed(demo: Server, grammar: str) -> None:
    finished = []
    for seed in range(6):
        choice = ask(demo, seed=seed, structured_outputs={"grammar": grammar})
        if choice["finish_reason"] == "stop":
            finished.append(choice["text"])
    assert finished
    for text in finished:
        assert re.fullmatch(r"[0-9+()]+", text)
        assert eval(text) > 0  # digits, plus and brackets


def test_a_chat_of_an_adapter_follows_a_schema_beside_other_answers(demo: Server) -> None:
    schema = {"type": "object", "properties": {"sea": {"type": "boolean"}}, "required": ["sea"]}
    schema["additionalProperties"] = False
    models = [model["id"] for model in demo.get("/v1/models").json()["data"]]
    body = {"model": models[1], "messages": [{"role": "user", "content": "Is it by the sea?"}], "seed": 3}
    response = demo.post("/v1/chat/completions", {**body, "response_format": of_schema(schema), "n": 3})
    texts = [choice["message"]["content"] for choice in response.json()["choices"]]
    assert [fault(schema, text) for text in texts] == [None] * 3


def test_metrics_count_what_follows_a_grammar(demo: Server) -> None:
    def counted() -> int:
        found = re.search(r"^loraplex_grammar_requests_total (\d+)", demo.get("/metrics").text, re.MULTILINE)
        return 0 if found is None else int(found[1])

    before = counted()
    ask(demo, structured_outputs={"choice": ["yes", "no"]})
    deadline = time.monotonic() + 120
    while counted() == before and time.monotonic() < deadline:
        time.sleep(0.1)
    assert counted() > before


CHAIN = {f"d{i}": {"items": {"$ref": f"#/$defs/d{i + 1}"}} for i in range(3000)}
BOMBS: list[dict[str, Any]] = [
    {"json": {"$ref": "#/$defs/d0", "$defs": {**CHAIN, "d3000": {}}}},
    {"grammar": "start: r0\n" + "".join(f"r{i}: r{i + 1}\n" for i in range(8000)) + 'r8000: "x"'},
    {"grammar": "start: T0\n" + "".join(f"T{i}: T{i + 1}\n" for i in range(8000)) + "T8000: /x+/"},
    {"regex": "a{1000000}"},
    {"regex": "(x+x+)+y" * 200},
    {"regex": "((((a?){500}){500}){500}){500}"},
    {"regex": "(" * 5000},
    {"regex": "(.{0,2000}a){500}"},
    {"grammar": "start: a\na: a a | /x+/ | "},
    {"grammar": 'start: "x" ' + "(" * 3000},
    {"grammar": "root ::= " + '("a" | ' * 2000},
    {"json": {"type": "object", "properties": {f"property number {i}": {"type": "integer"} for i in range(3000)}}},
    {"json": {"enum": [f"value number {i} of very many" for i in range(3000)]}},
    {"json": {"allOf": [{"anyOf": [{"required": [f"a{i}"]}, {"required": [f"b{i}"]}]} for i in range(200)]}},
    {"json": {"$ref": "#"}},
    {"json": {"type": "array", "items": {"$ref": "#"}, "minItems": 1}},
    {"json": '{"items":' * 150 + "{}" + "}" * 150},
]


def worked(server: Server) -> float:
    """Seconds of a processor that the server and its engine took so far, however long they waited for one."""
    process = psutil.Process(server.process.pid)
    return sum(sum(each.cpu_times()[:2]) for each in (process, *process.children(recursive=True)))


@pytest.mark.parametrize("bomb", BOMBS, ids=lambda bomb: str(bomb)[:40])
def test_a_hostile_grammar_is_refused_or_served_with_bounded_work(demo: Server, bomb: dict[str, Any]) -> None:
    def neighbour() -> str:
        return str(ask(demo, seed=5, max_tokens=60)["text"])

    alone = neighbour()
    body = {"prompt": "The hotel was", "temperature": 1.5, "seed": 1, "max_tokens": 20, "structured_outputs": bomb}
    before = worked(demo)
    with ThreadPoolExecutor(2) as pool:
        beside = pool.submit(neighbour)
        response = demo.post("/v1/completions", body)
        assert beside.result() == alone
    assert response.status_code in (200, 400), response.text
    if response.status_code == 400:
        error = response.json()["error"]
        assert error["message"]
        assert len(error["message"]) < 1000
    assert demo.get("/ready").status_code == 200
    assert worked(demo) - before < 60
