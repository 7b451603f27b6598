"""Host wrappers run on a card that is not there, and what they launch is noted instead of being run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import torch
from torch.overrides import TorchFunctionMode
from triton.runtime.jit import JITFunction

from launches.variant import Variant

DEVICE = torch.device("cuda", 0)
_NAMES = {
    torch.float64: "fp64",
    torch.float32: "fp32",
    torch.bfloat16: "bf16",
    torch.float16: "fp16",
    torch.float8_e4m3fn: "fp8e4nv",
    torch.int64: "i64",
    torch.int32: "i32",
    torch.int16: "i16",
    torch.int8: "i8",
    torch.uint8: "u8",
}
_OPTIONS = ("num_warps", "num_stages")


class _Absent(TorchFunctionMode):
    """A GPU without memory: tensors asked for there are torch's meta ones, and say that they are there."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        attribute = getattr(func, "__self__", None)
        tensor = args[0] if args and isinstance(args[0], torch.Tensor) and args[0].is_meta else None
        if tensor is not None and attribute is torch.Tensor.device:
            return DEVICE
        if tensor is not None and attribute is torch.Tensor.is_cuda:
            return True
        kwargs = dict(kwargs or {})
        device = kwargs.get("device")
        if device is not None and torch.device(device).type == "cuda":
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def recorded(launch: Callable[[], None], name: str, capability: int) -> list[Variant]:
    """The launches of a call of host wrappers, as a card of this capability would see them.

    Args:
        launch: makes its tensors on `DEVICE`.
        name: for the variants.
        capability: 80 for sm_80.
    """
    found: list[Variant] = []

    def run(kernel: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> None:
        found.append(_described(kernel, args, kwargs, name, capability))

    major_minor = divmod(capability, 10)
    with (
        patch.object(JITFunction, "run", run),
        patch.object(torch.cuda, "get_device_capability", lambda device=None: major_minor),
    ):
        _forget()
        with _Absent():
            launch()
    _forget()
    return found


def _forget() -> None:
    """What the wrappers have remembered of another card."""
    from loraplex_kernels.attention import launch
    from loraplex_kernels.linear import packed_linear
    from loraplex_kernels.lora import triton_plan

    for known in (launch._large, packed_linear.joins, triton_plan.group_tensor):
        known.cache_clear()


def _described(kernel: Any, args: Any, kwargs: dict[str, Any], name: str, capability: int) -> Variant:
    """As Triton's own binder tells types, constants and multiples of 16."""
    given = {**dict(zip(kernel.arg_names, args, strict=False)), **kwargs}
    signature, constants, divisible = {}, {}, []
    for parameter in kernel.params:
        value = given.pop(parameter.name)
        if parameter.is_constexpr or value is None:
            constants[parameter.name] = value
        elif isinstance(value, torch.Tensor):
            signature[parameter.name] = f"*{_NAMES[value.dtype]}"
            if value.storage_offset() * value.itemsize % 16 == 0:  # torch's own memory begins on more than 16 bytes
                divisible.append(parameter.name)
        elif isinstance(value, float):
            signature[parameter.name] = "fp32"
        elif value == 1 and not parameter.do_not_specialize:
            constants[parameter.name] = 1
        else:
            signature[parameter.name] = "i32" if -(2**31) <= value < 2**31 else "i64"
            if value % 16 == 0 and not parameter.do_not_specialize:
                divisible.append(parameter.name)
    return Variant(
        name=name,
        module=kernel.fn.__module__,
        function=kernel.fn.__name__,
        capability=capability,
        signature=signature,
        constants=constants,
        divisible=tuple(divisible),
        **{option: given.pop(option) for option in _OPTIONS if option in given},
        options={"enable_fp_fusion": True, **given},
    )
