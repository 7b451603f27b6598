"""A model divided among ranks: what each has, and that together they compute what one alone does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support.parted_inputs import part_inputs
from support.ranks import on_ranks
from transformers import LlamaConfig, Phi3Config

from loraplex_adapters.shard import SitePart
from loraplex_kernels.linear.rounders import ROUNDERS
from loraplex_server.models.decoder import Decoder
from loraplex_server.models.describe import describe
from loraplex_server.models.division import Division
from loraplex_server.models.errors import CheckpointError, UnsupportedModelError

SIZES = {"num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 96}


def logits(decoder: Decoder, paged: Any, sequences: list[list[int]]) -> list[torch.Tensor]:
    work = paged(decoder, sequences)
    return work.run(iter([5, 3, 4, 1] * 40))


def test_the_ranks_of_each_family_compute_what_one_alone_does(oracle, paged, sequences) -> None:
    alone = logits(oracle.load(), paged, sequences)
    for both in zip(*on_ranks(2, lambda group: logits(oracle.load(group=group), paged, sequences)), alone, strict=True):
        first, second, expected = both
        assert torch.equal(first, second)
        torch.testing.assert_close(first, expected, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [2, 4, 8])
def test_more_ranks_than_heads_of_keys_and_values_share_them(make_oracle, paged, sequences, size) -> None:
    oracle = make_oracle(LlamaConfig, **SIZES)
    alone = logits(oracle.load(), paged, sequences)
    divided = on_ranks(size, lambda group: logits(oracle.load(group=group), paged, sequences))
    for mine, expected in zip(divided[-1], alone, strict=True):
        torch.testing.assert_close(mine, expected, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("head", ["none", "int8"])
@pytest.mark.parametrize("form", ["none", *ROUNDERS])
def test_what_is_rounded_is_so_before_it_is_divided(make_oracle, paged, sequences, form, head) -> None:
    """Groups of 128 and blocks of 64 lie across the borders of both o's inputs and down's."""
    oracle = make_oracle(LlamaConfig, **SIZES, hidden_size=64, vocab_size=101) if form != "nf4" else None
    oracle = oracle or make_oracle(LlamaConfig, **SIZES | {"intermediate_size": 64}, vocab_size=101)

    def load(**changes: Any) -> Decoder:
        return oracle.load(form, head_quantization=head, **changes)

    try:
        alone = logits(load(), paged, sequences)
    except ValueError as error:
        pytest.skip(str(error))
    divided = on_ranks(2, lambda group: logits(load(group=group), paged, sequences))
    for mine, expected in zip(divided[0], alone, strict=True):
        torch.testing.assert_close(mine, expected, atol=1e-4, rtol=1e-4)


def test_a_rank_holds_half_of_the_weights(make_oracle) -> None:
    """Norms and the angles of the rope are everybody's."""
    oracle = make_oracle(LlamaConfig, num_hidden_layers=6, intermediate_size=256, vocab_size=512)
    whole = oracle.load().weights_nbytes
    for part in on_ranks(2, lambda group: oracle.load(group=group).weights_nbytes):
        assert part == pytest.approx(whole / 2, rel=0.05)


@pytest.mark.parametrize("head", ["none", "int8"])
@pytest.mark.parametrize(
    ("form", "changes"), [("none", {}), ("int4", {}), ("int8", {}), ("int8-weight", {"tie_word_embeddings": True})]
)
def test_adapters_are_told_the_whole_weights_as_they_are_served(make_oracle, form, changes, head) -> None:
    oracle = make_oracle(LlamaConfig, attention_bias=True, **changes)
    try:
        alone = oracle.load(form, head_quantization=head)
    except ValueError as error:
        pytest.skip(str(error))
    divided = on_ranks(2, lambda group: oracle.load(form, head_quantization=head, group=group))[1]
    assert divided.shape == alone.shape
    for site in alone.sites:
        torch.testing.assert_close(divided.base.site_weight(site.index).float(), alone.site_weight(site.index))
        bias = alone.site_bias(site.index)
        assert (bias is None) == (divided.base.site_bias(site.index) is None)
        if bias is not None:
            assert torch.equal(divided.base.site_bias(site.index), bias)
    assert torch.equal(divided.base.embedding_rows(3, 9), alone.embedding_rows(3, 9))
    assert torch.equal(divided.base.norm_weight("model.norm"), alone.norm_weight("model.norm"))
    for name in ("model.embed_tokens", "lm_head"):
        assert torch.equal(divided.base.original(name).float(), alone.original(name).float())


