"""An optimizer's settings, stated once: in the body of its class.

A module of this room is an optimizer that a config can name, by the module's name, where a class is
marked `@optimizer`. Its settings are its attributes with a type that this module or `coefficients`
names, a default and a sentence below, beside those of its bases; what has the type Final is fixed.
The class checks its settings by these types, and the plan makes the config's section of them: it
reads the source, since it must not import torch. Nothing here needs torch or pydantic; pydantic
asks what stands in a type for `__get_pydantic_core_schema__`.
"""

import inspect
import operator
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal, get_args, get_origin

KEYWORD_ONLY = inspect.Parameter.KEYWORD_ONLY
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
Scale = Literal["match_rms_adamw", "original", "none", "fixed_rms"]
Precision = Literal["auto", "float16", "bfloat16", "float32", "float64"]
Component = str  # the plan knows the models' names for them
Parts = int | list[int] | dict[Literal["columns"], int | list[int]]


def optimizer(cls: type) -> type:
    """Marks an optimizer's class, which gets `settings`: the type and default of each.

    They are no attributes any more: a parameter group can have another value than the default.
    """
    cls.settings = dict(getattr(cls, "settings", {}))
    for name, kind in inspect.get_annotations(cls).items():
        cls.settings[name] = kind, vars(cls)[name]
        delattr(cls, name)
    # What help() shows in place of **settings.
    given = list(inspect.signature(cls.__init__).parameters.values())[1:-1]
    free = {n: default for n, (kind, default) in cls.settings.items() if kind is not Final}
    named = [inspect.Parameter(n, KEYWORD_ONLY, default=d) for n, d in free.items()]
    cls.__signature__ = inspect.Signature(given + named)
    return cls


def complete(cls: type, given: dict) -> dict:
    """The settings that are given and the optimizer's defaults; TypeError for an unknown one."""
    for name in given:
        if cls.settings.get(name, [Final])[0] is Final:
            raise TypeError(f"{cls.__name__} has no argument {name}")
    return {name: given.get(name, default) for name, (_, default) in cls.settings.items()}


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
