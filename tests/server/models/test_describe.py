"""What is read from a config, and what is refused from it alone: none of these folders holds a weight."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import Gemma2Config, Gemma3TextConfig, LlamaConfig, MistralConfig, Phi3Config, Qwen2Config

from loraplex_server.models.describe import describe
from loraplex_server.models.errors import CheckpointError, UnsupportedModelError
from loraplex_server.models.load import load_model


@pytest.fixture
def write_config(tmp_path, tiny):
    """Save a config alone; `json_changes` are made to the file, past what transformers would check."""

    def write(config, json_changes=None, **changes):
        config(
            **tiny(**changes), architectures=[config.__name__.replace("Text", "")[:-6] + "ForCausalLM"]
        ).save_pretrained(tmp_path)
        path = tmp_path / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | (json_changes or {})))
        return tmp_path

    return write


@pytest.mark.parametrize("architectures", [["MixtralForCausalLM"], ["LlamaForSequenceClassification"], [], None])
def test_another_architecture_is_refused_with_the_list_of_the_supported(write_config, architectures):
    folder = write_config(LlamaConfig, {"architectures": architectures})
    with pytest.raises(UnsupportedModelError) as refusal:
        load_model(
            str(folder), device=torch.device("cpu"), dtype=torch.float32, quantization="none", max_model_len=None
        )
    for name in ("Llama", "Mistral", "Qwen2", "Qwen3", "Gemma2", "Gemma3", "Phi3"):
        assert f"{name}ForCausalLM" in str(refusal.value)
    assert (architectures or ["none named"])[0] in str(refusal.value)


def test_a_model_type_that_transformers_does_not_know_is_refused_the_same_way(write_config):
    folder = write_config(LlamaConfig, {"architectures": ["NewForCausalLM"], "model_type": "brand-new"})
    with pytest.raises(UnsupportedModelError, match="NewForCausalLM is not supported; supported: Gemma2ForCausalLM"):
        describe(folder)


def test_an_architecture_with_another_familys_config_is_refused(write_config):
    folder = write_config(MistralConfig, {"architectures": ["LlamaForCausalLM"]})
    with pytest.raises(UnsupportedModelError, match="LlamaForCausalLM with model_type 'mistral'"):
        describe(folder)


@pytest.mark.parametrize(
    "change", [{"hidden_size": "wide"}, {"hidden_size": 63}, {"rope_parameters": {"rope_type": "yarn"}}]
)
def test_values_that_transformers_refuses_are_said_to_be_the_configs(write_config, change):
    with pytest.raises(CheckpointError, match=r"cannot make sense of .*config\.json"):
        describe(write_config(LlamaConfig, change))


def test_a_quantizer_that_transformers_cannot_read_is_said_to_be_the_configs(write_config):
    with pytest.raises(CheckpointError, match="transformers cannot make sense"):
        describe(write_config(LlamaConfig, {"quantization_config": "x"}))


def test_a_rope_that_depends_on_the_running_length_is_refused_by_name(write_config):
    folder = write_config(LlamaConfig, rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4})
    with pytest.raises(UnsupportedModelError, match="rope type 'dynamic' is not supported; supported: default, linear"):
        describe(folder)


@pytest.mark.parametrize(
    ("config", "changes", "named"),
    [
        (LlamaConfig, {"hidden_act": "relu"}, "activation 'relu'"),
        (LlamaConfig, {"num_attention_heads": 4, "num_key_value_heads": 3}, "num_key_value_heads"),
        (LlamaConfig, {"partial_rotary_factor": 0.5}, "partial_rotary_factor 0.5"),
        (Qwen2Config, {"layer_types": ["chunked_attention"] * 3}, "chunked_attention"),
        (Gemma2Config, {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
        (Gemma3TextConfig, {"attn_logit_softcapping": 50.0}, "attn_logit_softcapping"),
        (Gemma3TextConfig, {"final_logit_softcapping": 0.0}, "final_logit_softcapping must be above 0"),
        (Gemma2Config, {"attn_logit_softcapping": 0.0}, "attn_logit_softcapping must be above 0"),
        (MistralConfig, {"sliding_window": 0}, "sliding_window must be at least 1 token, not 0"),
        (Gemma2Config, {"sliding_window": None}, "layer_types name sliding_attention, and sliding_window is null"),
    ],
)
def test_what_the_decoder_does_not_do_is_refused_by_name(write_config, config, changes, named):
    with pytest.raises(UnsupportedModelError, match=named):
        describe(write_config(config, **changes))


def test_code_in_a_checkpoint_is_never_asked_for(write_config):
    auto_map = {"AutoConfig": "configuration_phi3.Phi3Config", "AutoModelForCausalLM": "modeling_phi3.Phi3ForCausalLM"}
    assert describe(write_config(Phi3Config, {"auto_map": auto_map})).architecture == "Phi3ForCausalLM"


@pytest.mark.parametrize("length", [0, -1, 65])
def test_a_length_out_of_range_is_named(write_config, length):
    with pytest.raises(
        ValueError, match=rf"max_model_len must be between 1 and the model's 64 positions, not {length}"
    ):
        describe(write_config(LlamaConfig), length)


def test_the_length_is_the_models_own_unless_one_is_asked_for(write_config):
    folder = write_config(LlamaConfig)
    assert describe(folder).max_model_len == describe(folder).max_position_embeddings == 64
    assert describe(folder, 33).max_model_len == 33


def test_yarn_stretches_the_positions(write_config):
    rope = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 64}
    assert describe(write_config(Qwen2Config, rope_parameters=rope)).max_position_embeddings == 256


def test_a_window_that_no_sequence_outgrows_is_dropped(write_config):
    folder = write_config(MistralConfig, sliding_window=16)
    assert [layer.window for layer in describe(folder, 17).layers] == [16] * 3
    assert [layer.window for layer in describe(folder, 16).layers] == [None] * 3


def test_qwens_window_needs_its_switch(write_config):
    folder = write_config(Qwen2Config, sliding_window=16, max_window_layers=1, use_sliding_window=False)
    assert {layer.window for layer in describe(folder).layers} == {None}


def test_longrope_takes_the_long_factors_where_the_served_length_calls_for_them(write_config):
    rope = {"rope_type": "longrope", "rope_theta": 1e4, "short_factor": [1.0] * 8, "long_factor": [4.0] * 8}
    folder = write_config(Phi3Config, rope_parameters=rope, original_max_position_embeddings=32)
    short, long = describe(folder, 32).ropes[0], describe(folder, 33).ropes[0]
    assert [a / b for a, b in zip(short.inv_freq, long.inv_freq, strict=True)] == pytest.approx([4.0] * 8)
    assert short.scaling == long.scaling > 1.0


def test_gemma3_has_a_rope_for_each_kind_of_layer(write_config):
    config = describe(write_config(Gemma3TextConfig, sliding_window_pattern=3, sliding_window=8))
    assert [layer.rope for layer in config.layers] == [1, 1, 0]
    assert [layer.window for layer in config.layers] == [8, 8, None]
    assert config.ropes[0].inv_freq[-1] < config.ropes[1].inv_freq[-1]


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_a_config_that_is_none_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"config\.json"):
        describe(tmp_path)
