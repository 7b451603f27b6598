"""A key's limits as clients read them: refusals, and OpenAI's headers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from loraplex_server.api.errors import ApiError, bad_request
from loraplex_server.engine.messages import GenerateRequest
from loraplex_server.tenants.limiter import Account, LimitReachedError, NeverFitsError, Ticket

RATE_LIMITED = "rate_limited"
_WORD = "x-ratelimit"


def limit_reached(error: LimitReachedError) -> ApiError:
    """429: later it may be served."""
    headers = {"retry-after": str(max(1, math.ceil(error.retry_after)))}
    code = "rate_limit_exceeded"
    return ApiError(429, str(error), type="rate_limit_error", code=code, headers=headers, outcome=RATE_LIMITED)


def never_fits(error: NeverFitsError) -> ApiError:
    """400: later it would not be served either."""
    return bad_request(str(error), param="max_tokens", code="tokens_exceed_key_limit")


def reserve(ticket: Ticket, work: Sequence[GenerateRequest], context: int) -> None:
    """Set aside the tokens that a request may use.

    Prompts count once, whatever `n`. An answer counts with its `max_tokens`; where it may fill the rest of the context,
    as a chat's may that names no limit, with an eighth of the key's tokens a minute.

    Args:
        ticket: of the request. work: what the engine will be asked. context: tokens of the model's.

    Raises:
        LimitReachedError, NeverFitsError: it may not be served.
    """
    tokens = open_answers = largest = 0
    for each in work:
        prompt, answer = len(each.prompt_token_ids), each.sampling.max_tokens
        tokens += prompt
        if prompt + answer < context:
            tokens += answer * each.n
        else:
            open_answers += each.n
            largest = max(largest, answer)
    ticket.reserve(tokens, open_answers, largest)


def headers_of(account: Account | None, now: float) -> dict[str, str]:
    """What is left of each limit that the key has, and when it is whole again."""
    headers: dict[str, str] = {}
    if account is None:
        return headers
    for name, bucket in (("requests", account.requests), ("tokens", account.tokens)):
        if bucket is not None:
            headers[f"{_WORD}-limit-{name}"] = str(bucket.capacity)
            headers[f"{_WORD}-remaining-{name}"] = str(max(0, math.floor(bucket.level(now) + 1e-6)))
            headers[f"{_WORD}-reset-{name}"] = _duration(bucket.seconds_to_full(now))
    return headers


def _duration(seconds: float) -> str:
    """As OpenAI writes them: 6m0s, 1.25s, 120ms."""
    milliseconds = math.ceil(seconds * 1000)
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    shown = f"{rest / 1000:g}s"
    return f"{minutes}m{shown}" if minutes else shown
