"""vLLM's options (0.33): which of ours each is, which ask for what is done anyway, and which are refused.

An option that cannot change an answer here, because it tunes how vLLM computes, is taken, and the log says so. One that
would change what is served, to whom, or how well it is protected, is served or refused by its name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from loraplex_server.settings.flag import Flag, Read, Takes, done, refused, renamed, tokens

SHORT = {
    "-tp": "--tensor-parallel-size",
    "-pp": "--pipeline-parallel-size",
    "-dp": "--data-parallel-size",
    "-dpl": "--data-parallel-size-local",
    "-dpa": "--data-parallel-address",
    "-dpp": "--data-parallel-rpc-port",
    "-dpr": "--data-parallel-start-rank",
    "-ep": "--enable-expert-parallel",
    "-q": "--quantization",
    "-n": "--nnodes",
    "-cc": "--compilation-config",
    "-sc": "--speculative-config",
    "-asc": "--api-server-count",
}

_AS_THE_CHECKPOINT = ("awq", "awq_marlin", "gptq", "gptq_marlin", "marlin", "compressed-tensors", "fbgemm_fp8", "None")


def _one_of(words: Mapping[str, str | None]) -> Read:
    """Some values are called otherwise here; the option's own check sees to the rest."""
    return lambda value: words.get(value, value)


def _quantization(value: str) -> str | None:
    if value == "bitsandbytes":
        raise ValueError("nf4 rounds a checkpoint as bitsandbytes does; one that is quantized already needs no option")
    return "auto" if value in _AS_THE_CHECKPOINT else value


def _pooling(value: str) -> str | None:
    """Of --pooler-config, what says how tokens become a vector."""
    try:
        told = json.loads(value)
    except json.JSONDecodeError:
        raise ValueError("is no JSON") from None
    kind = told.pop("pooling_type", "LAST") if isinstance(told, dict) else None
    if not isinstance(kind, str) or kind.upper() not in ("LAST", "MEAN"):
        raise ValueError("pooling_type is LAST or MEAN here")
    if others := set(told) - {name for name in ("normalize", "use_activation") if told.get(name) is True}:
        raise ValueError(f"{sorted(others)[0]} is not supported here")
    return kind.lower()


_LEVELS = {"trace": "debug", "notset": "debug", "critical": "error"}
_RENAMED: dict[str, Flag] = {
    "model": renamed("model"),
    "model-dir": renamed("model"),  # KServe's huggingfaceserver
    "model-id": renamed("model"),
    "model-name": renamed("served-model-name"),
    "http-port": renamed("port"),
    "served-model-name": renamed("served-model-name", takes="many"),
    "api-key": renamed("api-key", takes="many"),
    "lora-modules": renamed("lora-modules", takes="many"),
    "dtype": renamed("dtype", _one_of({"half": "float16", "float": "float32"})),
    "quantization": renamed("quantization", _quantization),
    "max-model-len": renamed("max-model-len", tokens),
    "max-num-batched-tokens": renamed("max-num-batched-tokens", tokens),
    "max-num-batched-token": renamed("max-num-batched-tokens", tokens),  # as llm-d's charts shorten it
    "max-num-seq": renamed("max-num-seqs"),  # as the gateway's manifests shorten it
    "max-num-queued-reqs": renamed("max-queued-requests"),
    "kv-cache-dtype": renamed("kv-cache-dtype", _one_of({"fp8_e4m3": "fp8", "bfloat16": "auto", "float16": "auto"})),
    "kv-cache-memory-bytes": renamed("kv-cache-memory", _one_of({"auto": None})),
    "gpu-memory-util": renamed("gpu-memory-utilization"),  # as llm-d's charts shorten it
    "device-memory-utilization": renamed("gpu-memory-utilization"),
    "enforce-eager": renamed("no-graphs", takes="nothing"),
    "no-enforce-eager": renamed("graphs", takes="nothing"),
    "async-scheduling": renamed("overlap", takes="nothing"),
    "no-async-scheduling": renamed("no-overlap", takes="nothing"),
    "pooler-config": renamed("pooling", _pooling),
    "uvicorn-log-level": renamed("log-level", lambda value: _LEVELS.get(value.lower(), value.lower())),
    "log-level": renamed("log-level", lambda value: _LEVELS.get(value.lower(), value.lower())),
    "max-log-len": renamed("log-prompts-length"),
    "disable-uvicorn-access-log": renamed("no-request-log", takes="nothing"),
    "no-disable-uvicorn-access-log": renamed("request-log", takes="nothing"),
}

