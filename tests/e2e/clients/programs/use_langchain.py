"""LangChain's chat model: python use_langchain.py URL MODEL PROMPT."""

import asyncio
import json
import sys

from langchain_openai import ChatOpenAI, OpenAI

url, model, prompt = sys.argv[1:]
options = {"base_url": f"{url}/v1", "api_key": "none", "model": model, "temperature": 0, "max_tokens": 48}
chat = ChatOpenAI(**options, stream_usage=True)
answer = chat.invoke(prompt)
chunks = list(chat.stream(prompt))
whole = chunks[0]
for chunk in chunks[1:]:
    whole += chunk
batch = chat.batch([prompt, prompt])
later = asyncio.run(chat.ainvoke(prompt))
responding = ChatOpenAI(**options, use_responses_api=True)
schema = {
    "title": "Verdict",
    "type": "object",
    "properties": {
        "word": {"type": "string", "maxLength": 8},
        "count": {"type": "integer", "minimum": 0, "maximum": 9},
    },
    "required": ["word", "count"],
    "additionalProperties": False,
}
found = ChatOpenAI(**{**options, "max_tokens": 120}).with_structured_output(schema, method="json_schema").invoke(prompt)
json.dump(
    {
        "invoke": answer.content,
        "stream": whole.content,
        "batch": [each.content for each in batch],
        "ainvoke": later.content,
        "responses": [responding.invoke(prompt).text, "".join(chunk.text for chunk in responding.stream(prompt))],
        "usage": [answer.usage_metadata["output_tokens"], whole.usage_metadata["output_tokens"]],
        "finish": answer.response_metadata["finish_reason"],
        "completion": OpenAI(**options).invoke("a"),
        "structured": found,
    },
    sys.stdout,
)
