"""LiteLLM under all of its names for such servers: python use_litellm.py URL MODEL PROMPT."""

import asyncio
import json
import sys

import litellm

url, model, prompt = sys.argv[1:]
litellm.telemetry = False
found = {}
for provider, base in (("openai", f"{url}/v1"), ("hosted_vllm", f"{url}/v1"), ("anthropic", url)):
    options = {
        "model": f"{provider}/{model}",
        "api_base": base,
        "api_key": "none",
        "messages": [{"role": "user", "content": prompt}],
        "temperature": 0,
        "max_tokens": 48,
    }
    whole = litellm.completion(**options)
    chunks = list(litellm.completion(**options, stream=True, stream_options={"include_usage": True}))
    later = asyncio.run(litellm.acompletion(**options))
    try:
        litellm.completion(**options | {"model": f"{provider}/no-such-adapter"})
        error = "none"
    except litellm.exceptions.NotFoundError as fault:
        error = type(fault).__name__
    found[provider] = {
        "whole": whole.choices[0].message.content,
        "usage": whole.usage.completion_tokens,
        "stream": "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices),
        "later": later.choices[0].message.content,
        "error": error,
    }
text = litellm.text_completion(
    model=f"text-completion-openai/{model}", api_base=f"{url}/v1", api_key="none", prompt="a", max_tokens=4
)
found["text"] = text.choices[0].text
json.dump(found, sys.stdout)
