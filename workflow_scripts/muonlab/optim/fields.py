"""Types and ranges of optimizers' settings, without torch and without pydantic.

An optimizer checks its settings by them (`check`), and the config's sections are made of them:
pydantic asks what stands in an annotation for `__get_pydantic_core_schema__`.
"""

import operator
from collections.abc import Callable
from typing import Annotated, Any, Literal, get_args, get_origin

from muonlab.optim.coefficients import ScheduleName, known

SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


class Range:
    """Numbers within `ge`, `gt`, `le`, `lt`; lists within `min_length`, `max_length`."""

    def __init__(self, **limits: float):
        vars(self).update(limits)

    def check(self, name: str, value: Any) -> None:
        for which, limit in vars(self).items():
            if which in SIGNS and not getattr(operator, which)(value, limit):
                raise ValueError(f"{name}: must be {SIGNS[which]} {limit}, not {value!r}")

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable) -> dict:
        return handler(source) | vars(self)


class Where:
    """Values that a function gives back; it raises ValueError for others."""

    def __init__(self, accept: Callable[[Any], Any]):
        self.accept = accept

    def check(self, name: str, value: Any) -> None:
        self.accept(value)

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable) -> dict:
        after = {"type": "no-info", "function": self.accept}
        return {"type": "function-after", "function": after, "schema": handler(source)}


Positive = Annotated[float, Range(gt=0)]
NotNegative = Annotated[float, Range(ge=0)]
Count = Annotated[int, Range(ge=1)]
Beta = Annotated[float, Range(ge=0, lt=1)]
Betas = Annotated[list[Beta], Range(min_length=2, max_length=2)]
Coefficients = Annotated[ScheduleName | list[list[float]], Where(known)]
Scale = Literal["match_rms_adamw", "original", "none", "fixed_rms"]
Precision = Literal["auto", "float16", "bfloat16", "float32", "float64"]
Parts = int | list[int] | dict[Literal["columns"], int | list[int]]
# What the models call their matrices: the perceptron's first, then the transformer's.
Component = Literal[
    "input",
    "hidden",
    "output",
    "embedding",
    "query",
    "key",
    "value",
    "attention_output",
    "up",
    "gate",
    "down",
    "expert_up",
    "expert_gate",
    "expert_down",
    "router",
    "head",
]


def check(name: str, kind: Any, value: Any) -> None:
    """Raises ValueError for a word that is not one of the type's, a number out of its range or a
    fraction where it counts."""
    inner = get_args(kind)
    if get_origin(kind) is Annotated:
        check(name, inner[0], value)
        for limit in inner[1:]:
            limit.check(name, value)
    elif get_origin(kind) is list:
        for item in value:
            check(name, inner[0], item)
    elif get_origin(kind) is Literal and value not in inner:
        raise ValueError(f"{name}: must be one of {', '.join(inner)}, not {value!r}")
    elif kind is int and not isinstance(value, int):
        raise ValueError(f"{name}: must be a whole number, not {value!r}")
