"""Settings: where they come from, which source wins, and how faults are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest

from loraplex_kernels import linear
from loraplex_server.engine.config import EngineConfig, Quantization
from loraplex_server.settings import ServeSettings, SettingsError, load_settings
from loraplex_server.settings.parser import CommandLine
from loraplex_server.settings.quantity import format_bytes, parse_bytes
from loraplex_server.settings.user_cache import user_cache


def load(*arguments: str, env: dict[str, str] | None = None, **defaults: Any) -> ServeSettings:
    return load_settings(CommandLine("loraplex serve", "Serve."), arguments, env or {}, defaults)


def problems(*arguments: str, env: dict[str, str] | None = None) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load(*arguments, env=env)
    return caught.value.problems


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "settings.yaml"
    path.write_text("model: from-file\nport: 1\nmax-num-seqs: 1\nblock_size: 1\n")
    return path


def test_the_command_line_wins_over_the_environment_over_the_file_over_the_defaults(file: Path) -> None:
    env = {"LORAPLEX_PORT": "2", "LORAPLEX_MAX_NUM_SEQS": "2"}
    settings = load("--config", str(file), "--port", "3", env=env, max_queued_requests=9)
    assert (settings.port, settings.max_num_seqs, settings.block_size) == (3, 2, 1)
    assert (settings.model, settings.max_queued_requests, settings.host) == ("from-file", 9, "127.0.0.1")


def test_the_file_can_be_named_by_the_environment(file: Path) -> None:
    assert load(env={"LORAPLEX_CONFIG": str(file)}).model == "from-file"


KEYS = __file__  # any file that is there
OPTIONS: list[tuple[list[str], str, str]] = [
    # command line, field, value in the environment
    (["--served-model-name", "a"], "served_model_name", "a"),
    (["--tool-call-parser", "llama3_json"], "tool_call_parser", "llama3"),
    (["--device", "cpu"], "device", "cpu"),
    (["--tensor-parallel-size", "2"], "tensor_parallel_size", "2"),
    (["--dtype", "bfloat16"], "dtype", "bfloat16"),
    (["--quantization", "int8"], "quantization", "int8"),
    (["--head-quantization", "none"], "head_quantization", "none"),
    (["--quantization-cache", "/new/weights"], "quantization_cache", "/new/weights"),
    (["--max-model-len", "100"], "max_model_len", "100"),
    (["--kv-cache-memory", "2GiB"], "kv_cache_memory", "2GiB"),
    (["--adapter-memory", "5"], "adapter_memory", "5"),
    (["--block-size", "32"], "block_size", "32"),
    (["--pooling", "mean"], "pooling", "mean"),
    (["--chat-template", "{{ x }}"], "chat_template", "{{ x }}"),
    (["--lora-modules", "a=/a", "--lora-modules", "b=org/b"], "lora_modules", "a=/a,b=org/b"),
    (["--gpu-memory-utilization", "0.5"], "gpu_memory_utilization", "0.5"),
    (["--root-path", "/llm"], "root_path", "/llm"),
    (["--ssl-certfile", __file__], "ssl_certfile", __file__),
    (["--no-enable-prefix-caching"], "enable_prefix_caching", "false"),
    (["--max-num-seqs", "3"], "max_num_seqs", "3"),
    (["--max-num-batched-tokens", "64"], "max_num_batched_tokens", "64"),
    (["--max-queued-requests", "0"], "max_queued_requests", "0"),
    (["--max-queued-per-tenant", "0"], "max_queued_per_tenant", "0"),
    (["--request-timeout", "2.5"], "request_timeout", "2.5"),
    (["--speculation", "ngram"], "speculation", "ngram"),
    (["--speculation-tokens", "3"], "speculation_tokens", "3"),
    (["--speculation-max-match", "5"], "speculation_max_match", "5"),
    (["--speculation-min-match", "1"], "speculation_min_match", "1"),
    (
        ["--speculative-config", '{"method": "ngram", "num_speculative_tokens": 3}'],
        "speculative_config",
        '{"method": "ngram", "num_speculative_tokens": 3}',
    ),
    (["--threads", "2"], "threads", "2"),
    (["--host", "::1"], "host", "::1"),
    (["--port", "0"], "port", "0"),
    (["--api-key", "a", "--api-key", "b"], "api_key", "a, b"),
    (["--admin-key", "a"], "admin_key", "a"),
    (
        ["--allow-adapter-source", "org/*", "--allow-adapter-source", "s3://bucket/*"],
        "allow_adapter_source",
        "org/*,s3://bucket/*",
    ),
    (["--state-dir", "/new/state"], "state_dir", "/new/state"),
    (["--adapter-cache", "/new/cache"], "adapter_cache", "/new/cache"),
    (["--adapter-cache-size", "1GiB"], "adapter_cache_size", "1GiB"),
    (["--adapter-max-file-size", "1GiB"], "adapter_max_file_size", "1GiB"),
    (["--adapter-host-memory", "1GiB"], "adapter_host_memory", "1GiB"),
    (["--adapter-dtype", "int8"], "adapter_dtype", "int8"),
    (["--kv-cache-dtype", "fp8"], "kv_cache_dtype", "fp8"),
    (["--overlap"], "overlap", "true"),
    (["--no-graphs"], "graphs", "false"),
    (["--batch-max-file-size", "1MB"], "batch_max_file_size", "1MB"),
    (["--batch-max-requests", "7"], "batch_max_requests", "7"),
    (["--batch-disk-size", "1GiB"], "batch_disk_size", "1GiB"),
    (["--batch-concurrency", "3"], "batch_concurrency", "3"),
    (["--max-body-size", "1MB"], "max_body_size", "1MB"),
    (["--response-store-size", "1MiB"], "response_store_size", "1MiB"),
    (["--engine-step-timeout", "2.5"], "engine_step_timeout", "2.5"),
    (["--shutdown-timeout", "2.5"], "shutdown_timeout", "2.5"),
    (["--shutdown-delay", "2.5"], "shutdown_delay", "2.5"),
    (["--keys", KEYS], "keys", KEYS),
    (["--share-prefixes"], "share_prefixes", "1"),
    (["--open-metrics"], "open_metrics", "1"),
    (["--metrics-max-tenants", "5"], "metrics_max_tenants", "5"),
    (["--no-request-log"], "request_log", "0"),
    (["--log-prompts"], "log_prompts", "1"),
    (["--log-prompts-length", "50"], "log_prompts_length", "50"),
    (["--log-level", "debug"], "log_level", "debug"),
    (["--engine-log-level", "debug"], "engine_log_level", "debug"),
    (["--otlp-traces-endpoint", "http://c:4318/v1/traces"], "otlp_traces_endpoint", "http://c:4318/v1/traces"),
    (["--log-format=json"], "log_format", "json"),
    (["--metrics-max-adapters", "5"], "metrics_max_adapters", "5"),
]


@pytest.mark.parametrize(("arguments", "field", "value"), OPTIONS)
def test_each_option_is_the_same_from_each_source(arguments: list[str], field: str, value: str, tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(f"{field.replace('_', '-')}: {value!r}\n")
    given = getattr(load("m", *arguments), field)
    assert given != ServeSettings.model_fields[field].default
    assert getattr(load("m", env={f"LORAPLEX_{field.upper()}": value}), field) == given
    assert getattr(load("m", "--config", str(path)), field) == given


def test_every_option_is_in_the_table_above(tmp_path: Path) -> None:
    tested = {field for _, field, _ in OPTIONS} | {"model", "adapters", "config", "ssl_keyfile"}
    assert tested == set(ServeSettings.model_fields)
    assert load("m", "--adapters", str(tmp_path)).adapters == tmp_path


def test_the_engine_is_told_everything_that_concerns_it() -> None:
    settings = load("m", "--device", "cpu", "--max-num-seqs", "7", "--kv-cache-memory", "1KiB", "--threads", "2")
    config = settings.engine_config()
    assert config == EngineConfig(
        model="m",
        device="cpu",
        quantization_cache=str(user_cache("weights")),
        max_num_seqs=7,
        kv_cache_memory=1024,
        threads=2,
    )
    settings = load("m", "--adapter-memory", "3", "--adapter-host-memory", "4", "--adapter-dtype", "int8")
    config = settings.engine_config()
    assert (config.adapter_memory, config.adapter_host_memory, config.adapter_dtype) == (3, 4, "int8")


def test_each_process_may_have_its_own_level() -> None:
    assert load("m", "--log-level", "warning").engine_config().log_level == "warning"
    settings = load("m", "--log-level", "warning", "--engine-log-level", "debug")
    assert (settings.log_level, settings.engine_config().log_level) == ("warning", "debug")


@pytest.mark.parametrize("url", ["http://c:4318", "http://c:4318/"])
def test_a_collector_without_a_path_has_the_usual_one(url: str) -> None:
    assert load("m", "--otlp-traces-endpoint", url).otlp_traces_endpoint == "http://c:4318/v1/traces"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("grpc://c:4317", "is no URL like http://HOST:4318/v1/traces: traces are sent over HTTP, not gRPC"),
        ("c:4317", "is no URL like"),
        ("http://ann:secret@c:4318", "holds a password, which belongs into a header"),
    ],
)
def test_what_is_no_collectors_address_is_refused(url: str, said: str) -> None:
    (problem,) = problems("m", "--otlp-traces-endpoint", url)
    assert problem.startswith("--otlp-traces-endpoint: ")
    assert said in problem
    assert "secret" not in problem


def test_speculation_may_be_asked_for_in_vllms_words() -> None:
    ours = load("m", "--speculation", "ngram", "--speculation-tokens=4", "--speculation-max-match=3").engine_config()
    assert (ours.speculation, ours.speculation_tokens) == ("ngram", 4)
    assert (ours.speculation_min_match, ours.speculation_max_match) == (None, 3)
    lookups = [
        ("", 5, 5),  # vLLM's own
        (', "prompt_lookup_max": 4', 4, 4),
        (', "prompt_lookup_min": 3', 3, 3),
        (', "prompt_lookup_min": 2, "prompt_lookup_max": 4, "max_model_len": null', 2, 4),
    ]
    for more, shortest, longest in lookups:
        for method in ('"method": "ngram"', '"model": "[ngram]"', '"method": "ngram", "model": "ngram"'):
            text = f'{{{method}, "num_speculative_tokens": 4{more}}}'
            config = load("m", "--speculative-config", text).engine_config()
            assert (config.speculation, config.speculation_tokens) == ("ngram", 4)
            assert (config.speculation_min_match, config.speculation_max_match) == (shortest, longest)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ngram", "is no JSON"),
        ("[1]", "must be a JSON object"),
        ('{"method": "eagle3", "num_speculative_tokens": 3}', "has method 'eagle3'"),
        ('{"method": "ngram", "model": "a/draft", "num_speculative_tokens": 3}', "has method 'ngram' and model"),
        ('{"method": "ngram"}', "lacks num_speculative_tokens"),
        ('{"method": "ngram", "num_speculative_tokens": 0}', "num_speculative_tokens 0"),
        ('{"method": "ngram", "num_speculative_tokens": true}', "num_speculative_tokens True"),
        ('{"method": "ngram", "num_speculative_tokens": 2, "quantization": "fp8"}', "has quantization"),
        (
            '{"method": "ngram", "num_speculative_tokens": 2, "prompt_lookup_min": 5, "prompt_lookup_max": 3}',
            "prompt_lookup_min 5 above prompt_lookup_max 3",
        ),
    ],
)
def test_what_vllm_speculates_with_and_this_does_not_is_refused_by_name(text: str, said: str) -> None:
    (problem,) = problems("m", "--speculative-config", text)
    assert problem.startswith("--speculative-config: ")
    assert said in problem


def test_settings_of_speculation_that_do_not_go_together_are_refused() -> None:
    (problem,) = problems("m", "--speculation-max-match", "3", "--speculation-min-match", "4")
    assert problem.startswith("--speculation-min-match: is above")
    asked = '{"method": "ngram", "num_speculative_tokens": 3}'
    (problem,) = problems("m", "--speculation", "ngram", "--speculative-config", asked)
    assert problem.startswith("--speculative-config: ")


def test_rounded_weights_are_kept_in_the_users_cache_unless_told_otherwise(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    path = tmp_path / "s.yaml"
    path.write_text("quantization-cache: off\n")  # which YAML reads as false
    assert load("m").engine_config().quantization_cache == "/caches/loraplex/weights"
    assert load("m", "--quantization-cache", "/here").engine_config().quantization_cache == "/here"
    assert load("m", "--quantization-cache", "off").engine_config().quantization_cache is None
    assert load("m", "--config", str(path)).engine_config().quantization_cache is None


def test_the_forms_that_can_be_asked_for_are_those_that_the_linears_know() -> None:
    assert get_args(Quantization) == ("auto", *get_args(linear.Quantization))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["m", "--prot", "8"], "unknown option --prot; did you mean --port?"),
        (["m", "--max_num_sqs", "8"], "unknown option --max-num-sqs; did you mean --max-num-seqs?"),
        (["m", "--por", "8"], "unknown option --por; did you mean --port?"),
        (["m", "extra"], "unexpected argument 'extra'"),
        (["m", "--port"], "--port: expected one argument"),
        (["m", "--port", "x"], "--port: input should be a valid integer"),
        (["m", "--port", "65536"], "--port: input should be less than or equal to 65535 (got '65536')"),
        (["m", "--max-num-seqs", "0"], "--max-num-seqs: input should be greater than 0"),
        (["m", "--device", "gpu"], "--device: input should be 'auto', 'cpu' or 'cuda' (got 'gpu')"),
        (["m", "--quantization", "int3"], "--quantization: input should be 'auto', 'none', 'int4', 'int4-32', 'nf4',"),
        (["m", "--quantization-cache", __file__], "--quantization-cache: is neither a folder nor off (got"),
        (["m", "--kv-cache-memory", "2 apples"], "--kv-cache-memory: not a size in bytes"),
        (["m", "--shutdown-timeout", "inf"], "--shutdown-timeout: input should be a finite number"),
        (["m", "--adapters", "/no/such"], "--adapters: there is no such folder (got"),
        (["m", "--adapter-cache-size", "0"], "--adapter-cache-size: input should be greater than 0"),
        (["m", "--allow-adapter-source", "ftp://x"], "--allow-adapter-source: 'ftp://x' permits no source"),
        (["m", "--state-dir", __file__], "--state-dir: is no folder (got"),
        (["m", "--admin-key", ""], "--admin-key is empty: leave it out"),
        (["m", "--adapters", ""], "--adapters is empty"),
        (["m", "--state-dir="], "--state-dir is empty"),
        (["m", "--adapter-cache", ""], "--adapter-cache is empty"),
        (["m", "--config", ""], "--config is empty"),
        (["", "--port", "1"], "MODEL is empty"),
        (["m", "--adapters", "~nobody-of-this-name/x"], "--adapters: there is no such folder"),
        (["m", "--kv-cache-memory", "9" * 400], "--kv-cache-memory: more bytes than any machine has"),
        (["m", "--max-model-len", "9" * 400 + "k"], "--max-model-len 9"),
        (["m", "--config", "/no/such"], "cannot read the settings file /no/such: No such file"),
        (["m", "--served-model-name", ""], "--served-model-name is empty"),
        (["./no-such-folder"], "MODEL: there is no such folder (got './no-such-folder')"),
        ([], "MODEL is missing"),
    ],
)
def test_a_fault_on_the_command_line_is_named(arguments: list[str], named: str) -> None:
    (problem,) = problems(*arguments)
    assert problem.startswith(named)


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("LORAPLEX_PROT", "1", "unknown variable LORAPLEX_PROT; did you mean LORAPLEX_PORT?"),
        ("LORAPLEX_XYZZY", "1", "unknown variable LORAPLEX_XYZZY"),
        ("LORAPLEX_PORT", "x", "LORAPLEX_PORT: input should be a valid integer"),
        ("LORAPLEX_PORT", "", "LORAPLEX_PORT is empty"),
        ("LORAPLEX_API_KEY", "", "LORAPLEX_API_KEY is empty"),
        ("LORAPLEX_API_KEY", "a,,b", "LORAPLEX_API_KEY: is empty, or an item of it is"),
    ],
)
def test_a_fault_in_the_environment_is_named(variable: str, value: str, named: str) -> None:
    (problem,) = problems("m", env={variable: value, "OTHER": "x"})
    assert problem.startswith(named)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("prot: 1", "unknown key 'prot' in {}; did you mean port?"),
        ("port: x", "port in {}: input should be a valid integer"),
        ("port:", "key 'port' in {} has no value"),
        ("max-num-seqs: 1\nmax_num_seqs: 2", "key 'max_num_seqs' is in {} twice"),
        ("config: x", "unknown key 'config' in {}"),
        ("- a", "the settings file {} must hold `name: value` lines"),
        ("a: [", "the settings file {} is no YAML: "),
        ("api-key: []", "api_key in {}: is empty"),
        ("adapters: ''", "adapters in {} is empty"),
        ("port: on", "port in {}: on, off, yes and no are no numbers"),
        ("max-num-seqs: yes", "max_num_seqs in {}: on, off"),
        ("shutdown-timeout: off", "shutdown_timeout in {}: on, off"),
        ("kv-cache-memory: on", "kv_cache_memory in {}: on, off"),
        ("port: 1\nhost: a\nport: 2", "key 'port' is in {} twice"),
        ("lora-modules:\n- {name: a, path: b, path: c}", "key 'path' is in {} twice"),
        ("port: 2024-13-01", "the settings file {} is no YAML: month"),
    ],
)
def test_a_fault_in_the_file_is_named(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(text)
    (problem,) = problems("m", "--config", str(path))
    assert problem.startswith(named.format(path))


def test_an_empty_file_sets_nothing_and_lists_may_be_lists(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("# nothing\n")
    assert load("m", "--config", str(path)).port == 8000
    path.write_text("api-key: [a, b]\nserved-model-name: one\n")
    settings = load("m", "--config", str(path))
    assert [key.get_secret_value() for key in settings.api_key] == ["a", "b"]
    assert settings.served_model_name == ("one",)


def test_switches_may_be_on_or_off_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("graphs: off\noverlap: yes\ntool-call-parser: off\n")
    settings = load("m", "--config", str(path))
    assert (settings.graphs, settings.overlap, settings.tool_call_parser) == (False, True, "off")


def test_an_empty_path_on_the_command_line_hides_no_file_that_the_environment_names(file: Path) -> None:
    assert problems("m", "--config", "", env={"LORAPLEX_CONFIG": str(file)})[0].startswith("--config is empty")


def test_a_tilde_is_the_home_wherever_a_path_may_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "s.yaml").write_text("port: 7\nkeys: ~/k\n")
    for name in ("k", "cert", "key"):
        (tmp_path / name).touch()
    settings = load("m", "--config", "~/s.yaml", "--ssl-certfile", "~/cert", "--ssl-keyfile", "~/key")
    assert (settings.port, settings.keys) == (7, tmp_path / "k")
    assert (settings.ssl_certfile, settings.ssl_keyfile) == (tmp_path / "cert", tmp_path / "key")


def test_all_faults_are_told_at_once() -> None:
    assert len(problems("--port", "x", "--device", "y", env={"LORAPLEX_MAX_NUM_SEQS": "z"})) == 4


def test_keys_are_never_shown() -> None:
    assert "hush" not in repr(load("m", "--api-key", "hush"))
    assert "hush" not in repr(load("m", "--admin-key", "hush"))
    assert "hush" not in str(problems("m", "--api-key", "hush,"))
    assert "hush" not in str(problems("m", "--admin-key", "hush,"))


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load("m").port = 5


def test_variables_that_kubernetes_adds_for_a_service_are_not_ours() -> None:
    env = {
        "LORAPLEX_SERVICE_HOST": "10.0.0.1",
        "LORAPLEX_SERVICE_PORT": "8000",
        "LORAPLEX_SERVICE_PORT_HTTP": "8000",
        "LORAPLEX_PORT": "tcp://10.0.0.1:8000",
        "LORAPLEX_PORT_8000_TCP": "tcp://10.0.0.1:8000",
        "LORAPLEX_PORT_8000_TCP_PROTO": "tcp",
        "LORAPLEX_PORT_8000_TCP_PORT": "8000",
        "LORAPLEX_PORT_8000_TCP_ADDR": "10.0.0.1",
        "LORAPLEX_CHAT_SERVICE_HOST": "10.0.0.1",
        "LORAPLEX_CHAT_PORT": "tcp://10.0.0.1:8000",
    }
    assert load("m", env=env) == load("m")


def test_the_base_is_called_after_its_folder_or_as_it_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    assert load(str(folder)).base_names == ("small",)
    assert load(f"{folder}/").base_names == ("small",)
    assert load("org/model").base_names == ("org/model",)
    assert load("m", "--served-model-name", "a", "--served-model-name", "b").base_names == ("a", "b")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1024", 1024),
        ("2GiB", 2**31),
        ("2Gi", 2**31),
        ("2gb", 2 * 10**9),
        ("1.5 MiB", 3 * 2**19),
        ("1k", 1000),
    ],
)
def test_sizes_are_read_with_their_units(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "-1", "1e9", "2XB", "1 2", "2 Gibibytes", "i", "5i"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a size"):
        parse_bytes(text)


def test_sizes_are_written_for_people() -> None:
    assert [format_bytes(n) for n in (5, 2048, 3 * 2**20, 5 * 2**29)] == ["5 B", "2.0 KiB", "3.0 MiB", "2.5 GiB"]


def test_help_names_every_option_with_its_default() -> None:
    text = CommandLine("loraplex serve", "Serve.").format_help()
    for field in ServeSettings.model_fields:
        assert ("MODEL" if field == "model" else "--" + field.replace("_", "-")) in text
    assert max(map(len, text.splitlines())) <= 110
    assert "(default: 8000)" in text
    assert "(default: on)" in text
    assert "null" not in text
    assert "None" not in text
