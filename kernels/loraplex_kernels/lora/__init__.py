"""The batched low-rank update: y += weight * scale * B(A x), for every (row, adapter) entry of a step."""

from loraplex_kernels.adapter_layout import AdapterLayout, Placement, SiteShape, plan
from loraplex_kernels.lora.batch import LoraBatch, Run, build_batch
from loraplex_kernels.lora.naive import add_lora_naive
from loraplex_kernels.lora.op import add_lora
from loraplex_kernels.lora.quantize import quantize_rows
from loraplex_kernels.lora.static_plan import StaticLimits, StaticPlan
from loraplex_kernels.lora.step import LoraStep
from loraplex_kernels.lora.table import AdapterTable
from loraplex_kernels.lora.weights import SiteWeights, site_weights
from loraplex_kernels.site_group import SiteGroup

__all__ = [
    "AdapterLayout",
    "AdapterTable",
    "LoraBatch",
    "LoraStep",
    "Placement",
    "Run",
    "SiteGroup",
    "SiteShape",
    "SiteWeights",
    "StaticLimits",
    "StaticPlan",
    "add_lora",
    "add_lora_naive",
    "build_batch",
    "plan",
    "quantize_rows",
    "site_weights",
]
