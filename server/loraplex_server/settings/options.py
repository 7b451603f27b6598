"""Every option of `loraplex serve`, once: name, type, default, range and the line that `--help` shows."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import ValidationInfo, field_validator
from pydantic_settings import CliPositionalArg

from loraplex_server.engine.config import (
    AdapterDType,
    Device,
    DType,
    EngineConfig,
    HeadQuantization,
    KVCacheDType,
    Quantization,
    Speculation,
)
from loraplex_server.settings.life_options import LifeOptions
from loraplex_server.settings.log_options import LogOptions
from loraplex_server.settings.option import option as _option
from loraplex_server.settings.quantity import Bytes
from loraplex_server.settings.speculative_config import MOST_MATCH, MOST_TOKENS, read_speculative_config
from loraplex_server.settings.user_cache import user_cache
from loraplex_server.settings.values import (
    OFF,
    CertificateKey,
    File,
    Folder,
    FolderOrOff,
    Model,
    Modules,
    Names,
    Present,
    Secrets,
    SourcePatterns,
    Template,
    ToolCallParser,
)

_ENGINE = EngineConfig(model="")


class ServeSettings(LifeOptions, LogOptions):
    """A server's settings, frozen. Where several sources set one, the first wins: command line, environment, file."""

    model: CliPositionalArg[Model] = _option(..., "Model", "MODEL", "a checkpoint's folder, or a Hugging Face hub id")
    served_model_name: Names = _option(
        (), "Model", "NAME", "name of the base model in the API; repeat it for more (default: MODEL's last part)"
    )
    tool_call_parser: ToolCallParser = _option(
        "auto", "Model", "", "how the model writes calls of tools; auto: as its chat template shows them"
    )
    device: Device = _option(_ENGINE.device, "Model", "", "where the model runs")
    tensor_parallel_size: int = _option(
        1, "Model", "N", "GPUs that the model and its adapters are divided among; on a CPU, processes", gt=0
    )
    dtype: DType = _option(_ENGINE.dtype, "Model", "", "of weights and activations")
    quantization: Quantization = _option(
        _ENGINE.quantization, "Model", "", "of the base model's linears; auto takes them as the checkpoint has them"
    )
    head_quantization: HeadQuantization = _option(
        _ENGINE.head_quantization,
        "Model",
        "",
        "of lm_head, and of an embedding tied to it; auto: int8 on a CPU where --quantization rounds the linears",
    )
    quantization_cache: FolderOrOff | None = _option(
        None,
        "Model",
        "DIR|off",
        "keeps the weights that --quantization rounded (default: loraplex/weights in the user's cache folder)",
        min_length=1,
    )
    max_model_len: int | None = _option(
        None, "Model", "TOKENS", "longest prompt plus answer (default: the model's own, as far as memory allows)", gt=0
    )
    pooling: Literal["last", "mean"] = _option(
        "last", "Model", "", "what /v1/embeddings makes a vector of, unless a request says: the last token, or the mean"
    )
    chat_template: Template | None = _option(
        None,
        "Model",
        "FILE",
        "of conversations, instead of the model's own: a file, or the template itself",
        min_length=1,
    )

    adapters: Present | None = _option(
        None,
        "Adapters",
        "DIR",
        "every sub-folder that holds an adapter_config.json is an adapter, under its folder's name",
    )
    lora_modules: Modules = _option(
        (),
        "Adapters",
        "NAME=SOURCE",
        'adapters beside --adapters, from a folder, the hub or a URL; or JSON: {"name", "path", "base_model_name"}',
    )
    allow_adapter_source: SourcePatterns = _option(
        (),
        "Adapters",
        "PATTERN",
        "where adapters may be added from over the API: s3://bucket/*, org/*, /folder/*; repeat it (default: nowhere)",
    )
    state_dir: Folder | None = _option(
        None, "Adapters", "DIR", "keeps what was added over the API, files and batches (default: there are no batches)"
    )
    adapter_cache: Folder | None = _option(
        None, "Adapters", "DIR", "copies of remote adapters (default: loraplex/adapters in the user's cache folder)"
    )
    adapter_cache_size: Bytes = _option(
        20 * 2**30, "Adapters", "SIZE", "of those copies together; the least useful make room", gt=0
    )
    adapter_max_file_size: Bytes = _option(
        8 * 2**30, "Adapters", "SIZE", "largest file of a remote adapter; larger ones are not downloaded", gt=0
    )
    adapter_memory: Bytes | None = _option(
        None,
        "Adapters",
        "SIZE",
        "for adapters beside the model, claimed at start on a CPU (default: up to a share of what the machine has)",
        gt=0,
    )
    adapter_host_memory: Bytes | None = _option(
        None, "Adapters", "SIZE", "for adapters that left the device, to come back fast (default: none on a CPU)", ge=0
    )
    adapter_dtype: AdapterDType = _option(
        _ENGINE.adapter_dtype, "Adapters", "", "of adapters' weights in memory; int8 takes half the room, rounded"
    )

    kv_cache_memory: Bytes | None = _option(
        None, "Memory", "SIZE", "for keys and values, such as 2GiB (default: from what the machine has)", gt=0
    )
    kv_cache_dtype: KVCacheDType = _option(
        _ENGINE.kv_cache_dtype, "Memory", "", "of keys and values; fp8 takes half the room and rounds them (GPU only)"
    )
    gpu_memory_utilization: float = _option(
        _ENGINE.gpu_memory_utilization,
        "Memory",
        "SHARE",
        "of the whole GPU that this server may take, model included",
        gt=0,
        le=1,
    )
    block_size: int = _option(_ENGINE.block_size, "Memory", "TOKENS", "of one block of the KV cache", gt=0, le=1024)
    enable_prefix_caching: bool = _option(
        _ENGINE.enable_prefix_caching, "Memory", "", "reuse the keys and values of prompts that begin alike"
    )

    max_num_seqs: int = _option(_ENGINE.max_num_seqs, "Scheduling", "N", "answers computed at once", gt=0)
    max_num_batched_tokens: int | None = _option(
        None, "Scheduling", "N", "tokens computed in one step (default: by device)", gt=0
    )
    max_queued_requests: int = _option(
        _ENGINE.max_queued_requests, "Scheduling", "N", "answers that may wait; more are refused with 429", ge=0
    )
    max_queued_per_tenant: int | None = _option(
        None, "Scheduling", "N", "of those, one key's tenant's (default: as many as are left for others)", ge=0
    )
    request_timeout: float | None = _option(
        None,
        "Scheduling",
        "SECONDS",
        "for each answer, unless its request says otherwise (default: as long as it takes)",
        gt=0,
        le=86_400,
        allow_inf_nan=False,
    )
    overlap: bool | None = _option(
        None, "Scheduling", "", "choose a step while the one before it runs (default: on a GPU only)"
    )
    graphs: bool = _option(
        _ENGINE.graphs, "Scheduling", "", "replay decode steps: from CUDA graphs, or on the CPU tapes"
    )
    speculation: Speculation = _option(
        _ENGINE.speculation,
        "Scheduling",
        "",
        "ngram: where an answer repeats the text before it, several of its tokens are computed in a step",
    )
    speculation_tokens: int = _option(
        _ENGINE.speculation_tokens, "Scheduling", "N", "most that are proposed at once", gt=0, le=MOST_TOKENS
    )
    speculation_max_match: int = _option(
        _ENGINE.speculation_max_match, "Scheduling", "N", "last tokens that are looked for first", gt=0, le=MOST_MATCH
    )
    speculation_min_match: int | None = _option(
        None, "Scheduling", "N", "last tokens that must stand in the text before (default: 2)", gt=0, le=MOST_MATCH
    )
    speculative_config: str | None = _option(
        None, "Scheduling", "JSON", 'the same as vLLM has it: {"method": "ngram", "num_speculative_tokens": 5}'
    )
    threads: int | None = _option(
        None, "Scheduling", "N", "CPU threads of the engine (default: one for each core that it may use)", gt=0
    )

    batch_max_file_size: Bytes = _option(200 * 2**20, "Batches", "SIZE", "of a file of requests; OpenAI's limit", gt=0)
    batch_max_requests: int = _option(50_000, "Batches", "N", "of one batch; OpenAI's limit", gt=0)
    batch_disk_size: Bytes = _option(
        20 * 2**30, "Batches", "SIZE", "of all files under --state-dir together; what does not fit is refused", gt=0
    )
    batch_concurrency: int | None = _option(
        None, "Batches", "N", "requests of batches at once (default: as many seats as others leave free)", gt=0
    )

    host: str = _option("127.0.0.1", "HTTP", "ADDRESS", "address to listen on", min_length=1)
    port: int = _option(8000, "HTTP", "PORT", "port to listen on; 0 takes a free one", ge=0, le=65535)
    root_path: str | None = _option(
        None,
        "HTTP",
        "PATH",
        "in front of every path, where a proxy does not take it off: /llm",
        pattern=r"^(/[^/?#]+)+$",
    )
    ssl_certfile: File | None = _option(
        None, "HTTP", "FILE", "speak HTTPS, with this certificate chain; read again when the file changes"
    )
    ssl_keyfile: CertificateKey | None = _option(None, "HTTP", "FILE", "of the certificate (default: in the same file)")
    api_key: Secrets = _option(
        (), "HTTP", "KEY", "accept only requests with `Authorization: Bearer KEY`; repeat it for more"
    )
    admin_key: Secrets = _option(
        (), "HTTP", "KEY", "lets requests with it add, change and remove adapters (default: nobody may)"
    )
    keys: File | None = _option(
        None,
        "Tenants",
        "FILE",
        "keys of tenants, as `loraplex keys` makes it, or YAML; may change (default: keys.sqlite in --state-dir)",
    )
    share_prefixes: bool = _option(
        False, "Tenants", "", "reuse one tenant's cached prompts for another: faster, and each can tell what others ask"
    )
    open_metrics: bool = _option(
        False, "Tenants", "", "show /metrics to all although there are tenants; else an admin's key is needed"
    )

    max_body_size: Bytes = _option(8 * 2**20, "HTTP", "SIZE", "largest request body; larger ones get 413", gt=0)
    response_store_size: Bytes = _option(
        64 * 2**20, "HTTP", "SIZE", "memory for responses that later ones may go on from (`previous_response_id`)", ge=0
    )
    config: Path | None = _option(None, "Settings", "FILE", "YAML file of these settings, by the same names")

    @field_validator("speculation_min_match")
    @classmethod
    def _check_match(cls, shortest: int | None, info: ValidationInfo) -> int | None:
        if shortest is not None and shortest > info.data.get("speculation_max_match", shortest):
            raise ValueError("is above speculation-max-match")
        return shortest

    @field_validator("speculative_config")
    @classmethod
    def _check_speculative_config(cls, text: str | None, info: ValidationInfo) -> str | None:
        if text is not None:
            read_speculative_config(text)
            if info.data.get("speculation") != _ENGINE.speculation:
                raise ValueError("says what speculation says: give one of them")
        return text

    @property
    def base_names(self) -> tuple[str, ...]:
        """Names of the base model in the API; the first is the one that is listed and labels metrics."""
        if self.served_model_name:
            return self.served_model_name
        path = Path(self.model)
        return (path.resolve().name if path.is_dir() else self.model,)

    def engine_config(self) -> EngineConfig:
        """The part of the settings that the engine process needs."""
        told = {name: getattr(self, name) for name in EngineConfig.__struct_fields__ if name in type(self).model_fields}
        told["log_level"] = self.engine_log_level or self.log_level
        kept = self.quantization_cache or str(user_cache("weights"))
        told["quantization_cache"] = None if kept == OFF else kept
        if self.speculative_config is not None:
            told |= read_speculative_config(self.speculative_config)
        return EngineConfig(**told)
