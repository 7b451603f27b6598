"""The two files of an adapter, and a cheap sign of whether they changed."""

from __future__ import annotations

import os

CONFIG_FILE = "adapter_config.json"
TENSOR_FILE = "adapter_model.safetensors"
FILES = (CONFIG_FILE, TENSOR_FILE)
PICKLE_FILE = "adapter_model.bin"


def fingerprint(folder: str) -> str:
    """Inode, size, and times of the last writing and the last change of both files, `-` for one that is not there.

    Two calls around a reading that give the same say that config and tensors belong together and that
    neither was replaced meanwhile. The time of writing alone would not tell: tools that keep times put another version
    of the same size under the same inode.
    """
    return ":".join(_sign(os.path.join(folder, file)) for file in FILES)


def _sign(path: str) -> str:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return "-"
    return f"{found.st_ino:x}.{found.st_size:x}.{found.st_mtime_ns:x}.{found.st_ctime_ns:x}"
