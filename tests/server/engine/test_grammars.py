"""Answers that follow a grammar, on the real engine and the demo's base: where they end, and whom they leave alone."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from support import engines
from support.engines import Output, collect, make_engine, run, step
from support.servers import DEMO

from loraplex_server.api.rendering.renderer import Renderer, load_renderer
from loraplex_server.api.structure.grammars import choice_grammar, json_grammar, lark_grammar, regex_grammar
from loraplex_server.engine.core import EngineCore
from loraplex_server.engine.grammars import library, token_file
from loraplex_server.engine.grammars.limits import MAX_BYTES
from loraplex_server.engine.messages import GenerateRequest

PROMPT = [20, 21, 22, 23]
FIELDS = {"a": {"type": "integer", "minimum": 0, "maximum": 999}, "b": {"enum": ["x", "y"]}}
OBJECT = {"type": "object", "properties": FIELDS, "required": ["a", "b"]}
CLOSED = OBJECT | {"additionalProperties": False}


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return load_renderer(str(DEMO / "base"))


@pytest.fixture(scope="module")
def tokens(renderer: Renderer, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The path of the demo's tokenizer as the engine reads it."""
    path = tmp_path_factory.mktemp("tokenizer") / "file"
    file = token_file.TokenFile(renderer.tokenizer.to_str(), renderer.vocabulary.texts())
    path.write_bytes(token_file.encode(file))
    return str(path)


@pytest.fixture(scope="module", params=[False, True], ids=["in turn", "overlapped"])
def core(request: pytest.FixtureRequest) -> Iterator[EngineCore]:
    core = make_engine(DEMO / "base", overlap=request.param)
    yield core
    core.close()


class World:
    """Ends of a model, and requests that name its tokenizer."""

    def __init__(self, renderer: Renderer, path: str) -> None:
        self.renderer = renderer
        self.path = path
        self.end = renderer.end_tokens[0]

    def ask(self, id: str, grammar: str | None, **sampling: Any) -> GenerateRequest:
        defaults = {"temperature": 1.5, "max_tokens": 60, "stop_token_ids": (self.end,), "seed": 1, "logprobs": None}
        request = engines.request(id, PROMPT, grammar=grammar, **(defaults | sampling))
        return msgspec.structs.replace(request, tokenizer="" if grammar is None else self.path)

    def one(self, core: EngineCore, grammar: str | None, **sampling: Any) -> Output:
        return run(core, [self.ask("a", grammar, **sampling)])["a", 0]

    def text(self, output: Output) -> str:
        """Without the end token."""
        return self.renderer.tokenizer.decode(output.tokens, skip_special_tokens=True)


@pytest.fixture
def world(renderer: Renderer, tokens: str) -> World:
    return World(renderer, tokens)


def test_answers_follow_a_schema_at_any_temperature_and_end_by_themselves(core: EngineCore, world: World) -> None:
    requests = [world.ask(f"{t}", json_grammar(dict(CLOSED)), temperature=t, max_tokens=200) for t in (0.0, 1.0, 3.0)]
    for output in run(core, requests).values():
        assert output.finish_reason == "stop"
        assert json.loads(world.text(output)).keys() == {"a", "b"}


def test_an_answer_that_can_only_end_ends_without_an_end_token(core: EngineCore, world: World) -> None:
    output = world.one(core, choice_grammar(["hotel"]))
    assert world.text(output) == "hotel"
    assert world.end not in output.tokens
    assert output.finish_reason == "stop"


def test_the_end_token_comes_where_the_grammar_may_end(core: EngineCore, world: World) -> None:
    outputs = [world.one(core, regex_grammar("(ab)*"), seed=seed) for seed in range(8)]
    assert {output.finish_reason for output in outputs} == {"stop"}
    for output in outputs:
        assert output.tokens[-1] == world.end
        assert re.fullmatch("(ab)*", world.text(output))


def test_max_tokens_inside_of_a_grammar_is_length(core: EngineCore, world: World) -> None:
    output = world.one(core, choice_grammar(["a very long answer"]), max_tokens=2)
    assert (len(output.tokens), output.finish_reason) == (2, "length")


def test_the_last_token_of_the_budget_may_complete_the_grammar(core: EngineCore, world: World) -> None:
    whole = world.one(core, choice_grammar(["hotel"]))
    cut = world.one(core, choice_grammar(["hotel"]), max_tokens=len(whole.tokens))
    assert (cut.tokens, cut.finish_reason) == (whole.tokens, "stop")


