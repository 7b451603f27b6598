"""The compiled kernels of a step on the CPU, recorded once and called again by one call: no Python between them."""

from loraplex_kernels.tape.arena import Arena
from loraplex_kernels.tape.recorder import NotRecordableError, record
from loraplex_kernels.tape.tape import Tape

__all__ = ["Arena", "NotRecordableError", "Tape", "record"]
