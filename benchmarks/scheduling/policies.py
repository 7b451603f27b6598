"""Ways to fill a step, the served one among them; each is the served scheduler with one decision changed."""

from __future__ import annotations

from collections.abc import Callable

from loraplex_server.engine.block_pool import BlockPool
from loraplex_server.engine.scheduler import Scheduled, Scheduler

BLOCK = 16


class PrefillFirst(Scheduler):
    """A step is all prompts or all decoding: while a prompt is to be computed and fits, nobody decodes."""

    _decodes = True

    def schedule(self) -> list[Scheduled]:
        """See `Scheduler.schedule`."""
        self._decodes = False
        plan = super().schedule()
        self._decodes = True
        return plan or super().schedule()

    def _decode(self) -> None:
        if self._decodes:
            super()._decode()


class HalfBeside(Scheduler):
    """Running sequences come first; a step is half as large while somebody decodes, whose next token waits for it."""

    def schedule(self) -> list[Scheduled]:
        """See `Scheduler.schedule`."""
        most = self.max_num_batched_tokens
        if any(sequence.prompt_computed for sequence in self.running):
            self.max_num_batched_tokens = max(most // 2, self.max_num_seqs)
        plan = super().schedule()
        self.max_num_batched_tokens = most
        return plan


class WholePrompts(Scheduler):
    """Running sequences come first, but a prompt is computed in one step, however long that takes."""

    def _prefill(self, preempted_before: int) -> None:
        head, most = self.waiting.head(), self.max_num_batched_tokens
        if head is not None and len(self._plan) < most:
            self.max_num_batched_tokens = max(most, len(self._plan) + len(head.tokens))
        super()._prefill(preempted_before)
        self.max_num_batched_tokens = most


Make = Callable[[int, int, int], Scheduler]


def maker(kind: type[Scheduler], *, caching: bool = False) -> Make:
    """Makes schedulers of a kind from blocks, sequences at once and tokens a step."""

    def make(blocks: int, sequences: int, tokens: int) -> Scheduler:
        pool = BlockPool(blocks, caching=caching)
        return kind(pool, block_size=BLOCK, max_num_seqs=sequences, max_num_batched_tokens=tokens)

    return make


POLICIES: dict[str, Make] = {
    "running first, chunks": maker(Scheduler),
    "the same, prefix cache": maker(Scheduler, caching=True),
    "the same, half beside decoding": maker(HalfBeside),
    "prompts first": maker(PrefillFirst),
    "running first, whole prompts": maker(WholePrompts),
}