_ONE_DEVICE = "one server is one replica on one host, --tensor-parallel-size divides it: start more behind a router"
_ONE_ENGINE = "one server has one engine"
_TEXT_ONLY = "only text is read"
_COMPILED = "steps are replayed or not (--graphs), and need no other setting"
_ADAPTERS_FIT = "adapters are bounded by memory (--adapter-memory), not by a number"
_UNLOGGED = "--request-log writes a line for each request, and --log-prompts puts prompts and answers into it"

# What is taken without effect, by the reason that the log gives.
_SWITCHES_DONE: dict[str, str] = {
    "adapters are always served": "enable-lora no-fully-sharded-loras specialize-active-lora enable-lora-bias "
    "fully-sharded-loras",
    "no code of a checkpoint is ever run, so one that needs its own is refused": "trust-remote-code",
    "auto, required and named tool choices need no permission": "enable-auto-tool-choice",
    "prompts are always computed in chunks": "enable-chunked-prefill disable-chunked-mm-input",
    _UNLOGGED: "disable-log-requests enable-log-requests disable-log-stats aggregate-engine-logging "
    "enable-logging-iteration-details no-enable-log-outputs",
    "it is always so": "enable-prompt-tokens-details enable-request-id-headers use-v2-block-manager "
    "disable-fastapi-docs use-tqdm-on-load scheduler-reserve-full-isl enable-ssl-refresh "
    "exclude-tools-when-tool-choice-none",
    "ranks exchange through NCCL, or gloo on a CPU": "disable-custom-all-reduce enable-hc-sp "
    "disable-nccl-for-dp-synchronization ray-workers-use-nsight numa-bind",
    "it tunes vLLM's own kernels": "disable-cascade-attn enable-flashinfer-autotune use-fp64-gumbel "
    "disable-hybrid-kv-cache-manager enable-layerwise-nvtx-tracing kv-sharing-fast-prefill jit-monitor-verbose "
    "disable-sliding-window disable-async-output-proc disable-frontend-multiprocessing",
    _TEXT_ONLY: "language-model-only skip-mm-profiling interleave-mm-strings disable-mm-preprocessor-cache",
    "no experts are served": "enable-mixed-moe-lora-format enable-moe-shared-loras no-enable-expert-parallel",
}
_VALUES_DONE: dict[str, str] = {
    _ADAPTERS_FIT: "max-loras max-cpu-loras",
    "adapters of any rank are served, each at its own": "max-lora-rank",
    "whatever an adapter brings is served": "lora-extra-vocab-size max-lora-cls-labels",
    "adapters are kept in the activations' number format": "lora-dtype",
    "what an answer's preemption takes is computed again: nothing is swapped": "swap-space",
    "without a `seed` of its own, a request's draws are not repeatable": "seed",
    _COMPILED: "compilation-config optimization-level max-seq-len-to-capture max-cudagraph-capture-size "
    "attention-backend attention-config kernel-config linear-backend moe-backend performance-mode "
    "num-scheduler-steps ir-op-priority safetensors-load-strategy",
    "structured output is llguidance's": "guided-decoding-backend structured-outputs-config",
    "one process speaks HTTP": "api-server-count renderer-num-workers tokenizer-pool-size",
    "one server runs on one host, its ranks as processes": "distributed-executor-backend "
    "data-parallel-address data-parallel-rpc-port "
    "data-parallel-backend max-parallel-loading-workers master-addr master-port",
    "the default templates see text, whichever way it was sent": "chat-template-content-format",
    "prefixes are named by SHA-256": "prefix-caching-hash-algo",
    _TEXT_ONLY: "limit-mm-per-prompt mm-processor-kwargs mm-processor-cache-gb mm-encoder-tp-mode media-io-kwargs",
    "generation and embeddings are both served": "runner convert task",
    "only this server's own engine is there": "backend model-impl worker-cls",
}
_MANY_DONE: dict[str, str] = {
    _COMPILED: "cudagraph-capture-sizes",
    "every module that an adapter has is served": "lora-target-modules",
    "each span has a request's queue, load, prefill and decode anyway": "collect-detailed-traces",
}

