"""The forms of the attention kernels that are compiled without a GPU: those of the launch table, and more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from loraplex_kernels.attention.launch import Launch, Table
from loraplex_kernels.variant import Variant

KV_HEADS, GROUP, BLOCK_SIZE = 8, 4, 16  # as in Llama 3 and Qwen 3
FIRST_WITH_FLOAT8 = 89
_POINTERS = {"part_ptr": "*fp32", "sum_ptr": "*fp32", "slot_ptr": "*i64"}
_FLOATS = ("score_scale", "cap", "k_scale", "v_scale")
_CACHES = ("k_cache_ptr", "v_cache_ptr")
_STRIDES = ("q_stride", "k_stride", "v_stride")
_TENSORS = ("out_ptr", "q_ptr", "k_ptr", "v_ptr")


@dataclass(frozen=True)
class Case:
    """One form, whatever the kernel."""

    dtype: str  # Triton's name of the queries' dtype
    head_dim: int
    launch: Launch
    capabilities: tuple[int, ...]
    label: str = ""  # which of a kernel's tables the launch is from
    cache: str = ""  # Triton's name of the cache's, where it is another
    window: bool = False
    softcap: bool = False

    @property
    def name(self) -> str:
        """Unique among the cases."""
        masks = "-window" * self.window + "-softcap" * self.softcap
        return f"{self.label}{self.dtype}{self.cache and '-' + self.cache}-{self.head_dim}{masks}"

    @property
    def sizes(self) -> dict[str, Any]:
        """The constants that every kernel has."""
        return {"KV_HEADS": KV_HEADS, "HEAD_DIM": self.head_dim, "BLOCK_SIZE": BLOCK_SIZE}

    @property
    def attention(self) -> dict[str, Any]:
        """Those of the kernels that attend."""
        return {
            **self.sizes,
            "GROUP": GROUP,
            "WINDOW": self.window,
            "SOFTCAP": self.softcap,
            "BLOCK_D": block_of(self.head_dim),
            "TILE": self.launch.tile,
            "PRECISION": self.launch.precision,
        }

    def variant(self, kernel: Any, constants: Mapping[str, Any], launch: Launch | None = None) -> Variant:
        """The kernel in this form."""
        names = [name for name in kernel.arg_names if name not in constants]
        launch = launch or self.launch
        return Variant(
            name=f"{kernel.fn.__name__.split('_')[0]}-{self.name}",
            kernel=kernel,
            signature={name: self._type(name, kernel) for name in names},
            constants=constants,
            divisible=tuple(name for name in names if name.endswith("_ptr") or name in _STRIDES),
            num_warps=launch.warps,
            num_stages=launch.stages,
            options={"enable_fp_fusion": True},
            capabilities=self.capabilities,
        )

    def _type(self, name: str, kernel: Any) -> str:
        if name in _FLOATS:
            return "fp32"
        cached = _CACHES if "k_cache_ptr" in kernel.arg_names else ("k_ptr", "v_ptr")
        if name in cached:
            return f"*{self.cache or self.dtype}"
        if name in _TENSORS:
            return f"*{self.dtype}"
        return _POINTERS.get(name, "*i32" if name.endswith("_ptr") else "i32")


def block_of(head_dim: int) -> int:
    """A head's elements as a tile holds them: a power of two, and no less than a tensor core multiplies."""
    return max(16, 1 << (head_dim - 1).bit_length())


def cases(table: Table, capabilities: tuple[int, ...] = (80, 90, 100), label: str = "") -> Iterator[Case]:
    """Every row of the table with both masks, which take the most registers, as are a padded head, and float8.

    And without a mask where most models have none.
    """
    with_float8 = tuple(FIRST_WITH_FLOAT8 if capability == 80 else capability for capability in capabilities)
    for (itemsize, head_dim), launch in table.items():
        dtype = "bf16" if itemsize == 2 else "fp32"
        yield Case(dtype, head_dim, launch, capabilities, label, window=True, softcap=True)
        if itemsize == 2:
            yield Case(dtype, head_dim, launch, capabilities, label)
            yield Case(dtype, head_dim, launch, with_float8, label, "fp8e4nv", window=True, softcap=True)
    yield Case("fp16", 128, table[2, 128], capabilities, label)
    yield Case("bf16", 80, table[2, 128], capabilities, label, window=True)
