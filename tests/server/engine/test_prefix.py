"""Equal names of blocks mean equal keys and values."""

from loraplex_server.engine.prefix import extend_hashes, root_hash


def names(tokens: list[int], root: bytes = b"", block_size: int = 4) -> list[bytes]:
    hashes: list[bytes] = []
    extend_hashes(hashes, root, tokens, block_size)
    return hashes


def test_only_full_blocks_have_names() -> None:
    assert [len(names(list(range(count)))) for count in (0, 3, 4, 7, 8)] == [0, 0, 1, 1, 2]


def test_a_name_covers_all_tokens_before_it() -> None:
    assert names([1, 2, 3, 4, 5, 6, 7, 8])[1] != names([9, 2, 3, 4, 5, 6, 7, 8])[1]


def test_growing_tokens_extend_the_chain_as_computed_at_once() -> None:
    hashes: list[bytes] = []
    for count in range(20):
        extend_hashes(hashes, b"r", list(range(count)), 4)
    assert hashes == names(list(range(19)), b"r")


def test_each_generation_and_weight_has_its_own_root() -> None:
    roots = [root_hash([]), root_hash([("a", 1.0)]), root_hash([("b", 1.0)]), root_hash([("a", 0.5)])]
    roots.append(root_hash([("a", 1.0), ("b", 1.0)]))
    assert len(set(roots)) == len(roots)


def test_a_mixture_has_one_root_in_any_order() -> None:
    assert root_hash([("a", 0.5), ("b", 1.0)]) == root_hash([("b", 1.0), ("a", 0.5)])
