"""What each tenant was served, and each adapter within it: virtual counters.

Sheng et al., "Fairness in Serving Large Language Models" (OSDI'24): a counter grows by the cost of each token that is
served, and the least counter is served next. Who comes back from idling is lifted to the least counter of those who
wait, so that idling saves no credit (`engine/lines.py`). Of two who always wait, neither is ever served more than the
other by more than what one admission brings (the paper's theorem 4.4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

# Of one token, as in the paper. Tokens from the prefix cache are not computed, and cost nothing.
PROMPT_COST = 1.0
OUTPUT_COST = 2.0
# Accounts of who is idle are looked through when so many were added.
PRUNE_EVERY = 256


@dataclass(eq=False)
class Account:
    """Of one tenant, or of one adapter within it."""

    weight: float = 1.0
    served: float = 0.0  # cost of the tokens, divided by the weight of their time
    present: int = 0  # sequences that wait or run
    seats: int = 0  # sequences that run
    last: Account | None = None  # of a tenant: the adapter that was the last to have somebody wait

    @property
    def turn(self) -> tuple[float, float]:
        """Less comes first: who was served less, and of equals who holds fewer seats for its weight."""
        return self.served, self.seats / self.weight


class Payers(NamedTuple):
    """Whose counters a sequence moves."""

    tenant: Account
    adapter: Account

    @classmethod
    def unknown(cls) -> Payers:
        """Of a sequence that was not queued yet."""
        return cls(Account(), Account())

    def charge(self, cost: float) -> None:
        """Tokens of this cost were served."""
        for account in self:
            account.served += cost / account.weight

    def sit(self) -> None:
        """The sequence runs now."""
        for account in self:
            account.seats += 1

    def rise(self) -> None:
        """It runs no longer."""
        for account in self:
            account.seats -= 1


class VirtualCounters:
    """The accounts of all who wait or run, and of who is idle and owes something yet."""

    def __init__(self) -> None:
        self._accounts: dict[tuple[str, ...], Account] = {}
        self._present = 0
        self._prune_at = PRUNE_EVERY

    def __len__(self) -> int:
        """Accounts that are kept."""
        return len(self._accounts)

    def enter(self, tenant: str, adapter: str, weight: float) -> Payers:
        """A sequence came. Its tenant has this weight from now on."""
        self._present += 1
        payers = Payers(self._account((tenant,)), self._account((tenant, adapter)))
        payers.tenant.weight = weight
        for account in payers:
            account.present += 1
        return payers

    def leave(self, payers: Payers) -> None:
        """A sequence ended. With the last one all accounts are closed: nobody waited for what was served."""
        self._present -= 1
        for account in payers:
            account.present -= 1
        if not self._present:
            self._accounts.clear()
        elif len(self._accounts) >= self._prune_at:
            self._prune()

    def _account(self, key: tuple[str, ...]) -> Account:
        account = self._accounts.get(key)
        if account is None:
            account = self._accounts[key] = Account()
        return account

    def _prune(self) -> None:
        """Forget who is idle and was served no more than whoever is not: they would be lifted anyway.

        A tenant is held against the other tenants, an adapter against the others of its tenant; it goes when that goes.
        """
        least: dict[tuple[str, ...], float] = {}
        for key, account in self._accounts.items():
            if account.present:
                least[key[:-1]] = min(least.get(key[:-1], account.served), account.served)
        tenants = {
            key
            for key, account in self._accounts.items()
            if len(key) == 1 and (account.present or account.served > least[()])
        }
        self._accounts = {
            key: account
            for key, account in self._accounts.items()
            if key[:1] in tenants and (len(key) == 1 or account.present or account.served > least.get(key[:1], -1.0))
        }
        self._prune_at = len(self._accounts) + PRUNE_EVERY
