"""How much of a step the prompts of one tenant may take while others are about."""

from __future__ import annotations

import sys
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from loraplex_server.engine.sequence import Sequence

# Whoever sent something so lately may well send more.
ABOUT_S = 30.0
# Of a step's tokens, what a tenant that sends without pause may have computed of its prompts while others are about.
PARTS = 4


@dataclass
class _Credit:
    tokens: int
    step: int  # when it was so


class Contention:
    """A step is as long as its prompts are, and who comes meanwhile waits for its end.

    So a tenant that sends without pause has its prompts computed in small parts while others are about. What it may
    have grows with each step, up to a whole one; who had nothing here may have a whole one at once: the prompt of one
    who sends now and then is computed in one step, in which the prompts of others take no more than one part.

    With one tenant nothing of this happens.

    Args:
        step_tokens: of the largest step.
        clock: seconds.
    """

    def __init__(self, step_tokens: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = step_tokens
        self._part = max(step_tokens // PARTS, 1)
        self._clock = clock
        self._about: OrderedDict[str, float] = OrderedDict()  # tenants by when they came last
        self._credits: dict[str, _Credit] = {}
        self._step = 0
        self._taken: dict[str, int] = {}  # in this step

    def came(self, sequence: Sequence) -> None:
        """Something of a tenant was queued."""
        tenant = sequence.share.tenant
        self._about[tenant] = self._clock()
        self._about.move_to_end(tenant)
        if sequence.payers.tenant.present == 1:
            self._credits.pop(tenant, None)

    def begin_step(self) -> None:
        """The next step is chosen."""
        self._step += 1
        self._taken.clear()
        if len(self._about) > 1:
            self._forget(self._clock() - ABOUT_S)

    def room(self, tenant: str) -> int:
        """Tokens of its prompts that may be computed in this step, beyond what is; no bound where it is alone."""
        if len(self._about) - (tenant in self._about) <= 0:
            return sys.maxsize
        saved = self._saved(tenant)
        if next(iter(self._taken), tenant) == tenant:
            return saved
        return max(min(saved, self._part - sum(self._taken.values())), 0)

    def take(self, tenant: str, tokens: int) -> None:
        """So many are."""
        self._taken[tenant] = self._taken.get(tenant, 0) + tokens
        if len(self._about) > 1:
            self._credits[tenant] = _Credit(max(self._saved(tenant) - tokens, 0), self._step)

    def _saved(self, tenant: str) -> int:
        credit = self._credits.get(tenant)
        if credit is None:
            return self._most
        return min(self._most, credit.tokens + self._part * (self._step - credit.step))

    def _forget(self, before: float) -> None:
        while self._about:
            tenant, at = next(iter(self._about.items()))
            if at >= before:
                return
            del self._about[tenant]
            self._credits.pop(tenant, None)
