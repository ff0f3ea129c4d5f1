"""The config: every section with the types, allowed ranges and defaults of its fields.

`config.schema.json` is generated from these models (`python -m muonlab.plan.schema`), and a test
checks that it is up to date.
"""

import json
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from muonlab.plan.datasets import DataConfig
from muonlab.plan.factors import Factor
from muonlab.plan.measure import Measure
from muonlab.plan.models import MLP, ModelConfig
from muonlab.plan.optimizers import OptimizerConfig
from muonlab.plan.training import Training
from muonlab.section import Name, Section, Seed
from muonlab.tuning.settings import MOST_TRIALS, Box, Grid, Tuning, check_values


class Arm(Section):
    """One side of a comparison: an optimizer with its settings. It either starts from another arm,
    its base, and changes one variable, or it starts from the study's own sections."""

    base: str | None = None
    """The arm that this one starts from; null starts from the study's own sections."""
    optimizer: str | None = None
    """The name of an entry in `optimizers`; null keeps the optimizer of the base."""
    set: dict[str, Any] = Field(default={})
    """The fields that this arm changes, by dotted path: optimizer.momentum, model.width,
    training.batch_size …, or `data`, another entry of the config's `data`. Losses on different data
    are different quantities, so arms are compared with arms that read the same data, in sequences
    of the same length."""
    tune: bool = True
    """Whether the arm is tuned. If false, it takes the settings chosen for its base, except for
    those that it sets itself."""
    multiply: dict[str, Annotated[float, Field(gt=0)]] = Field(default={})
    """Factors by which numbers of the optimizer are multiplied after tuning, by dotted path. For a
    decay rate such as momentum, the distance from 1 is multiplied. optimizer.lr is multiplied for
    the hidden matrices alone; the rates of embedding, head and vectors stay."""
    compound: bool = False
    """Declares that this arm changes more than one variable. Its comparisons are then marked as
    compound."""
    grid: Grid | None = None
    """This arm's own tuning grid. All tuned arms of a study must have equally many trials and
    equally many tuned fields, and all of them or none are tuned over their momentum (AdamW's is
    beta1), unless an arm declares `unequal_search`."""
    box: Box | None = None
    """This arm's own ranges, if the study is tuned over a box (methods sobol, zoom and tpe). An arm
    without a box takes that of its base, if the base has one and the same optimizer, and otherwise
    that of `tuning`. It is not tuned over the fields that it sets itself. The same holds for a
    `grid`."""
    trials: int | None = Field(default=None, ge=1, le=MOST_TRIALS)
    """This arm's own number of trials, for sobol, zoom and tpe; null takes that of `tuning`. It
    needs `unequal_search`."""
    unequal_search: bool = False
    """Declares that this arm is tuned over more or fewer fields, or with more or fewer trials, than
    the others, or with another choice about its momentum."""
    label: str | None = None
    """Name of the arm in figures and tables; null takes the arm's key."""

    @model_validator(mode="after")
    def _consistent(self) -> "Arm":
        check_values(self.grid or {}, "grid")
        check_values(self.box or {}, "box")
        if self.trials is not None and not self.unequal_search:
            raise ValueError("trials needs unequal_search: true")
        return self


class Robustness(Section):
    """Measures how much the loss rises if one chosen setting is changed."""

    arms: list[Name] = Field(min_length=1)
    """The arms whose settings are changed."""
    lr_factors: list[Annotated[float, Field(gt=0)]] = Field(default=[0.25, 0.5, 2.0, 4.0])
    """Factors by which the chosen learning rate of the hidden matrices is multiplied; the rates of
    embedding, head and vectors stay."""
    embedding_factors: list[Annotated[float, Field(gt=0)]] = Field(default=[0.25, 0.5, 2.0, 4.0])
    """Factors by which the chosen learning rate of the embedding alone is multiplied."""
    fields: list[str] = Field(default=["momentum", "weight_decay"])
    """Other fields of the optimizer that are changed by ± `relative`. An arm whose optimizer lacks
    a field skips it."""
    relative: float = Field(default=0.2, gt=0, lt=1)
    """Relative size of the change of those fields."""
    seeds: int = Field(default=3, ge=1)
    """How many of the study's seeds are trained with each change, counted from the first."""


