"""The `factors` section of a study: what is varied beside the optimizer, with two arms a level.

A factor has levels, such as three batch sizes. Both arms are trained at each of them with what
tuning chose for them, so that the table of gains can say where the difference between the two grows
and where it vanishes. A new level, size or data set is a line of configuration.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from pydantic import Field, model_validator

from muonlab.plan.tuned_fields import multiplied, put_all
from muonlab.section import Name, Section

if TYPE_CHECKING:
    from muonlab.plan.arms import ResolvedArm

LEVEL_SECTIONS = ("data", "model", "training")


class Level(Section):
    """One level of a factor: what it changes in both arms."""

    set: dict[str, Any] = Field(default={})
    """The fields that this level changes, by dotted path: `data`, or fields of model and training.
    The level that changes nothing is the study as it stands; its runs are the arms' own. Where the
    number of updates changes and the warm-up is not set, the warm-up keeps its share of the run."""
    dose: float | None = Field(default=None, gt=0)
    """How much of the factor this level is, such as a batch size. Levels with a dose have a
    trend."""
    label: str | None = None
    """Name of the level in figures and tables; null takes its key."""


class Factor(Section):
    """What is varied, and at how many levels two arms are compared."""

    label: str = ""
    """Name in figures and tables; if empty, the factor's key is used."""
    arms: list[Name] = Field(min_length=2, max_length=2)
    """The two arms that are trained at each level. Their difference is taken at each level, never
    across levels."""
    levels: dict[Name, Level] = Field(min_length=2)
    """The levels, by name."""
    dose: Literal["given", "parameters"] = "given"
    """What the trend is taken over: the `dose` that levels give, or the number of the model's
    parameters."""
    lr_factors: list[Annotated[float, Field(gt=0)]] = Field(default=[1.0], min_length=1)
    """Factors by which the learning rate of the hidden matrices is multiplied at each level; those
    of embedding, head and vectors stay. With [0.5, 1.0, 2.0], the rate that was tuned at one size
    is bracketed at the others."""
    seeds: int | None = Field(default=None, ge=1)
    """How many of the study's seeds are trained at each level, counted from the first; null takes
    all. Fewer than four give no verdict."""

    @model_validator(mode="after")
    def _consistent(self) -> "Factor":
        if self.arms[0] == self.arms[1]:
            raise ValueError("arms must name two different arms")
        if 1.0 not in self.lr_factors or len(set(self.lr_factors)) < len(self.lr_factors):
            raise ValueError("lr_factors must contain 1.0, and nothing twice")
        return self


class Cell(NamedTuple):
    """An arm at one level of a factor, trained with a multiple of its learning rate.

    `warmup` is the factor by which the warm-up that tuning chose is multiplied.
    """

    factor: str
    level: str
    arm: "ResolvedArm"
    lr_factor: float
    warmup: float
    changed: bool

    @property
    def is_own(self) -> bool:
        """Whether the cell's runs are the arm's own, since nothing is changed."""
        return not self.changed and self.lr_factor == 1.0

    def sections(self, chosen: Mapping[str, Any]) -> dict:
        """The sections of the cell's runs, given what tuning chose for the arm."""
        training = self.arm.training(dict(chosen))
        if self.warmup != 1.0 and training["warmup_steps"]:
            scaled = max(1, round(training["warmup_steps"] * self.warmup))
            training = training | {"warmup_steps": scaled}
        optimizer = self.arm.optimizer(dict(chosen))
        if self.lr_factor != 1.0:
            optimizer = multiplied(optimizer, "lr", self.lr_factor)
        return {
            "data": self.arm.settings["data"],
            "model": self.arm.settings["model"],
            "training": training,
            "optimizer": optimizer,
        }


def _at(put, level: str, settings: dict, field: str, value: object) -> dict:
    return put(settings, field, value, level)


def cells_of(name: str, factor: Factor, arms: Mapping[str, "ResolvedArm"], put) -> list[Cell]:
    """The cells of a factor. `put(settings, field, value, level)` gives an arm's settings with one
    field changed, and refuses what is wrong."""
    found = []
    for level, own in factor.levels.items():
        for arm in map(arms.__getitem__, factor.arms):
            settings = put_all(arm.settings, own.set, partial(_at, put, level))
            fixed = arm.fixed | {field for field in own.set if field.startswith("training.")}
            at_level = replace(arm, settings=settings, fixed=fixed)
            warmup = _warmup(arm.settings["training"], settings["training"], own.set)
            found += [
                Cell(name, level, at_level, factor_of_lr, warmup, settings != arm.settings)
                for factor_of_lr in factor.lr_factors
            ]
    return found


def _warmup(before: Mapping, after: Mapping, changed: Mapping) -> float:
    """The factor on the warm-up that keeps its share of a run of another length."""
    if "training.warmup_steps" in changed:
        return 1.0
    unit = "steps" if before["steps"] and after["steps"] else "epochs"
    return after[unit] / before[unit]
