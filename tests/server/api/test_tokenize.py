from __future__ import annotations

import asyncio

from support.api import Api


async def test_tokenize_and_detokenize_are_each_others_inverse(api: Api) -> None:
    text = "hello 日本 😀 <|end|>"
    body = (await api.post("/tokenize", {"prompt": text, "return_token_strs": True})).json()
    ids = api.renderer.tokenizer.encode(text).ids
    assert (body["count"], body["max_model_len"], body["tokens"]) == (len(ids), 256, ids)
    assert body["token_strs"] == [api.renderer.vocabulary.text(id) for id in ids]
    assert (await api.post("/detokenize", {"tokens": ids})).json() == {"prompt": text}


async def test_strings_are_left_out_unless_asked_for(api: Api) -> None:
    assert (await api.post("/tokenize", {"prompt": "x", "model": "alpha"})).json()["token_strs"] is None


async def test_messages_are_tokenized_as_the_model_reads_them(api: Api) -> None:
    messages = [{"role": "user", "content": "hi"}]
    body = (await api.post("/tokenize", {"messages": messages})).json()
    await api.chat({"messages": messages})
    assert body["tokens"] == api.engine.requests[0].prompt_token_ids
    shorter = (await api.post("/tokenize", {"messages": messages, "add_generation_prompt": False})).json()
    assert body["tokens"][:-1] == shorter["tokens"]


async def test_nothing_is_zero_tokens(api: Api) -> None:
    assert (await api.post("/tokenize", {"prompt": ""})).json()["tokens"] == []
    assert (await api.post("/detokenize", {"tokens": []})).json() == {"prompt": ""}


async def test_faults_are_named(api: Api) -> None:
    for path, body, status, param in (
        ("/tokenize", {}, 400, "prompt"),
        ("/tokenize", {"prompt": "x", "messages": []}, 400, "prompt"),
        ("/tokenize", {"prompt": ["x"]}, 400, "prompt"),
        ("/tokenize", {"prompt": "x", "model": "nobody"}, 404, "model"),
        ("/detokenize", {"tokens": [512]}, 400, "tokens"),
        ("/detokenize", {"tokens": [-1]}, 400, "tokens"),
        ("/detokenize", {"tokens": "x"}, 400, "tokens"),
    ):
        response = await api.post(path, body)
        assert (response.status_code, response.json()["error"]["param"]) == (status, param), (path, body)


LONG = "hello 日本 <|end|> there " * 5000


async def test_long_texts_have_the_same_tokens_as_short_ones(api: Api) -> None:
    expected = api.renderer.tokenizer.encode(LONG).ids
    body = (await api.post("/tokenize", {"prompt": LONG, "return_token_strs": True})).json()
    assert body["tokens"] == expected
    assert body["token_strs"] == [api.renderer.vocabulary.text(id) for id in expected]
    assert (await api.post("/detokenize", {"tokens": expected})).json() == {"prompt": LONG}


async def test_the_event_loop_turns_while_a_long_text_is_worked_on(api: Api) -> None:
    ids = api.renderer.tokenizer.encode(LONG).ids * 50  # a fast machine, too, takes many turns for each of these
    for work in (
        api.renderer.encode(LONG * 5),
        api.renderer.encode_all(["hello there "] * 50_000),
        api.renderer.decode_all([ids]),
        api.renderer.token_texts(ids),
    ):
        task = asyncio.create_task(work)
        turns = 0
        while not task.done():
            await asyncio.sleep(0.001)
            turns += 1
        await task
        # Whoever holds the interpreter lock throughout leaves a turn or two at the ends.
        assert turns > 10
