"""The tensors of a form, whichever form it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import TypeVar

from torch import Tensor

from loraplex_kernels.linear.forms.form import WeightForm

Form = TypeVar("Form", bound=WeightForm)


def tensors(form: WeightForm) -> dict[str, Tensor]:
    """Its tensors by the names of their fields; those that are None are left out."""
    values = {field.name: getattr(form, field.name) for field in fields(form)}
    return {name: value for name, value in values.items() if isinstance(value, Tensor)}


def with_tensors(form: Form, change: Callable[[Tensor], Tensor]) -> Form:
    """The form with each of its tensors changed, such as moved to a device."""
    return replace(form, **{name: change(value) for name, value in tensors(form).items()})
