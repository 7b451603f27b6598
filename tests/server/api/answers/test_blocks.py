from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraplex_server.api.answers.blocks import Blocks, CallBlock, Closed, Grew, Opened, TextBlock
from loraplex_server.api.tools.parts import CallDelta, Part


def call(index: int, name: str, arguments: list[str]) -> list[Part]:
    return [CallDelta(index, id=f"call_{index}", name=name), *(CallDelta(index, each) for each in arguments)]


SHAPES = st.lists(st.text(min_size=1) | st.lists(st.text(min_size=1), max_size=3), max_size=6)


@given(shapes=SHAPES)
def test_what_grew_put_together_is_the_block_and_one_is_open_at_a_time(shapes: list[str | list[str]]) -> None:
    parts: list[Part] = []
    for index, shape in enumerate(shapes):
        parts += [shape] if isinstance(shape, str) else call(index, "f", shape)
    blocks = Blocks()
    grown: dict[int, str] = {}
    open_one: int | None = None
    for change in [*blocks.take(parts), *blocks.close()]:
        if isinstance(change, Opened):
            assert (open_one, change.index) == (None, len(grown))
            open_one, grown[change.index] = change.index, ""
        elif isinstance(change, Grew):
            assert (change.index, bool(change.more)) == (open_one, True)
            grown[change.index] += change.more
        else:
            assert isinstance(change, Closed)
            assert change.index == open_one
            open_one = None
    assert open_one is None
    assert list(grown.values()) == [b.text if isinstance(b, TextBlock) else b.arguments for b in blocks.all]
    assert sum(isinstance(block, CallBlock) for block in blocks.all) == sum(isinstance(s, list) for s in shapes)
    assert list(blocks.close()) == []


def test_arguments_without_a_call_are_a_fault_of_ours() -> None:
    with pytest.raises(ValueError, match="no call is open"):
        list(Blocks().take([CallDelta(0, "{}")]))
