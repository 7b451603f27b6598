"""Tokenizers and templates that come with adapters: which one reads, what is shared, what is refused."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.api import TEMPLATE, Api, build_renderer, build_tokenizer, write_adapters
from transformers import AutoTokenizer

from loraplex_adapters.source import AdapterSource
from loraplex_server.api.errors import ApiError
from loraplex_server.api.rendering import renderers as module
from loraplex_server.api.rendering.renderer import Renderer
from loraplex_server.api.rendering.renderers import Renderers
from loraplex_server.api.rendering.tokenizer_files import TokenizerFiles
from loraplex_server.api.schemas.chat import Conversation

HI = Conversation.model_validate({"messages": [{"role": "user", "content": "hi"}]})
OTHER_TEMPLATE = "{% for m in messages %}[{{ m['content'] }}]{% endfor %}"


@pytest.fixture(scope="module")
def base() -> Renderer:
    return build_renderer()


@pytest.fixture
def renderers(base: Renderer) -> Renderers:
    return Renderers(base)


def source(folder: Path, name: str = "mine") -> AdapterSource:
    folder.mkdir(exist_ok=True, parents=True)
    return AdapterSource(name=name, path=str(folder), fingerprint="x")


def write_tokenizer(folder: Path, *added: str, template: str = TEMPLATE, eos: str | None = None) -> AdapterSource:
    tokenizer = build_tokenizer()
    tokenizer.add_tokens(list(added))
    tokenizer.chat_template = template
    if eos is not None:
        tokenizer.eos_token = eos
    tokenizer.save_pretrained(folder)
    return source(folder)


async def refusal(renderers: Renderers, *sources: AdapterSource) -> str:
    with pytest.raises(ApiError) as caught:
        await renderers.of(sources)
    assert caught.value.status == 400
    return caught.value.message


async def test_without_files_of_its_own_an_adapter_is_read_as_the_base(renderers: Renderers, tmp_path: Path) -> None:
    assert await renderers.of([]) is renderers.base
    assert await renderers.of([source(tmp_path)]) is renderers.base


async def test_added_tokens_and_their_end_are_the_adapters_own(renderers: Renderers, tmp_path: Path) -> None:
    mine = await renderers.of([write_tokenizer(tmp_path, "<|tool|>", eos="<|done|>")])
    size = renderers.base.tokenizer.get_vocab_size()
    assert await mine.encode("<|tool|>") == [size]
    assert mine.vocabulary.text(size) == "<|tool|>"
    assert mine.decode([size], skip_special_tokens=False) == "<|tool|>"
    assert set(mine.end_tokens) == {*renderers.base.end_tokens, mine.tokenizer.token_to_id("<|done|>")}
    assert await mine.encode_chat(HI) == await renderers.base.encode_chat(HI)


@pytest.mark.parametrize("where", ["file", "config"])
async def test_a_template_alone_is_used_with_the_bases_tokens(renderers: Renderers, tmp_path: Path, where: str) -> None:
    if where == "file":
        (tmp_path / "chat_template.jinja").write_text(OTHER_TEMPLATE)
    else:
        fields = {"bos_token": "<|begin|>", "eos_token": "<|end|>", "chat_template": OTHER_TEMPLATE}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(fields))
    mine = await renderers.of([source(tmp_path)])
    assert mine is not renderers.base
    assert await mine.encode_chat(HI) == await renderers.base.encode("[hi]")
    assert mine.end_tokens == renderers.base.end_tokens
    assert mine.tokenizer.to_str() == renderers.base.tokenizer.to_str()


async def test_a_tokenizer_without_a_template_takes_the_bases(renderers: Renderers, tmp_path: Path) -> None:
    mine = write_tokenizer(tmp_path, "<|tool|>")
    (tmp_path / "chat_template.jinja").unlink()
    assert await (await renderers.of([mine])).encode_chat(HI) == await renderers.base.encode_chat(HI)
    (tmp_path / "tokenizer_config.json").unlink()
    assert "<|tool|>" in (await renderers.of([mine])).tokenizer.get_vocab()


async def test_a_thousand_copies_of_the_bases_files_are_loaded_once_and_share_its_renderer(
    renderers: Renderers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[Any] = []
    build = module.build_adapter_renderer
    monkeypatch.setattr(module, "build_adapter_renderer", lambda *given: loads.append(given) or build(*given))
    write_tokenizer(tmp_path / "0")
    for number in range(1, 1000):
        (tmp_path / str(number)).mkdir()
        for file in (tmp_path / "0").iterdir():
            os.link(file, tmp_path / str(number) / file.name)
    for number in range(1000):
        assert await renderers.of([source(tmp_path / str(number))]) is renderers.base
    assert len(loads) == 1


async def test_few_renderers_are_kept_and_equal_files_share_one(
    renderers: Renderers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_RENDERERS", 2)
    first = write_tokenizer(tmp_path / "a", "<|a|>")
    shutil.copytree(tmp_path / "a", tmp_path / "again")
    mine = await renderers.of([first])
    assert await renderers.of([source(tmp_path / "again", "again")]) is mine
    assert await renderers.of([first, source(tmp_path / "again", "again")]) is mine  # a sum of alike ones
    for name in "bc":
        await renderers.of([write_tokenizer(tmp_path / name, f"<|{name}|>")])
    assert len(renderers._builds) == 2
    assert await renderers.of([first]) is not mine


async def test_a_changed_file_is_read_again(renderers: Renderers, tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text(OTHER_TEMPLATE)
    await renderers.of([source(tmp_path)])
    (tmp_path / "chat_template.jinja").write_text("changed: {{ messages[0]['content'] }}")
    mine = await renderers.of([source(tmp_path)])
    assert mine.decode(await mine.encode_chat(HI)) == "changed: hi"


async def test_adapters_that_read_differently_cannot_be_added_up(renderers: Renderers, tmp_path: Path) -> None:
    mine, plain = write_tokenizer(tmp_path / "mine", "<|tool|>"), source(tmp_path / "plain", "plain")
    message = await refusal(renderers, plain, mine)
    assert "'plain'" in message
    assert "'mine'" in message


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("tokenizer.json", "{", "tokenizer cannot be used"),
        ("tokenizer.json", '{"model": {}}', "tokenizer cannot be used"),
        ("tokenizer_config.json", "[]", "no JSON object"),
        ("tokenizer_config.json", "{", "no JSON"),
        ("tokenizer_config.json", '{"auto_map": {"AutoTokenizer": ["code.Mine", null]}}', "custom code"),
        ("chat_template.jinja", "{% if %}", "TemplateSyntaxError"),
    ],
)
async def test_a_broken_one_is_refused_by_name(
    renderers: Renderers, tmp_path: Path, name: str, content: str, said: str
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / name).write_text(content)
    for _ in range(2):
        message = await refusal(renderers, source(folder))
        assert message.startswith("adapter 'mine' is refused")
        assert said in message
        assert "/tmp" not in message
    (folder / name).unlink()
    assert await renderers.of([source(folder)]) is renderers.base


async def test_code_beside_a_tokenizer_is_never_run(renderers: Renderers, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    mine = write_tokenizer(folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config["auto_map"] = {"AutoTokenizer": ["code.Mine", "code.Mine"]}
    config["tokenizer_class"] = "Mine"
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Mine: pass\n")
    await refusal(renderers, mine)
    assert not (tmp_path / "ran").exists()


async def test_a_link_out_of_the_folder_is_refused(renderers: Renderers, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("the secret {{ messages }}")
    mine = source(tmp_path / "folder")
    (tmp_path / "folder" / "chat_template.jinja").symlink_to(tmp_path / "secret")
    message = await refusal(renderers, mine)
    assert "leaves the adapter's folder" in message
    assert "secret" not in message


async def test_pipes_and_dangling_links_are_refused_without_waiting(renderers: Renderers, tmp_path: Path) -> None:
    mine = source(tmp_path / "folder")
    os.mkfifo(tmp_path / "folder" / "tokenizer.json")
    assert "no regular file" in await refusal(renderers, mine)
    (tmp_path / "folder" / "tokenizer.json").unlink()
    (tmp_path / "folder" / "tokenizer.json").symlink_to("nothing")
    assert "cannot be read" in await refusal(renderers, mine)


async def test_files_named_by_an_old_config_are_not_looked_for(renderers: Renderers, tmp_path: Path) -> None:
    mine = write_tokenizer(tmp_path, "<|tool|>")
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "tokenizer_file": "/etc/passwd"}))
    assert "<|tool|>" in (await renderers.of([mine])).tokenizer.get_vocab()


async def test_answers_are_written_with_the_adapters_tokens(api: Api, adapters: Path) -> None:
    tokenizer = write_tokenizer(adapters / "alpha", "<think>", eos="<|done|>", template=OTHER_TEMPLATE)
    mine = await Renderers(api.renderer).of([tokenizer])
    think, end = mine.tokenizer.token_to_id("<think>"), mine.tokenizer.token_to_id("<|done|>")
    api.engine.script = lambda request, index: [think, *mine.tokenizer.encode(" hello there").ids, end, think]
    body = {"model": "alpha", "messages": [{"role": "user", "content": "hi"}], "logprobs": True, "max_tokens": 50}
    (choice,) = (await api.chat(body)).json()["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("<think> hello there", "stop")
    assert choice["logprobs"]["content"][0]["token"] == "<think>"
    (request,) = api.engine.requests
    assert request.prompt_token_ids == mine.tokenizer.encode("[hi]").ids
    assert set(request.sampling.stop_token_ids) == set(mine.end_tokens)
    (choice,) = (await api.chat({**body, "stop": ["> he"]})).json()["choices"]
    assert (choice["message"]["content"], choice["stop_reason"]) == ("<think", "> he")
    text = {"model": "alpha", "prompt": "<think>", "echo": True, "max_tokens": 1}
    assert (await api.complete(text)).json()["choices"][0]["text"] == "<think><think>"
    assert api.engine.requests[-1].prompt_token_ids == [think]
    assert (await api.post("/tokenize", {"model": "alpha", "prompt": "<think>"})).json()["tokens"] == [think]
    assert (await api.post("/detokenize", {"model": "alpha", "tokens": [think]})).json() == {"prompt": "<think>"}
    assert (await api.post("/tokenize", {"prompt": "<think>"})).json()["count"] > 1


async def test_ids_beyond_the_bases_vocabulary_are_the_engines_to_judge(api: Api) -> None:
    for name, status in (("alpha", 200), ("base", 400)):
        for body in (
            {"prompt": [600]},
            {"prompt": "x", "stop_token_ids": [600]},
            {"prompt": "x", "logit_bias": {"600": 1}},
        ):
            assert (await api.complete({"model": name, **body})).status_code == status, (name, body)
    assert api.engine.requests[0].prompt_token_ids == [600]
    assert (await api.complete({"model": "alpha", "prompt": [2**31]})).status_code == 400


async def test_a_broken_tokenizer_refuses_its_adapter_alone(api: Api, adapters: Path) -> None:
    (adapters / "alpha" / "tokenizer.json").write_text("{")
    response = await api.complete({"model": "alpha", "prompt": "x"})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "adapter_refused")
    assert (await api.complete({"model": "beta", "prompt": "x"})).status_code == 200
    shown = (await api.get("/v1/adapters/alpha")).json()
    assert "its tokenizer cannot be used" in shown["error"]


async def test_a_broken_tokenizer_is_found_when_its_adapter_is_added(
    make_api: Callable[..., Api], tmp_path: Path
) -> None:
    places = write_adapters(tmp_path / "places", "one")
    api = make_api(admin_key=["admin"], allow_adapter_source=[str(places)])
    (places / "one" / "tokenizer.json").write_text("{")
    response = await api.ask("POST", "/v1/adapters", {"name": "new", "source": str(places / "one")})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "adapter_refused")
    assert (await api.get("/v1/adapters/new")).status_code == 404


@pytest.fixture
def two_templates() -> Renderers:
    """As Hermes' models have it: one for chats, one for chats with tools."""
    tokenizer = build_tokenizer()
    tokenizer.chat_template = {"default": TEMPLATE, "tool_use": "TOOLS" + OTHER_TEMPLATE}
    return Renderers(Renderer(tokenizer, build_renderer().end_tokens))


