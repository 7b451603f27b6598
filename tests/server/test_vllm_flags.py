"""vLLM's command lines: what each option comes to here, and that manifests written for vLLM can be read unchanged."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from loraplex_server.settings import ServeSettings, SettingsError, load_settings
from loraplex_server.settings.lora_module import LoraModule
from loraplex_server.settings.parser import CommandLine
from loraplex_server.settings.vllm_flags import FLAGS


def read(*arguments: str, env: dict[str, str] | None = None) -> tuple[ServeSettings, list[str]]:
    command_line = CommandLine("loraplex serve", "Serve.")
    return load_settings(command_line, arguments, env or {}), command_line.lines


def problems(*arguments: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        read(*arguments)
    return caught.value.problems


# As their charts and controllers put them together; MODEL stands for the folder that is mounted there.
MANIFESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "production-stack's chart": (
        "MODEL --host 0.0.0.0 --port 8000 --enable-lora --enable-auto-tool-choice --enable-prefix-caching "
        "--max-model-len 1024 --dtype bfloat16 --tensor-parallel-size 1 --max-num-seqs 16 "
        "--gpu_memory_utilization 0.8 --max_loras 4 --max_num_batched_tokens 2048 --disable-log-requests",
        {
            "host": "0.0.0.0",
            "max_model_len": 1024,
            "dtype": "bfloat16",
            "max_num_seqs": 16,
            "gpu_memory_utilization": 0.8,
            "max_num_batched_tokens": 2048,
            "enable_prefix_caching": True,
        },
    ),
    "production-stack's chart with less": (
        "MODEL --host 0.0.0.0 --port 8000 --no-enable-prefix-caching --no-enable-chunked-prefill",
        {"enable_prefix_caching": False},
    ),
    "KServe's LLMInferenceService": (
        "MODEL --served-model-name llm publishers/ns/models/llm --port 8000 "
        "--disable-access-log-for-endpoints /health,/metrics,/ping --shutdown-timeout 15 "
        "--enable-ssl-refresh --ssl-certfile CERT --ssl-keyfile CERT "
        "--enable-lora --max-lora-rank=64 --max-loras=2 --max-cpu-loras=4 --lora-modules "
        """'{"name":"a","path":"/mnt/lora/a"}' '{"name":"publishers/ns/models/a","path":"/mnt/lora/a"}'""",
        {
            "served_model_name": ("llm", "publishers/ns/models/llm"),
            "shutdown_timeout": 15.0,
            "lora_modules": (LoraModule("a", "/mnt/lora/a"), LoraModule("publishers/ns/models/a", "/mnt/lora/a")),
        },
    ),
    "KServe's quotes, where no shell takes them off": (
        r"""MODEL --enable-lora --lora-modules "'{\"name\":\"a\",\"path\":\"/mnt/lora/a\"}'" --port=9000""",
        {"lora_modules": (LoraModule("a", "/mnt/lora/a"),), "port": 9000},
    ),
    "KServe's huggingfaceserver": (
        "--model_name=llama --model_dir=MODEL --backend=vllm --http_port=8080 --dtype=half",
        {"served_model_name": ("llama",), "port": 8080, "dtype": "float16"},
    ),
    "the gateway's GPU deployment": (
        "--model MODEL --tensor-parallel-size 1 --port 8000 --max-num-seq 1024 --enable-lora --max-loras 2 "
        "--max-lora-rank 8 --max-cpu-loras 12",
        {"max_num_seqs": 1024},
    ),
    "the gateway's CPU deployment": (
        "--model MODEL --port 8000 --enable-lora --max-loras 4 --lora-modules "
        """'{"name": "tweet-summary-0", "path": "/adapters/org/lora_0"}' """
        """'{"name": "tweet-summary-1", "path": "org/lora_1", "base_model_name": "llama"}'""",
        {
            "lora_modules": (
                LoraModule("tweet-summary-0", "/adapters/org/lora_0"),
                LoraModule("tweet-summary-1", "org/lora_1", "llama"),
            )
        },
    ),
    "llm-d's modelservice": (
        "MODEL --port 8200 --served-model-name llm --enforce-eager --block-size 64 --gpu-memory-util 0.9 "
        "--max-num-batched-token 8192 --disable-sliding-window --max-seq-len-to-capture 4096",
        {"graphs": False, "block_size": 64, "gpu_memory_utilization": 0.9, "max_num_batched_tokens": 8192},
    ),
    "a model on two GPUs": (
        "MODEL -tp 2 --tensor_parallel_size=4 --disable-custom-all-reduce --distributed-executor-backend mp",
        {"tensor_parallel_size": 4},
    ),
    "a shell's": (
        "MODEL -tp 1 -O3 --lora-modules a=/x/a b=/x/b --lora-modules=c=/x/c --api-key k1 k2 --max-model-len 32K "
        "--uvicorn-log-level critical --disable-uvicorn-access-log --quantization awq_marlin --swap-space 4 "
        "--compilation-config.cudagraph_mode FULL --no-async-scheduling "
        "--max-log-len 100 --otlp-traces-endpoint http://jaeger:4318 --collect-detailed-traces all "
        """--pooler-config '{"pooling_type": "MEAN", "normalize": true}'""",
        {
            "lora_modules": tuple(LoraModule(name, f"/x/{name}") for name in "abc"),
            "max_model_len": 32768,
            "log_level": "error",
            "request_log": False,
            "log_prompts_length": 100,
            "otlp_traces_endpoint": "http://jaeger:4318/v1/traces",
            "quantization": "auto",
            "overlap": False,
            "pooling": "mean",
        },
    ),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_is_read_unchanged(name: str, tmp_path: Path) -> None:
    line, expected = MANIFESTS[name]
    (tmp_path / "certificate").write_text("")
    line = line.replace("MODEL", str(tmp_path)).replace("CERT", str(tmp_path / "certificate"))
    settings, _ = read(*shlex.split(line))
    assert settings.model == str(tmp_path)
    assert {field: getattr(settings, field) for field in expected} == expected


def test_what_changes_nothing_is_said_in_the_log() -> None:
    _, lines = read("m", "--max_loras", "4", "--enable-lora", "--dtype", "half", "--max-lora-rank=64")
    assert lines == [
        "--max-loras 4: adapters are bounded by memory (--adapter-memory), not by a number",
        "--enable-lora: adapters are always served",
        "--max-lora-rank 64: adapters of any rank are served, each at its own",
    ]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--pipeline-parallel-size", "2"], "--pipeline-parallel-size 2 is not supported here: one server is one"),
        (["-pp", "4"], "--pipeline-parallel-size 4 is not supported here: "),
        (["--data_parallel_size=8"], "--data-parallel-size 8 is not supported here: "),
        (["--enable-sleep-mode"], "--enable-sleep-mode is not supported here: a server keeps its memory"),
        (["--kv-transfer-config", '{"kv_connector": "x"}'], '--kv-transfer-config {"kv_connector": "x"} is not supp'),
        (["--revision", "abc"], "--revision abc is not supported here: download the revision"),
        (["--hf-token", "hush"], "--hf-token is not supported here: set HF_TOKEN"),
        (["--quantization", "bitsandbytes"], "--quantization bitsandbytes: nf4 rounds"),
        (["--max-model-len", "many"], "--max-model-len many: is no number of tokens"),
        (["--disable-access-log-for-endpoints", "/v1/models"], "--disable-access-log-for-endpoints /v1/models: requ"),
        (["--lora-modules", "a"], "--lora-modules: 'a' is not name=path"),
        (["--lora-modules", '{"name": "a"}'], "--lora-modules: {'name': 'a'} is not name=path"),
        (["--lora-modules", '{"name": "a", "path": "/a", "is_3d_lora_weight": true}'], "--lora-modules: 'a': is_3d"),
        (["--lora-modules", "a=/a", "a=/b"], "--lora-modules: 'a' is named twice"),
        (["--pooler-config", '{"pooling_type": "CLS"}'], '--pooler-config {"pooling_type": "CLS"}: pooling_type is'),
        (["--pooler-config", '{"dimensions": 5}'], '--pooler-config {"dimensions": 5}: dimensions is not supported'),
        (["--pooler-config", "mean"], "--pooler-config mean: is no JSON"),
        (["--lora-modules"], "--lora-modules: expected one argument"),
        (["--model", "other"], "unexpected argument 'other': MODEL is 'm' already"),
        (["--enable-lora=1"], "--enable-lora takes no value"),
        (["--ssl-keyfile", __file__], "--ssl-keyfile: means nothing without --ssl-certfile"),
        (["--gpu-memory-utilization", "1.5"], "--gpu-memory-utilization: input should be less than or equal to 1"),
        (["--root-path", "llm/"], "--root-path: string should match pattern"),
    ],
)
def test_what_is_not_served_is_refused_by_its_name(arguments: list[str], problem: str) -> None:
    (found,) = problems("m", *arguments)
    assert found.startswith(problem)
    assert "hush" not in found


def test_a_word_behind_an_option_is_the_model_where_there_is_no_other() -> None:
    settings, _ = read("--served-model-name", "name", "m")
    assert (settings.model, settings.served_model_name) == ("m", ("name",))
    settings, _ = read("--api-key", "k", "--model", "m")
    assert (settings.model, len(settings.api_key)) == ("m", 1)


def test_every_option_that_is_ours_under_another_name_is_one_of_ours() -> None:
    names = {name.replace("_", "-") for name in ServeSettings.model_fields}
    ours = {flag.to.removeprefix("no-") for flag in FLAGS.values() if flag.to}
    assert ours <= names
    assert all(flag.to or flag.why for flag in FLAGS.values())


def test_modules_may_stand_in_the_environment_and_in_a_file(tmp_path: Path) -> None:
    settings, _ = read("m", env={"LORAPLEX_LORA_MODULES": "a=/a, b=/b"})
    assert settings.lora_modules == (LoraModule("a", "/a"), LoraModule("b", "/b"))
    settings, _ = read("m", env={"LORAPLEX_LORA_MODULES": json.dumps([{"name": "a", "path": "org/a"}])})
    assert settings.lora_modules == (LoraModule("a", "org/a"),)
    file = tmp_path / "s.yaml"
    file.write_text("lora-modules:\n  - a=/a\n  - {name: b, path: /b, base_model_name: base}\n")
    settings, _ = read("m", "--config", str(file))
    assert settings.lora_modules == (LoraModule("a", "/a"), LoraModule("b", "/b", "base"))


def test_the_key_that_vllms_manifests_give_in_the_environment_closes_the_door() -> None:
    settings, _ = read("m", env={"VLLM_API_KEY": "hush"})
    assert [key.get_secret_value() for key in settings.api_key] == ["hush"]
    settings, _ = read("m", env={"VLLM_API_KEY": "hush", "LORAPLEX_API_KEY": "own"})
    assert [key.get_secret_value() for key in settings.api_key] == ["own"]
    settings, _ = read("m", env={"VLLM_API_KEY": "hush,x"})  # of which vLLM makes no two
    assert [key.get_secret_value() for key in settings.api_key] == ["hush,x"]


def test_vllms_key_and_the_files_are_not_mixed_up(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("api-key: own\n")
    with pytest.raises(SettingsError) as caught:
        read("m", "--config", str(file), env={"VLLM_API_KEY": "hush"})
    assert caught.value.problems == (f"VLLM_API_KEY and api_key in {file} both say who may ask: keep one of them",)
    env = {"VLLM_API_KEY": "hush", "LORAPLEX_API_KEY": "wins"}
    assert [key.get_secret_value() for key in read("m", "--config", str(file), env=env)[0].api_key] == ["wins"]


def test_a_template_is_a_file_or_itself(tmp_path: Path) -> None:
    file = tmp_path / "chat.jinja"
    file.write_text("{{ messages }}")
    assert read("m", "--chat-template", str(file))[0].chat_template == "{{ messages }}"
    assert read("m", "--chat-template", "{% for m in messages %}")[0].chat_template == "{% for m in messages %}"
    (found,) = problems("m", "--chat-template", "/no/such")
    assert found.startswith("--chat-template: is neither a file that can be read nor a template")
