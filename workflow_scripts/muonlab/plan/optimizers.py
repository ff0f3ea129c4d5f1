"""Optimizer sections of the config, one model for each optimizer of `muonlab.optim`.

Fields, ranges and defaults mirror the optimizers' own; a test holds the two together.
"""

from typing import Annotated, Literal, get_args

from pydantic import Field, field_validator

from muonlab.section import Section

Beta = Annotated[float, Field(ge=0, lt=1)]
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
COMPONENTS: tuple[Component, ...] = get_args(Component)
GroupOfComponents = Literal["attention", "feedforward"]
GROUPS: dict[GroupOfComponents, tuple[Component, ...]] = {
    "attention": ("query", "key", "value", "attention_output"),
    "feedforward": ("up", "gate", "down", "expert_up", "expert_gate", "expert_down"),
}
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
Scale = Literal["match_rms_adamw", "original", "none", "fixed_rms"]
Precision = Literal["auto", "float16", "bfloat16", "float32", "float64"]
Parts = int | list[int] | dict[Literal["columns"], int | list[int]]


class _Tuned(Section):
    """What every optimizer has."""

    lr: float = Field(default=1e-3, gt=0)
    """Peak learning rate, where tuning does not choose it."""


class AdamW(_Tuned):
    """torch's AdamW for every tensor; tensors of one dimension are not decayed."""

    name: Literal["adamw"]
    weight_decay: float = Field(default=0.01, ge=0)
    """Decoupled weight decay."""
    betas: list[Beta] = Field(default=[0.9, 0.999], min_length=2, max_length=2)
    """Decay rates of the first and second moments."""
    eps: float = Field(default=1e-8, gt=0)
    """Added to the root of the second moment."""


class SGD(_Tuned):
    """torch's stochastic gradient descent for every tensor; one-dimensional ones do not decay."""

    name: Literal["sgd"]
    momentum: Beta = 0.9
    """Momentum; 0 turns it off."""
    nesterov: bool = False
    """Whether the update looks one gradient ahead."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Weight decay, added to the gradient."""


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


class _ForMatrices(_Tuned):
    """An optimizer for the matrices of the named components, with AdamW for the rest."""

    weight_decay: float = Field(default=0.1, ge=0)
    """Decoupled weight decay."""
    components: list[Literal[Component, GroupOfComponents]] = Field(
        default=[c for c in COMPONENTS if c not in ("embedding", "head")], min_length=1
    )
    """Parts of the model whose matrices it trains: attention stands for query, key, value and
    attention_output, feedforward for all of up, gate and down, experts' too. A model has to have
    one of them; by default all but embeddings and language-model heads."""
    adamw: AdamWGroup = AdamWGroup()
    """AdamW for everything else."""

    @field_validator("components")
    @classmethod
    def _one_spelling(cls, value: list[str]) -> list[Component]:
        """Groups taken apart, each component once and in one order: one setting, one run."""
        named = {component for name in value for component in GROUPS.get(name, (name,))}
        return [component for component in COMPONENTS if component in named]


class Spectral(_ForMatrices):
    """Spectral descent: the orthogonalized gradient, without momentum."""

    name: Literal["spectral"]
    ns_steps: int = Field(default=5, ge=1, le=100)
    """Newton–Schulz steps."""
    ns_coefficients: ScheduleName | list[list[float]] = "jordan"
    """Coefficient schedule by name, or explicit triples [a, b, c]."""
    scale: Scale = "match_rms_adamw"
    """Factor on the step: 0.2·sqrt(max(out, in)), sqrt(max(1, out/in)), 1, or, for fixed_rms, what
    gives each matrix's update the root mean square 0.2 exactly, whatever made it. Learning rates
    are comparable only under one scale."""
    orthogonalize: bool = True
    """Whether Newton–Schulz is applied at all."""
    dtype: Precision | None = None
    """Precision of the matrix products; null is float32 on a CPU and bfloat16 on a GPU, auto what
    is fastest on the machine."""
    split: dict[Component, Parts] | None = None
    """Components whose matrices are cut into blocks that are orthogonalized on their own."""
    independent_decay: bool = False
    """Whether weight decay follows the schedule and not the learning rate."""

    @field_validator("ns_coefficients")
    @classmethod
    def _triples(cls, value: str | list[list[float]]) -> str | list[list[float]]:
        if isinstance(value, list) and (not value or any(len(triple) != 3 for triple in value)):
            raise ValueError("ns_coefficients must be a schedule's name or triples [a, b, c]")
        return value


class Muon(Spectral):
    """Muon: momentum, orthogonalized by Newton–Schulz."""

    name: Literal["muon"]
    momentum: Beta = 0.95
    """Momentum; 0 turns it off."""
    nesterov: bool = True
    """Whether the update looks one gradient ahead."""


class NorMuon(Muon):
    """Muon whose update is normalised neuron by neuron."""

    name: Literal["normuon"]
    beta2: Beta = 0.95
    """Decay rate of each neuron's second moment."""
    eps: float = Field(default=1e-8, gt=0)
    """Added to the root of the second moment."""


class AdaMuon(NorMuon):
    """Muon whose update is normalised entry by entry."""

    name: Literal["adamuon"]
    sign: bool = True
    """Whether the sign of the momentum is orthogonalized."""


class MuonClip(Muon):
    """Muon with attention logits that are clipped through their weights; needs attention."""

    name: Literal["muonclip"]
    threshold: float = Field(default=100.0, gt=0)
    """Largest attention logit that is let stand."""


class Dion(_ForMatrices):
    """Distributed orthonormalized updates of low rank."""

    name: Literal["dion"]
    momentum: Beta = 0.95
    """Decay of the error feedback."""
    rank_fraction: float = Field(default=0.25, gt=0, le=1)
    """Rank of the update, as a fraction of the shorter side."""
    scale: Scale = "match_rms_adamw"
    """Factor on the step, as Muon's."""


class SOAP(_ForMatrices):
    """Adam in the eigenbasis of Shampoo's preconditioner."""

    name: Literal["soap"]
    betas: list[Beta] = Field(default=[0.95, 0.95], min_length=2, max_length=2)
    """Decay rates of the first and second moments; the second is the preconditioner's too."""
    eps: float = Field(default=1e-8, gt=0)
    """Added to the root of the second moment."""
    frequency: int = Field(default=10, ge=1)
    """Updates between steps of the eigenbasis."""
    max_side: int = Field(default=4096, ge=1)
    """Longer sides are not rotated."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Decoupled weight decay."""


OptimizerConfig = Annotated[
    AdamW | SGD | Muon | NorMuon | AdaMuon | MuonClip | Spectral | Dion | SOAP,
    Field(discriminator="name"),
]
OPTIMIZERS: dict[str, type[Section]] = {
    "adamw": AdamW,
    "sgd": SGD,
    "muon": Muon,
    "normuon": NorMuon,
    "adamuon": AdaMuon,
    "muonclip": MuonClip,
    "spectral": Spectral,
    "dion": Dion,
    "soap": SOAP,
}
