"""Ray and Serve on this machine's loopback alone, in a process that is told what to do, a line of JSON at a time.

python ray_host.py PORT FOLDER
    {"deploy": {...}}   a serve config, as `serve run FILE` takes it; answered when Ray has it
    {"status": ...}     of the application, and what Ray says of it
    {"engines": ...}    the replicas of the engines that run: {id: pid}
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import ray
from ray import serve
from ray.serve._private import api
from ray.serve.schema import ServeDeploySchema

# For the proxy; Ray's own minute is too short on a machine that builds an image meanwhile.
START_S = 300
# Ray prints what it likes where it likes: answers have a channel of their own.
_answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def main(port: int, folder: str) -> None:
    ray.init(
        _node_ip_address="127.0.0.1",
        _temp_dir=folder,
        include_dashboard=False,
        num_cpus=2,  # of Ray's books, however many there are
        object_store_memory=80 * 2**20,
        log_to_driver=False,
    )
    api.HTTP_PROXY_TIMEOUT = START_S
    client = api.serve_start(http_options={"host": "127.0.0.1", "port": port})
    _say("up")
    try:
        for line in sys.stdin:
            ((command, about),) = json.loads(line).items()
            _say(COMMANDS[command](client, about))
    finally:
        serve.shutdown()
        ray.shutdown()


def _deploy(client: Any, config: dict[str, Any]) -> None:
    client.deploy_apps(ServeDeploySchema.model_validate(config), _blocking=False)


def _status(client: Any, _: object) -> tuple[str, str]:
    found = serve.status().applications["loraplex"]
    return found.status, found.message


def _engines(client: Any, _: object) -> dict[str, int]:
    found = client.get_serve_details()["applications"]["loraplex"]["deployments"]["Engine"]["replicas"]
    return {each["replica_id"]: each["pid"] for each in found if each["state"] == "RUNNING"}


COMMANDS = {"deploy": _deploy, "status": _status, "engines": _engines}


def _say(what: Any) -> None:
    print(json.dumps(what), file=_answers, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