def test_ignoring_the_end_goes_on_as_long_as_the_grammar_can(core: EngineCore, world: World) -> None:
    yes = [world.one(core, choice_grammar(["yes", "yesterday"]), stop_token_ids=(), seed=seed) for seed in range(4)]
    assert {world.text(output) for output in yes} == {"yesterday"}
    endless = world.one(core, regex_grammar("[a-z]*"), stop_token_ids=(), max_tokens=9)
    assert (len(endless.tokens), endless.finish_reason) == (9, "length")


def test_min_tokens_keeps_the_end_away_while_the_grammar_can_go_on(core: EngineCore, world: World) -> None:
    output = world.one(core, regex_grammar("a*"), min_tokens=12, max_tokens=50)
    assert len(output.tokens) > 12
    assert world.one(core, choice_grammar(["abc"]), min_tokens=30).finish_reason == "stop"


def test_a_stop_token_that_is_text_comes_only_where_the_grammar_may_end(core: EngineCore, world: World) -> None:
    comma = world.renderer.tokenizer.token_to_id(",")
    for seed in range(4):
        output = world.one(core, regex_grammar("[a,]{6}"), stop_token_ids=(world.end, comma), seed=seed)
        assert world.text(output) == "aaaaaa"
    forced = world.one(core, choice_grammar(["a,b"]), stop_token_ids=(comma,))
    assert (forced.tokens[-1], forced.finish_reason) == (comma, "stop")  # nothing else could come


def test_a_grammar_may_name_a_special_token(core: EngineCore, world: World) -> None:
    name = world.renderer.tokenizer.id_to_token(world.end)
    output = world.one(core, lark_grammar(f'start: "ab" {name}'))
    assert output.tokens[-1] == world.end
    assert world.text(output) == "ab"


@pytest.mark.parametrize(
    "sampling",
    [
        {"presence_penalty": 1.0, "repetition_penalty": 1.3},
        {"logit_bias": {30: 5.0, 31: -100.0}},
        {"top_p": 0.5, "top_k": 3, "min_p": 0.05},
        {"temperature": 0.0, "logprobs": 3},
    ],
    ids=str,
)
def test_other_parameters_go_with_a_grammar(core: EngineCore, world: World, sampling: dict[str, Any]) -> None:
    output = world.one(core, json_grammar(dict(CLOSED)), max_tokens=200, **sampling)
    assert json.loads(world.text(output)).keys() == {"a", "b"}


def test_log_probabilities_are_of_all_tokens_not_of_the_allowed_ones(core: EngineCore, world: World) -> None:
    free = world.one(core, None, temperature=0.0, logprobs=0, max_tokens=1)
    bound = world.one(core, choice_grammar(["Q"]), temperature=0.0, logprobs=0)
    assert bound.logprobs[0] < free.logprobs[0] < 0.0


def test_neighbours_get_the_same_bits_as_alone(core: EngineCore, world: World) -> None:
    neighbours = [
        world.ask("hot", None, temperature=1.2, seed=4, logprobs=2, max_tokens=25),
        world.ask("cold", None, temperature=0.0, max_tokens=25),
        world.ask("biased", None, logit_bias={40: 3.0}, frequency_penalty=0.5, seed=9, max_tokens=25),
    ]
    alone = {key: output for each in neighbours for key, output in run(core, [each]).items()}
    grammar = json_grammar(dict(OBJECT))
    beside = run(core, [*neighbours, *(world.ask(f"bound {i}", grammar, seed=i) for i in range(3))])
    for key, output in alone.items():
        assert (beside[key].tokens, beside[key].logprobs) == (output.tokens, output.logprobs)


def test_a_seed_gives_the_same_answer_alone_in_a_batch_and_after_preemptions(world: World) -> None:
    grammar = json_grammar({"type": "array", "items": {"type": "integer"}, "minItems": 30, "maxItems": 40})
    asked = [world.ask(f"{seed}", grammar, seed=seed, max_tokens=150) for seed in range(6)]
    roomy = make_engine(DEMO / "base", enable_prefix_caching=False)
    tight = make_engine(DEMO / "base", kv_cache_memory=3 << 18, max_model_len=170)
    apart = {key: output for each in asked for key, output in run(roomy, [each]).items()}
    together = run(tight, asked)
    assert tight.scheduler.seats.counts.preemptions > 0
    assert {key: output.tokens for key, output in together.items()} == {
        key: output.tokens for key, output in apart.items()
    }
    roomy.close()
    tight.close()


def test_each_of_n_answers_has_its_own_place_in_the_grammar(core: EngineCore, world: World) -> None:
    message = msgspec.structs.replace(world.ask("n", json_grammar(dict(CLOSED)), max_tokens=200), n=4)
    outputs = run(core, [message])
    texts = {world.text(output) for output in outputs.values()}
    assert len(texts) > 1
    assert all(json.loads(text).keys() == {"a", "b"} for text in texts)


