"""The `tuning` section of a study: how each arm's settings are chosen."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from muonlab.section import Section, Seed

Value = float | int | bool | str
Grid = dict[str, list[Value]]


class Range(Section):
    """All values from low to high; of integers where both are written so."""

    low: float | int
    """The smallest value."""
    high: float | int
    """The largest value."""
    log: bool = False
    """Whether values are spread evenly over the logarithm."""

    @model_validator(mode="after")
    def _consistent(self) -> "Range":
        if not self.low < self.high:
            raise ValueError(f"low ({self.low}) must be below high ({self.high})")
        if self.log and self.low <= 0:
            raise ValueError(f"low ({self.low}) must be above 0 where log is true")
        return self


Box = dict[str, Range | list[Value]]


class Tuning(Section):
    """How each arm's settings are chosen before the reporting seeds are run.

    Every arm that is tuned gets as many trials, over its own space or the study's."""

    seeds: list[Seed] = Field(default=[1001, 1002, 1003], min_length=1)
    """Seeds for tuning only; no reporting seed may be among them."""
    method: Literal["grid", "sobol", "tpe"] = "grid"
    """Every combination of `grid`; or `trials` points of `box`: of a scrambled Sobol sequence, or
    proposed by optuna's tree-structured Parzen estimator."""
    grid: Grid = Field(default={"lr": [1e-4, 5e-4, 1e-3, 5e-3, 1e-2, 5e-2]}, min_length=1)
    """Values of the optimizer's fields; every combination is one trial."""
    box: Box = Field(default={"lr": Range(low=1e-4, high=5e-2, log=True)}, min_length=1)
    """Ranges or values of the optimizer's fields, for sobol and tpe."""
    trials: int = Field(default=16, ge=1)
    """Trials of each arm, for sobol and tpe."""
    search_seed: Seed = 0
    """Seed of the search's points."""
    batch: Annotated[int, Field(ge=1)] = 4
    """Trials that tpe proposes at a time, and that can run side by side."""
    extensions: int = Field(default=0, ge=0, le=10)
    """How often the spaces of all arms are widened where the best trial of any lies on an edge, for
    grid and sobol."""
    score: Literal["final", "minimum"] = "final"
    """Evaluation loss that ranks trials: at the end of training, or the lowest reached."""
    loss_tolerance: float = Field(default=0.005, ge=0)
    """Added to the common loss (the worst arm's best minimum) to give the matched-loss target."""

    @model_validator(mode="after")
    def _consistent(self) -> "Tuning":
        check_values(self.grid, "grid")
        check_values(self.box, "box")
        return self


def check_values(space: dict, name: str) -> None:
    """Raises ValueError for a list of values that is empty or has one twice."""
    for field, values in space.items():
        if isinstance(values, list) and (not values or len(set(map(repr, values))) != len(values)):
            raise ValueError(f"{name}.{field} must be a list of one or more different values")
