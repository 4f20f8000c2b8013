"""`record`: a frozen dataclass whose fields mypy alone keeps from being set again.

For what is made of every request: where Python itself keeps them, each field of each object costs a call, in all a
fifteenth of a POST.
"""

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def record(kind: type[T]) -> type[T]:
    return dataclass(slots=True, kw_only=True, unsafe_hash=True)(kind)
