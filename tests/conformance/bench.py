"""One base model with the real engine on it and PEFT beside it, shared by all cases of a family."""

from __future__ import annotations

import copy
import itertools
import random
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import LoraConfig
from support.engines import Output, make_engine, request, run
from transformers import AutoModelForCausalLM, PreTrainedModel

from conformance.case import Case
from conformance.compare import difference, effect, farthest, of_prompt
from conformance.families import VOCAB, Family
from conformance.oracle import CLOSE, load, prepared, score
from conformance.rounding import round_as_served
from conformance.write import scatter, trained, write
from loraplex_server.engine.messages import GenerateRequest

# One token, of two blocks but for a token, and of more than the step's budget of tokens.
LENGTHS = (1, 15, 29)
ANSWER = 5
PLAIN, BASE, SAME = "plain", "base", "same"


@dataclass(frozen=True)
class Comparison:
    """Ours against PEFT's."""

    difference: float  # of a log probability
    effect: float  # how far PEFT's adapter moves the base's, at most


class Bench:
    """Write adapters, run them, compare.

    Args:
        family: the base model to make.
        root: an empty folder.
    """

    def __init__(self, family: Family, root: Path) -> None:
        self.family = family
        self.adapters = root / "adapters"
        self.folder = _write_base(family, root / "base")
        self.core = make_engine(self.folder, threads=1, max_num_batched_tokens=24, max_num_seqs=8, **family.options)
        # Eager attention is the one that spells out Gemma's soft caps.
        self.model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            self.folder, dtype=torch.float32, attn_implementation="eager"
        ).eval()
        if "quantization" in family.options:
            round_as_served(self.model, self.core.runner.model)
        config = LoraConfig(r=5, target_modules=family.some, task_type="CAUSAL_LM")
        trained(copy.deepcopy(self.model), config).save_pretrained(self.adapters / PLAIN)
        self._alone = {name: self._run([self._beside(name)])[name] for name in (PLAIN, BASE)}

    def close(self) -> None:
        """End the engine's threads."""
        self.core.store.close()

    def write(self, case: Case) -> Path:
        """The case's folder, by PEFT."""
        folder = self.adapters / case.id
        write(case, self.family, self.model, folder)
        return folder

    def refusal(self, case: Case) -> str:
        """What the engine answers to a request for the adapter; the requests beside it are served as ever."""
        found = self._run([request("it", self._prompts(case)[0], [case.id], root=self.adapters), *self._company()])
        self._check_company(found)
        failure = found["it"].failure
        if failure is None:
            raise AssertionError(f"{case.id} was served")
        return failure.message

    def compare(self, case: Case) -> Comparison:
        """All prompts at once beside requests of others, then again from the prefix cache."""
        peft = load(case, self.model, self.adapters / case.id)
        prompts = dict(enumerate(self._prompts(case)))
        base = prepared(case, self.model)
        moved = max(effect(case, peft, base, prompt) for prompt in prompts.values())
        first = [self._request(case, str(i), prompt, prompt_logprobs=0) for i, prompt in prompts.items()]
        # The base is asked the same, so that a block in the prefix cache that is not the base's own would show.
        same = self._same(prompts[len(prompts) - 1])
        found = self._run([*same, *first, *self._company()])
        self._check_company(found)
        again = self._run([*(self._request(case, str(i), prompt) for i, prompt in prompts.items()), *same])
        self._check_same(same, found, again)
        differences = [difference(case, peft, prompt, found[str(i)], again[str(i)]) for i, prompt in prompts.items()]
        return Comparison(self._summary(differences), moved)

    def drift(self, case: Case) -> float:
        """How far we are from PEFT in float32 where nothing is exact: the mean over the tokens of the prompts."""
        peft = load(case, self.model, self.adapters / case.id)
        prompts = dict(enumerate(self._prompts(case)))
        found = self._run([self._request(case, str(i), prompt, prompt_logprobs=0) for i, prompt in prompts.items()])
        far = [
            abs(ours - theirs)
            for i, prompt in prompts.items()
            for ours, theirs in zip(
                of_prompt(found[str(i)]), score(peft, prompt, case.task).chosen.tolist(), strict=True
            )
        ]
        return statistics.fmean(far)

    @property
    def _exact(self) -> bool:
        return not self.family.options

    def _summary(self, differences: Sequence[float]) -> float:
        """The largest; on an int8 base the median.

        Where our sums and torch's differ in their last bit, an activation may be rounded to another int8, and from
        there on the prompt's log probabilities differ in their second digit. That is rare, but not never.
        """
        return max(differences) if self._exact else statistics.median(differences)

    def _prompts(self, case: Case) -> Sequence[Sequence[int]]:
        if case.prompts is not None:
            return case.prompts
        source = random.Random(case.title)
        lengths = LENGTHS if self._exact else LENGTHS[:2] * 4
        prompts = [source.choices(range(3, VOCAB), k=length) for length in lengths]
        for prompt in prompts[1:]:
            # Tokens that cases train, each more than once.
            for token in (5, 3, 9, *range(VOCAB, case.vocab or VOCAB)):
                prompt[source.randrange(len(prompt))] = token
        return prompts

    def _request(self, case: Case, name: str, prompt: Sequence[int], **sampling: int) -> GenerateRequest:
        return request(name, prompt, [case.id], root=self.adapters, max_tokens=ANSWER, **sampling)

    def _beside(self, name: str) -> GenerateRequest:
        prompt = random.Random(name).choices(range(3, VOCAB), k=19)
        return request(name, prompt, [PLAIN] if name == PLAIN else [], root=self.adapters, max_tokens=ANSWER)

    def _same(self, prompt: Sequence[int]) -> list[GenerateRequest]:
        """The base asked the same, where it knows all the tokens and answers the same in every batch."""
        return [request(SAME, prompt, max_tokens=ANSWER)] if max(prompt) < VOCAB and self._exact else []

    def _check_same(self, same: Sequence[GenerateRequest], *outputs: Mapping[str, Output]) -> None:
        for each, found in itertools.product(same, outputs):
            expected = score(self.model, [*each.prompt_token_ids, *found[SAME].tokens]).chosen.tolist()
            assert farthest(found[SAME].logprobs, expected[-ANSWER:]) < CLOSE, "the base's answer changed"

    def _company(self) -> list[GenerateRequest]:
        return [self._beside(PLAIN), self._beside(BASE)]

    def _check_company(self, found: Mapping[str, Output]) -> None:
        for name, alone in self._alone.items():
            assert found[name].failure is None
            if self._exact:
                assert found[name].tokens == alone.tokens, f"the answer of '{name}' changed"
                assert farthest(found[name].logprobs, alone.logprobs) < CLOSE, f"the answer of '{name}' changed"

    def _run(self, requests: Sequence[GenerateRequest]) -> dict[str, Output]:
        return {name: output for (name, _), output in run(self.core, requests).items()}


def _write_base(family: Family, folder: Path) -> Path:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(family.config, dtype=torch.float32)
    # Norms of one and biases of zero would hide whatever is done to them.
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(parameter.dim() == 1 or name.endswith("bias"))
    scatter(model, 0.2)
    model.save_pretrained(folder)
    return folder