def test_a_checkpoint_that_was_replaced_is_not_taken_for_the_model(make_oracle) -> None:
    oracle = make_oracle(LlamaConfig)
    divided = on_ranks(2, lambda group: oracle.load(group=group))[0]
    oracle.model.save_pretrained(oracle.folder)
    with pytest.raises(CheckpointError, match="has changed since the model was loaded"):
        divided.base.site_weight(0)


@pytest.mark.parametrize("size", [2, 4])
def test_eight_bit_inputs_that_are_divided_are_rounded_by_each_rank_for_itself(
    make_oracle, paged, sequences, size
) -> None:
    oracle = make_oracle(LlamaConfig, **SIZES, attention_bias=True)

    def load(**changes: Any) -> Decoder:
        return oracle.load("int8", head_quantization="none", **changes)

    divided = on_ranks(size, lambda group: logits(load(group=group), paged, sequences))
    for mine, expected in zip(divided[-1], logits(part_inputs(load(), size), paged, sequences), strict=True):
        torch.testing.assert_close(mine, expected, atol=2e-5, rtol=1e-5)


def test_eight_bit_inputs_that_are_divided_are_no_rougher_than_whole_ones(oracle, paged, sequences) -> None:
    """A part's largest value is at most the row's, so the steps that it is rounded in are no larger."""
    exact = torch.cat(logits(oracle.load(), paged, sequences))

    def error(**changes: Any) -> float:
        ours = torch.cat(logits(oracle.load("int8", head_quantization="none", **changes), paged, sequences))
        return (ours - exact).norm().item()

    assert on_ranks(2, lambda group: error(group=group))[0] < 1.1 * error()


@pytest.mark.parametrize(
    ("changes", "size", "reason"),
    [
        ({"num_attention_heads": 6, "num_key_value_heads": 6}, 4, "6 attention heads cannot be divided evenly"),
        ({"intermediate_size": 90}, 4, "90 inner units cannot be divided evenly"),
        ({"num_attention_heads": 12, "num_key_value_heads": 3}, 2, "3 heads of keys and values can neither be"),
        ({"num_attention_heads": 8, "num_key_value_heads": 8, "vocab_size": 3}, 4, "fewer tokens than ranks"),
    ],
)
def test_what_cannot_be_divided_is_refused_by_name(make_oracle, changes, size, reason) -> None:
    config = describe(make_oracle(LlamaConfig, hidden_size=48, **changes).folder)
    with pytest.raises(UnsupportedModelError, match=reason):
        Division(config, 0, size)


def test_every_row_and_column_is_somebodys(make_oracle) -> None:
    """Of a checkpoint that packs q, k and v: each rank has rows of all three."""
    config = describe(make_oracle(Phi3Config).folder)
    sites = [Division(config, rank, 2).shard.sites for rank in range(2)]
    assert sites[0][0] == SitePart(outputs=((0, 32), (64, 80), (96, 112)))
    assert sites[1][0] == SitePart(outputs=((32, 64), (80, 96), (112, 128)))
    assert [each[1].inputs for each in sites] == [(0, 32), (32, 64)]
    assert sites[0][2] == SitePart(outputs=((0, 44), (88, 132)))
    assert sites[0][-1] == SitePart()
    assert set(Division(config, 0, 1).shard.sites) == {SitePart()}
