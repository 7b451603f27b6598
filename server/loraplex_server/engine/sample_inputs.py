"""What the choice of a step's tokens needs to know of each row, as plain arrays: built on the host, without torch."""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from loraplex_server.engine.messages import SamplingParams
from loraplex_server.engine.penalties import Adjustments, adjustments
from loraplex_server.engine.sequence import Sequence
from loraplex_server.engine.token_masks import TokenMasks, allowed_bits, token_masks

# Dividing by less would overflow float32; what is left of the other tokens is nothing anyway.
GREEDY_BELOW = 1e-5


@dataclass(frozen=True)
class SampleInputs:
    """Of the R rows of logits, in their order."""

    temperature: npt.NDArray[np.float32]  # [R]; 0: the likeliest token
    uniform: npt.NDArray[np.float64]  # [R]: the row's one random number, in [0, 1); 0 where it needs none
    top_k: npt.NDArray[np.int32]  # [R]; 0: off
    top_p: npt.NDArray[np.float64]  # [R]; 1: off
    min_p: npt.NDArray[np.float64]  # [R]; 0: off
    vocab: npt.NDArray[np.int32]  # [R]: the first so many logits of the row are its own
    adjustments: Adjustments | None  # None where no row asks for any
    masks: TokenMasks | None  # None where all rows choose from all tokens
    asked: npt.NDArray[np.int64]  # [A]: the rows whose log probability is wanted, ascending
    alternatives: npt.NDArray[np.int64]  # [A]: and how many of the likeliest tokens beside it

    @property
    def rows(self) -> int:
        """R."""
        return len(self.temperature)

    @property
    def columns(self) -> tuple[npt.NDArray[Any], ...]:
        """What the drawing kernel reads of each row, as `loraplex_kernels.ops.sampling.Columns` has it."""
        return (self.temperature, self.uniform, self.top_k, self.top_p, self.min_p, self.vocab)

    @property
    def most_alternatives(self) -> int:
        """Of any row."""
        return int(self.alternatives.max(initial=0))

    @cached_property
    def random(self) -> npt.NDArray[np.bool_]:
        """[R]: not greedy."""
        return self.temperature > 0

    @cached_property
    def filtered(self) -> npt.NDArray[np.bool_]:
        """[R]: random, and not from all tokens."""
        filters: npt.NDArray[np.bool_] = (self.top_k > 0) | (self.top_p < 1) | (self.min_p > 0)
        return self.random & filters

    @cached_property
    def greedy(self) -> bool:
        """Whether each row takes the likeliest token as the model gave it: nothing of this need be on the device."""
        return self.adjustments is None and self.masks is None and not self.random.any()


@dataclass(frozen=True)
class SampleSettings:
    """What of `SampleInputs` stays the same while the same sequences are decoded: read once, and not at each step."""

    sequences: tuple[Sequence, ...]
    logits: int  # of a row
    random: tuple[int, ...]  # rows that need a number
    adjusted: bool  # whether any row may ever ask for an adjustment
    masked: tuple[int, ...]  # rows with a grammar or a list of allowed tokens
    lists: tuple[npt.NDArray[np.uint8] | None, ...]  # of each of these, the mask of its list
    own: tuple[int, ...]  # vocabulary of each row
    arrays: dict[str, npt.NDArray[Any]]  # fields of SampleInputs

    @classmethod
    def of(cls, sequences: Seq[Sequence], logits: int) -> SampleSettings:
        """Read the sequences, which know their vocabularies once their adapters are in memory."""
        sampling = [sequence.sampling for sequence in sequences]
        temperature = _array([each.temperature for each in sampling], np.float32)
        temperature[_array([each.temperature for each in sampling], np.float64) < GREEDY_BELOW] = 0
        own = [sequence.vocab or logits for sequence in sequences]
        asked = [row for row, each in enumerate(sampling) if each.logprobs is not None]
        arrays = {
            "temperature": temperature,
            "top_k": _array([min(each.top_k, vocab) for each, vocab in zip(sampling, own, strict=True)], np.int32),
            "top_p": _array([each.top_p for each in sampling], np.float64),
            "min_p": _array([each.min_p for each in sampling], np.float64),
            "vocab": _array(own, np.int32),
            "asked": _array(asked, np.int64),
            "alternatives": _array([min(sampling[row].logprobs or 0, own[row]) for row in asked], np.int64),
        }
        adjusted = any(
            sequence.reads_output or each.logit_bias or each.bad_words or (each.min_tokens and each.stop_token_ids)
            for sequence, each in zip(sequences, sampling, strict=True)
        )
        random = tuple(np.flatnonzero(temperature).tolist())
        masked, lists = _masked(sampling, logits)
        return cls(tuple(sequences), logits, random, bool(adjusted), masked, lists, tuple(own), arrays)

    def hold_for(self, sequences: Seq[Sequence], logits: int) -> bool:
        """Whether these are the settings of just these rows."""
        return self.logits == logits and self.sequences == tuple(sequences)

    def inputs(self, pending: Seq[int] | None = None) -> SampleInputs:
        """Those of one step, with the one random number of each row that is not greedy; see `sample_inputs`."""
        ahead = pending or [0] * len(self.sequences)
        uniform = np.zeros(len(self.sequences))
        for row in self.random:
            sequence = self.sequences[row]
            uniform[row] = sequence.uniform(sequence.num_output + ahead[row])
        changes = adjustments(self.sequences, self.own, ahead) if self.adjusted else None
        masks = token_masks(self.sequences, self.masked, self.lists, self.logits, ahead) if self.masked else None
        return SampleInputs(uniform=uniform, adjustments=changes, masks=masks, **self.arrays)


def sample_inputs(sequences: Seq[Sequence], vocab: int, pending: Seq[int] | None = None) -> SampleInputs:
    """Read the sequences, and the one random number of each token that is not chosen greedily.

    Args:
        sequences: of each row; one may have several, for consecutive tokens.
        vocab: tokens that a sequence without a vocabulary of its own chooses from.
        pending: of each row, how many tokens come before its own that the sequence does not have yet: they were chosen
            on the device, or are of a draft. They count for `min_tokens`. None where there are none.

    Raises:
        ValueError: a sequence `reads_output` and has pending tokens: wait for them first.
    """
    return SampleSettings.of(sequences, vocab).inputs(pending)


def _masked(
    sampling: Seq[SamplingParams], logits: int
) -> tuple[tuple[int, ...], tuple[npt.NDArray[np.uint8] | None, ...]]:
    """Rows that may not choose all tokens, and the masks of their lists."""
    rows = [row for row, each in enumerate(sampling) if each.grammar is not None or each.allowed_token_ids is not None]
    lists = (sampling[row].allowed_token_ids for row in rows)
    return tuple(rows), tuple(None if each is None else allowed_bits(each, logits) for each in lists)


def _array(values: Seq[Any], dtype: type) -> npt.NDArray[Any]:
    return np.array(values, dtype=dtype)
