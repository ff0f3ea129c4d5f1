"""An optimizer's settings, stated once: in the body of its class.

A module of this package in which a class is marked `@optimizer` is an optimizer that a config can
name, by the module's name. The settings are the class's attributes that have a type from this
module or from `coefficients`, a default, and a sentence below them; those of its base classes are
inherited, and an attribute of type Final is fixed. The class checks its settings by these types.
The plan makes the config's section from them by reading the source, since it must not import torch.
Nothing here needs torch or pydantic; pydantic calls a type's `__get_pydantic_core_schema__`.
"""

import difflib
import inspect
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any, Final, Literal, get_args, get_origin

KEYWORD_ONLY = inspect.Parameter.KEYWORD_ONLY
# What other implementations of Muon call some settings.
OTHER_NAMES = {
    "scale": ("adjust_lr_fn", "adjust_lr"),
    "ns_steps": ("backend_steps", "num_ns_steps"),
    "weight_decay": ("wd",),
}
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
    """Values that the function `accept` returns; it raises ValueError for all others."""

    def __init__(self, accept: Callable[[Any], Any]):
        self.accept = accept

    def check(self, name: str, value: Any) -> None:
        self.accept(value)

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable) -> dict:
        after = {"type": "no-info", "function": self.accept}
        return {"type": "function-after", "function": after, "schema": handler(source)}


def known_spectrum(value: float | str | None) -> float | str | None:
    """The value as it is. Raises ValueError for anything but null, "random" or a power."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value not in (None, "random") and not (number and -2 <= value <= 2):
        raise ValueError(
            f"update_spectrum: must be null, random or a power from -2 to 2, not {value!r}"
        )
    return value


Positive = Annotated[float, Range(gt=0)]
NotNegative = Annotated[float, Range(ge=0)]
Count = Annotated[int, Range(ge=1)]
Beta = Annotated[float, Range(ge=0, lt=1)]
Scale = Literal["match_rms_adamw", "original", "none", "fixed_rms"]
Precision = Literal["auto", "float16", "bfloat16", "float32", "float64"]
Spectrum = Annotated[float | Literal["random"] | None, Where(known_spectrum)]
Component = str  # the plan checks these against the components of the models
Parts = int | list[int] | dict[Literal["columns"], int | list[int]]


def optimizer(cls: type) -> type:
    """Marks an optimizer's class, which gets `settings`: the type and default of each.

    They are removed as attributes, since a parameter group can have another value than the default.
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
    """The given settings, completed by the optimizer's defaults; TypeError for an unknown one."""
    free = [name for name, (kind, _) in cls.settings.items() if kind is not Final]
    refuse_unknown(cls.__name__, given, free)
    return {name: given.get(name, default) for name, (_, default) in cls.settings.items()}


def refuse_unknown(function: str, given: Iterable[str], known: Sequence[str]) -> None:
    """Raises TypeError for an argument that the function does not have, with what it takes."""
    for name in given:
        if name not in known:
            renamed = [
                own for own, others in OTHER_NAMES.items() if name in others and own in known
            ]
            near = renamed or difflib.get_close_matches(name, known, n=1)
            hint = f"the nearest is {near[0]}" if near else f"it takes {', '.join(known)}"
            raise TypeError(f"{function} has no argument {name}; {hint}")


def check(name: str, kind: Any, value: Any) -> None:
    """Raises ValueError for a word that the type does not list, a number out of its range, or a
    fraction where a whole number is needed."""
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