_REFUSED: dict[str, Flag] = {
    **{
        f"{kind}-size": refused(_ONE_DEVICE, ["1"])
        for kind in (
            "pipeline-parallel",
            "data-parallel",
            "decode-context-parallel",
            "prefill-context-parallel",
        )
    },
    "data-parallel-size-local": refused(_ONE_DEVICE, ["1"]),
    "data-parallel-start-rank": refused(_ONE_DEVICE, ["0"]),
    "data-parallel-rank": refused(_ONE_DEVICE, ["0"]),
    "nnodes": refused(_ONE_DEVICE, ["1"]),
    "node-rank": refused(_ONE_DEVICE, ["0"]),
    "enable-expert-parallel": refused("no models of experts are served", takes="nothing"),
    "enable-eplb": refused("no models of experts are served", takes="nothing"),
    "headless": refused("a server without HTTP answers nobody", takes="nothing"),
    "enable-sleep-mode": refused("a server keeps its memory: stop it instead", takes="nothing"),
    "enable-prompt-embeds": refused("prompts are text or token ids", takes="nothing"),
    "enable-log-outputs": refused("give --log-prompts, which logs prompts and answers", takes="nothing"),
    "return-tokens-as-token-ids": refused("send it with each request", takes="nothing"),
    "trust-request-chat-template": refused("a template comes with the model or its adapter", takes="nothing"),
    "skip-tokenizer-init": refused("text needs a tokenizer", takes="nothing"),
    "enable-server-load-tracking": refused("/metrics has the load", takes="nothing"),
    "enable-force-include-usage": refused("send stream_options.include_usage", takes="nothing"),
    "allow-credentials": refused("let the proxy in front answer browsers' CORS questions", takes="nothing"),
    "allowed-origins": refused("let the proxy in front answer browsers' CORS questions", ["[]"]),
    "allowed-methods": refused("let the proxy in front answer browsers' CORS questions", ['["*"]']),
    "allowed-headers": refused("let the proxy in front answer browsers' CORS questions", ['["*"]']),
    "ssl-ca-certs": refused("clients show no certificates here: let a proxy in front check them"),
    "ssl-cert-reqs": refused("clients show no certificates here: let a proxy in front check them", ["0"]),
    "ssl-ciphers": refused("Python's own choice is used"),
    "uds": refused("give --host and --port"),
    "grpc-port": refused("only HTTP is spoken"),
    "middleware": refused("no code from outside is loaded"),
    "logits-processors": refused("no code from outside is loaded", takes="many"),
    "tool-parser-plugin": refused("no code from outside is loaded", [""]),
    "reasoning-parser-plugin": refused("no code from outside is loaded", [""]),
    "scheduler-cls": refused("no code from outside is loaded"),
    "worker-extension-cls": refused("no code from outside is loaded", [""]),
    "reasoning-parser": refused("reasoning is not parted from the answer; leave it out", [""]),
    "tool-server": refused("the server calls no tools"),
    "default-chat-template-kwargs": refused("send chat_template_kwargs with each request", ["{}"]),
    "response-role": refused("the answering role is the assistant", ["assistant"]),
    "generation-config": refused("requests have vLLM's own defaults; send others with each request", ["vllm"]),
    "override-generation-config": refused("send the values with each request", ["{}"]),
    "max-logprobs": refused("20 are the most", ["20"]),
    "logprobs-mode": refused("log probabilities are those of the raw scores", ["raw_logprobs"]),
    "load-format": refused("weights are read from safetensors", ["auto", "safetensors", "hf"]),
    "config-format": refused("a config.json in transformers' format is read", ["auto", "hf"]),
    "tokenizer-mode": refused("a tokenizer.json is read", ["auto", "hf"]),
    "tokenizer": refused("the tokenizer lies in the model's folder"),
    "tokenizer-revision": refused("the tokenizer lies in the model's folder"),
    "revision": refused("download the revision, and name its folder as MODEL", ["main"]),
    "code-revision": refused("no code of a checkpoint is ever run"),
    "hf-overrides": refused("change config.json instead", ["{}"]),
    "hf-config-path": refused("config.json lies in the model's folder"),
    "hf-token": refused("set HF_TOKEN in the environment: a command line can be read by others", secret=True),
    "download-dir": refused("set HF_HUB_CACHE in the environment"),
    "rope-scaling": refused("change config.json instead"),
    "rope-theta": refused("change config.json instead"),
    "cpu-offload-gb": refused("weights stay on the device; --quantization makes them smaller", ["0", "0.0"]),
    "kv-offloading-size": refused("keys and values stay on the device"),
    "num-gpu-blocks-override": refused("give --kv-cache-memory"),
    "max-num-queued-tokens": refused("give --max-queued-requests"),
    "long-prefill-token-threshold": refused("give --max-num-batched-tokens", ["0"]),
    "stream-interval": refused("every token is streamed", ["1"]),
    "sse-keep-alive-interval": refused("let the proxy in front keep idle streams", ["0"]),
    "kv-transfer-config": refused("keys and values are not moved between servers", [""]),
    "kv-events-config": refused("there are no events about the KV cache", [""]),
    "ec-transfer-config": refused("only text is read", [""]),
    "default-mm-loras": refused("only text is read"),
    "long-lora-scaling-factors": refused("an adapter with a scaled rope of its own is not served"),
    "watermark-config": refused("answers carry no watermark"),
}

