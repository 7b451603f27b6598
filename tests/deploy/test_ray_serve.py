"""Ray Serve for real, on this machine's loopback: the bundled demo on two replicas."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from support.api import until
from support.ray_serve import RayServe, environment, ray_serve
from support.servers import NO_TLS, ROOT, Server, serving

pytestmark = pytest.mark.slow

KEY = {"authorization": "Bearer secret"}
REPLICA = "x-loraplex-replica"
STARTED_S = 300.0
ADAPTERS = ("add", "initials", "json", "reverse", "sort", "upper")
LONG = {"max_tokens": 1500, "ignore_eos": True, "temperature": 0, "stream": True}
# Answers to one request, as many as there may be: whatever is slow to be noticed on a busy machine, they are slower.
MANY = 128
# Answers to each of several requests at once, which one replica can compute beside each other.
FEW = 4


def config(**args: Any) -> dict[str, Any]:
    """The shipped one, closed by a key."""
    read = yaml.safe_load((ROOT / "deploy" / "ray" / "demo.yaml").read_text())
    del read["http_options"]  # of the test's own Ray
    read["applications"][0]["args"] |= {"api_key": ["secret"], **args}
    return read


@pytest.fixture(scope="module")
def ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayServe]:
    with ray_serve(tmp_path_factory.mktemp("ray") / "log") as served:
        assert served.deploy(config(max_num_seqs=2 * FEW * len(ADAPTERS))) == ("RUNNING", "")
        yield served


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    small = ["--device", "cpu", "--threads", "1", "--adapter-memory", "64MiB", "--kv-cache-memory", "64MiB"]
    alike = ["--api-key", "secret", "--response-store-size", "0"]
    with serving(["demo", *small, *alike], tmp_path_factory.mktemp("plain") / "log") as server:
        yield server


@pytest.fixture
async def client(ray: RayServe) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=ray.url, headers=KEY, timeout=STARTED_S, verify=NO_TLS) as client:
        yield client


def chat(model: str, **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "jasmine"}], "max_tokens": 8} | fields


async def metric(client: httpx.AsyncClient, name: str, **labels: str) -> dict[str, float]:
    """Values by replica, those of a replica added up."""
    found: Counter[str] = Counter()
    page = await client.get("/metrics", headers={"x-prometheus-scrape-timeout-seconds": str(STARTED_S)})
    assert page.status_code == 200, page.text
    for family in text_string_to_metric_families(page.text):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                found[sample.labels["replica"]] += sample.value
    return dict(found)


async def homes_of(client: httpx.AsyncClient) -> dict[str, str]:
    """The replica that answers for each adapter."""
    answers = {name: await client.post("/v1/chat/completions", json=chat(name)) for name in ADAPTERS}
    return {name: answer.headers[REPLICA] for name, answer in answers.items()}


async def test_an_adapter_stays_on_its_replica_and_the_base_is_on_both(client: httpx.AsyncClient) -> None:
    before = await metric(client, "loraplex_adapter_loads_total")
    rounds = [await homes_of(client) for _ in range(8)]
    # Mostly: Ray hears of what a replica has a moment later, and sends around one that is slow to answer.
    asked = [Counter(places[name] for places in rounds).most_common(1)[0] for name in ADAPTERS]
    assert sum(times for _, times in asked) >= 0.85 * len(rounds) * len(ADAPTERS)  # by chance it would be 0.64
    assert len({replica for replica, _ in asked}) == 2  # Ray gives a new one to the replica with fewest
    homes = Counter(replica for _, replica in {pair for places in rounds for pair in places.items()})

    async def each_was_loaded_once() -> None:
        """As the engines tell, now and then."""
        while True:
            loads = await metric(client, "loraplex_adapter_loads_total")
            if {name: loads[name] - before.get(name, 0) for name in loads} == dict(homes):
                return
            await asyncio.sleep(0.1)

    await asyncio.wait_for(each_was_loaded_once(), STARTED_S)

    answers = await asyncio.gather(*(client.post("/v1/chat/completions", json=chat("base")) for _ in range(24)))
    assert {answer.headers[REPLICA] for answer in answers} == set(homes)


def settled(text: str) -> str:
    """Without what no two answers share: ids and times."""
    text = re.sub(r'"(id|item_id|response_id|first_id|last_id)": ?"[^"]*"', r'"\1":"*"', text)
    return re.sub(r'"(created|created_at|completed_at)": ?[0-9.]+', r'"\1":0', text)


ROUTES: dict[str, tuple[str, dict[str, Any]]] = {
    "chat": ("/v1/chat/completions", chat("reverse", temperature=0)),
    "chat, streamed": ("/v1/chat/completions", chat("reverse", temperature=0, stream=True, logprobs=True)),
    "completion": ("/v1/completions", {"model": "upper", "prompt": ["a", "b"], "temperature": 0, "echo": True}),
    "sum": (
        "/v1/chat/completions",
        chat("", adapters=[{"name": "sort", "weight": 0.5}, {"name": "upper"}], temperature=0, stream=True),
    ),
    "response, streamed": ("/v1/responses", {"model": "sort", "input": "jasmine", "temperature": 0, "stream": True}),
    "message, streamed": ("/v1/messages", chat("json", temperature=0, stream=True)),
    "LoRAX": ("/generate", {"inputs": "jasmine", "parameters": {"adapter_id": "add", "max_new_tokens": 6}}),
    "LoRAX, streamed": ("/generate_stream", {"inputs": "jasmine", "parameters": {"adapter_id": "add"}}),
    "embedding": ("/v1/embeddings", {"model": "upper", "input": ["one", "two"]}),
    "tokens": ("/tokenize", {"model": "upper", "prompt": "jasmine"}),
    "no such model": ("/v1/chat/completions", chat("nobody")),
    "no such model, of a message": ("/v1/messages", chat("nobody")),
    "no such model, of LoRAX": ("/generate", {"inputs": "x", "parameters": {"adapter_id": "nobody"}}),
    "a bad field": ("/v1/completions", {"model": "upper", "prompt": "x", "max_tokens": "many"}),
    "too long": ("/v1/completions", {"model": "upper", "prompt": "x " * 5000}),
    "too large": ("/v1/completions", {"model": "upper", "prompt": "x" * (9 * 2**20)}),
    "no such path": ("/v1/nothing", {}),
    "nothing to go on from": ("/v1/responses", {"model": "sort", "input": "x", "previous_response_id": "resp_0"}),
}


@pytest.mark.parametrize("name", ROUTES)
async def test_every_route_answers_as_a_plain_server_does(name: str, plain: Server, client: httpx.AsyncClient) -> None:
    path, body = ROUTES[name]
    here = await client.post(path, json=body)
    there = plain.post(path, body, headers=KEY)
    assert (here.status_code, settled(here.text)) == (there.status_code, settled(there.text))
    assert here.headers["content-type"] == there.headers["content-type"]
    assert len(here.headers.get_list("x-request-id")) == 1


async def test_what_is_no_json_and_who_has_no_key_is_told_so(plain: Server, client: httpx.AsyncClient) -> None:
    for headers, content in (
        ({"content-type": "application/json"}, b"{"),
        ({"content-type": "text/plain"}, b"{}"),
        ({"content-type": "application/json", "authorization": "Bearer wrong"}, json.dumps(chat("upper")).encode()),
    ):
        here = await client.post("/v1/chat/completions", content=content, headers=KEY | headers)
        there = await client.post(plain.url + "/v1/chat/completions", content=content, headers=KEY | headers)
        assert here.status_code == there.status_code >= 400
        assert here.json() == there.json()


async def test_the_models_are_those_of_the_folder(plain: Server, client: httpx.AsyncClient) -> None:
    assert settled((await client.get("/v1/models")).text) == settled(plain.get("/v1/models", headers=KEY).text)
    assert (await client.get("/v1/models/upper")).json()["parent"] == "loraplex-demo-base"
    for path in ("/health", "/ready", "/version"):
        assert (await client.get(path)).json() == plain.get(path).json()


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/adapters", {"name": "x", "source": "/x"}),
        ("DELETE", "/v1/adapters/upper", None),
        ("POST", "/v1/load_lora_adapter", {"lora_name": "x", "lora_path": "/x"}),
        ("GET", "/v1/files", None),
        ("POST", "/v1/batches", {}),
        ("GET", "/v1/batches/batch_1", None),
        ("GET", "/v1/usage", None),
        ("GET", "/lora-adapters", None),
        ("POST", "/v1/chat/completions", chat("base", lora=[{"id": 0, "scale": 1.0}])),
    ],
)
async def test_what_would_reach_one_replica_alone_is_refused(
    client: httpx.AsyncClient, method: str, path: str, body: Any
) -> None:
    answer = await client.request(method, path, json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (501, "not_behind_ray_serve")


def test_a_file_of_requests_is_answered(ray: RayServe, tmp_path: Path) -> None:
    asked, answered = tmp_path / "asked.jsonl", tmp_path / "answered.jsonl"
    with asked.open("w") as file:
        for name in ADAPTERS:
            line = {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": chat(name)}
            file.write(json.dumps(line) + "\n")
    told = ["run-batch", asked, answered, "--url", ray.url, "--api-key", "secret"]
    subprocess.run([sys.executable, "-m", "loraplex_server.cli", *told], env=environment(), check=True)
    found = [json.loads(line) for line in answered.read_text().splitlines()]
    assert {line["custom_id"]: line["response"]["status_code"] for line in found} == dict.fromkeys(ADAPTERS, 200)


async def test_a_client_that_leaves_ends_the_work_for_it(client: httpx.AsyncClient) -> None:
    before = sum((await metric(client, "vllm:request_success_total", finished_reason="abort")).values())
    many = chat("upper", **LONG, n=MANY)
    async with client.stream("POST", "/v1/chat/completions", json=many) as answer:
        assert await anext(answer.aiter_bytes())
    await _counted(client, lambda aborted, running: (aborted, running) == (before + MANY, 0))

    whole = asyncio.create_task(client.post("/v1/chat/completions", json=many | {"stream": False}))
    try:
        await _counted(client, lambda aborted, running: running > 0)
    finally:
        whole.cancel()  # before anything has come
    await _counted(client, lambda aborted, running: (aborted, running) == (before + 2 * MANY, 0))


async def _counted(client: httpx.AsyncClient, wanted: Callable[[float, float], bool]) -> None:
    """Wait for numbers of answers that their clients did not wait for, and of those that are being computed."""
    deadline = time.monotonic() + STARTED_S
    aborted = running = -1.0
    while not wanted(aborted, running):
        assert time.monotonic() < deadline, f"{aborted} aborted, {running} running"
        ended = await metric(client, "vllm:request_success_total", finished_reason="abort")
        aborted, running = sum(ended.values()), sum((await metric(client, "vllm:num_requests_running")).values())


async def read(client: httpx.AsyncClient, body: dict[str, Any], begun: asyncio.Future[str]) -> str:
    """A stream, to its end; `begun` gets the replica that it comes from."""
    async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
        text = ""
        async for part in answer.aiter_text():
            text += part
            if not begun.done():
                begun.set_result(answer.headers[REPLICA])
        return text


async def test_a_scrape_that_a_replica_keeps_waiting_says_so_in_time(ray: RayServe, client: httpx.AsyncClient) -> None:
    one, *_ = ray.engines().values()
    os.kill(one, signal.SIGSTOP)
    try:
        late = await client.get("/metrics", headers={"x-prometheus-scrape-timeout-seconds": "1"})
    finally:
        os.kill(one, signal.SIGCONT)
    assert (late.status_code, late.json()["error"]["code"]) == (503, "replica_late")
    assert "did not answer within 0.8 s" in late.json()["error"]["message"]
    assert set(await metric(client, "vllm:num_requests_running")) == set(ray.engines())


async def test_a_killed_replica_loses_only_its_own_requests_and_is_replaced(
    ray: RayServe, client: httpx.AsyncClient
) -> None:
    assert len(set((await homes_of(client)).values())) == 2
    engines = ray.engines()
    begun: list[asyncio.Future[str]] = [asyncio.get_running_loop().create_future() for _ in ADAPTERS]
    streams = [
        asyncio.create_task(read(client, chat(each, **LONG, n=FEW), future))
        for each, future in zip(ADAPTERS, begun, strict=True)
    ]
    wholes = [
        asyncio.create_task(client.post("/v1/chat/completions", json=chat(each, **LONG | {"stream": False}, n=FEW)))
        for each in ADAPTERS
    ]
    for future in asyncio.as_completed(begun, timeout=STARTED_S):
        lost = await future  # in the end that of the stream that began last, and so has most before it
    (kept,) = set(engines) - {lost}
    children = psutil.Process(engines[lost]).children(recursive=True)
    os.kill(engines[lost], signal.SIGKILL)

    places = [future.result() for future in begun]
    ends = []
    for text in await asyncio.gather(*streams):
        *_, last, done, rest = text.split("\n\n")
        assert (done, rest) == ("data: [DONE]", "")
        whole = text.count('"finish_reason":"length"') == FEW
        ends.append("whole" if whole else json.loads(last.removeprefix("data: "))["error"]["code"])
    ended = {which: {end for place, end in zip(places, ends, strict=True) if place == which} for which in engines}
    assert ended[kept] <= {"whole"}
    assert {"replica_lost"} <= ended[lost] <= {"replica_lost", "whole"}  # what began first may have come to its end
    answers = await asyncio.gather(*wholes)
    assert {answer.headers[REPLICA] for answer in answers if answer.status_code == 200} <= {kept}
    failed = [answer for answer in answers if answer.status_code != 200]
    assert failed
    for answer in failed:
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "replica_lost")
        assert int(answer.headers["retry-after"]) > 0

    for each in (*ADAPTERS, "base"):  # whoever comes next is served
        assert (await client.post("/v1/chat/completions", json=chat(each))).status_code == 200
    await until(lambda: len(ray.engines()) == 2 and lost not in ray.engines(), STARTED_S)
    await until(lambda: not any(child.is_running() for child in children))  # its engine went with it


async def test_a_rolling_update_loses_no_request(ray: RayServe, client: httpx.AsyncClient) -> None:
    before = set(ray.engines())
    answers: list[httpx.Response] = []
    updating = True

    async def ask(name: str) -> None:
        while updating:
            answers.append(await client.post("/v1/chat/completions", json=chat(name)))
            await asyncio.sleep(0.1)  # the new engines need the cores too

    begun: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    stream = asyncio.create_task(read(client, chat("upper", **LONG, n=FEW), begun))
    await asyncio.wait_for(begun, STARTED_S)
    asking = [asyncio.create_task(ask(name)) for name in ("add", "json", "base")]
    other = config(max_num_seqs=16)
    # Both new ones begin beside the old ones; in Ray's books there is room for little more.
    other["applications"][0]["deployments"][0] |= {"max_surge_percent": 100, "ray_actor_options": {"num_cpus": 0.2}}
    try:
        assert await asyncio.to_thread(ray.deploy, other) == ("RUNNING", "")
    finally:
        updating = False
        await asyncio.gather(*asking)
    assert (await stream).count('"finish_reason":"length"') == FEW
    assert {answer.status_code for answer in answers} == {200}
    assert len(answers) > 20
    await until(lambda: len(ray.engines()) == 2 and not before & set(ray.engines()), STARTED_S)


async def test_a_bad_setting_is_named_and_the_application_goes_on(ray: RayServe, client: httpx.AsyncClient) -> None:
    status, said = await asyncio.to_thread(ray.deploy, config(max_num_sequences=4))
    assert status == "DEPLOY_FAILED"
    assert "unknown key 'max_num_sequences' in the application's args; did you mean max_num_seqs?" in said
    assert (await client.post("/v1/chat/completions", json=chat("upper"))).status_code == 200
