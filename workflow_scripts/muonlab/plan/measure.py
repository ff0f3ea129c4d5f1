"""The `measure` section of a study: what is measured on its runs, and how its arms are compared."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from muonlab.plan.evaluation import AttentionPatterns, MultipleChoice, Samples
from muonlab.plan.families import Family, check_families, no_outcome
from muonlab.plan.reported import Anchors, SpeedUp, WaterfallStep
from muonlab.section import Name, Section

RUN_OUTCOMES = {
    "final_loss": "final loss",
    "test_loss": "test loss",
    "test_accuracy": "test accuracy",
}
CURVATURE_OUTCOMES = {
    "sharpness": "sharpness",
    "hessian_trace": "Hessian trace",
    "directional_sharpness": "directional sharpness",
}
SPECTRAL_OUTCOMES = {
    "spectral_entropy": "spectral entropy",
    "effective_rank": "effective rank",
    "condition_number": "condition number",
}
# The better side of a quantity; of curvature and spectra, neither side is better.
BETTER = {
    "final_loss": "lower",
    "test_loss": "lower",
    "test_accuracy": "higher",
    "step": "lower",
    "accuracy_drop": "lower",
}


class Curvature(Section):
    """Curvature of the loss on one fixed batch, which is the same for all runs of the study."""

    eigenvalues: int = Field(default=3, ge=1)
    """How many of the largest eigenvalues of the Hessian are computed. The first is the
    sharpness."""
    examples: int = Field(default=1024, ge=1)
    """Number of training images in the batch."""
    trace_samples: int = Field(default=32, ge=2)
    """Number of random vectors from which the trace is estimated."""
    density: bool = True
    """Whether the density of all eigenvalues is estimated, at the start and at the end of each
    run."""
    backend: Literal["lanczos", "pyhessian"] = "lanczos"
    """Solver that computes the largest eigenvalues."""
    tolerance: float = Field(default=1e-6, gt=0)
    """When the solver stops. For lanczos: the residual of an eigenpair, relative to the spectral
    radius, at which the pair is accepted; the error of the eigenvalue is of second order in it. For
    pyhessian: the tolerance of its own stopping rule."""


class Quantization(Section):
    """Weight-only quantization after training; activations stay in full precision."""

    bits: list[Literal[8, 4, 3, 2]] = Field(default=[8, 4, 3, 2], min_length=1)
    """Numbers of bits per weight. With 2 bits, a weight takes one of three values."""
    schemes: list[
        Literal["tensor_quantile", "channel_minmax", "group_minmax", "tensor_mse", "channel_mse"]
    ] = Field(
        default=["tensor_quantile", "channel_minmax", "group_minmax", "tensor_mse", "channel_mse"],
        min_length=1,
    )
    """Quantization schemes. The first part of a name says which weights share a scale, the second
    how the scale is chosen. tensor_quantile is what the published source used."""

    @model_validator(mode="after")
    def _consistent(self) -> "Quantization":
        for field in ("bits", "schemes"):
            if len(set(getattr(self, field))) != len(getattr(self, field)):
                raise ValueError(f"{field} must not name anything twice")
        return self


class Contrasts(Section):
    """How arms are compared."""

    alpha: float = Field(default=0.05, gt=0, lt=1)
    """Significance level of each family of comparisons; the intervals of its differences hold
    together with the confidence level 1 − alpha."""
    smallest_difference: dict[str, Annotated[float, Field(gt=0)]] = Field(default={})
    """The smallest difference of interest for each outcome, in the outcome's unit. Arms that are
    shown to differ by less are called equivalent."""
    pairs: Literal["all", "base"] = "all"
    """Which arms are compared: all pairs of arms, or each arm with its base (an arm without a base
    is then compared with the first arm). Pairs that families and the ranking name are compared in
    addition."""
    families: dict[Name, Family] = Field(default={})
    """Families of comparisons, by name: one for each claim. All comparisons on one outcome that no
    family has are one family together, which is called exploratory. The four questions of a
    factorial are a family, too, and so are the comparisons of a ranking."""


class Factorial(Section):
    """Four arms that differ in two components of the optimizer: both, only one, or neither."""

    label: str
    """Name in tables and figures."""
    both: Name
    """The arm with both components."""
    without_first: Name
    """The arm that lacks the first component."""
    without_second: Name
    """The arm that lacks the second component."""
    neither: Name
    """The arm that lacks both components."""
    first: str = "Newton–Schulz"
    """Name of the first component."""
    second: str = "momentum"
    """Name of the second component."""


class Overhead(Section):
    """Where the time of a training step goes. It is measured while no other job runs."""

    arms: list[Name] = Field(min_length=2, max_length=2)
    """Two arms: the one whose overhead is measured, and the one that it is compared with."""
    warmup_steps: int = Field(default=5, ge=1)
    """Number of steps before the measurement starts."""
    steps: int = Field(default=20, ge=2)
    """Number of steps that are timed."""
    traced_steps: int = Field(default=2, ge=1)
    """Number of steps that the profiler's trace covers."""

    @model_validator(mode="after")
    def _consistent(self) -> "Overhead":
        if self.arms[0] == self.arms[1]:
            raise ValueError("arms must name two different arms")
        return self


