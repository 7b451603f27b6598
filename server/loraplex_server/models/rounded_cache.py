"""Weights that were rounded at an earlier start, kept on the disk: one file a linear."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

from loraplex_kernels.linear.forms import WeightForm
from loraplex_kernels.linear.rounders import ROUNDERS
from loraplex_server.models.checkpoint import Checkpoint
from loraplex_server.models.form_file import DamagedFileError, read_form, write_form

logger = logging.getLogger(__name__)

_ABANDONED = 3600  # seconds after which a file that was not finished has no writer any more
_UNUSED = 7 * 24 * 3600  # seconds after which nobody is thought to start from the same files again


class RoundedCache:
    """The rounded linears of one checkpoint in one form.

    `folder / checkpoint / form and version of its rounder / fingerprint of the checkpoint's files / module`: what was
    rounded from other files of the same folder, of another revision on the hub, or by another rounder, is removed when
    something new is put there and no start has used it for a week. Not sooner: on a volume that several servers share,
    it may be what another one has from its own copy of the same files.
    A cache that cannot be used is none, and the log says so once: the model is served all the same.

    Args:
        folder: of all caches; made where it is missing.
        checkpoint: open.
        form: one of `ROUNDERS`.
    """

    def __init__(self, folder: Path, checkpoint: Checkpoint, form: str) -> None:
        path = checkpoint.folder.resolve()
        if path.parent.name == "snapshots":  # of the hub's cache: models--owner--name/snapshots/revision
            path = path.parent.parent
        name = f"{path.name}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:12]}"
        self._form = form
        self._of_form = folder / name / f"{form}-v{ROUNDERS[form].version}"
        self._files = self._of_form / checkpoint.fingerprint
        self._broken = False
        self._prepared = False
        self.found = 0

    def get(self, module: str) -> WeightForm | None:
        """The rounded weight of a module; None where there is none, or it was damaged."""
        path = self._path(module)
        try:
            form = read_form(path, module)
        except FileNotFoundError:
            return None
        except (DamagedFileError, OSError) as error:
            logger.warning("%s is discarded and made anew: %s", path, error)
            return None
        if not self.found:
            self._mark_used()
        self.found += 1
        return form

    def put(self, module: str, form: WeightForm) -> None:
        """Keep a rounded weight."""
        if self._broken:
            return
        try:
            self._prepare()
            write_form(self._path(module), form, module)
        except OSError as error:
            self._broken = True
            logger.warning("rounded weights are not kept for the next start: %s", error)

    def _path(self, module: str) -> Path:
        return self._files / f"{module}.safetensors"

    def _mark_used(self) -> None:
        with suppress(OSError):  # of a volume that is only read nothing is removed either
            os.utime(self._files)

    def _prepare(self) -> None:
        """Make room: remove what no start would look for again."""
        if self._prepared:
            return
        self._prepared = True
        self._files.mkdir(parents=True, exist_ok=True)
        self._mark_used()
        for other in self._of_form.parent.glob(f"{self._form}-v*/*"):
            if other != self._files and _age(other) > _UNUSED:
                shutil.rmtree(other, ignore_errors=True)  # another process may be at it
        for part in self._files.iterdir():
            if part.suffix != ".safetensors" and _age(part) > _ABANDONED:
                part.unlink(missing_ok=True)


def _age(path: Path) -> float:
    """Seconds since it was last written; 0 where it is gone."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
