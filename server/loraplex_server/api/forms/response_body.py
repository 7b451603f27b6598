"""The body of a response: https://platform.openai.com/docs/api-reference/responses/object."""

from __future__ import annotations

import time
from typing import Any

from loraplex_server.api.answers.blocks import Block, TextBlock
from loraplex_server.api.answers.generation import Generation
from loraplex_server.api.errors import ApiError
from loraplex_server.api.schemas.responses import ResponseRequest


class ResponseBody:
    """Args: id: of the response. model: that answers. request: whose settings it repeats. stored: whether it is."""

    def __init__(self, id: str, model: str, request: ResponseRequest, *, stored: bool) -> None:
        self._id = id
        self._repeated: dict[str, Any] = {
            "id": id,
            "object": "response",
            "created_at": int(time.time()),
            "model": model,
            "background": False,
            "conversation": None,
            "instructions": request.instructions,
            "max_output_tokens": request.max_output_tokens,
            "max_tool_calls": request.max_tool_calls,
            "metadata": request.metadata,
            "parallel_tool_calls": request.parallel_tool_calls,
            "previous_response_id": request.previous_response_id,
            "prompt": None,
            "prompt_cache_key": request.prompt_cache_key,
            "prompt_cache_retention": request.prompt_cache_retention,
            "reasoning": {"effort": None, "summary": None},
            "safety_identifier": request.safety_identifier,
            "service_tier": "default",
            "store": stored,
            "temperature": request.temperature,
            "text": {
                "format": request.text.format.model_dump(by_alias=True, exclude_none=True),
                "verbosity": request.text.verbosity,
            },
            "tool_choice": _choice(request),
            "tools": [tool.model_dump() for tool in request.tools],
            "top_logprobs": request.top_logprobs,
            "top_p": request.top_p,
            "truncation": request.truncation,
            "user": request.user,
        }

    def begun(self) -> dict[str, Any]:
        """Before anything was answered."""
        return self._whole("in_progress", [], None)

    def ended(self, blocks: list[Block], generation: Generation, *, cut: str | None) -> dict[str, Any]:
        """With all that was answered.

        Args:
            cut: which limit ended the answer, if one did.
        """
        statuses = [self.status(blocks, index, cut=cut is not None) for index in range(len(blocks))]
        output = [self.item(index, block, statuses[index]) for index, block in enumerate(blocks)]
        usage = _usage(generation)
        if cut is not None:
            return self._whole("incomplete", output, usage) | {"incomplete_details": {"reason": cut}}
        return self._whole("completed", output, usage) | {"completed_at": int(time.time())}

    def failed(self, error: ApiError) -> dict[str, Any]:
        """Of an answer that an error ended."""
        code = "rate_limit_exceeded" if error.status == 429 else "server_error"
        return self._whole("failed", [], None) | {"error": {"code": code, "message": error.message}}

    def status(self, blocks: list[Block], index: int, *, cut: bool) -> str:
        """Of an item: only the last one of an answer that was cut is not complete."""
        return "incomplete" if cut and index == len(blocks) - 1 else "completed"

    def item_id(self, index: int, block: Block) -> str:
        """Of a block's item."""
        prefix = "msg_" if isinstance(block, TextBlock) else "fc_"
        return f"{prefix}{self._id.removeprefix('resp_')}_{index}"

    def item(self, index: int, block: Block, status: str) -> dict[str, Any]:
        """A block as an item of the output; one in progress shows nothing of its content yet."""
        head = {"id": self.item_id(index, block), "status": status}
        begun = status == "in_progress"
        if isinstance(block, TextBlock):
            return {**head, "type": "message", "role": "assistant", "content": [] if begun else [self.part(block)]}
        arguments = "" if begun else block.arguments
        return {
            **head,
            "type": "function_call",
            "call_id": block.id,
            "name": block.name,
            "arguments": arguments,
        }

    def part(self, block: TextBlock) -> dict[str, Any]:
        """The one part of a message."""
        return {
            "type": "output_text",
            "text": block.text,
            "annotations": [],
            "logprobs": block.logprobs,
        }

    def _whole(self, status: str, output: list[dict[str, Any]], usage: dict[str, Any] | None) -> dict[str, Any]:
        return {
            **self._repeated,
            "status": status,
            "completed_at": None,
            "error": None,
            "incomplete_details": None,
            "output": output,
            "usage": usage,
        }


def _choice(request: ResponseRequest) -> Any:
    choice = request.tool_choice
    return choice if isinstance(choice, str) else choice.model_dump()


def _usage(generation: Generation) -> dict[str, Any]:
    read, written = generation.prompt_tokens, generation.output_tokens
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": generation.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": read + written,
    }
