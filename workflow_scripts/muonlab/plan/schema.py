"""The config: every section, its types, its ranges and its defaults.

`config.schema.json` is generated from these models (`python -m muonlab.plan.schema`), and a test
holds the two together. Nothing here knows how a run is made.
"""

import json
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from muonlab.plan.datasets import DataConfig
from muonlab.plan.measure import Measure
from muonlab.plan.models import MLP, ModelConfig
from muonlab.plan.optimizers import OptimizerConfig
from muonlab.plan.training import Training
from muonlab.section import Name, Section, Seed
from muonlab.tuning.settings import Box, Grid, Tuning, check_values


class Arm(Section):
    """One side of the comparison: another arm with one thing changed, or the study's base."""

    base: str | None = None
    """Arm that this one starts from; null for an arm that stands on the study's own sections."""
    optimizer: str | None = None
    """Name in `optimizers`; null keeps the base's."""
    set: dict[str, Any] = Field(default={})
    """Fields changed, by dotted path: optimizer.momentum, model.width, training.batch_size …"""
    tune: bool = True
    """Whether the arm is tuned; false takes its base's choice, but for what the arm itself sets."""
    multiply: dict[str, Annotated[float, Field(gt=0)]] = Field(default={})
    """Factors on numbers of the optimizer, by dotted path, after tuning; of a rate of decay such as
    momentum, the distance from 1 is multiplied."""
    compound: bool = False
    """Declares that this arm changes more than one variable; its contrasts are marked so."""
    grid: Grid | None = None
    """This arm's own tuning grid; it must have as many trials as the study's."""
    box: Box | None = None
    """This arm's own ranges, where the study is tuned over a box."""
    label: str | None = None
    """Name in figures and tables; null takes the arm's key."""

    @model_validator(mode="after")
    def _consistent(self) -> "Arm":
        check_values(self.grid or {}, "grid")
        check_values(self.box or {}, "box")
        return self


class Robustness(Section):
    """What changing one chosen setting costs."""

    arms: list[Name] = Field(min_length=1)
    """Arms whose settings are changed."""
    lr_factors: list[Annotated[float, Field(gt=0)]] = Field(default=[0.25, 0.5, 2.0, 4.0])
    """Factors on the chosen learning rate."""
    fields: list[str] = Field(default=["momentum", "weight_decay"])
    """Other fields of the optimizers, each changed by ± `relative` where an arm has it."""
    relative: float = Field(default=0.2, gt=0, lt=1)
    """Relative change of those fields."""
    seeds: int = Field(default=3, ge=1)
    """How many of the study's seeds are trained with each change, from the first."""


class Study(Section):
    """Arms, how each is tuned, and the seeds on which they are reported."""

    title: str = ""
    """Title in figures and in the report; empty takes the study's key."""
    protocols: list[Literal["fair", "published"]] = Field(default=["fair"], min_length=1)
    """Protocols to run: `fair`, and `published` with the source's faults switched on."""
    data: str
    """Name in `data`."""
    model: ModelConfig = MLP()
    """What is trained."""
    training: Training = Training()
    optimizers: dict[Name, OptimizerConfig] = Field(min_length=1)
    arms: dict[Name, Arm] = Field(min_length=1)
    tuning: Tuning = Tuning()
    seeds: list[Seed] = Field(min_length=1)
    """Reporting seeds: only these enter results."""
    measure: Measure = Measure()
    robustness: Robustness | None = None
    """Runs with one chosen setting changed; null makes none."""
    published: dict[str, Any] = Field(default={})
    """Sections of this study as the source had them, laid over the rest for `published`."""

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


# Names of targets, of rules and of folders beside the studies' own.
RESERVED = (
    *("all", "data", "logs", "measure", "profile_overhead", "propose", "report", "runs", "select"),
    *(
        "train",
        "train_run",
        "train_trial",
        "tune",
        "unknown_target",
        "spectra",
        "curvature",
        "quantize",
        "statistics",
    ),
    *("tables", "figures"),
)
RESERVED_STARTS = ("prepare_", "measure_", "tabulate_", "plot_", "write_")  # of rules


def is_reserved(name: str) -> bool:
    """Whether a study of that name would be mistaken for a target, a rule or a folder."""
    return name in RESERVED or name.startswith(RESERVED_STARTS)


class Config(Section):
    """The whole configuration."""

    name: Name = "mini"
    """Name of this configuration, and of the folder in results/ that holds all it makes. Give
    another one where sizes differ, so that results of both are kept side by side."""
    data: dict[Name, DataConfig] = Field(min_length=1)
    """Data sets, by the name that studies use."""
    studies: dict[Name, Study] = Field(min_length=1)
    """Studies, by the name of their folder in results/ and of their target."""

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        for name in self.studies:
            if is_reserved(name):
                raise ValueError(
                    f"a study cannot be called {name}: that is a target, a rule or a folder"
                )
        return self


def json_schema() -> str:
    """The JSON schema of the config, as it stands in config.schema.json."""
    return json.dumps(Config.model_json_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(json_schema(), end="")
