"""What the HTTP process and the engine process say to each other. Plain data: msgspec on a local socket."""

from __future__ import annotations

from typing import Literal

import msgspec

from loraplex_adapters.report import AdapterEntry, Origin
from loraplex_adapters.source import AdapterSource

FinishReason = Literal["stop", "length", "abort"]
Pooling = Literal["last", "mean"]  # of the prompt's hidden states
# The fault is the adapter's, the request's, ours; or there was too little time.
FailureKind = Literal["adapter", "invalid", "engine", "deadline"]


class SamplingParams(msgspec.Struct, frozen=True, kw_only=True):
    """How one request's tokens are chosen; names and meanings as in OpenAI's and vLLM's APIs."""

    max_tokens: int
    min_tokens: int = 0  # no stop token before
    temperature: float = 1.0  # 0: greedy
    top_p: float = 1.0
    top_k: int = 0  # 0: off
    min_p: float = 0.0
    seed: int | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: dict[int, float] = {}
    stop_token_ids: tuple[int, ...] = ()  # the model's end tokens among them, unless the request ignores these
    logprobs: int | None = None  # alternatives for each token; 0: only the chosen one's own; None: nothing
    prompt_logprobs: int | None = None  # the same for the prompt's tokens (OpenAI's echo with logprobs)
    allowed_token_ids: tuple[int, ...] | None = None  # no other token is chosen; None: any may be
    bad_words: tuple[tuple[int, ...], ...] = ()  # tokens of each; the last is not chosen where the others came before
    grammar: str | None = None  # what the answer must be, as llguidance writes its grammars; None: anything


class AdapterUse(msgspec.Struct, frozen=True):
    """One adapter of a request and its weight in the sum."""

    source: AdapterSource
    weight: float = 1.0


class Share(msgspec.Struct, frozen=True):
    """Who a request is counted to, and how urgent it is."""

    tenant: str = ""  # "": all who have no key share one
    weight: float = 1.0  # above 0; a tenant of weight 2 is served twice the tokens of one of weight 1
    priority: int = 0  # lower is earlier, as in vLLM


