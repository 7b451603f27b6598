"""Adapters that nobody may serve: each kind of damage is done to a copy of a good one, in a way a seed decides."""

from __future__ import annotations

import json
import os
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loraplex_adapters.fingerprint import CONFIG_FILE, TENSOR_FILE

Damage = Callable[[Path, random.Random], None]

# What each field may not be: null, empty and false often mean "not given".
WRONG_FIELDS: dict[str, list[Any]] = {
    "r": [-1, 0, 2**31, 2**63, 10**400, 1.5, "16", [], {}, True, float("nan")],
    "lora_alpha": ["x", [], {}, True, float("nan"), float("inf"), 10**400],
    "peft_type": [None, "", "LORA ", "lora", 7, [], {}, "NEW_METHOD", "../LORA"],
    "target_modules": [7, {"a": 1}, [1, 2], "(", ["("], [], "", ["nothing"], "../../etc", "[", r"(a+)+\d{9999999}"],
    "use_rslora": ["yes", 1, [], {"a": 1}],
    "use_dora": ["yes", 1, {"a": 1}],
    "rank_pattern": [7, "x", {"q_proj": 0}, {"q_proj": -3}, {"q_proj": "8"}, {"(": 8}, {"q_proj": 2**40}],
    "alpha_pattern": [7, "x", {"q_proj": "a"}, {"q_proj": float("nan")}, {"(": 8}, {"q_proj": 1e300}],
    "layers_to_transform": ["x", [1.5], {"a": 1}, [99]],
    "exclude_modules": [7, {"a": 1}, "(", ".*"],
    "bias": ["some", 7, ["all"], True],
    "init_lora_weights": ["pissa", "new_init", 7, "olora"],
    "modules_to_save": [7, {"a": 1}],  # a name that no module has is nothing to PEFT
    "layer_replication": [[[0, 2], [1, 3]]],
    "target_parameters": [["experts.weight"]],
    "a_key_of_tomorrow": [1, "x", [0], {"a": 1}],
}


def edit_config(folder: Path, **changes: Any) -> None:
    path = folder / CONFIG_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def read_tensors(folder: Path) -> tuple[dict[str, Any], bytes]:
    raw = (folder / TENSOR_FILE).read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def write_tensors(folder: Path, header: object, data: bytes) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    (folder / TENSOR_FILE).write_bytes(struct.pack("<Q", len(text)) + text + data)


def pick(header: dict[str, Any], rng: random.Random) -> str:
    return rng.choice(sorted(name for name in header if name != "__metadata__"))


def wrong_field(folder: Path, rng: random.Random) -> None:
    key = rng.choice(sorted(WRONG_FIELDS))
    edit_config(folder, **{key: rng.choice(WRONG_FIELDS[key])})


def cut_config(folder: Path, rng: random.Random) -> None:
    text = (folder / CONFIG_FILE).read_text().rstrip()
    (folder / CONFIG_FILE).write_text(text[: rng.randrange(len(text))])


def garbage_config(folder: Path, rng: random.Random) -> None:
    (folder / CONFIG_FILE).write_bytes(b"\xff" + rng.randbytes(rng.randrange(1, 4000)))


def not_an_object(folder: Path, rng: random.Random) -> None:
    (folder / CONFIG_FILE).write_text(rng.choice(["[]", "null", '"LORA"', "7", "[" * 100_000, '{"a":' * 50_000]))


def huge_config(folder: Path, rng: random.Random) -> None:
    edit_config(folder, revision="x" * rng.randrange(2 << 20, 4 << 20))


def config_is_a_folder(folder: Path, rng: random.Random) -> None:
    (folder / CONFIG_FILE).unlink()
    (folder / CONFIG_FILE).mkdir()


def tensors_are_no_file(folder: Path, rng: random.Random) -> None:
    path = folder / TENSOR_FILE
    path.unlink()
    kind = rng.choice(["absent", "folder", "pipe", "link out", "link to itself", "pickle"])
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "link out":
        path.symlink_to("/etc/hostname")
    elif kind == "link to itself":
        path.symlink_to(path.name)
    elif kind == "pickle":
        (folder / "adapter_model.bin").write_bytes(b"cos\nsystem\n(S'touch /tmp/owned'\ntR.")


def cut_tensors(folder: Path, rng: random.Random) -> None:
    path = folder / TENSOR_FILE
    raw = path.read_bytes()
    path.write_bytes(raw[: rng.choice([rng.randrange(8), rng.randrange(8, 4000), rng.randrange(len(raw))])])


def longer_tensors(folder: Path, rng: random.Random) -> None:
    with (folder / TENSOR_FILE).open("ab") as file:
        file.write(rng.randbytes(rng.randrange(1, 9000)))


