"""All that can be compared, by name."""

from __future__ import annotations

from collections.abc import Sequence

from peers.llama_server import LLAMA_BF16, LLAMA_Q4
from peers.vllm_server import Vllm

from contest.contender import Contender
from contest.loraplex import Loraplex

PEERS: dict[str, Contender] = {peer.name: peer for peer in (Vllm(), LLAMA_BF16, LLAMA_Q4)}
OURS = {f"loraplex-{name}": form for name, form in (("bf16", "bfloat16"), ("int8", "int8"), ("int4", "int4"))}
NAMES = (*PEERS, *OURS)


def contender(name: str, serve: Sequence[str] = ()) -> Contender:
    """The one of this name; `serve` are more arguments for our own server."""
    return PEERS[name] if name in PEERS else Loraplex(OURS[name], tuple(serve))