class GenerateRequest(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """One prompt, `n` answers."""

    request_id: str
    prompt_token_ids: list[int]
    sampling: SamplingParams
    n: int = 1
    adapters: tuple[AdapterUse, ...] = ()  # none: the base
    tokenizer: str = ""  # path of a `grammars.token_file`, to read the grammar with; it stays until the answer's end
    share: Share = Share()
    salt: str = ""  # cached prefixes are found by requests of the same salt alone
    timeout_s: float | None = None  # left for the whole answer when this was sent
    pooling: Pooling | None = None  # one answer, of no tokens (max_tokens 0) but with the prompt's embedding


class AbortRequest(msgspec.Struct, frozen=True, tag=True):
    """The client is gone, or a stop string was found: end these answers (all, when `index` is None)."""

    request_id: str
    index: int | None = None


class PrepareAdapter(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Load an adapter now; answered by AdapterPrepared or Failed."""

    request_id: str
    source: AdapterSource
    pin: bool = False  # and keep it, instead of what the same name pinned before


class UnpinAdapter(msgspec.Struct, frozen=True, tag=True):
    """What the name pinned may leave again; one that is still being prepared is not pinned."""

    name: str


class Shutdown(msgspec.Struct, frozen=True, tag=True):
    """End the engine process after the step in progress."""


class TokenLogprob(msgspec.Struct, frozen=True):
    """Log probability of one chosen token, from the raw logits, and of the likeliest alternatives."""

    token_id: int
    logprob: float
    rank: int  # 1: the likeliest
    top: list[tuple[int, float]]  # (token id, logprob), likeliest first


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """What is known once a prompt was computed; rides on an answer's first delta."""

    queue_s: float  # arrival to first scheduled
    prefill_s: float  # first scheduled to first token
    cached_tokens: int  # prompt tokens found in the prefix cache
    generation: str  # content hashes of the adapters, joined by "+"; "" for the base
    load_s: float = 0.0  # arrival to all adapters in memory; a part of queue_s
    origins: tuple[Origin, ...] = ()  # of the adapters, in the request's order: where each was when the request came
    # [prompt tokens], the first is None; with the answer of index 0 only, whose first delta comes before the others'.
    prompt_logprobs: list[TokenLogprob | None] | None = None


class Delta(msgspec.Struct, frozen=True, kw_only=True):
    """New tokens of one answer. The one with a `finish_reason` is that answer's last."""

    request_id: str
    index: int
    token_ids: list[int]
    logprobs: list[TokenLogprob] | None = None
    started: Started | None = None
    finish_reason: FinishReason | None = None
    embedding: bytes | None = None  # float32 [H], of a request that pools, with its one delta
    timed_out: bool = False  # with "length": the limit was the request's time
    ended_by_grammar: bool = False  # nothing could follow: the last token is part of the answer, no stop token


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The request ends here, all of its answers; or an adapter cannot be prepared."""

    request_id: str
    kind: FailureKind
    message: str


class AdapterPrepared(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The adapter is in memory, and pinned if that was asked for."""

    request_id: str
    generation: str
    nbytes: int


class Deltas(msgspec.Struct, frozen=True, tag=True):
    """Everything that one step produced, in one message."""

    deltas: list[Delta]


class EngineInfo(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Sent once, when the engine is ready."""

    model: str
    architecture: str
    device: str
    dtype: str
    quantization: str
    max_model_len: int
    vocab_size: int
    block_size: int
    num_blocks: int
    kv_cache_bytes: int
    weights_bytes: int
    adapter_memory_bytes: int
    adapter_host_memory_bytes: int = 0
    max_num_seqs: int
    max_num_batched_tokens: int
    pid: int


class EngineFailed(msgspec.Struct, frozen=True, tag=True):
    """The engine cannot start; starting it again would not help."""

    message: str


class AdapterStats(msgspec.Struct, frozen=True, kw_only=True):
    """`AdapterStore.stats()`, field for field."""

    resident: tuple[str, ...] = ()  # names of what can be used at once
    waiting: tuple[str, ...] = ()  # names that requests wait for
    resident_bytes: int = 0
    host_bytes: int = 0  # of what is kept in the host tier
    loads_total: int = 0  # from disk
    host_loads_total: int = 0  # from the host tier
    load_failures_total: int = 0
    evictions_total: int = 0
    host_evictions_total: int = 0
    hits_total: int = 0  # found where they are used
    host_hits_total: int = 0  # found in the host tier
    misses_total: int = 0  # not found where they are used
    load_seconds: tuple[float, ...] = ()  # of the loads from disk since the last message
    entries: tuple[AdapterEntry, ...] = ()  # each version in memory, or on its way there


class DraftStats(msgspec.Struct, frozen=True, kw_only=True):
    """How speculation went; totals count from the engine's start."""

    drafts_total: int = 0  # that were checked
    tokens_total: int = 0  # of these drafts
    accepted_total: int = 0  # of these tokens
    accepted_at_total: tuple[int, ...] = ()  # drafts whose token at each place was accepted


class GrammarStats(msgspec.Struct, frozen=True, kw_only=True):
    """How answers fare that follow a grammar; totals count from the engine's start."""

    requests_total: int = 0
    compiled_total: int = 0  # grammars
    waited_seconds_total: float = 0.0  # that steps stood still for masks


class ReplayStats(msgspec.Struct, frozen=True, kw_only=True):
    """How steps were computed, where they can be replayed; totals count from the engine's start."""

    replayed_total: int = 0
    run_total: dict[str, int] = {}  # the others, by `graphs.outcomes.Reason`


class Steps(msgspec.Struct, frozen=True, kw_only=True):
    """Steps that were launched, in order; a number of each."""

    tokens: list[int] = []
    sequences: list[int] = []
    adapters: list[int] = []  # different ones; the base alone is none


class EngineStats(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The engine at one moment; totals count from the engine's start."""

    running: int = 0
    waiting: int = 0
    held: int = 0  # of those who wait, for an adapter, a grammar or another answer's prompt; the rest wait for room
    kv_used_blocks: int = 0
    kv_total_blocks: int = 0
    preemptions_total: int = 0
    pauses_total: int = 0  # answers that gave their seat to another tenant's, or to a more urgent one
    deadlines_total: int = 0  # requests whose time was over, or too short to begin with
    prefix_queries_total: int = 0  # tokens looked up
    prefix_hits_total: int = 0  # tokens found
    steps: Steps = Steps()  # since the last message
    replays: ReplayStats = ReplayStats()
    drafts: DraftStats = DraftStats()
    grammars: GrammarStats = GrammarStats()
    adapters: AdapterStats = AdapterStats()

    @property
    def kv_usage(self) -> float:
        """Used part of the KV cache, 0 to 1; 0 before it is there."""
        return self.kv_used_blocks / self.kv_total_blocks if self.kv_total_blocks else 0.0


ToEngine = GenerateRequest | AbortRequest | PrepareAdapter | UnpinAdapter | Shutdown
FromEngine = EngineInfo | EngineFailed | Deltas | Failed | AdapterPrepared | EngineStats