def lying_length(folder: Path, rng: random.Random) -> None:
    path = folder / TENSOR_FILE
    raw = bytearray(path.read_bytes())
    raw[:8] = struct.pack("<Q", rng.choice([0, 1, 2**20, 2**32, 2**63, 2**64 - 1]))
    path.write_bytes(raw)


def garbage_header(folder: Path, rng: random.Random) -> None:
    _, data = read_tensors(folder)
    write_tensors(folder, rng.randbytes(rng.randrange(1, 5000)), data)


def header_bomb(folder: Path, rng: random.Random) -> None:
    header, data = read_tensors(folder)
    header["__metadata__"] = {"x" * 10: "y" * rng.randrange(5 << 20, 9 << 20)}
    write_tensors(folder, header, data)


def deep_header(folder: Path, rng: random.Random) -> None:
    _, data = read_tensors(folder)
    write_tensors(folder, b'{"a":' * rng.randrange(10_000, 90_000), data)


def wrong_offsets(folder: Path, rng: random.Random) -> None:
    header, data = read_tensors(folder)
    entry = header[pick(header, rng)]
    start, end = entry["data_offsets"]
    entry["data_offsets"] = rng.choice(
        [[start + 4, end + 4], [end, start], [0, end], [-4, end], [start, 2**63], [start, end * 2], [start], "x"]
    )
    write_tensors(folder, header, data)


def wrong_shape(folder: Path, rng: random.Random) -> None:
    header, data = read_tensors(folder)
    entry = header[pick(header, rng)]
    shape = entry["shape"]
    entry["shape"] = rng.choice(
        [shape[::-1] if shape[0] != shape[-1] else [*shape, 1], [*shape, 1], [2**40, 2**40], [-1, 4], [0, 0], [], "x"]
    )
    write_tensors(folder, header, data)


def wrong_dtype(folder: Path, rng: random.Random) -> None:
    header, data = read_tensors(folder)
    header[pick(header, rng)]["dtype"] = rng.choice(["I32", "U8", "BOOL", "F99", "f32", 7, None, "F8_E4M3"])
    write_tensors(folder, header, data)


def renamed_tensor(folder: Path, rng: random.Random) -> None:
    header, data = read_tensors(folder)
    name = pick(header, rng)
    renamed = rng.choice(
        [
            name.replace("layers.", "layers.9"),
            name.removeprefix("base_model."),
            name.replace("lora_", "lora_x"),
            "../../../../etc/passwd",
            "base_model.model." + "a" * 70_000,
            name + ".weight",
            "",
            "base_model.model.\u202egpj.lora_A.weight",
        ]
    )
    write_tensors(folder, {renamed if key == name else key: value for key, value in header.items()}, data)


def missing_tensor(folder: Path, rng: random.Random) -> None:
    """The last one, with its bytes, so that the file itself is sound."""
    header, data = read_tensors(folder)
    tensors = {key: value for key, value in header.items() if key != "__metadata__"}
    last = max(tensors, key=lambda name: tensors[name]["data_offsets"])
    data = data[: header.pop(last)["data_offsets"][0]]
    write_tensors(folder, header, data)


def extra_tensor(folder: Path, rng: random.Random) -> None:
    header, data = read_tensors(folder)
    name = rng.choice(["base_model.model.model.norm.lora_A.weight", "extra", "base_model.model.lm_head.lora_C.weight"])
    header[name] = {"dtype": "F32", "shape": [2, 2], "data_offsets": [len(data), len(data) + 16]}
    write_tensors(folder, header, data + bytes(16))


def not_a_number(folder: Path, rng: random.Random) -> None:
    header, data = read_tensors(folder)
    entry = header[pick(header, rng)]
    start, end = entry["data_offsets"]
    bad = {"F32": struct.pack("<f", rng.choice([float("nan"), float("inf"), -float("inf")])), "F16": b"\x00\x7c"}
    value = bad.get(entry["dtype"], b"\x80\x7f")
    at = start + rng.randrange((end - start) // len(value)) * len(value)
    write_tensors(folder, header, data[:at] + value + data[at + len(value) :])


DAMAGES: dict[str, Damage] = {
    damage.__name__: damage
    for damage in (
        *(wrong_field, cut_config, garbage_config, not_an_object, huge_config, config_is_a_folder),
        *(tensors_are_no_file, cut_tensors, longer_tensors, lying_length, garbage_header, header_bomb, deep_header),
        *(wrong_offsets, wrong_shape, wrong_dtype, renamed_tensor, missing_tensor, extra_tensor, not_a_number),
    )
}
