"""aLoRA: weights that act from the last invocation sequence of the prompt on."""

from __future__ import annotations

from typing import Any

from conformance.case import Case, refused, served
from conformance.cases.lora import lora

CALL = [7, 8, 9]
HEAD, TAIL = [30, 41, 52, 63, 74, 85, 96, 17, 28, 39, 50], [61, 72, 83]
activated = lora(alora_invocation_tokens=CALL)
FAMILIES = ("llama", "gemma3")


def _case(where: str, *prompts: list[int], **options: Any) -> Case:
    return served(
        "LORA",
        f"alora_invocation_tokens {where}",
        options.pop("config", activated),
        families=FAMILIES,
        prompts=prompts,
        generates=True,
        **options,
    )


CASES: tuple[Case, ...] = (
    _case("in the middle of the prompt", HEAD + CALL + TAIL, HEAD[:2] + CALL + HEAD),
    _case("at the start of the prompt", CALL + HEAD),
    _case("at the end of the prompt", HEAD + CALL, HEAD[:5] + CALL),
    _case("twice in the prompt", HEAD[:4] + CALL + HEAD + CALL + TAIL, CALL + CALL + TAIL),
    _case("absent from the prompt", HEAD + TAIL, [7, 8, *TAIL], inert=True),
    _case("across the border of two KV blocks", HEAD[:7] + CALL + HEAD + TAIL, HEAD[:6] + CALL),
    _case("of one token", [*HEAD, 7, *TAIL], [7], config=lora(alora_invocation_tokens=[7])),
    _case("longer than the prompt", CALL[:2], [7], inert=True),
    _case(
        "with use_rslora and ranks by pattern",
        HEAD + CALL + TAIL,
        config=lora(alora_invocation_tokens=CALL, use_rslora=True, rank_pattern={"down_proj": 9}),
    ),
    refused(
        "LORA",
        "alora_invocation_tokens with modules_to_save=['lm_head']",
        lora(alora_invocation_tokens=CALL, modules_to_save=["lm_head"]),
        "alora_invocation_tokens",
        "modules_to_save",
    ),
    _case(
        "with target_modules lm_head",
        HEAD + CALL + TAIL,
        config=lora(alora_invocation_tokens=CALL, target_modules=["q_proj", "down_proj", "lm_head"]),
    ),
)
