"""The `tuning` section of a study: how each arm's settings are chosen."""

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from muonlab.section import Section, Seed
from muonlab.tuning.space import Value

# A larger number is taken for a slip: each trial is a run, and usually several.
MOST_TRIALS = 10_000

Grid = dict[str, list[Value]]


class Range(Section):
    """All values from low to high. If both are written as integers, only integers are tried."""

    low: float | int
    """The smallest value."""
    high: float | int
    """The largest value."""
    log: bool = False
    """Whether values are spread evenly on a logarithmic scale."""
    from_one: bool = False
    """Whether that scale is of the distance from 1, as suits decay rates such as momentum. It needs
    log: true."""

    @model_validator(mode="after")
    def _consistent(self) -> "Range":
        if not -math.inf < self.low < self.high < math.inf:
            raise ValueError(f"low ({self.low}) must be below high ({self.high}), both finite")
        if self.from_one and not (self.log and self.high < 1):
            raise ValueError("from_one needs log: true and a high below 1")
        if self.log and self.low <= 0 and not self.from_one:
            raise ValueError(f"low ({self.low}) must be above 0 if log is true")
        return self


Box = dict[str, Range | list[Value]]


class Tuning(Section):
    """How each arm's settings are chosen before the reporting runs are trained.

    All tuned arms get equally many trials, from their own search spaces or from the study's."""

    seeds: list[Seed] = Field(default=[1001, 1002, 1003], min_length=1)
    """Seeds of the tuning runs. They must not include a reporting seed."""
    method: Literal["grid", "sobol", "zoom", "tpe"] = "grid"
    """How trials are found. grid: every combination of the values in `grid`. sobol: `trials` points
    of `box` from a scrambled Sobol sequence. zoom: `trials` points in `rounds` rounds, the first
    over the whole `box`, each later one over a box of half the width around the arm's best trial,
    which may reach beyond the edges of the first. tpe: `trials` points of `box` that optuna's
    tree-structured Parzen estimator proposes."""
    grid: Grid = Field(default={"lr": [1e-4, 5e-4, 1e-3, 5e-3, 1e-2, 5e-2]}, min_length=1)
    """Values of fields of the optimizer; every combination of them is one trial."""
    box: Box = Field(default={"lr": Range(low=1e-4, high=5e-2, log=True)}, min_length=1)
    """Ranges or lists of values for sobol, zoom and tpe. A field is one of the optimizer's (lr,
    embedding_ratio, adamw.weight_decay …) or training.warmup_steps, training.final_lr_fraction,
    training.clip."""
    trials: int = Field(default=16, ge=1, le=MOST_TRIALS)
    """Number of trials of each arm, for sobol, zoom and tpe."""
    rounds: int = Field(default=2, ge=1, le=8)
    """Number of rounds of zoom."""
    search_seed: Seed = 0
    """Seed from which sobol, zoom and tpe draw their points."""
    batch: Annotated[int, Field(ge=1)] = 4
    """Number of trials that tpe proposes at a time; these can run in parallel."""
    extensions: int = Field(default=1, ge=0, le=10)
    """How many times the search spaces of all arms may be widened, each time if the best trial of
    any arm lies on an edge; for grid, sobol and zoom. All arms then get further trials, equally
    many."""
    score: Literal["final", "minimum"] = "final"
    """The evaluation loss by which trials are ranked: at the end of training, or the lowest
    reached."""

    @model_validator(mode="after")
    def _consistent(self) -> "Tuning":
        check_values(self.grid, "grid")
        check_values(self.box, "box")
        if "grid" in self.model_fields_set and self.method != "grid":
            raise ValueError(
                f"grid is read by the method grid alone, and the method is {self.method}; write "
                "method: grid beside it"
            )
        if self.method == "zoom" and self.trials < self.rounds:
            raise ValueError(f"trials ({self.trials}) must be at least rounds ({self.rounds})")
        return self


def check_values(space: dict, name: str) -> None:
    """Raises ValueError for a list of values that is empty or contains a value twice."""
    for field, values in space.items():
        if isinstance(values, list) and (not values or len(set(map(repr, values))) != len(values)):
            raise ValueError(f"{name}.{field} must be a list of one or more different values")
