"""Weights that were rounded at an earlier start, kept on the disk: one file a linear."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import time
from pathlib import Path

from loraplex_kernels.linear.forms import WeightForm
from loraplex_kernels.linear.rounders import ROUNDERS
from loraplex_server.models.checkpoint import Checkpoint
from loraplex_server.models.form_file import DamagedFileError, read_form, write_form

logger = logging.getLogger(__name__)

_ABANDONED = 3600  # seconds after which a file that was not finished has no writer any more


class RoundedCache:
    """The rounded linears of one checkpoint in one form.

    `folder / checkpoint / form and version of its rounder / fingerprint of the checkpoint's files / module`: what was
    rounded from other files of the same folder, or by an older rounder, is removed when something new is put there.
    A cache that cannot be used is none, and the log says so once: the model is served all the same.

    Args:
        folder: of all caches; made where it is missing.
        checkpoint: open.
        form: one of `ROUNDERS`.
    """

    def __init__(self, folder: Path, checkpoint: Checkpoint, form: str) -> None:
        path = checkpoint.folder.resolve()
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

    def _prepare(self) -> None:
        """Make room: remove what no start would look for again."""
        if self._prepared:
            return
        self._prepared = True
        self._files.mkdir(parents=True, exist_ok=True)
        for other in self._of_form.parent.glob(f"{self._form}-v*"):
            if other != self._of_form:
                shutil.rmtree(other)
        for other in self._of_form.iterdir():
            if other != self._files:
                shutil.rmtree(other)
        for part in self._files.glob("*.new"):
            if time.time() - part.stat().st_mtime > _ABANDONED:
                part.unlink(missing_ok=True)
