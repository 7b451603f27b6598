"""Whether a plan is one that a server would start with."""

from __future__ import annotations

from loraplex_server.models.config import DecoderConfig
from loraplex_server.models.division import Division
from loraplex_server.models.errors import UnsupportedModelError
from loraplex_server.plan.error import PlanError
from loraplex_server.plan.plan import Plan
from loraplex_server.settings.quantity import format_bytes


def check(plan: Plan, free: int) -> None:
    """As the engine refuses to start, and where a CPU's steps would find no memory.

    Args:
        plan: of a server.
        free: bytes that its cache and adapters may have.

    Raises:
        PlanError: it would not start; the message says what would.
    """
    asked, cache = plan.asked, plan.cache
    have = format_bytes(plan.machine.memory)
    on_cpu = plan.machine.device == "cpu"
    if plan.least > plan.machine.memory:
        raise PlanError(
            f"{plan.model.name} does not fit {have}: its weights take {format_bytes(plan.weights_nbytes)}, the "
            f"largest step {format_bytes(plan.steps.total)}, the processes {format_bytes(plan.overhead)}"
            f"{f', and loading {format_bytes(plan.loading)} for a while' if on_cpu else ''}; "
            f"{_smaller(plan)}"
        )
    if not cache.blocks or (asked.max_model_len is not None and cache.tokens < asked.max_model_len):
        wanted = asked.max_model_len or asked.block_size
        needs = -(-wanted // asked.block_size) * cache.block_nbytes
        raise PlanError(
            f"the KV cache would hold {cache.tokens} tokens, and one sequence of {wanted} needs {format_bytes(needs)}: "
            "give it more by --kv-cache-memory, or lower --max-model-len"
        )
    shared = cache.nbytes + plan.adapter_room + (plan.host_room if on_cpu else 0)
    if plan.unassigned < 0 or shared > max(free, 0):
        raise PlanError(
            f"the KV cache ({format_bytes(cache.nbytes)}) and the adapters ({format_bytes(plan.adapter_room)}) do not "
            f"fit beside the model: {format_bytes(max(free, 0))} of {have} are left; lower "
            "--kv-cache-memory, --adapter-memory or --adapter-host-memory"
        )
    if plan.adapters and not plan.resident and not plan.on_host:
        raise PlanError(
            f"one adapter takes {format_bytes(plan.adapter.pages)}, and there are {format_bytes(plan.adapter_room)} "
            "for them: give them more by --adapter-memory"
        )


def _halves(config: DecoderConfig) -> bool:
    """Whether each rank's part could be divided between two."""
    try:
        Division(config, 0, 2)
    except UnsupportedModelError:
        return False
    return True


def _smaller(plan: Plan) -> str:
    """What would make it fit."""
    ways = []
    if plan.asked.quantization in ("auto", "none") and plan.model.quantizer is None:
        ways.append("--quantization int4 takes about a third of the weights' bytes")
    cuda = plan.machine.device == "cuda"
    if cuda and _halves(plan.model.config):
        ways.append(f"--tensor-parallel-size {plan.machine.gpus * 2} divides them")
    ways.append(f"{'a GPU' if cuda else 'a machine'} of {format_bytes(int(plan.least / 0.8))} and more has room")
    return "; ".join(ways)
