"""The bodies of LoRAX's /generate and /generate_stream, as its router and its client have them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from loraplex_server.api.answers.answer import Piece
from loraplex_server.api.answers.detokenizer import Detokenizer
from loraplex_server.api.answers.generation import Generation
from loraplex_server.api.answers.logprobs import LOWEST
from loraplex_server.api.errors import ApiError
from loraplex_server.api.forms.choices_form import INLINE_LOGPROBS
from loraplex_server.api.forms.completion_form import best
from loraplex_server.api.forms.envelopes import lorax_envelope
from loraplex_server.api.forms.event import encode_json, event
from loraplex_server.api.forms.form import Form
from loraplex_server.api.record import RequestRecord
from loraplex_server.api.rendering.renderer import Renderer
from loraplex_server.api.schemas.lorax import LoraxRequest
from loraplex_server.engine.messages import TokenLogprob


class LoraxForm(Form):
    """One answer with the details of its tokens, or an event a token, the last of which has the whole text.

    Args:
        body: the request. generation: the answers' source. renderer: of their tokens. record: of their times.
        base: name of the base model. in_list: the whole answer is the one element of a list, as at the root path.
    """

    prefix = "lorax-"

    def __init__(
        self,
        body: LoraxRequest,
        generation: Generation,
        renderer: Renderer,
        record: RequestRecord,
        base: str,
        *,
        in_list: bool = False,
    ) -> None:
        self._body = body
        self._asked = body.parameters
        self._generation = generation
        self._renderer = renderer
        self._record = record
        self._base = base
        self._in_list = in_list
        self._text: list[str] = []
        self._tokens = 0
        self._reader = self._new_reader()

    def response(self, pieces: list[Piece]) -> bytes:
        """See Form.response."""
        chosen = best(pieces, 1)[0] if len(pieces) > 1 else pieces[0]
        body: dict[str, Any] = {"generated_text": self._full(chosen.text)}
        if self._asked.details or self._asked.decoder_input_details:
            body["details"] = self._details(chosen) | {
                "prompt_tokens": self._generation.prompt_tokens,
                "skipped_tokens": 0,
            }
            if len(pieces) > 1:
                rest = [piece for piece in pieces if piece is not chosen]
                body["details"]["best_of_sequences"] = [
                    {"generated_text": self._full(piece.text)} | self._details(piece) for piece in rest
                ]
        return encode_json([body] if self._in_list else body)

    def events(self, pieces: list[Piece]) -> bytes:
        """See Form.events."""
        return b"".join(event(each) for piece in pieces for each in self._events_of(piece))

    def closing(self) -> bytes:
        """See Form.closing: the last token's event was the end."""
        return b""

    def failure(self, error: ApiError) -> bytes:
        """See Form.failure."""
        return event(lorax_envelope(error))

    def is_large(self, pieces: list[Piece]) -> bool:
        """See Form.is_large."""
        width = (self._asked.return_k_alternatives or 0) + 1
        prompt = self._generation.prompt_tokens if self._asked.decoder_input_details else 0
        return prompt + width * sum(len(piece.logprobs) for piece in pieces) > INLINE_LOGPROBS

    def headers(self) -> dict[str, str]:
        """See Form.headers: of a whole answer, what LoRAX's clients read of its times, in milliseconds."""
        record = self._record
        found = {"x-compute-type": "loraplex", "x-compute-characters": str(len(self._body.inputs))}
        found["x-model-id"] = _for_header(self._base)
        if record.adapters:
            found["x-adapter-id"] = _for_header(",".join(record.adapters))
            found["x-adapter-source"] = self._asked.adapter_source or "local"
        if record.output_tokens is None:
            return found
        prompt, output = record.prompt_tokens or 0, record.output_tokens
        total = time.perf_counter() - record.arrival
        first, queue = record.ttft_s or 0.0, record.queue_s or 0.0
        inference = max(total - queue, 0.0)
        counts = {"prompt": prompt, "generated": output, "skipped": 0, "total": prompt + output}
        times = {
            "compute-time": total,
            "total-time": total,
            "validation-time": 0.0,
            "queue-time": queue,
            "inference-time": inference,
            "time-per-token": inference / max(output, 1),
            "time-to-first-token": max(first - queue, 0.0),
            "time-per-output-token": max(total - first, 0.0) / max(output - 1, 1),
        }
        found |= {f"x-{name}-tokens": str(count) for name, count in counts.items()}
        return found | {f"x-{name}": str(round(1000 * seconds)) for name, seconds in times.items()}

    def _events_of(self, piece: Piece) -> list[dict[str, Any]]:
        self._text.append(piece.text)
        self._tokens += len(piece.token_ids)
        tokens = self._tokens_of(self._reader, piece.logprobs)
        found: list[dict[str, Any]] = [{"token": token, "generated_text": None, "details": None} for token in tokens]
        if piece.finish_reason is not None and not found:
            found.append({"token": self._no_token(), "generated_text": None, "details": None})
        if piece.finish_reason is not None:
            found[-1]["generated_text"] = self._full("".join(self._text))
            if self._asked.details:
                found[-1]["details"] = {
                    "finish_reason": _reason(piece),
                    "prompt_tokens": self._generation.prompt_tokens,
                    "generated_tokens": self._tokens,
                    "seed": self._asked.seed,
                }
        return found

    def _details(self, piece: Piece) -> dict[str, Any]:
        return {
            "finish_reason": _reason(piece),
            "generated_tokens": len(piece.token_ids),
            "seed": self._asked.seed,
            "prefill": self._prefill(piece.index) if self._asked.decoder_input_details else [],
            "tokens": self._tokens_of(self._new_reader(), piece.logprobs),
        }

    def _prefill(self, index: int) -> list[dict[str, Any]]:
        ids = self._generation.answers[index].prompt.token_ids
        logprobs = self._generation.prompt_logprobs(index)
        return [
            {"id": id, "text": self._renderer.vocabulary.text(id), "logprob": None if each is None else each.logprob}
            for id, each in zip(ids, logprobs, strict=True)
        ]

    def _tokens_of(self, reader: Detokenizer, logprobs: Iterable[TokenLogprob]) -> list[dict[str, Any]]:
        return [self._token(reader, each) for each in logprobs]

    def _token(self, reader: Detokenizer, each: TokenLogprob) -> dict[str, Any]:
        token: dict[str, Any] = {
            "id": each.token_id,
            "text": reader.step(each.token_id),
            "logprob": max(each.logprob, LOWEST),
            "special": each.token_id in self._renderer.vocabulary.special,
            "skipped": False,
        }
        if self._asked.return_k_alternatives is not None:
            text = self._renderer.vocabulary.text
            token["alternative_tokens"] = [
                {"id": id, "text": text(id), "logprob": max(logprob, LOWEST)} for id, logprob in each.top
            ]
        return token

    def _no_token(self) -> dict[str, Any]:
        """Of an answer whose time is over: nothing more came, but each event of a stream has a token. Clients add no
        special ones to the text."""
        last = next(iter(self._renderer.end_tokens), 0)
        return {"id": last, "text": "", "logprob": 0.0, "special": True, "skipped": False}

    def _full(self, text: str) -> str:
        return self._body.inputs + text if self._asked.return_full_text else text

    def _new_reader(self) -> Detokenizer:
        prompt = self._generation.answers[0].prompt.token_ids
        return Detokenizer(self._renderer.tokenizer, prompt, skip_special_tokens=False)


def _for_header(name: str) -> str:
    """A name may have letters that a header cannot."""
    return name.encode("ascii", "backslashreplace").decode()


def _reason(piece: Piece) -> str:
    if piece.finish_reason == "stop":
        return "eos_token" if piece.stop_reason is None else "stop_sequence"
    return "length"
