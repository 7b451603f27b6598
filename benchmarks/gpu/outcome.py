"""What came of one way: a time, or why there is none. One that fails ends nothing."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass

import torch

from gpu.clock import Time


class WrongError(ArithmeticError):
    """What was computed is not the formula's: no timing of a wrong op.

    Args:
        off: by how much.
        limit: that was allowed.
        what: was computed.
    """

    def __init__(self, off: float, limit: float, what: str) -> None:
        super().__init__(f"{what} is off by {off:.3g}, over {limit:g}: no timing of a wrong op")
        self.off = off


class DeviceLostError(RuntimeError):
    """After a fault in a kernel a process can do nothing more on its GPU."""


@dataclass(frozen=True)
class Failure:
    """In place of a time."""

    shown: str  # in a table's cell
    reason: str  # all that is known, for the file

    def __str__(self) -> str:
        return self.shown


Outcome = Time | Failure


def attempt(work: Callable[[], Time], device: torch.device) -> Outcome:
    """The time, or the failure.

    Raises:
        DeviceLostError: nothing that follows could succeed.
    """
    try:
        return work()
    except Exception as error:  # whatever it is, the next way may do better
        failure = failed(error)
    lost_if_lost(device, failure)
    return failure


def failed(error: Exception) -> Failure:
    """What to show and to keep of an error."""
    shown = f"wrong: {error.off:.2g}" if isinstance(error, WrongError) else f"failed: {type(error).__name__}"
    return Failure(shown, "".join(traceback.format_exception(error)).strip())


def lost_if_lost(device: torch.device, failure: Failure) -> None:
    """Raises DeviceLostError where the device answers no more."""
    if device.type != "cuda":
        return
    try:
        torch.cuda.synchronize(device)
    except Exception as error:
        raise DeviceLostError(f"the GPU takes no more work: {error}\n\nfirst failure:\n{failure.reason}") from error
