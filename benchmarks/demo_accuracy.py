"""Exact answers of each demo adapter, and of the base, on prompts that no training saw, through a running server.

    loraplex demo &
    python benchmarks/demo_accuracy.py --url http://127.0.0.1:8000

Prints the table of the README.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path
from typing import Any

import httpx

DEMO = Path(__file__).resolve().parents[1] / "examples" / "demo"
AT_ONCE = 32


async def exact(client: httpx.AsyncClient, url: str, model: str, examples: list[dict[str, str]]) -> float:
    """Share of the examples that `model` answers to the letter, greedily."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def right(example: dict[str, str]) -> bool:
        messages = [{"role": "user", "content": example["prompt"]}]
        async with gate:
            body = {"model": model, "messages": messages, "temperature": 0, "max_tokens": 64}
            response = await client.post(f"{url}/v1/chat/completions", json=body)
        response.raise_for_status()
        return bool(response.json()["choices"][0]["message"]["content"] == example["answer"])

    return sum(await asyncio.gather(*map(right, examples))) / len(examples)


async def measure(url: str) -> list[dict[str, Any]]:
    """The manifest's adapters with their accuracy and the base's on the same prompts."""
    rows = []
    async with httpx.AsyncClient(timeout=300) as client:
        for adapter in json.loads((DEMO / "manifest.json").read_text(encoding="utf-8"))["adapters"]:
            lines = (DEMO / adapter["heldout"]["file"]).read_text(encoding="utf-8").splitlines()
            examples = [json.loads(line) for line in lines]
            scores = [await exact(client, url, model, examples) for model in (adapter["name"], "base")]
            rows.append({**adapter, "adapter_exact": scores[0], "base_exact": scores[1]})
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| model | task | what is special | rank | example | exact | base alone |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        example = f"`{row['example']['prompt']}` → `{row['example']['answer']}`"
        ranks = ", ".join(map(str, row["ranks"]))
        scores = f"{row['adapter_exact']:.0%} | {row['base_exact']:.0%}"
        lines.append(f"| `{row['name']}` | {row['task']} | {row['variant']} | {ranks} | {example} | {scores} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    print(table(asyncio.run(measure(parser.parse_args().url))))


if __name__ == "__main__":
    main()