@pytest.mark.parametrize(
    ("sampling", "part"),
    [
        ({"allowed_token_ids": (40,)}, "no token may come next"),
        ({"grammar": "start: unknown"}, "unknown name"),
        ({"grammar": "start: <|nothing|>"}, "unknown special token"),
        ({"grammar": "start: a\na: b\nb: a"}, "no token of this model"),
        ({"grammar": regex_grammar("a{1000000}")}, "grammar"),
    ],
    ids=str,
)
def test_an_impossible_request_fails_alone_and_says_why(
    core: EngineCore, world: World, sampling: dict[str, Any], part: str
) -> None:
    bad = {"grammar": choice_grammar(["hotel"])} | sampling
    outputs = run(core, [world.ask("bad", **bad), world.ask("good", choice_grammar(["hotel"]))])
    failure = outputs["bad", 0].failure
    assert failure is not None
    assert failure.kind == "invalid"
    assert part in failure.message
    assert world.text(outputs["good", 0]) == "hotel"


def test_rules_that_lead_as_deep_as_their_size_allows_end_no_process(core: EngineCore, world: World) -> None:
    depth = (MAX_BYTES - 100) // 14
    rules = "".join(f"r{i:04x}: r{i + 1:04x}\n" for i in range(depth))
    output = world.one(core, f'start: r0000\n{rules}r{depth:04x}: "hotel"')
    assert world.text(output) == "hotel"


def test_a_tokenizer_that_is_gone_fails_the_request(core: EngineCore, world: World) -> None:
    message = msgspec.structs.replace(world.ask("a", choice_grammar(["x"])), tokenizer="/nowhere/at/all")
    failure = run(core, [message])["a", 0].failure
    assert failure is not None
    assert "cannot be read" in failure.message


def test_an_aborted_answer_leaves_nothing_behind(core: EngineCore, world: World) -> None:
    outputs: dict[tuple[str, int], Output] = {}
    outputs["a", 0] = Output()
    collect(core.submit(world.ask("a", regex_grammar("[a-z]{500}"), max_tokens=400)), outputs)
    while len(outputs["a", 0].tokens) < 3:
        collect(step(core), outputs)
    collect(core.abort("a", None), outputs)
    assert outputs["a", 0].finish_reason == "abort"
    run(core, [])


def test_allowed_token_ids_are_the_only_ones_chosen(core: EngineCore, world: World) -> None:
    output = world.one(core, None, allowed_token_ids=(40, 41, 50), max_tokens=30)
    assert set(output.tokens) <= {40, 41, 50}
    assert output.finish_reason == "length"


def test_the_last_token_of_a_bad_word_does_not_follow_the_others(core: EngineCore, world: World) -> None:
    greedy = partial(world.one, core, None, temperature=0.0, max_tokens=12, stop_token_ids=())
    free = greedy().tokens
    pair = (free[4], free[5])
    bound = greedy(bad_words=(pair,)).tokens
    first = list(itertools.pairwise(free)).index(pair) + 1
    assert bound[:first] == free[:first]
    assert pair not in itertools.pairwise(bound)
    single = greedy(bad_words=((free[3],),)).tokens
    assert free[3] not in single


def test_a_grammar_is_compiled_once_for_all_who_send_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "MOST_GRAMMARS", 2)
    core = make_engine(DEMO / "base")
    compiled = partial(world.one, core)
    for grammar in ("a", "b", "a", "b", "c", "a"):
        compiled(choice_grammar([grammar]))
    assert core.grammars.compiled_total == 4  # a, b and c, and a again, which c had pushed out
    core.close()


@pytest.mark.parametrize("kind", ["byte level", "sentencepiece"])
def test_tokens_that_llguidance_takes_for_others_are_never_chosen(kind: str, tmp_path: Path) -> None:
    from support.tokenizers_of import added, byte_level, sentencepiece

    from loraplex_server.engine.grammars.tokenizer import MaskTokenizer, holds

    tokenizer = added(byte_level() if kind == "byte level" else sentencepiece(), "naïve")
    renderer = Renderer(tokenizer, [])
    path = tmp_path / "file"
    file = token_file.TokenFile(renderer.tokenizer.to_str(), renderer.vocabulary.texts())
    path.write_bytes(token_file.encode(file))
    masks = library.Masks(1)
    grammars = library.GrammarLibrary(lambda: None, 1)
    grammar = grammars.find(str(path), regex_grammar("(?s:.*)")).result()
    matcher = grammars.matcher(grammar, ())
    for id, text in enumerate(file.texts):
        read = grammar.tokenizer.reads.decode_bytes([id])
        if text is not None and holds(matcher.bits, id):
            assert read == text
    assert isinstance(grammar.tokenizer, MaskTokenizer)
    masks.close()
    grammars.close()
