"""The next token of each sequence, chosen where the logits are."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from loraplex_kernels import native
from loraplex_kernels.ops.dispatch import has_triton
from loraplex_kernels.ops.sampling import Columns
from loraplex_kernels.ops.sampling.columns import LARGEST_VOCABULARY
from loraplex_kernels.ops.sampling.native import draw_native
from loraplex_server.engine.logprobs import Scored, score, score_likeliest, score_rows
from loraplex_server.engine.penalties import adjust
from loraplex_server.engine.sample_inputs import SampleInputs, sample_inputs
from loraplex_server.engine.sample_torch import sample_rows
from loraplex_server.engine.sequence import Sequence
from loraplex_server.engine.token_masks import forbid
from loraplex_server.engine.upload import upload


@dataclass(frozen=True)
class Sampled:
    """The choices of R rows, still on the device."""

    coded: Tensor  # int64 [R]: the token; -1 where the row's logits are not finite, and nothing can be chosen
    scored: Scored | None  # of the rows that `SampleInputs.asked` names; None where there are none

    @property
    def next_ids(self) -> Tensor:
        """int64 `[R]`: what the next step may embed; any token where nothing could be chosen."""
        return self.coded.clamp(min=0)


def sample_on_device(logits: Tensor, inputs: SampleInputs) -> Sampled:
    """Choose a token for each row: greedily at temperature 0, otherwise by the sequence's own random number.

    Filters apply in the order temperature, min_p, top_k, top_p, as in vLLM. A row's choice does not depend on the
    other rows: it uses its own uniform number and the inverse cumulative distribution, over just its own vocabulary.
    On a GPU nothing here waits for the device.

    Args:
        logits: float32 `[R, V]`, -inf where a row's own vocabulary has no such token. They are left as they are, except
            that on a CPU masked rows are written to where nobody asks for log probabilities.
        inputs: of the same rows.

    Raises:
        ValueError: the rows are not as many.
    """
    if logits.shape[0] != inputs.rows:
        raise ValueError(f"there are {logits.shape[0]} rows of logits for {inputs.rows} rows of inputs")
    if logits.is_cuda and has_triton():
        return _sample_gpu(logits, inputs)
    adjusted = logits
    if inputs.adjustments is not None:
        adjusted = adjust(logits, upload(inputs.adjustments.arrays(), logits.device))
    if inputs.masks is not None:
        if adjusted is logits and len(inputs.asked):
            adjusted = logits.clone()
        forbid(adjusted, *upload(inputs.masks.arrays(), logits.device))
    coded = _draw(adjusted, inputs)
    return Sampled(coded, _score(logits, coded, inputs) if len(inputs.asked) else None)


def _draw(logits: Tensor, inputs: SampleInputs) -> Tensor:
    """int64 `[R]`, see `Sampled.coded`: on a CPU through the compiled kernel where there is one."""
    kernels = native.library() if logits.is_cpu and logits.dtype == torch.float32 else None
    if kernels is not None and logits.shape[1] <= LARGEST_VOCABULARY:
        return draw_native(kernels, logits.contiguous(), Columns(*map(torch.from_numpy, inputs.columns)))
    coded = torch.empty(inputs.rows, dtype=torch.int64, device=logits.device)
    # Over just the row's own vocabulary: what a row on the base gets does not depend, not in its last bit, on whether
    # an adapter with more tokens is in the step.
    for vocab in np.unique(inputs.vocab).tolist():
        rows = np.flatnonzero(inputs.vocab == vocab)
        if len(rows) == inputs.rows:
            coded = sample_rows(logits[:, :vocab], inputs, rows)
        else:
            coded[torch.from_numpy(rows)] = sample_rows(logits[torch.from_numpy(rows), :vocab], inputs, rows)
    return coded


def _sample_gpu(logits: Tensor, inputs: SampleInputs) -> Sampled:
    """Without a moment at which the host waits: all that the kernels read goes over in one copy.

    The kernels sum a row in an order that does not depend on how many tokens are -inf after its own vocabulary.
    """
    from loraplex_kernels.ops.sampling.triton_argmax import argmax_triton
    from loraplex_kernels.ops.sampling.triton_draw import draw_triton

    if inputs.greedy:
        coded, logsum = argmax_triton(logits, logsum=len(inputs.asked) == inputs.rows)
        if not len(inputs.asked):
            return Sampled(coded, None)
        if len(inputs.asked) == inputs.rows:
            return Sampled(coded, score_likeliest(logits, coded.clamp(min=0), logsum, inputs.most_alternatives))
        (asked,) = upload([inputs.asked], logits.device)
    else:
        lists = [] if inputs.adjustments is None else inputs.adjustments.arrays()
        masks = [] if inputs.masks is None else inputs.masks.arrays()
        asked, *device = upload([inputs.asked, *inputs.columns, *lists, *masks], logits.device)
        columns, device = Columns(*device[: len(inputs.columns)]), device[len(inputs.columns) :]
        adjusted = adjust(logits, device[: len(lists)]) if lists else logits
        if masks:
            adjusted = adjusted if lists else logits.clone()
            forbid(adjusted, *device[len(lists) :])
        coded = draw_triton(adjusted, columns)
        if not len(inputs.asked):
            return Sampled(coded, None)
    tokens = coded.index_select(0, asked).clamp(min=0)
    return Sampled(coded, score_rows(logits, asked, tokens, inputs.most_alternatives))


def sample(logits: Tensor, sequences: Seq[Sequence], pending: Seq[int] | None = None) -> list[int | None]:
    """A token a row, None where the logits are not finite: `sample_on_device`, and its result at once.

    Args:
        logits: float32 `[R, V]`.
        sequences: of each row.
        pending: see `sample_inputs`.
    """
    coded = sample_on_device(logits, sample_inputs(sequences, logits.shape[1], pending)).coded
    return [None if token < 0 else token for token in coded.tolist()]


def _score(logits: Tensor, coded: Tensor, inputs: SampleInputs) -> Scored:
    """Of the rows that ask for it, each over its own vocabulary."""
    asked, most = inputs.asked, inputs.most_alternatives
    own = inputs.vocab[asked]
    rows, wide = torch.from_numpy(asked), min(most, logits.shape[1])
    tokens = coded[rows].clamp(min=0)
    if (own == own[0]).all():
        of_asked = logits if len(asked) == inputs.rows else logits[rows]
        return score(of_asked[:, : int(own[0])], tokens, wide)
    found = Scored(
        tokens,
        torch.empty(len(asked)),
        torch.empty(len(asked), dtype=torch.int64),
        torch.full((len(asked), wide), -1),
        torch.full((len(asked), wide), -torch.inf),
    )
    for vocab in np.unique(own).tolist():
        part = torch.from_numpy(np.flatnonzero(own == vocab))
        of = score(logits[rows[part], :vocab], tokens[part], wide)
        found.chosen[part], found.ranks[part] = of.chosen, of.ranks
        found.top_ids[part, : of.top_ids.shape[1]] = of.top_ids
        found.top_values[part, : of.top_ids.shape[1]] = of.top_values
    return found
