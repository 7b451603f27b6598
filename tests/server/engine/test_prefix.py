"""Equal names of blocks mean equal keys and values."""

from loraplex_server.engine.prefix import BASE, Lineage, Part, extend_hashes


def names(tokens: list[int], lineage: Lineage = BASE, block_size: int = 4) -> list[bytes]:
    hashes: list[bytes] = []
    extend_hashes(hashes, lineage, tokens, block_size)
    return hashes


def test_only_full_blocks_have_names() -> None:
    assert [len(names(list(range(count)))) for count in (0, 3, 4, 7, 8)] == [0, 0, 1, 1, 2]


def test_a_name_covers_all_tokens_before_it() -> None:
    assert names([1, 2, 3, 4, 5, 6, 7, 8])[1] != names([9, 2, 3, 4, 5, 6, 7, 8])[1]


def test_growing_tokens_extend_the_chain_as_computed_at_once() -> None:
    hashes: list[bytes] = []
    lineage = Lineage([Part("g", 1.0), Part("late", 1.0, 6)])
    for count in range(20):
        extend_hashes(hashes, lineage, list(range(count)), 4)
    assert hashes == names(list(range(19)), lineage)


def test_each_generation_and_weight_has_its_own_names() -> None:
    mixtures = [[], [("a", 1.0)], [("b", 1.0)], [("a", 0.5)], [("a", 1.0), ("b", 1.0)]]
    roots = [Lineage([Part(*each) for each in mixture]).root for mixture in mixtures]
    assert len(set(roots)) == len(roots)


def test_a_mixture_has_one_name_in_any_order() -> None:
    parts = [Part("a", 0.5), Part("b", 1.0), Part("c", 1.0, 5), Part("d", 1.0, 5)]
    tokens = list(range(8))
    assert names(tokens, Lineage(parts)) == names(tokens, Lineage(parts[::-1]))


def test_blocks_before_an_adapter_begins_have_the_names_of_the_base() -> None:
    tokens = list(range(16))
    shared = [
        len(set(names(tokens)) & set(names(tokens, Lineage([Part("a", 1.0, start)])))) for start in (1, 3, 4, 7, 8, 12)
    ]
    assert shared == [0, 0, 1, 1, 2, 3]


def test_where_in_a_block_an_adapter_begins_is_part_of_its_name() -> None:
    tokens = list(range(8))
    lineages = [Lineage([Part(*each)]) for each in [("a", 1.0, 4), ("a", 1.0, 5), ("b", 1.0, 5), ("a", 0.5, 5)]]
    assert len({names(tokens, lineage)[1] for lineage in lineages}) == len(lineages)


def test_adapters_that_begin_in_different_blocks_share_what_lies_before_either() -> None:
    tokens = list(range(16))
    first, second = (names(tokens, Lineage([Part(name, 1.0, start)])) for name, start in (("a", 9), ("b", 13)))
    assert first[:2] == second[:2]
    assert not set(first[2:]) & set(second[2:])
