"""The config: every section, its types, its ranges and its defaults.

`config.schema.json` is generated from these models (`python -m muonlab.plan.schema`), and a test
holds the two together. Nothing here knows how a run is made.
"""

import json
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from muonlab.plan.measure import Measure
from muonlab.plan.optimizers import OptimizerConfig
from muonlab.plan.section import Section

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Split = Literal["train", "validation", "test"]


class Digits(Section):
    """scikit-learn's bundled 8 × 8 digits; needs no file and no network."""

    source: Literal["digits"]
    validation: int = Field(default=300, ge=1)
    """Images held out of the training images, for choosing learning rates."""
    test: int = Field(default=360, ge=1)
    """Images held out first, for the final report."""
    split_seed: Seed = 0
    """Seed of both splits."""


class FashionMNIST(Section):
    """FashionMNIST with its official test split."""

    source: Literal["fashion_mnist"]
    folder: str | None = None
    """Folder that holds the four IDX files, plain or .gz; null downloads them by torchvision."""
    validation: int = Field(default=5000, ge=1)
    """Images held out of the 60,000 training images, for choosing learning rates."""
    split_seed: Seed = 0
    """Seed of the held-out split."""


DataConfig = Annotated[Digits | FashionMNIST, Field(discriminator="source")]


class MLP(Section):
    """A multilayer perceptron."""

    name: Literal["mlp"] = "mlp"
    width: int = Field(default=15, ge=1, le=65536)
    """Units of each hidden layer."""
    depth: int = Field(default=3, ge=1, le=1000)
    """Number of hidden layers."""
    bias: bool = False
    """Whether layers have biases (they are trained by AdamW)."""
    activation: Literal["relu", "gelu", "tanh", "silu"] = "relu"
    """Activation after each hidden layer."""


MODELS: dict[str, type[Section]] = {"mlp": MLP}


class Training(Section):
    """How a run is trained and watched."""

    epochs: int = Field(default=20, ge=1)
    """Passes over the training images."""
    batch_size: int = Field(default=64, ge=1)
    """Images in a batch; the last batch of an epoch may be smaller."""
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    """Learning rate over the optimizer's updates, after warm-up."""
    warmup_steps: int = Field(default=0, ge=0)
    """Updates of linear warm-up."""
    final_lr_fraction: float = Field(default=0.0, ge=0, le=1)
    """Learning rate at the last update as a fraction of the peak (linear and cosine)."""
    train_on: list[Literal["train", "validation"]] = Field(default=["train"], min_length=1)
    """Splits that are trained on."""
    evaluate_on: Literal["validation", "test"] = "validation"
    """Split on which loss and accuracy are followed and learning rates are chosen."""
    paired: bool = True
    """Whether all arms of a seed share initial weights and data order."""
    log_every: int = Field(default=10, ge=1)
    """Steps between records of the training loss."""
    eval_every: int = Field(default=200, ge=1)
    """Steps between evaluations; the start and the end are always evaluated."""
    snapshot_every: int = Field(default=200, ge=1)
    """Steps between snapshots of the weights; a multiple of eval_every, since a snapshot at
    matched loss needs the loss at that step."""
    geometry_every: int = Field(default=50, ge=1)
    """Steps between records of the geometry of weights and updates, in reporting runs."""

    @model_validator(mode="after")
    def _consistent(self) -> "Training":
        if self.snapshot_every % self.eval_every:
            raise ValueError(
                f"snapshot_every ({self.snapshot_every}) must be a multiple of eval_every "
                f"({self.eval_every})"
            )
        if self.evaluate_on in self.train_on:
            raise ValueError(f"evaluate_on ({self.evaluate_on}) must not be one of train_on")
        return self


class Tuning(Section):
    """How each arm's settings are chosen before the reporting seeds are run."""

    seeds: list[Seed] = Field(default=[1001, 1002, 1003], min_length=1)
    """Seeds for tuning only; no reporting seed may be among them."""
    grid: dict[str, list[float | int | bool | str]] = Field(
        default={"lr": [1e-4, 5e-4, 1e-3, 5e-3, 1e-2, 5e-2]}, min_length=1
    )
    """Values of the optimizer's fields; every combination is one trial."""
    score: Literal["final", "minimum"] = "final"
    """Evaluation loss that ranks trials: at the end of training, or the lowest reached."""
    loss_tolerance: float = Field(default=0.005, ge=0)
    """Added to the common loss (the worst arm's best minimum) to give the matched-loss target."""

    @model_validator(mode="after")
    def _consistent(self) -> "Tuning":
        for field, values in self.grid.items():
            if not values or len(set(map(repr, values))) != len(values):
                raise ValueError(f"grid.{field} must be a list of one or more different values")
        return self


class Arm(Section):
    """One side of the comparison: another arm with one thing changed, or the study's base."""

    base: str | None = None
    """Arm that this one starts from; null for an arm that stands on the study's own sections."""
    optimizer: str | None = None
    """Name in `optimizers`; null keeps the base's."""
    set: dict[str, Any] = Field(default={})
    """Fields changed, by dotted path: optimizer.momentum, model.width, training.batch_size …"""
    compound: bool = False
    """Declares that this arm changes more than one variable; its contrasts are marked so."""
    grid: dict[str, list[float | int | bool | str]] | None = None
    """This arm's own tuning grid; it must have as many trials as the study's."""
    label: str | None = None
    """Name in figures and tables; null takes the arm's key."""


class Study(Section):
    """Arms, how each is tuned, and the seeds on which they are reported."""

    title: str = ""
    """Title in figures and in the report; empty takes the study's key."""
    protocols: list[Literal["fair", "published"]] = Field(default=["fair"], min_length=1)
    """Protocols to run: `fair`, and `published` with the source's faults switched on."""
    data: str
    """Name in `data`."""
    model: MLP = MLP()
    training: Training = Training()
    optimizers: dict[Name, OptimizerConfig] = Field(min_length=1)
    arms: dict[Name, Arm] = Field(min_length=1)
    tuning: Tuning = Tuning()
    seeds: list[Seed] = Field(min_length=1)
    """Reporting seeds: only these enter results."""
    measure: Measure = Measure()
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


RESERVED = ("all", "tune", "runs", "tables", "figures", "data", "logs", "report")


class Config(Section):
    """The whole configuration."""

    data: dict[Name, DataConfig] = Field(min_length=1)
    """Data sets, by the name that studies use."""
    studies: dict[Name, Study] = Field(min_length=1)
    """Studies, by the name of their folder in results/ and of their target."""

    @model_validator(mode="after")
    def _consistent(self) -> "Config":
        for name in self.studies:
            if name in RESERVED:
                raise ValueError(f"a study cannot be called {name}: that is a target or a folder")
        return self


def json_schema() -> str:
    """The JSON schema of the config, as it stands in config.schema.json."""
    return json.dumps(Config.model_json_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(json_schema(), end="")
