"""From a model and the sizes of its caches to what computes steps."""

from __future__ import annotations

import logging

from loraplex_kernels.attention.cache import allocate
from loraplex_kernels.lora import AdapterTable
from loraplex_server.engine.followers import NO_FOLLOWERS, Followers
from loraplex_server.engine.graphs.build import decode_graphs, decode_tapes
from loraplex_server.engine.runner import ModelRunner
from loraplex_server.engine.served import Served
from loraplex_server.engine.speculation.settings import most_rows
from loraplex_server.engine.step_needs import give_back

logger = logging.getLogger(__name__)

# Rows of the adapter table. It grows by itself, but on a GPU that moves it away from the graphs that read it.
FIRST_SLOTS = {"cpu": 64, "cuda": 1024}


def make_runner(served: Served, num_blocks: int, followers: Followers = NO_FOLLOWERS) -> ModelRunner:
    """Allocate the caches.

    Args:
        served: the model.
        num_blocks: of the KV cache.
        followers: compute the rest of the model.
    """
    shape, block_size = served.model.config, served.config.block_size
    cache = allocate(
        shape.num_layers,
        num_blocks,
        shape.num_kv_heads,
        block_size,
        shape.head_dim,
        served.stored,
        served.device,
    )
    table = AdapterTable(
        FIRST_SLOTS[served.device.type], len(served.model.sites), served.dtype, served.device, int8=served.int8
    )
    return ModelRunner(served.model, cache, block_size, table, followers)


def add_replays(runner: ModelRunner, served: Served, max_model_len: int) -> None:
    """Let decode steps be replayed where the settings want it, and say where they cannot be.

    On a GPU this captures the graphs: all ranks do so at once.
    """
    config, model = served.config, served.model
    if not config.graphs:
        return
    rows = most_rows(config)
    if served.device.type == "cuda":
        graphs = decode_graphs(model, runner.cache, runner.table, max_rows=rows, max_context=max_model_len)
        if graphs is not None:
            graphs.warm()
            give_back(runner.device)  # the scratch of the runs before each capture, on a stream of its own
        runner.graphs = graphs
    else:
        runner.graphs = decode_tapes(model, runner.cache, runner.table, max_rows=rows, max_context=max_model_len)
    if runner.graphs is None:
        what = "CUDA graphs: no" if served.device.type == "cuda" else "tapes: no compiled"
        logger.warning("decode steps are not replayed from %s kernel reads this model's heads; it is slower", what)