class Sensitivity(Section):
    """Trains every combination of some values of two or more settings of an arm, everything else as
    tuning chose, for maps of the loss and for curves over one setting at a time."""

    arm: Name
    """The arm whose settings are varied."""
    grid: Grid = Field(min_length=1)
    """Values of fields of the optimizer. The values that tuning chose are added. A value of lr is
    the rate of the hidden matrices; the rates of embedding, head and vectors stay."""
    seeds: int = Field(default=2, ge=1)
    """How many of the study's seeds are trained with each combination, counted from the first."""

    @model_validator(mode="after")
    def _consistent(self) -> "Sensitivity":
        check_values(self.grid, "grid")
        return self


class Study(Section):
    """One study: its arms, how each is tuned, and the seeds on which they are compared."""

    title: str = ""
    """Title in figures and in the report; if empty, the study's key is used."""
    protocols: list[Literal["fair", "published"]] = Field(default=["fair"], min_length=1)
    """The protocols to run: `fair` follows this project's rules, `published` repeats what the
    published source did, including its faults."""
    data: str
    """The name of an entry in `data`."""
    model: ModelConfig = MLP()
    """The model that is trained."""
    training: Training = Training()
    optimizers: dict[Name, OptimizerConfig] = Field(min_length=1)
    arms: dict[Name, Arm] = Field(min_length=1)
    tuning: Tuning = Tuning()
    seeds: list[Seed] = Field(min_length=1)
    """Seeds of the reporting runs. Results are made from these seeds only."""
    measure: Measure = Measure()
    robustness: Robustness | None = None
    """Additional runs with one chosen setting changed; null makes no such runs."""
    sensitivity: Sensitivity | None = None
    """Additional runs over a grid of settings around the chosen ones; null makes no such runs."""
    factors: dict[Name, Factor] = Field(default={})
    """What is varied beside the optimizer (size, batch, data …), with two arms compared at each
    level; additional runs, whose gains are compared in one table."""
    published: dict[str, Any] = Field(default={})
    """What the published source did differently: fields of this study that override the others
    under the protocol `published`."""

    @model_validator(mode="after")
    def _consistent(self) -> "Study":
        for field, seeds in (("seeds", self.seeds), ("tuning.seeds", self.tuning.seeds)):
            if len(set(seeds)) != len(seeds):
                raise ValueError(f"{field} must not name a seed twice")
        both = sorted(set(self.seeds) & set(self.tuning.seeds))
        if both:
            shared = ", ".join(map(str, both))
            raise ValueError(f"tuning.seeds and seeds must be disjoint, and both have {shared}")
        return self


# Names that no study may have: those of targets, of rules and of other folders of results.
RESERVED = (
    *("all", "data", "logs", "measure", "profile_overhead", "propose", "report", "runs", "select"),
    *(
        "train",
        "train_run",
        "train_trial",
        "tune",
        "unknown_target",
        "plan",
        "spectra",
        "curvature",
        "quantize",
        "statistics",
    ),
    *("tables", "figures", "claims", "thesis", "package", "latex"),
)
RESERVED_STARTS = (  # of rules
    *("prepare_", "measure_", "tabulate_", "plot_", "write_"),
    *("compile_", "draw_", "compose_", "fill_", "typeset_"),
)


def is_reserved(name: str) -> bool:
    """Whether a study with this name would be confused with a target, a rule or a folder."""
    return name in RESERVED or name.startswith(RESERVED_STARTS)


class Rates(Section):
    """Rates from which `snakemake -n plan` computes what was never run here."""

    cpu_gflops: float = Field(default=20.0, gt=0)
    """Floating-point operations of one core in a second of training, in units of 10⁹."""
    gpu_tflops: float = Field(default=100.0, gt=0)
    """The same of a GPU in bfloat16, in units of 10¹²."""
    gpu_tflops_float32: float = Field(default=20.0, gt=0)
    """The same of a GPU in float32."""


class Config(Section):
    """The whole configuration."""

    name: Name = "mini"
    """Name of this configuration, and of the folder in results/ for everything that it makes.
    Configurations of different sizes need different names, so that the results of both are kept."""
    data: dict[Name, DataConfig] = Field(min_length=1)
    """Data sets, by the names that studies use for them."""
    estimate: Rates = Rates()
    studies: dict[Name, Study] = Field(min_length=1)
    """Studies. The name of a study is also that of its target and of its folder of results."""

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        for name in self.studies:
            if is_reserved(name):
                raise ValueError(
                    f"a study cannot be called {name}, because a target, a rule or a folder has "
                    "that name"
                )
        return self


def json_schema() -> str:
    """The JSON schema of the config, as it stands in config.schema.json."""
    return json.dumps(Config.model_json_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(json_schema(), end="")
