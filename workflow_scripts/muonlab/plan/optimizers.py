"""Optimizer sections of the config, one model for each optimizer."""

from typing import Annotated, Literal

from pydantic import Field

from muonlab.plan.section import Section

Beta = Annotated[float, Field(ge=0, lt=1)]
Component = Literal["input", "hidden", "output"]
ScheduleName = Literal[
    "jordan",
    "quintic",
    "polar_express",
    "cans",
    "polar8",
    "exact",
    "conservative",
    "mild_aggressive",
    "ultra_stable",
]


class AdamW(Section):
    """torch's AdamW for every tensor; tensors of one dimension are not decayed."""

    name: Literal["adamw"]
    lr: float = Field(default=1e-3, gt=0)
    """Peak learning rate, where tuning does not choose it."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Decoupled weight decay."""
    betas: list[Beta] = Field(default=[0.9, 0.999], min_length=2, max_length=2)
    """Decay rates of the first and second moments."""
    eps: float = Field(default=1e-8, gt=0)
    """Added to the root of the second moment."""


class AdamWGroup(Section):
    """AdamW for the tensors that a matrix optimizer leaves."""

    lr: float | None = Field(default=None, gt=0)
    """Peak learning rate; null takes the matrix optimizer's."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Decoupled weight decay."""
    betas: list[Beta] = Field(default=[0.9, 0.999], min_length=2, max_length=2)
    """Decay rates of the first and second moments."""
    eps: float = Field(default=1e-8, gt=0)
    """Added to the root of the second moment."""


class Muon(Section):
    """Muon for the matrices of the named components, AdamW for the rest."""

    name: Literal["muon"]
    lr: float = Field(default=1e-3, gt=0)
    """Peak learning rate, where tuning does not choose it; comparable only with its `scale`."""
    momentum: Beta = 0.95
    """Momentum; 0 turns it off."""
    nesterov: bool = True
    """Whether the update looks one gradient ahead."""
    ns_steps: int = Field(default=5, ge=1, le=100)
    """Newton–Schulz steps."""
    ns_coefficients: ScheduleName | list[list[float]] = "jordan"
    """Coefficient schedule by name, or explicit triples [a, b, c]."""
    scale: Literal["match_rms_adamw", "original", "none"] = "match_rms_adamw"
    """Factor on the step: 0.2·sqrt(max(out, in)), sqrt(max(1, out/in)), or 1."""
    orthogonalize: bool = True
    """Whether Newton–Schulz is applied at all."""
    weight_decay: float = Field(default=0.1, ge=0)
    """Decoupled weight decay."""
    components: list[Component] = Field(default=["input", "hidden", "output"], min_length=1)
    """Parts of the model whose matrices Muon trains."""
    adamw: AdamWGroup = AdamWGroup()
    """AdamW for everything else."""


OptimizerConfig = Annotated[AdamW | Muon, Field(discriminator="name")]
OPTIMIZERS: dict[str, type[Section]] = {"adamw": AdamW, "muon": Muon}