class Measure(Section):
    """What is measured on the reporting runs, and how it is compared."""

    along: int = Field(default=8, ge=1)
    """Spectra, curvature and quantization are measured at the start, at the end, and at no more
    than this many snapshots between, which stand where the run passed rungs of the ladder of
    losses. If a run has more of them, every second rung is left out, or three of every four, and so
    on, so that all runs are measured at the same rungs."""
    levels: int = Field(default=3, ge=3, le=9)
    """Number of losses at which arms are compared at equal loss. The lowest is the loss that every
    run of the arms compared reached; the others are spread evenly, in its logarithm, up towards the
    loss that all of them had soon after the start."""
    spectra: bool = True
    """Whether the spectra of the weights and of their change since the start are measured."""
    curvature: Curvature | None = Curvature()
    """Curvature of the loss; null measures no curvature."""
    quantization: Quantization | None = Quantization()
    """Quantization of the weights; null quantizes nothing."""
    multiple_choice: MultipleChoice | None = None
    """Benchmarks of multiple choice on the finished models; null measures none."""
    samples: Samples | None = None
    """Text that the finished models write; null writes none."""
    attention_patterns: AttentionPatterns | None = None
    """Where the attention of the finished models looks, and how their experts are used; null
    measures nothing."""
    contrasts: Contrasts = Contrasts()
    factorials: list[Factorial] = Field(default=[])
    """Factorial comparisons of four arms each: what two components contribute, and how they
    interact."""
    ranking: Name | None = None
    """The arm with which all others are compared in the ranking; null makes no ranking."""
    unranked: list[Name] = Field(default=[])
    """Arms that the ranking leaves out, because they answer another question."""
    also: list[Name] = Field(default=[])
    """Further measurements, named after their functions in `muonlab/probes/`."""
    overhead: Overhead | None = None
    """Profile of the time that the optimizer takes in a step; null makes no profile."""
    baseline: Name | None = None
    """The arm with which the stability and the convergence of all others are compared; null takes
    the study's first arm of AdamW, or its first arm if there is none."""
    anchors: Anchors = Anchors()
    speed_up: SpeedUp | None = None
    """How much sooner arms reach their final loss than a baseline that is also run longer; null
    does not compare lengths."""
    waterfall: list[WaterfallStep] = Field(default=[])
    """Where a published gap between two optimizers goes, one correction after the other; at least
    two steps. An empty list draws nothing."""

    @model_validator(mode="after")
    def _consistent(self) -> "Measure":
        known = [outcome["name"] for outcome in outcomes(self.model_dump())]
        for name in self.contrasts.smallest_difference:
            if name not in known:
                raise ValueError(f"contrasts.smallest_difference: {no_outcome(name, known)}")
        own = self.model_dump()
        check_families(own["contrasts"]["families"], own["factorials"], every_outcome(own))
        if len(self.waterfall) == 1:
            raise ValueError("waterfall needs at least two steps, or none")
        return self


def outcomes(measure: dict) -> list[dict]:
    """Every outcome by which arms are compared.

    Each has a name, a quantity, a point of the run, a label and its better side ("lower", "higher"
    or "" for neither); an outcome of quantization also has bits and scheme. The point is "" for the
    run as a whole, "end", or "loss 1" to "loss n" for the n levels of equal loss, from the highest
    to the lowest.
    """
    levels = [f"loss {i + 1}" for i in range(measure["levels"])]
    found = [
        {"name": name, "quantity": name, "point": "", "label": label}
        for name, label in RUN_OUTCOMES.items()
    ]
    for point in levels:
        name = _named("step_at", point)
        found.append({"name": name, "quantity": "step", "point": point, "label": "steps taken"})
    at_points = CURVATURE_OUTCOMES if measure["curvature"] else {}
    at_points = at_points | (SPECTRAL_OUTCOMES if measure["spectra"] else {})
    for point in ("end", *levels):
        for name, label in at_points.items():
            found.append(
                {"name": _named(name, point), "quantity": name, "point": point, "label": label}
            )
        if measure["quantization"] is None:
            continue
        for scheme in measure["quantization"]["schemes"]:
            for bits in measure["quantization"]["bits"]:
                found.append(
                    {
                        "name": _named(f"accuracy_drop_int{bits}_{scheme}", point),
                        "quantity": "accuracy_drop",
                        "point": point,
                        "label": f"accuracy drop, {bits} bits, {scheme.replace('_', ' ')}",
                        "bits": bits,
                        "scheme": scheme,
                    }
                )
    return [outcome | {"better": BETTER.get(outcome["quantity"], "")} for outcome in found]


def every_outcome(measure: dict) -> list[str]:
    """The names of the outcomes that there would be if the study measured everything."""
    everything = {"spectra": True, "curvature": True, "quantization": Quantization().model_dump()}
    return [outcome["name"] for outcome in outcomes(measure | everything)]


def _named(quantity: str, point: str) -> str:
    return f"{quantity}_{point.replace(' ', '_')}"