# Of `vllm serve`'s access log: paths whose requests ours never has.
UNLOGGED_PATHS = frozenset({"/health", "/ping", "/ready", "/version", "/metrics", "/openapi.json"})


def _unlogged(value: str) -> str | None:
    if shown := set(filter(None, value.split(","))) - UNLOGGED_PATHS:
        raise ValueError(f"requests to {', '.join(sorted(shown))} are logged like all others: give --no-request-log")
    return None


def _rows(groups: Mapping[str, str], takes: Takes) -> dict[str, Flag]:
    return {name: done(why, takes) for why, names in groups.items() for name in names.split()}


FLAGS: dict[str, Flag] = {
    **_rows(_SWITCHES_DONE, "nothing"),
    **{f"no-{name}": flag for name, flag in _rows(_SWITCHES_DONE, "nothing").items() if not name.startswith("no-")},
    **_rows(_VALUES_DONE, "one"),
    **_rows(_MANY_DONE, "many"),
    **{f"no-{name}": done("it is never so", "nothing") for name, flag in _REFUSED.items() if flag.takes == "nothing"},
    **_REFUSED,
    **_RENAMED,
    "disable-access-log-for-endpoints": Flag(read=_unlogged, why=_UNLOGGED),
    "scheduling-policy": done("a request's `priority` always counts, and tenants' shares before it"),
    "no-enable-lora": refused("leave out --lora-modules and --adapters to serve no adapters", takes="nothing"),
    "no-trust-remote-code": done("no code of a checkpoint is ever run", "nothing"),
}