def templates(renderer: Renderer) -> Any:
    return renderer.chat_template


async def test_a_base_with_several_templates_gives_all_that_an_adapter_leaves_open(
    two_templates: Renderers, tmp_path: Path
) -> None:
    base = two_templates.base
    base.save(tmp_path / "same")
    assert (tmp_path / "same" / "additional_chat_templates" / "tool_use.jinja").exists()
    assert await two_templates.of([source(tmp_path / "same")]) is base
    mine = write_tokenizer(tmp_path / "tokens", "<|tool|>")
    for name in ("chat_template.jinja", "tokenizer_config.json"):
        (tmp_path / "tokens" / name).unlink()
    found = await two_templates.of([mine])
    assert found is not base
    assert templates(found) == templates(base)


async def test_an_adapters_templates_take_the_place_of_all_of_the_bases(
    two_templates: Renderers, tmp_path: Path
) -> None:
    mine = source(tmp_path)
    (tmp_path / "chat_template.jinja").write_text(OTHER_TEMPLATE)
    assert templates(await two_templates.of([mine])) == OTHER_TEMPLATE
    more = tmp_path / "additional_chat_templates"
    more.mkdir()
    (more / "tool_use.jinja").write_text("MINE" + OTHER_TEMPLATE)
    (more / "notes.txt").write_text("no template")
    assert templates(await two_templates.of([mine])) == {"default": OTHER_TEMPLATE, "tool_use": "MINE" + OTHER_TEMPLATE}
    (more / "tool_use.jinja").unlink()
    (more / "tool_use.jinja").symlink_to("/etc/hostname")
    assert "is a link that leaves" in await refusal(two_templates, mine)
    (more / "tool_use.jinja").unlink()
    for number in range(20):
        (more / f"{number}.jinja").write_text("")
    assert "more than 16 files" in await refusal(two_templates, mine)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EMFILE])
async def test_a_lack_of_room_says_nothing_of_an_adapter_and_may_pass(
    renderers: Renderers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    mine = write_tokenizer(tmp_path, "<|tool|>")

    def lacking(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    for owner, name in ((TokenizerFiles, "write"), (AutoTokenizer, "from_pretrained")):
        with monkeypatch.context() as disk:
            disk.setattr(owner, name, lacking)
            with pytest.raises(ApiError) as caught:
                await renderers.of([mine])
            assert (caught.value.status, caught.value.code) == (503, "disk_full")
    assert "<|tool|>" in (await renderers.of([mine])).tokenizer.get_vocab()
